"""Guidance by contrast: extrapolating from a worse belief to a better one; sharpening of one belief."""

from guidekit.guidance.contrast.linear import CFG, contrast
from guidekit.guidance.contrast.sharpen import Sharpen

__all__ = ["CFG", "Sharpen", "contrast"]
