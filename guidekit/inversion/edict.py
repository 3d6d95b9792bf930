"""EDICT: two coupled states, exactly invertible."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.kernel import GaussianKernel
from guidekit.core.population import Population
from guidekit.core.step import Step
from guidekit.inversion.base import Invertible, Latent, asking, check_growth, line, times_of
from guidekit.registry import register
from guidekit.samplers.base import Fact, Here
from guidekit.samplers.history import Earlier

LEFT = 1e-3
"""What rounding may have grown to at the end of the way back."""


@register("sampler", "edict")
@dataclasses.dataclass(frozen=True, eq=False)
class EDICT(Invertible[Earlier]):
    """Two coupled states, each moved by DDIM with the noise predicted at the other and then mixed; invertible.

    y' = c y + d eps(x), x' = c x + d eps(y'), then y'' = p y' + (1 - p) x', x'' = p x' + (1 - p) y'', with c = b / a
    and d = r - c s from (a, s) to (b, r); the roles change with every step, so that y'' is the next x. Two network
    calls a step. Undoing the mixture divides by p, so rounding grows by up to p^-2 a step. The memory is y.

    Args:
        mixing: p in (0, 1]; 1 leaves the states uncoupled but for the predictions.
        times: see `TimedSampler`.

    Raises:
        ValueError: p outside (0, 1].

    Source: Wallace et al. 2022, arXiv:2211.12446, coupled and mixed steps (p = .93, 50 steps).
    """

    mixing: float = 0.93
    requires = frozenset({Fact.FLOW})

    def __post_init__(self) -> None:
        """Check the share and the grid."""
        super().__post_init__()
        if not 0 < self.mixing <= 1:
            raise ValueError(f"mixing={self.mixing}; a number above 0 and at most 1 is needed")

    def step(self, here: Here, memory: Earlier | None) -> tuple[GaussianKernel, Earlier]:
        """See `Sampler.step`."""
        x, t = here.prediction.x, here.step.t
        y = memory.value if memory is not None and memory.t == t else x  # a guidance may have gone elsewhere
        y = self.other(here.process, here.step, x, y, here.prediction.noise)
        state, partner = self.mixed(here.process, here.step, x, y, here.ask(y, t).noise)
        return GaussianKernel(state, 0.0, here.prediction.support), Earlier(here.step.u, partner)

    def other(self, process: Any, step: Step, x: Tensor, y: Tensor, noise: Tensor) -> Tensor:
        """y', (B, *S), from the noise predicted at x."""
        c, d = line(process, step.t, step.u)
        return c * y + d * noise

    def mixed(self, process: Any, step: Step, x: Tensor, y: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The next state and its partner from x, y' and the noise predicted at y'."""
        c, d = line(process, step.t, step.u)
        x = c * x + d * noise
        y = self.mixing * y + (1 - self.mixing) * x
        return y, self.mixing * x + (1 - self.mixing) * y

    def encode(self, begun: Population, steps: Sequence[Step]) -> Latent:
        """See `Invertible.encode`: every step undone."""
        process, ask, p = begun.process, asking(begun), self.mixing
        most = LEFT / torch.finfo(begun.state.dtype).eps
        check_growth(self, p**-2, len(steps), most, f"mixing={p}")
        state = partner = begun.state
        for step in reversed(steps):
            c, d = line(process, step.t, step.u)
            x = (partner - (1 - p) * state) / p
            y = (state - (1 - p) * x) / p
            x = (x - d * ask(y, step).noise) / c
            y = (y - d * ask(x, step).noise) / c
            state, partner = x, y
        return Latent(state, partner, times_of(steps))

    def decode(self, begun: Population, latent: Latent, steps: Sequence[Step]) -> Tensor:
        """See `Invertible.decode`."""
        process, ask = begun.process, asking(begun)
        x, y = latent.pair
        for step in steps:
            y = self.other(process, step, x, y, ask(x, step).noise)
            x, y = self.mixed(process, step, x, y, ask(y, step).noise)
        return x


__all__ = ["EDICT"]
