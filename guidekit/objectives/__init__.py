"""Objectives: what a guided model should obey."""

from guidekit.objectives.combination import Negation, Product, Sum
from guidekit.objectives.gaussian import LinearGaussian, QuadraticReward
from guidekit.objectives.pool import Isolated
from guidekit.objectives.rewards import ObjectReward, TableReward, score
from guidekit.objectives.scoring import failures, refuse_useless, remark
from guidekit.objectives.verifiers import ForbiddenWords, ObjectVerifier, OccupiedCells

__all__ = [
    "ForbiddenWords",
    "Isolated",
    "LinearGaussian",
    "Negation",
    "ObjectReward",
    "ObjectVerifier",
    "OccupiedCells",
    "Product",
    "QuadraticReward",
    "Sum",
    "TableReward",
    "failures",
    "refuse_useless",
    "remark",
    "score",
]
