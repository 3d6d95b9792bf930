"""Probabilities of rare events under a prior: particles pulled to the event and weighted back, or split on the way."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, chain
from guidekit.core.ledger import Ledger
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.core.state import batch, put, take
from guidekit.errors import UnknownNameError
from guidekit.guidance.gradient.engine import GradientGuidance
from guidekit.guidance.particles.filter import FKSteering
from guidekit.guidance.starts.from_sample import FromSample
from guidekit.objectives.objects import score
from guidekit.objectives.reward import objective_of
from guidekit.samplers import Sampler
from guidekit.samplers.dpm_solver import DPMSolver
from guidekit.sampling import Result, sample

PILOT, ROUNDS = 400, 8
"""Samples of a pilot run, and most of these."""
AIM = (0.1, 0.75)
"""Share of a pilot's weight within the event with which its tilt is taken."""
COMMON = 0.01
"""A share of unguided samples within the event from which on it is counted and nothing is tilted."""
GROUPS = 20
"""Independent populations, whose spread is the error."""
T95 = 2.093
"""97.5 % quantile of Student's law with `GROUPS` - 1 degrees of freedom."""
LEVELS, MOVES = 200, 2
"""Most levels of splitting, and moves of every particle at each."""


@dataclasses.dataclass(frozen=True)
class Estimated:
    """What is known of the probability of an event.

    Args:
        groups: independent estimates, (P,) float64.
        states: particles (N, *S).
        log_weights: of the particles, (N,) nats, -inf outside of the event: samples of the prior given the event.
        drawn: samples that were drawn, those of pilots with them.
        ledger: of all runs.
        tilt: inverse temperature, 1 / unit of the reward, at which particles were drawn; 0 where they were not tilted.
        result: of the last run of a filter; None for other methods.
        remark: a sentence where the error cannot be trusted; empty where it can.
    """

    groups: Tensor
    states: Any
    log_weights: Tensor
    drawn: int
    ledger: Ledger
    tilt: float = 0.0
    result: Result | None = None
    remark: str = ""

    @property
    def probability(self) -> float:
        """The mean of the groups."""
        return float(self.groups.mean())

    @property
    def error(self) -> float:
        """Its standard error, from their spread."""
        return float(self.groups.std()) / math.sqrt(len(self.groups))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % by Student's law on the logarithm; (0, NaN) where nothing was seen."""
        if not self.probability > 0:
            return 0.0, math.nan
        factor = math.exp(min(T95 * self.error / self.probability, 700.0))
        return self.probability / factor, self.probability * factor

    def samples(self, count: int, seed: int = 0) -> Any:
        """States (count, *S) drawn by weight: samples of the prior given the event, some of them more than once.

        Raises:
            ValueError: no particle is within the event.
        """
        if self.log_weights.isneginf().all():
            raise ValueError("no particle is within the event; take more samples")
        generator = torch.Generator().manual_seed(seed)
        return take(
            self.states, torch.multinomial(torch.softmax(self.log_weights, 0), count, True, generator=generator)
        )


