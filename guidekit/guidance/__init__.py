"""Guidance plugs, one file each, and how to compose them."""

from guidekit.core.guidance import Guidance, GuidanceError, chain
from guidekit.guidance.candidates import SVDD, BestOfN
from guidekit.guidance.contrast import CFG, Sharpen
from guidekit.guidance.gradient import DPS, ClassifierGuidance, GradientGuidance
from guidekit.guidance.particles import DiscreteFKC, FKSteering, ParticleFilter
from guidekit.guidance.transition import (
    DCBG,
    TAG,
    CleanEdits,
    ExactEdits,
    GradientEdits,
    KernelCFG,
    PredictorGuidance,
    Reflection,
    TaylorEdits,
)
from guidekit.guidance.transition.nos import NOS
from guidekit.guidance.values import (
    LearnedValue,
    MonteCarlo,
    NoisyValue,
    PosteriorMean,
    Relaxed,
    load_value,
    save_value,
)
from guidekit.guidance.values.slcd import SLCD

__all__ = [
    "CFG",
    "DCBG",
    "DPS",
    "NOS",
    "SLCD",
    "SVDD",
    "TAG",
    "BestOfN",
    "ClassifierGuidance",
    "CleanEdits",
    "DiscreteFKC",
    "ExactEdits",
    "FKSteering",
    "GradientEdits",
    "GradientGuidance",
    "Guidance",
    "GuidanceError",
    "KernelCFG",
    "LearnedValue",
    "MonteCarlo",
    "NoisyValue",
    "ParticleFilter",
    "PosteriorMean",
    "PredictorGuidance",
    "Reflection",
    "Relaxed",
    "Sharpen",
    "TaylorEdits",
    "chain",
    "load_value",
    "save_value",
]
