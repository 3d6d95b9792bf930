"""Values of noisy states."""

from guidekit.guidance.values.posterior_mean import MonteCarlo, PosteriorMean, Value

__all__ = ["MonteCarlo", "PosteriorMean", "Value"]
