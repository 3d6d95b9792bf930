"""Values of noisy states, and guidance by learned ones."""

from guidekit.guidance.values.checkpoints import load_value, save_value
from guidekit.guidance.values.learned import LearnedValue, NoisyValue
from guidekit.guidance.values.posterior_mean import MonteCarlo, PosteriorMean, Relaxed, Value, value_of

__all__ = [
    "LearnedValue",
    "MonteCarlo",
    "NoisyValue",
    "PosteriorMean",
    "Relaxed",
    "Value",
    "load_value",
    "save_value",
    "value_of",
]
