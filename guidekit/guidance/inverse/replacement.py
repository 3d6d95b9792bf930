"""What is known is put back after every step, at the noise of that step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.population import Population
from guidekit.core.run import Run
from guidekit.processes import GaussianProcess
from guidekit.samplers import BDIA, EDICT, AdamsBashforth, DPMSolver, UniPC

REMEMBERING = (AdamsBashforth, BDIA, DPMSolver, EDICT, UniPC)
"""Samplers whose steps look at those before them."""


@dataclasses.dataclass(frozen=True)
class Replacement(Guidance):
    """x_u <- x_u - P x_u + a_u A^+ y + s_u P n after each step, P = A^+ A: for masks, the known part noised to time u.

    Finished samples have A x = y exactly; noise in y stays. Between, the rest does not know enough of what is known, so
    its law is biased towards the prior however many steps there are. Going back removes that slowly: `jump` steps up by
    forward noising and down again, `repeats` - 1 times, from every `jump`-th step. No gradient; what is known must be a
    linear function of the state with a pseudo-inverse.

    Args:
        likelihood: with `y` and `operator`, whose `pinv` and `forward` map states to states; see
            `guidekit.objectives.measurements`.
        repeats: r, times each stretch is gone through; 1 never goes back.
        jump: j, steps of a stretch.

    Raises:
        ValueError: fewer than one of either.

    Source: Lugmayr et al. 2022, arXiv:2201.09865 (RePaint), algorithm 1 and its schedule of jumps; their T, j, r are
    250, 10, 10, which makes 2,410 network calls.
    """

    likelihood: Any
    repeats: int = 1
    jump: int = 10
    needs = ("real-valued states", "a linear measurement")

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        if self.repeats < 1 or self.jump < 1:
            raise ValueError(f"repeats={self.repeats}, jump={self.jump}; both are at least 1")

    def check(self, run: Run) -> None:
        """There must be Gaussian noise, a linear operator, and steps that do not look at those before them."""
        prior, operator = run.prior, getattr(self.likelihood, "operator", None)
        if not isinstance(prior.process, GaussianProcess):
            kind = type(prior.process).__name__
            raise GuidanceError(f"Replacement noises what is known, and this prior ({prior.name}) is {kind}")
        if not getattr(operator, "linear", False) or not hasattr(operator, "pinv"):
            kind = type(self.likelihood if operator is None else operator).__name__
            raise GuidanceError(
                f"Replacement needs a linear measurement with a pseudo-inverse, such as task=infill, for this prior "
                f"({prior.name}); {kind} is none: use guidance=dps"
            )
        if self.repeats > 1 and isinstance(run.sampler, REMEMBERING):
            raise GuidanceError(
                f"Replacement goes back, and sampler {type(run.sampler).__name__} reads steps before: use "
                "sampler=ancestral, or guidance.repeats=1"
            )

    def start(self, population: Population, run: Run) -> Population:
        """The same state, and a grid that goes back."""
        run.grid = climbing(run.grid, self.repeats, self.jump)
        return population

    def move(
        self, inner: Callable[[Population, float, float], Population], population: Population, t: float, u: float
    ) -> Population:
        """A step with what is known put back, or forward noising where the grid climbs."""
        run, x = population.run, population.state
        draw = run.draw("replacement", self)
        b, r = run.prior.process.coefficients(u)
        if u > t:
            a, s = run.prior.process.coefficients(t)
            added = max(r * r - (b / a * s) ** 2, 0.0) ** 0.5
            return population.advance(b / a * x + added * draw.normal(x.shape, x.dtype))
        new = inner(population, t, u)
        x, y = new.state, self.likelihood.y.to(new.state)
        known = b * self.likelihood.operator.pinv(y)
        if r > 0:
            known = known + r * self._projected(draw.normal(x.shape, x.dtype))
        return new.advance(x - self._projected(x) + known)

    def _projected(self, x: Tensor) -> Tensor:
        """A^+ A x."""
        return self.likelihood.operator.pinv(self.likelihood.operator.forward(x))


def climbing(grid: Sequence[float], repeats: int, jump: int) -> list[float]:
    """Times of a grid (noise to clean) with `repeats` - 1 climbs of `jump` times from every `jump`-th but the last."""
    times, last = [grid[0]], len(grid) - 2  # the index of the last noisy time
    left = dict.fromkeys(range(last, jump - 1, -jump), repeats - 1)
    position = 0
    while position < len(grid) - 1:
        position += 1
        times.append(grid[position])
        if left.get(position, 0) > 0:
            left[position] -= 1
            for _ in range(jump):
                position -= 1
                times.append(grid[position])
    return times
