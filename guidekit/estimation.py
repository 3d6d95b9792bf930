"""Probabilities of rare events under a prior: particles pulled to the event and weighted back, or split on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, chain
from guidekit.core.ledger import Ledger
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.errors import UnknownNameError
from guidekit.events import GROUPS, Estimated, Event, Store, remark, threshold
from guidekit.guidance.gradient.engine import GradientGuidance
from guidekit.guidance.particles.filter import FKSteering
from guidekit.objectives.reward import objective_of
from guidekit.samplers import Sampler
from guidekit.samplers.dpm_solver import DPMSolver
from guidekit.sampling import Result
from guidekit.splitting import split

PILOT, ROUNDS = 400, 8
"""Samples of a pilot run, and most of these."""
AIM = (0.1, 0.75)
"""Share of a pilot's weight within the event with which its tilt is taken."""
COMMON = 0.01
"""A share of unguided samples within the event from which on it is counted and nothing is tilted."""


def estimate(
    prior: Prior,
    reward: Objective | Callable[[Tensor], Tensor],
    at_least: float | None = None,
    *,
    at_most: float | None = None,
    method: str | None = None,
    num_samples: int = 4_000,
    steps: int = 200,
    seed: int = 0,
    sampler: Sampler | str | None = None,
    condition: Any = None,
    log: Callable[[str], object] = lambda told: None,
    store: Store | None = None,
) -> Estimated:
    """P(at_least <= reward(x_0) <= at_most) under a prior, with its error.

    The probability is that of the sampler's own law: what its steps are wrong by is not in the error.

    Args:
        prior: of x_0.
        reward: objective, or a function of clean states (B, *S) -> (B,).
        at_least, at_most: the event, in the unit of the reward; of a window (`reward=logp`) in that of its measure, see
            `guidekit.events.threshold`.
        method: "tilt", see `tilted`, or "splitting", see `split`; None is the first for rewards with a gradient on
            real-valued priors, the second for others.
        num_samples: particles, in 20 independent groups.
        steps: of the time grid.
        seed: of everything.
        sampler: that draws noise; None is `DPMSolver(eta=1)` on real-valued priors and the usual one on others.
        condition: of the prior, one for all samples.
        log: is told of every pilot or level.
        store: keeps what is finished; with one that has pieces of this very estimate it goes on to the same result.

    Raises:
        ValueError: bounds that are none, fewer than 2 particles a group, or a reward without spread.
        UnknownNameError: another method.
    """
    if not isinstance(num_samples, int) or num_samples < 2 * GROUPS:
        raise ValueError(f"num_samples={num_samples!r}; a whole number of at least {2 * GROUPS} is needed")
    asked = threshold(objective_of(reward, "estimate", "a reward"), at_least, at_most)
    real = Fact.FLOW in prior.provides
    if method is None:
        method = "tilt" if real and asked.reward.differentiable else "splitting"
    if method not in METHODS:
        raise UnknownNameError("method", str(method), METHODS)
    if sampler is None and real:
        sampler = DPMSolver(eta=1.0)
    event = Event(prior, asked.reward, asked.at_least, steps, sampler, condition, store or Store())
    found = METHODS[method](event, -(-num_samples // GROUPS), seed, log)
    return dataclasses.replace(found, event=asked.said, measure=asked.measure)


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
    ledger, drawn, k = Ledger(), 0, 0.0
    pull = event.objective.differentiable and Fact.FLOW in event.prior.provides

    def run(groups: int, size: int, seed: int, name: str) -> tuple[Result, Tensor]:
        """A run at tilt k, and the rewards (P, K)."""
        nonlocal ledger, drawn
        if k == 0:
            found, values = event.draw(None, groups * size, seed, name)
            weights = found.log_weights.view(groups, size)
            found = dataclasses.replace(found, log_weights=weights, log_normalizer=weights.new_zeros(groups))
        else:
            filtered = FKSteering(event.objective, 1 / k, particles=size, output="all")
            members = chain(GradientGuidance(event.objective, k), filtered) if pull else filtered
            found, values = event.draw(members, groups, seed, name)
        ledger, drawn = ledger + found.ledger, drawn + groups * size
        return found, values.view(groups, size)

    for number in range(ROUNDS):
        found, values = run(4, PILOT // 4, seed + 1_000_003 * (number + 1), f"pilot-{number + 1}")
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
    found, values = run(GROUPS, particles, seed, "filters")
    inside = values >= event.at_least
    log_shares = torch.log_softmax(found.log_weights, 1) - k * torch.where(inside, values, 0.0)
    log_shares = torch.where(inside, log_shares, -torch.inf)
    groups = (found.log_normalizer + torch.logsumexp(log_shares, 1)).exp()
    weights = (log_shares + found.log_normalizer[:, None]).flatten()
    other = "" if k == 0 else ", or method=splitting"
    told = remark(groups, event.at_least - float(values.max()), other)
    return Estimated(groups, found.samples, weights, drawn, ledger, k, found if k else None, told)


METHODS: dict[str, Callable[[Event, int, int, Callable[[str], object]], Estimated]] = {
    "tilt": tilted,
    "splitting": split,
}


__all__ = ["GROUPS", "Estimated", "Store", "estimate", "remark"]
