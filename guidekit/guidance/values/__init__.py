"""Values of noisy states: what reward is to be expected from here."""

from guidekit.guidance.values.energy import LearnedEnergy
from guidekit.guidance.values.estimates import Estimate, MonteCarlo, NoisyValue, PosteriorMean, Relaxed, estimate_of
from guidekit.guidance.values.learned import LearnedValue
from guidekit.guidance.values.lookahead import Lookahead

__all__ = [
    "Estimate",
    "LearnedEnergy",
    "LearnedValue",
    "Lookahead",
    "MonteCarlo",
    "NoisyValue",
    "PosteriorMean",
    "Relaxed",
    "estimate_of",
]
