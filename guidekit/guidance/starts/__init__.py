"""Guidance that only chooses where sampling begins."""

from guidekit.guidance.starts.boost_and_skip import BoostAndSkip
from guidekit.guidance.starts.checkpoints import load_refiner, save_refiner
from guidekit.guidance.starts.from_sample import FromSample
from guidekit.guidance.starts.refined_noise import RefinedNoise, Refiner

__all__ = ["BoostAndSkip", "FromSample", "RefinedNoise", "Refiner", "load_refiner", "save_refiner"]
