"""Guidance by gradients: through the network, or of a value of noisy states."""

from guidekit.guidance.gradient.noisy import ClassifierGuidance
from guidekit.guidance.gradient.through_network import DPS, GradientGuidance

__all__ = ["DPS", "ClassifierGuidance", "GradientGuidance"]
