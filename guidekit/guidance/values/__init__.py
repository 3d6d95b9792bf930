"""Values of noisy states, and guidance by learned ones."""

from guidekit.guidance.values.checkpoints import load_value, save_value
from guidekit.guidance.values.learned import LearnedValue, NoisyValue, refuse_other_noise, value_of
from guidekit.guidance.values.posterior_mean import MonteCarlo, PosteriorMean, Relaxed, Value

__all__ = [
    "LearnedValue",
    "MonteCarlo",
    "NoisyValue",
    "PosteriorMean",
    "Relaxed",
    "Value",
    "load_value",
    "refuse_other_noise",
    "save_value",
    "value_of",
]
