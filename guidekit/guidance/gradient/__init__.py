"""Guidance by gradients through the network."""

from guidekit.guidance.gradient.through_network import DPS, GradientGuidance

__all__ = ["DPS", "GradientGuidance"]
