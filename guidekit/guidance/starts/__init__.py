"""Guidance that only chooses where sampling begins."""

from guidekit.guidance.starts.boost_and_skip import BoostAndSkip
from guidekit.guidance.starts.refined_noise import RefinedNoise

__all__ = ["BoostAndSkip", "RefinedNoise"]
