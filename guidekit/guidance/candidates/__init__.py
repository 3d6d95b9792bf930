"""Guidance by search among candidates of one sample."""

from guidekit.guidance.candidates.best_of_n import BestOfN
from guidekit.guidance.candidates.svdd import SVDD

__all__ = ["SVDD", "BestOfN"]
