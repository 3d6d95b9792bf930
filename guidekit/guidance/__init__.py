"""Guidance plugs, one file each, and how to compose them."""

from guidekit.core.guidance import Guidance, GuidanceError, chain
from guidekit.guidance.candidates import SVDD, BestOfN
from guidekit.guidance.contrast import CFG
from guidekit.guidance.gradient import DPS, GradientGuidance
from guidekit.guidance.particles import FKSteering
from guidekit.guidance.values import MonteCarlo, PosteriorMean

__all__ = [
    "CFG",
    "DPS",
    "SVDD",
    "BestOfN",
    "FKSteering",
    "GradientGuidance",
    "Guidance",
    "GuidanceError",
    "MonteCarlo",
    "PosteriorMean",
    "chain",
]
