"""Objectives: what a guided model should obey."""

from guidekit.core.objective import Objective, Product, Sum
from guidekit.objectives.gaussian import GaussianLikelihood, LinearGaussian, QuadraticReward
from guidekit.objectives.reward import Reward, TableReward, Value

__all__ = [
    "GaussianLikelihood",
    "LinearGaussian",
    "Objective",
    "Product",
    "QuadraticReward",
    "Reward",
    "Sum",
    "TableReward",
    "Value",
]