def estimate(
    prior: Prior,
    reward: Objective | Callable[[Tensor], Tensor],
    at_least: float,
    *,
    method: str | None = None,
    num_samples: int = 4_000,
    steps: int = 200,
    seed: int = 0,
    sampler: Sampler | str | None = None,
    condition: Any = None,
    log: Callable[[str], object] = lambda told: None,
) -> Estimated:
    """P(reward(x_0) >= at_least) under a prior, with its error.

    The probability is that of the sampler's own law: what its steps are wrong by is not in the error.

    Args:
        prior: of x_0.
        reward: objective, or a function of clean states (B, *S) -> (B,).
        at_least: threshold, in the unit of the reward.
        method: "tilt", see `tilted`, or "splitting", see `split`; None is the first for rewards with a gradient on
            real-valued priors, the second for others.
        num_samples: particles, in 20 independent groups.
        steps: of the time grid.
        seed: of everything.
        sampler: that draws noise; None is `DPMSolver(eta=1)` on real-valued priors and the usual one on others.
        condition: of the prior, one for all samples.
        log: is told of every pilot or level.

    Raises:
        ValueError: a threshold that is no number, fewer than 2 particles a group, or a reward without spread.
        UnknownNameError: another method.
    """
    if not isinstance(at_least, int | float) or isinstance(at_least, bool) or not math.isfinite(at_least):
        raise ValueError(f"at_least={at_least!r}; a finite number in the unit of the reward is needed")
    if not isinstance(num_samples, int) or num_samples < 2 * GROUPS:
        raise ValueError(f"num_samples={num_samples!r}; a whole number of at least {2 * GROUPS} is needed")
    objective = objective_of(reward, "estimate", "a reward")
    real = Fact.FLOW in prior.provides
    if method is None:
        method = "tilt" if real and objective.differentiable else "splitting"
    if method not in METHODS:
        raise UnknownNameError("method", str(method), METHODS)
    if sampler is None and real:
        sampler = DPMSolver(eta=1.0)
    event = Event(prior, objective, float(at_least), steps, sampler, condition)
    return METHODS[method](event, -(-num_samples // GROUPS), seed, log)


@dataclasses.dataclass(frozen=True)
class Event:
    """reward(x_0) >= at_least under a prior, and how samples are drawn; see `estimate`."""

    prior: Prior
    objective: Objective
    at_least: float
    steps: int
    sampler: Sampler | str | None
    condition: Any

    def draw(self, guidance: Guidance | None, count: int, seed: int) -> Result:
        """Samples of the prior, of `count` groups."""
        return sample(self.prior, guidance, count, self.steps, seed, self.sampler, condition=self.condition)

    def values(self, states: Any, ledger: Ledger) -> Tensor:
        """Rewards (B,) float64 of states."""
        ledger.count(reward_calls=batch(states))
        return score(self.prior, self.objective, states, ledger)


def tilted(event: Event, particles: int, seed: int, log: Callable[[str], object]) -> Estimated:
    """Particles of the law p(x_0) exp(k reward(x_0)), weighted back: Z_k mean(exp(-k reward) 1(event)).

    Pilots look for a tilt k at which about half of the weight is within the event; then `GROUPS` filters sample that
    law, pulled by the gradient of the reward where it has one. The estimate of every group is unbiased, whatever k is.
    Where the event has a share of `COMMON` and more, unguided samples are counted. Paths that decide late between
    modes far apart are found by few particles: such groups differ by orders of magnitude, which is told.

    Args:
        event: see `Event`.
        particles: of a group.
        seed: of everything.
        log: is told of every pilot.

    Raises:
        ValueError: a reward without spread.

    Source: exponential tilting of rare events (Siegmund 1976, doi:10.1214/aos/1176343541) by a Feynman-Kac filter.
    """
    ledger, began, drawn, k = Ledger(), time.perf_counter(), 0, 0.0
    pull = event.objective.differentiable and Fact.FLOW in event.prior.provides

    def run(groups: int, size: int, seed: int) -> tuple[Result, Tensor]:
        """A run at tilt k, and the rewards (P, K)."""
        nonlocal ledger, drawn
        if k == 0:
            found = event.draw(None, groups * size, seed)
            weights = found.log_weights.view(groups, size)
            found = dataclasses.replace(found, log_weights=weights, log_normalizer=weights.new_zeros(groups))
        else:
            filtered = FKSteering(event.objective, 1 / k, particles=size, output="all")
            members = chain(GradientGuidance(event.objective, k), filtered) if pull else filtered
            found = event.draw(members, groups, seed)
        ledger, drawn = ledger + found.ledger, drawn + groups * size
        return found, event.values(found.samples, ledger).view(groups, size)

    for number in range(ROUNDS):
        found, values = run(4, PILOT // 4, seed + 1_000_003 * (number + 1))
        weights = torch.softmax((found.log_weights + found.log_normalizer[:, None]).flatten(), 0)
        flat = values.flatten()
        within = float(weights[flat >= event.at_least].sum())
        weights, flat = torch.where(flat.isfinite(), weights, 0.0), torch.where(flat.isfinite(), flat, 0.0)
        weights = weights / weights.sum().clamp_min(1e-300)
        middle = float((weights * flat).sum())
        spread = float((weights * (flat - middle).square()).sum())
        log(f"pilot {number + 1}: tilt {k:.4g}, mean reward {middle:.4g}, {within:.1%} of the weight within the event")
        if (k == 0 and within >= COMMON) or (k > 0 and AIM[0] <= within <= AIM[1]):
            break
        if not spread > 0:
            raise ValueError(f"all samples of a pilot have the reward {middle:.4g}: there is nothing to tilt by")
        # Newton's step towards a mean at the threshold: the derivative of the mean by the tilt is the variance.
        step = (event.at_least - middle) / spread
        k = max(0.0, k + (step if number == 0 else max(-0.5 * k, min(step, k))))
    found, values = run(GROUPS, particles, seed)
    inside = values >= event.at_least
    log_shares = torch.log_softmax(found.log_weights, 1) - k * torch.where(inside, values, 0.0)
    log_shares = torch.where(inside, log_shares, -torch.inf)
    groups = (found.log_normalizer + torch.logsumexp(log_shares, 1)).exp()
    weights = (log_shares + found.log_normalizer[:, None]).flatten()
    ledger.seconds = time.perf_counter() - began
    other = "" if k == 0 else ", or method=splitting"
    return Estimated(groups, found.samples, weights, drawn, ledger, k, found if k else None, remark(groups, other))


def split(event: Event, particles: int, seed: int, log: Callable[[str], object]) -> Estimated:
    """Adaptive multilevel splitting: half of the particles is given up at a time, the rest copied and moved.

    Every group of particles has levels of its own, the median of its rewards; the share that reaches a level is a
    factor of the estimate. A copy is moved by noising it up to a time and denoising it again, which leaves the law of
    the prior as it is, and takes the move where it stays above the level; the time follows the share that is taken.
    Nothing of the reward but its values is needed. The bias of a group's estimate is of order 1 / particles.

    Args:
        event: see `Event`.
        particles: of a group.
        seed: of everything.
        log: is told of every level.

    Source: Cerou & Guyader 2007, doi:10.1080/07362990601139628; moves by noising and denoising are ours.
    """
    ledger, began = Ledger(), time.perf_counter()
    found = event.draw(None, GROUPS * particles, seed)
    ledger, states, drawn = ledger + found.ledger, found.samples, GROUPS * particles
    values = event.values(states, ledger).view(GROUPS, particles)
    logs, open_, reach = torch.zeros(GROUPS, dtype=torch.float64), torch.ones(GROUPS, dtype=torch.bool), 0.5
    generator = torch.Generator().manual_seed(seed)
    for number in range(LEVELS):
        level = values.median(1).values
        tied = (values.min(1).values == level) & (level < event.at_least)  # no particle is below: the next value above
        above = torch.where(values > level[:, None], values, torch.inf).min(1).values
        level = torch.where(tied & above.isfinite(), above, level)
        open_ = open_ & (level < event.at_least) & ~(tied & ~above.isfinite())
        rows = open_.nonzero()[:, 0]
        if not len(rows):
            break
        kept = values[rows] >= level[rows, None]
        logs[rows] += kept.double().mean(1).log()
        chosen = torch.multinomial(kept.double(), particles, True, generator=generator)
        chosen = torch.where(kept, torch.arange(particles), chosen)  # survivors stay, the others become copies of them
        at = (rows[:, None] * particles + chosen).flatten()
        places = (rows[:, None] * particles + torch.arange(particles)).flatten()
        states = put(states, places, take(states, at))
        values = values.clone()
        values[rows] = values[rows].gather(1, chosen)
        taken = 0.0
        for move in range(MOVES):
            guidance = FromSample(take(states, places), reach)
            moved = event.draw(guidance, len(places), seed + 7_919 * (MOVES * number + move + 1))
            ledger, drawn = ledger + moved.ledger, drawn + len(places)
            new = event.values(moved.samples, ledger)
            good = new >= level[rows].repeat_interleave(particles)
            states = put(states, places[good], take(moved.samples, good.nonzero()[:, 0]))
            values.view(-1)[places[good]] = new[good]
            taken = float(good.double().mean())
            reach = min(1.0, reach * 1.2) if taken > 0.5 else max(0.05, reach * 0.8) if taken < 0.25 else reach
        log(f"level {number + 1}: {float(level[rows].mean()):.4g}, {taken:.0%} of moves taken, noise up to {reach:.2g}")
    inside = values >= event.at_least
    groups = logs.exp() * inside.double().mean(1)
    weights = torch.where(inside, logs[:, None], -torch.inf).flatten()
    ledger.seconds = time.perf_counter() - began
    return Estimated(groups, states, weights, drawn, ledger, remark=remark(groups))


METHODS: dict[str, Callable[[Event, int, int, Callable[[str], object]], Estimated]] = {
    "tilt": tilted,
    "splitting": split,
}


def remark(groups: Tensor, other: str = "") -> str:
    """A sentence where the error of a mean over groups (P,) cannot be trusted; empty where it can."""
    if not bool((groups > 0).any()):
        return f"no particle came into the event: it is rarer than these samples can see; take more of them{other}"
    effective = float(groups.sum() ** 2 / groups.square().sum())
    if effective < len(groups) / 3:
        return (
            f"the estimate rests on {effective:.1f} of {len(groups)} groups: it is too low by an unknown amount, "
            f"and so is its error; take more samples{other}"
        )
    return ""


__all__ = ["Estimated", "estimate"]
