"""guidekit: guided sampling of diffusion priors, in any domain."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guidekit import guidance, inversion, objectives, priors, processes, samplers
    from guidekit.core.budget import Budget
    from guidekit.core.guidance import Guidance, GuidanceError, chain
    from guidekit.domain import Domain
    from guidekit.estimation import estimate
    from guidekit.installed import load_domain
    from guidekit.sampling import Result, sample
    from guidekit.weighting import pooled, to_prior

__version__ = "0.2.0"

__all__ = [
    "Budget",
    "Domain",
    "Guidance",
    "GuidanceError",
    "Result",
    "chain",
    "estimate",
    "guidance",
    "inversion",
    "load_domain",
    "objectives",
    "pooled",
    "priors",
    "processes",
    "sample",
    "samplers",
    "to_prior",
]

_PLACES = {
    "Budget": "guidekit.core.budget",
    "Domain": "guidekit.domain",
    "Guidance": "guidekit.core.guidance",
    "GuidanceError": "guidekit.core.requirements",
    "Result": "guidekit.sampling",
    "chain": "guidekit.core.guidance",
    "estimate": "guidekit.estimation",
    "load_domain": "guidekit.installed",
    "pooled": "guidekit.weighting",
    "sample": "guidekit.sampling",
    "to_prior": "guidekit.weighting",
}
"""Where names are defined that are no modules."""


def __getattr__(name: str) -> Any:
    """A name or a module of the package, imported when it is first asked for: `guidekit --help` does without torch."""
    if name in _PLACES:
        value = globals()[name] = getattr(importlib.import_module(_PLACES[name]), name)
        return value
    try:
        if not name.startswith("_"):
            return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
