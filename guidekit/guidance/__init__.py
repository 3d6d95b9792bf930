"""Guidance plugs, one file each, and how to compose them."""

from guidekit.core.guidance import Guidance, GuidanceError, chain
from guidekit.guidance.candidates import SVDD, BestOfN
from guidekit.guidance.contrast import CFG, Sharpen
from guidekit.guidance.gradient import DPS, GradientGuidance
from guidekit.guidance.particles import DiscreteFKC, FKSteering, ParticleFilter
from guidekit.guidance.transition import (
    DCBG,
    TAG,
    CleanEdits,
    ExactEdits,
    GradientEdits,
    KernelCFG,
    PredictorGuidance,
    TaylorEdits,
)
from guidekit.guidance.values import MonteCarlo, PosteriorMean

__all__ = [
    "CFG",
    "DCBG",
    "DPS",
    "SVDD",
    "TAG",
    "BestOfN",
    "CleanEdits",
    "DiscreteFKC",
    "ExactEdits",
    "FKSteering",
    "GradientEdits",
    "GradientGuidance",
    "Guidance",
    "GuidanceError",
    "KernelCFG",
    "MonteCarlo",
    "ParticleFilter",
    "PosteriorMean",
    "PredictorGuidance",
    "Sharpen",
    "TaylorEdits",
    "chain",
]
