"""What samplers with a way back share, and the two functions that run them: `encode` and `decode`."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance
from guidekit.core.loop import Setup, populate, prepare
from guidekit.core.owner import Memory
from guidekit.core.population import Population
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Prior
from guidekit.core.requirements import Layer
from guidekit.core.step import Moment, Step
from guidekit.samplers.base import TimedSampler
from guidekit.sampling import known_samplers, per_group

Ask = Callable[[Tensor, Step], GaussianPrediction]
"""(x (B, *S), step) -> the guided prediction of the clean state at x, at the start of the step."""

MOST_LEVEL = 1e3
"""s / a at which inversion starts where the process starts without signal, whose step has no inverse."""


class InvertibleError(ValueError):
    """A way back that would lose what it carries; the message says why, and what does not."""


@dataclasses.dataclass(frozen=True)
class Latent:
    """What `encode` makes of clean states, and `decode` turns back.

    Args:
        state: (B, *S) at the first time.
        partner: the second state (B, *S): the coupled one of `EDICT`, the next one of `BDIA`; None of `DDIMInversion`.
        times: the grid, from noise to clean.
    """

    state: Tensor
    partner: Tensor | None
    times: tuple[float, ...]

    @property
    def pair(self) -> tuple[Tensor, Tensor]:
        """Both states; `ValueError` where there is one."""
        if self.partner is None:
            raise ValueError("this latent has one state: decode it with the method that made it, DDIMInversion")
        return self.state, self.partner


class Invertible(TimedSampler[Memory]):
    """A sampler with a way back."""

    def encode(self, begun: Population, steps: Sequence[Step]) -> Latent:
        """The latent of the clean states of a population, by the steps of a grid in reverse."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement encode(begun, steps)")

    def decode(self, begun: Population, latent: Latent, steps: Sequence[Step]) -> Tensor:
        """The clean states (B, *S) of a latent, whose state is that of the population."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement decode(begun, latent, steps)")

    def grid(self, prior: Prior, steps: int) -> list[float]:
        """The grid, from where a thousandth of the signal is left: with less, a step could not be undone."""
        first, *rest = super().grid(prior, steps)
        process: Any = prior.process
        return [process.at_level(MOST_LEVEL) if process.level(first) > MOST_LEVEL else first, *rest]


def encode(
    prior: Prior,
    states: Tensor,
    method: Invertible | None = None,
    steps: int = 50,
    condition: Any = None,
    guidance: Guidance | None = None,
) -> Latent:
    """The noise that a sampler turns into the given clean states.

    Args:
        prior: with a Gaussian process.
        states: clean (B, *S).
        method: `EDICT`, `BDIA` or `DDIMInversion`; None is `EDICT()`.
        steps: of its time grid.
        condition: see `guidekit.sample`: one for all states, or one row a state.
        guidance: what acts on the prediction (CFG, say), of `DDIMInversion` also on the step (CFG++); other guidance
            has no effect here. What it remembers from step to step (the momentum of `APG`) is not kept on the way back.

    Returns:
        the latent, for `decode` with the same method.

    Raises:
        ValueError: states of another shape, or a condition of another length.
        InvertibleError: more steps than the method can undo.
        GuidanceError: a process that the method cannot sample.
    """
    method = method or _default()
    if tuple(states.shape[1:]) != tuple(prior.event_shape) or len(states) == 0:
        raise ValueError(f"states have shape {tuple(states.shape)}; expected (B, *{tuple(prior.event_shape)}), B >= 1")
    setup = _setup(prior, states, method, steps, condition, guidance)
    with torch.no_grad():
        return method.encode(_begun(setup, states, setup.steps[-1].end), setup.steps)


def decode(
    prior: Prior,
    latent: Latent,
    method: Invertible | None = None,
    condition: Any = None,
    guidance: Guidance | None = None,
) -> Tensor:
    """Clean states (B, *S) from a latent of `encode`: the same ones, or edited ones under another condition.

    Args:
        prior, method, condition, guidance: as in `encode`.
        latent: what it returned.
    """
    method = method or _default()
    setup = _setup(prior, latent.state, method, len(latent.times) - 1, condition, guidance)
    moments = [Moment(t, index) for index, t in enumerate(latent.times)]
    steps = tuple(Step(*ends, (visit,)) for visit, ends in enumerate(itertools.pairwise(moments)))
    setup = dataclasses.replace(setup, steps=steps)
    with torch.no_grad():
        return method.decode(_begun(setup, latent.state, steps[0].start), latent, steps)


def asking(begun: Population) -> Ask:
    """Asks as the loop does: under the schedules of the step, with the random numbers it has there."""
    return lambda x, step: at(begun, x, step).predict()  # type: ignore[return-value]


def at(begun: Population, x: Tensor, step: Step) -> Population:
    """The population at states x (B, *S) where a step of the plan starts."""
    return begun.at(x, step.start, (step.key[0] - 1,))


def times_of(steps: Sequence[Step]) -> tuple[float, ...]:
    """The times of steps, from noise to clean."""
    return (steps[0].t, *(step.u for step in steps))


def line(process: Any, t: float, u: float) -> tuple[float, float]:
    """(c, d) of the DDIM step x_u = c x_t + d eps."""
    (a, s), (b, r) = process.coefficients(t), process.coefficients(u)
    return b / a, r - b / a * s


def check_growth(method: Invertible, growth: float, steps: int, most: float, setting: str) -> None:
    """Raise `InvertibleError` where the way back makes errors larger by `growth` a step, and by over `most` in all."""
    if steps * math.log(growth) > math.log(most):
        count = int(math.log(most) / math.log(growth))
        raise InvertibleError(
            f"{type(method).__name__}({setting}) cannot undo {steps} steps: on the way back errors grow "
            f"{growth:.3g}-fold a step; take at most {count} steps, or {setting.split('=')[0]}=1"
        )


def _default() -> Invertible:
    from guidekit.inversion.edict import EDICT

    return EDICT()


def _setup(prior: Prior, x: Tensor, method: Invertible, steps: int, condition: Any, guidance: Guidance | None) -> Setup:
    if steps < 1:
        raise ValueError(f"steps={steps}; at least 1 is needed")
    rows = per_group(prior.condition(condition), len(x), x.device)
    options: dict[str, Any] = {"groups": (0, len(x)), "dtype": x.dtype, "device": x.device, "known": known_samplers}
    return prepare(prior, guidance, sampler=method, steps=steps, condition=rows, **options)


def _begun(setup: Setup, x: Tensor, moment: Moment) -> Population:
    """States x (B, *S) as a population with filled slots, but for guidance that chooses where to begin."""
    population = populate(setup, x, moment, 1)
    for member in setup.members:
        if member.layer is not Layer.START:
            population = member.start(population)
    return population


__all__ = ["Invertible", "InvertibleError", "Latent", "decode", "encode"]
