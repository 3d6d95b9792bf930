"""Guidance by weighted particles."""

from guidekit.guidance.particles.discrete_fkc import DiscreteFKC
from guidekit.guidance.particles.filter import ParticleFilter
from guidekit.guidance.particles.fk_steering import FKSteering
from guidekit.guidance.particles.resampling import RESAMPLERS

__all__ = ["RESAMPLERS", "DiscreteFKC", "FKSteering", "ParticleFilter"]
