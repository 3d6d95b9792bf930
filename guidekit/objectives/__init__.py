"""Objectives: what a guided model should obey."""

from guidekit.objectives.combination import Negation, Product, Sum
from guidekit.objectives.gaussian import LinearGaussian, QuadraticReward
from guidekit.objectives.rewards import ObjectReward, TableReward, score

__all__ = ["LinearGaussian", "Negation", "ObjectReward", "Product", "QuadraticReward", "Sum", "TableReward", "score"]
