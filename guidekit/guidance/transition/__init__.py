"""Guidance that acts on the transition of discrete priors."""

from guidekit.guidance.transition.classifier import DCBG, TAG, PredictorGuidance
from guidekit.guidance.transition.edits import CleanEdits, ExactEdits, GradientEdits, TaylorEdits
from guidekit.guidance.transition.kernel_mixing import KernelCFG
from guidekit.guidance.transition.reflection import Reflection

__all__ = [
    "DCBG",
    "TAG",
    "CleanEdits",
    "ExactEdits",
    "GradientEdits",
    "KernelCFG",
    "PredictorGuidance",
    "Reflection",
    "TaylorEdits",
]
