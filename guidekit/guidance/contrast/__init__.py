"""Guidance by contrast: extrapolating from a worse belief to a better one."""

from guidekit.guidance.contrast.linear import CFG, contrast

__all__ = ["CFG", "contrast"]
