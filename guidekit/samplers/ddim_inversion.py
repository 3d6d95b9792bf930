"""DDIM inversion: the deterministic sampler run from clean states to noise, one call of the network a step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor

from guidekit.core.guidance import GuidanceError
from guidekit.core.population import Population
from guidekit.samplers.ancestral import DDIM
from guidekit.samplers.inversion import Invertible, Latent

if TYPE_CHECKING:
    from guidekit.core.run import Run


def inverted_step(
    step: Callable[[Tensor], Tensor], x: Tensor, now: tuple[float, float], then: tuple[float, float]
) -> Tensor:
    """The state at t that a step to the cleaner u turns into x (B, *S), up to how its noises change on the way.

    A deterministic step is x_u = b D + r e with D = (x_t - s g) / a, for noises g and e predicted at (x_t, t). Of DDIM
    g = e is the guided noise, of CFG++ g is the guided and e the unconditional one. Here they are predicted at (y, t),
    with y the state x_u in the size it would have at t: x_t = (a / b) (x_u - r e) + s g = y + (a / b) (x_u - step(y)).
    y is x_u for variance-preserving processes, as in the sources.

    Args:
        step: y (B, *S) at t -> state at u.
        x: state at u.
        now, then: (a, s) at t and (b, r) at u.

    Source: Song et al. 2020, arXiv:2010.02502, section 4.3; CFG++: Chung et al. 2024, arXiv:2406.08070.
    """
    (a, s), (b, r) = now, then
    y = math.sqrt((a * a + s * s) / (b * b + r * r)) * x
    return y + a / b * (x - step(y))


@dataclasses.dataclass(frozen=True)
class DDIMInversion(Invertible, DDIM):
    """`DDIM`, and its approximate way back, under any guidance whose step is deterministic.

    The error of a round trip falls with the number of steps and grows with the strength of guidance. What plugs
    remember from step to step (the momentum of `APG`, say) is not kept on the way back.

    Source: see `inverted_step`.
    """

    eta: float = dataclasses.field(default=0.0, init=False)

    def encode(self, run: Run, x: Tensor) -> Latent:
        """See `Invertible.encode`."""
        process, times = run.prior.process, tuple(run.grid)
        for index in reversed(range(len(times) - 1)):
            t, u = times[index : index + 2]
            step = partial(_stepped, run, index, t, u)
            x = inverted_step(step, x, process.coefficients(t), process.coefficients(u))
        return Latent(x, None, times)

    def decode(self, run: Run, latent: Latent) -> Tensor:
        """See `Invertible.decode`."""
        population = Population(run, len(latent.state), 1, latent.state, run.condition)
        for index, (t, u) in enumerate(pairwise(latent.times)):
            run.step = index
            population = run.move(population, t, u)
        return population.state


def _stepped(run: Run, index: int, t: float, u: float, x: Tensor) -> Tensor:
    run.step = index
    kernel = run.propose(Population(run, len(x), 1, x, run.condition), t, u)
    if not kernel.deterministic:
        raise GuidanceError("a step that draws noise has no way back: leave out the guidance that adds some")
    return kernel.mean
