"""Guidance by weighted particles."""

from guidekit.guidance.particles.fk_steering import FKSteering
from guidekit.guidance.particles.resampling import RESAMPLERS

__all__ = ["RESAMPLERS", "FKSteering"]
