"""Samplers that can be run backwards: clean states to noise and back.

EDICT and BDIA keep a second state beside the sampled one; the network is asked at the same states and times in both
directions, so that the way back is algebra and exact up to rounding: use float64 where it matters. `DDIMInversion` is
the approximate one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance
from guidekit.core.population import Population
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.state import State
from guidekit.core.prior import Prior
from guidekit.processes import GaussianProcess
from guidekit.samplers.base import TimedSampler
from guidekit.samplers.multistep import RememberingKernel, exponential_step, steps_left
from guidekit.samplers.ode import ask

if TYPE_CHECKING:
    from guidekit.core.run import Run

Ask = Callable[[Tensor, float], GaussianPrediction]
"""(x (B, *S), t) -> the belief about the clean state."""

MOST_LEVEL = 1e3
"""s / a at which inversion starts where the process starts without signal, whose step has no inverse."""


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


class Invertible(TimedSampler):
    """A sampler with a way back."""

    def encode(self, run: Run, x: Tensor) -> Latent:
        """The latent of clean states x (B, *S) on the grid of a run."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement encode(run, x)")

    def decode(self, run: Run, latent: Latent) -> Tensor:
        """The clean states (B, *S) of a latent."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement decode(run, latent)")

    def grid(self, prior: Prior, steps: int) -> list[float]:
        """The grid, from where a thousandth of the signal is left: with less, a step could not be undone."""
        first, *rest = super().grid(prior, steps)
        process = prior.process
        return [process.at_level(MOST_LEVEL) if process.level(first) > MOST_LEVEL else first, *rest]


@dataclasses.dataclass(frozen=True)
class EDICT(Invertible):
    """Two coupled states, each moved by DDIM with the noise predicted at the other and then mixed; invertible.

    x' = c x + d eps(y), y' = c y + d eps(x'), then x'' = p x' + (1 - p) y', y'' = p y' + (1 - p) x'', with c = b / a
    and d = r - c s from (a, s) to (b, r); the roles change with every step. Two calls a step. Undoing the mixture
    divides by p, so rounding grows by p^-2 a step.

    Args:
        mixing: p in (0, 1]; 1 leaves the states uncoupled but for the predictions.

    Raises:
        ValueError: p outside (0, 1].

    Source: Wallace et al. 2022, arXiv:2211.12446, coupled and mixed steps (p = .93, 50 steps).
    """

    mixing: float = 0.93

    def __post_init__(self) -> None:
        """Refuse a share outside (0, 1]."""
        super().__post_init__()
        if not 0 < self.mixing <= 1:
            raise ValueError(f"mixing={self.mixing}; a number above 0 and at most 1 is needed")

    def propose(self, population: Population, t: float, u: float) -> RememberingKernel:
        """See `Sampler.propose`."""
        asked: list[GaussianPrediction] = []

        def answer(x: Tensor, at: float) -> GaussianPrediction:
            asked.append(ask(population, x, t, at))
            return asked[-1]

        x, process = population.state, population.run.prior.process
        pair = (x, population.memory.get("edict_partner", x))
        x, y = self.step(answer, process, pair, t, u, steps_left(population, t))
        return RememberingKernel(x, 0.0, asked[0], kept={"edict_partner": y})

    def step(
        self, denoise: Ask, process: GaussianProcess, pair: tuple[Tensor, Tensor], t: float, u: float, left: int
    ) -> tuple[Tensor, Tensor]:
        """The pair at u from the pair at t, `left` steps before the end."""
        c, d = _line(process, t, u)
        x, y = pair if left % 2 else pair[::-1]
        x = c * x + d * denoise(y, t).noise
        y = c * y + d * denoise(x, t).noise
        x = self.mixing * x + (1 - self.mixing) * y
        y = self.mixing * y + (1 - self.mixing) * x
        return (x, y) if left % 2 else (y, x)

    def back(
        self, denoise: Ask, process: GaussianProcess, pair: tuple[Tensor, Tensor], t: float, u: float, left: int
    ) -> tuple[Tensor, Tensor]:
        """The pair at t from the pair at u: the inverse of `step`."""
        c, d = _line(process, t, u)
        x, y = pair if left % 2 else pair[::-1]
        y = (y - (1 - self.mixing) * x) / self.mixing
        x = (x - (1 - self.mixing) * y) / self.mixing
        y = (y - d * denoise(x, t).noise) / c
        x = (x - d * denoise(y, t).noise) / c
        return (x, y) if left % 2 else (y, x)

    def encode(self, run: Run, x: Tensor) -> Latent:
        """See `Invertible.encode`."""
        pair, denoise = (x, x), _asking(run)
        for left, (u, t) in enumerate(pairwise(reversed(run.grid)), 1):
            pair = self.back(denoise, run.prior.process, pair, t, u, left)
        return Latent(*pair, tuple(run.grid))

    def decode(self, run: Run, latent: Latent) -> Tensor:
        """See `Invertible.decode`."""
        pair, denoise = (latent.state, latent.partner), _asking(run)
        for left, (t, u) in zip(range(len(latent.times) - 1, 0, -1), pairwise(latent.times), strict=True):
            pair = self.step(denoise, run.prior.process, pair, t, u, left)
        return pair[0]


@dataclasses.dataclass(frozen=True)
class BDIA(Invertible):
    """A DDIM step forward from the present state joined with one undone from it to the state before; invertible.

    With D(t -> u) what a DDIM step from the present state adds, z_next = gamma (z_before - D(t -> before)) +
    (1 - gamma) z + D(t -> u). One network call a step. gamma = 0 is DDIM (and cannot be inverted), gamma = 1 symmetric
    in time; rounding grows by 1 / gamma a step.

    Args:
        gamma: in (0, 1].

    Raises:
        ValueError: gamma outside (0, 1].

    Source: Zhang et al. 2023, arXiv:2307.10829 (reconstructed from a summary; its inverse is tested).
    """

    gamma: float = 0.96

    def __post_init__(self) -> None:
        """Refuse a weight outside (0, 1]."""
        super().__post_init__()
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma={self.gamma}; a number above 0 and at most 1 is needed (0 would be sampler=ddim)")

    def propose(self, population: Population, t: float, u: float) -> RememberingKernel:
        """See `Sampler.propose`."""
        process, prediction = population.run.prior.process, population.predict(t)
        before: Before | None = population.memory.get("bdia_before")
        if before is not None and before.time <= t:  # a guidance went back in time
            before = None
        mean = self.step(process, prediction, before, u)
        return RememberingKernel(mean, 0.0, prediction, kept={"bdia_before": Before(prediction.x, t)})

    def step(self, process: GaussianProcess, prediction: GaussianPrediction, before: Before | None, u: float) -> Tensor:
        """The state at u, (B, *S), from the belief at the present state and the state before it."""
        forward = _ddim(process, prediction, u)
        if before is None:
            return forward
        undone = _ddim(process, prediction, before.time)
        return forward + self.gamma * (before.x - undone)

    def encode(self, run: Run, x: Tensor) -> Latent:
        """See `Invertible.encode`. The state next to the clean one is as by an inverted DDIM step; any is exact."""
        process, times, denoise = run.prior.process, tuple(run.grid), _asking(run)
        (t, u), clean = times[-2:], process.coefficients(times[-1])[0]
        a, s = process.coefficients(t)
        x = torch.as_tensor(x)
        now, after = a / clean * x + s * denoise(a / clean * x, t).noise, x
        for further, t, u in zip(times[-3::-1], times[-2::-1], times[:0:-1], strict=False):
            belief = denoise(now, t)
            before = _ddim(process, belief, further) + (after - _ddim(process, belief, u)) / self.gamma
            now, after = before, now
        return Latent(now, after, times)

    def decode(self, run: Run, latent: Latent) -> Tensor:
        """See `Invertible.decode`."""
        process, denoise = run.prior.process, _asking(run)
        before, now = Before(latent.state, latent.times[0]), latent.partner
        for t, u in pairwise(latent.times[1:]):
            now, before = self.step(process, denoise(now, t), before, u), Before(now, t)
        return now


@dataclasses.dataclass(frozen=True)
class Before:
    """A state (B, *S) and its time."""

    x: Tensor
    time: float


def _line(process: GaussianProcess, t: float, u: float) -> tuple[float, float]:
    """(c, d) of the DDIM step x_u = c x_t + d eps."""
    (a, s), (b, r) = process.coefficients(t), process.coefficients(u)
    return b / a, r - b / a * s


def _ddim(process: GaussianProcess, prediction: GaussianPrediction, u: float) -> Tensor:
    now = (prediction.a, prediction.s)
    return exponential_step(prediction.x, prediction.mean, now, process.coefficients(u))[0]


def encode(
    prior: Prior,
    states: Tensor,
    method: Invertible | None = None,
    steps: int = 50,
    condition: State | None = None,
    guidance: Guidance | None = None,
) -> Latent:
    """The noise that a sampler turns into the given clean states.

    Args:
        prior: with a Gaussian process.
        states: clean (B, *S).
        method: `EDICT`, `BDIA` or `DDIMInversion`; None is `EDICT()`.
        steps: of its time grid.
        condition: see `guidekit.sample`: one for all states, or one row a state.
        guidance: plugs that act on the prediction (CFG, say), of `DDIMInversion` also on the step (CFG++); others have
            no effect here.

    Returns:
        the latent, for `decode` with the same method.

    Raises:
        ValueError: states of another shape, or a condition of another length.
        GuidanceError: a process that the method cannot sample.
    """
    method = method or EDICT()
    if tuple(states.shape[1:]) != tuple(prior.event_shape) or len(states) == 0:
        raise ValueError(f"states have shape {tuple(states.shape)}; expected (B, *{tuple(prior.event_shape)}), B >= 1")
    run = _run(prior, states, method, steps, condition, guidance)
    with torch.no_grad():
        return method.encode(run, states)


def decode(
    prior: Prior,
    latent: Latent,
    method: Invertible | None = None,
    condition: State | None = None,
    guidance: Guidance | None = None,
) -> Tensor:
    """Clean states (B, *S) from a latent of `encode`: the same ones, or edited ones under another condition.

    Args:
        prior, method, condition, guidance: as in `encode`.
        latent: what it returned.
    """
    method = method or EDICT()
    run = _run(prior, latent.state, method, len(latent.times) - 1, condition, guidance)
    with torch.no_grad():
        return method.decode(run, latent)


def _run(
    prior: Prior, x: Tensor, method: Invertible, steps: int, condition: State | None, guidance: Guidance | None
) -> Run:
    from guidekit.core.run import Run
    from guidekit.sampling import _per_group

    if steps < 1:
        raise ValueError(f"steps={steps}; at least 1 is needed")
    rows = _per_group(prior.condition(condition), len(x), x.device)
    return Run(prior, method, guidance, steps, (0, len(x)), condition=rows, device=x.device)


def _asking(run: Run) -> Ask:
    return lambda x, t: run.denoise(x, t, run.condition)
