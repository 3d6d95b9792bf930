"""guidekit: guided sampling of diffusion priors, in any domain."""

from guidekit import guidance, objectives, priors, processes, samplers
from guidekit.core.guidance import Guidance, GuidanceError, chain
from guidekit.domain import Domain, load_domain
from guidekit.sampling import Result, sample

__version__ = "0.1.0"

__all__ = [
    "Domain",
    "Guidance",
    "GuidanceError",
    "Result",
    "chain",
    "guidance",
    "load_domain",
    "objectives",
    "priors",
    "processes",
    "sample",
    "samplers",
]
