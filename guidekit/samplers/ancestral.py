"""Ancestral sampling and DDIM."""

from __future__ import annotations

import dataclasses

from guidekit.core.kernel import Kernel
from guidekit.registry import register
from guidekit.samplers.base import TOKEN_LAWS, Fact, Here, TimedSampler, at_least


@register("sampler", "ancestral")
@dataclasses.dataclass(frozen=True, eq=False)
class Ancestral(TimedSampler[None]):
    """x_u ~ q(x_u | x_t, x_0) with x_0 replaced by its prediction; for all processes, and states of several parts.

    Source: Ho et al. 2020, arXiv:2006.11239, eq. 6-7; discrete: Austin et al. 2021, arXiv:2107.03006, eq. 4.
    """

    provides = frozenset({Fact.NOISE, Fact.ESTIMATE, Fact.REVERSAL}) | TOKEN_LAWS
    takes_parts = True

    def step(self, here: Here, memory: None) -> tuple[Kernel, None]:
        """See `Sampler.step`."""
        return here.process.reverse_kernel(here.prediction, here.time, here.step.u), None


@register("sampler", "ddim")
@dataclasses.dataclass(frozen=True, eq=False)
class DDIM(TimedSampler[None]):
    """Ancestral sampling with its noise scaled by eta; eta = 0 is deterministic, eta = 1 is `Ancestral`.

    Args:
        eta: at least 0.
        times: see `TimedSampler`.

    Raises:
        ValueError: an eta below 0, or none.

    Source: Song et al. 2020, arXiv:2010.02502, eq. 12 and 16.
    """

    eta: float = 0.0
    requires = frozenset({Fact.REAL})

    def __post_init__(self) -> None:
        """Check eta and the grid."""
        super().__post_init__()
        at_least(self.eta, 0, "eta")

    @property
    def provides(self) -> frozenset[Fact]:  # type: ignore[override]
        """Noise, unless eta is 0."""
        return frozenset({Fact.NOISE, Fact.ESTIMATE} if self.eta > 0 else {Fact.ESTIMATE})

    def step(self, here: Here, memory: None) -> tuple[Kernel, None]:
        """See `Sampler.step`."""
        return here.process.reverse_kernel(here.prediction, here.time, here.step.u, eta=self.eta), None
