"""DDIM inversion: the deterministic sampler run from clean states to noise, one call of the network a step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from torch import Tensor

from guidekit.core.kernel import GaussianKernel
from guidekit.core.loop import walk
from guidekit.core.population import Population
from guidekit.core.requirements import GuidanceError
from guidekit.core.step import Step
from guidekit.inversion.base import Invertible, Latent, at, times_of
from guidekit.samplers.ancestral import DDIM
from guidekit.samplers.base import Fact


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


@dataclasses.dataclass(frozen=True, eq=False)
class DDIMInversion(Invertible[None], DDIM):
    """`DDIM` with eta = 0, and its approximate way back, under any guidance whose step is deterministic.

    The error of a round trip falls with the number of steps and grows with the strength of guidance.

    Source: see `inverted_step`.
    """

    eta: float = dataclasses.field(default=0.0, init=False)
    requires = frozenset({Fact.FLOW})

    def encode(self, begun: Population, steps: Sequence[Step]) -> Latent:
        """See `Invertible.encode`."""
        process, x = begun.process, begun.state
        for step in reversed(steps):

            def stepped(y: Tensor, step: Step = step) -> Tensor:
                kernel = begun.setup.propose(at(begun, y, step), step).kernel
                if not isinstance(kernel, GaussianKernel) or not kernel.deterministic:
                    raise GuidanceError("a step that draws noise has no way back: leave out the guidance that adds it")
                return kernel.mean

            x = inverted_step(stepped, x, process.coefficients(step.t), process.coefficients(step.u))
        return Latent(x, None, times_of(steps))

    def decode(self, begun: Population, latent: Latent, steps: Sequence[Step]) -> Tensor:
        """See `Invertible.decode`."""
        return walk(begun, steps).state


__all__ = ["DDIMInversion", "inverted_step"]
