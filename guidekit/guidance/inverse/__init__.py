"""Solvers of inverse problems that use more of the operator than a gradient."""

from guidekit.guidance.inverse.replacement import Replacement

__all__ = ["Replacement"]
