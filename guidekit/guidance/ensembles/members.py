"""What a forward model or a reward says of the members of ensembles, in batches; who fails takes no part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.ledger import Ledger
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.requirements import Fact
from guidekit.core.state import batch
from guidekit.guidance.ensembles.kalman import Seen
from guidekit.guidance.inverse.measurement import held
from guidekit.objectives.gaussian import GaussianNoise
from guidekit.objectives.worker import reason

NOT_FINITE = "the forward model gave numbers that are not finite"
OUTPUTS = ("all", "best")


def seen_of(population: Population, objective: Objective, states: Tensor, at_once: int) -> Seen:
    """What an objective says of clean states (B, *S) of all members.

    Of a likelihood that is A(x); any other objective is a measurement of one number whose loss falls as it grows, so
    that members move along the covariance of state and reward. Members of whom nothing finite is said have failed:
    they are counted, and the others do not depend on them.

    Args:
        population: P groups of K members.
        objective: of clean states or objects.
        states: clean, one a member.
        at_once: most states in one call of a forward model.

    Raises:
        GuidanceError: the forward model raised on all members.
    """
    groups, k = population.groups, population.particles
    if not isinstance(objective, GaussianNoise):
        scores = population.score_of(objective, states, torch.zeros(batch(states)).to(states)).view(groups, k, 1)
        scores = scores.to(states.device)
        return Seen(scores, -torch.ones_like(scores), scores.isfinite()[..., 0])
    ledger = population.setup.network.ledger
    ledger.count(reward_calls=batch(states))
    values = measured(objective, states, at_once, ledger)
    slot = held(population, objective)
    y = objective.y if slot is None or slot[0] is None else slot[0]
    gaps = values - (y[None] if y.ndim == values.ndim - 1 else y).to(values)
    alive = values.flatten(1).isfinite().all(1) & gaps.flatten(1).isfinite().all(1)
    return Seen(values.reshape(groups, k, -1), gaps.reshape(groups, k, -1), alive.view(groups, k))


@torch.no_grad()
def measured(likelihood: GaussianNoise, states: Tensor, at_once: int, ledger: Ledger) -> Tensor:
    """A(x) of states (B, *S), (B, *M), without gradients; NaN where the forward model raised.

    Args:
        likelihood: whose forward model is asked.
        states: clean ones.
        at_once: most of them in one call.
        ledger: counts failures, unless the forward model does so itself.

    Raises:
        GuidanceError: it raised on all of them.
    """
    found: list[tuple[Tensor | None, str]] = []
    for rows in states.split(at_once):
        found += _tried(likelihood.measured, rows)
    shape = next((value.shape[1:] for value, _ in found if value is not None), None)
    if shape is None:
        raise GuidanceError(f"{likelihood.name}: the forward model {found[0][1]}, on all {len(found)} states")
    values = torch.cat([states.new_full((1, *shape), torch.nan) if value is None else value for value, _ in found])
    if not likelihood.counts_failures:
        wrong = ~values.flatten(1).isfinite().all(1)
        reasons = [told or NOT_FINITE for (_, told), times in _by_row(found) for _ in range(times)]
        for told, failed in zip(reasons, wrong.tolist(), strict=True):
            if failed:
                ledger.count_failure(told)
    return values


def _by_row(found: Sequence[tuple[Tensor | None, str]]) -> Iterator[tuple[tuple[Tensor | None, str], int]]:
    for each in found:
        yield each, 1 if each[0] is None else len(each[0])


def _tried(forward: Callable[[Tensor], Tensor], rows: Tensor) -> list[tuple[Tensor | None, str]]:
    """What a forward model gives for rows: in one call, or, where that raises, row by row, None for those that fail."""
    try:
        return [(forward(rows), "")]
    except Exception as error:  # a simulator of somebody else's: one member is not worth the run
        if len(rows) == 1:
            return [(None, reason(error))]
    return [one for row in rows.split(1) for one in _tried(forward, row)]


def check_interacting(guidance: Guidance, members: Sequence[Guidance]) -> None:
    """Refuse a particle filter around members that move each other."""
    if any(Fact.WEIGHTS in member.provides for member in members):
        raise GuidanceError(
            f"members of {guidance.name} move each other, which no weight makes up for: leave out the particle filter"
        )


def check_clean(guidance: Guidance, objective: Objective) -> None:
    """Refuse values of noisy states: forward models are of clean ones."""
    if objective.on == "noisy":
        raise GuidanceError(f"{guidance.name} looks at clean states, and {objective.name} is a value of noisy ones")


def noise_of_rows(guidance: Guidance, population: Population, objective: Objective, floor: float) -> Tensor:
    """The noise of the measurement of every group, at least the floor, (P,)."""
    if not isinstance(objective, GaussianNoise):
        raise GuidanceError(
            f"{guidance.name} weighs the ensemble against the noise of a measurement, and {objective.name} has none: "
            'use rule="descent"'
        )
    slot = held(population, objective)
    std = objective.std if slot is None or slot[1] is None else slot[1]
    std = std.to(population.device).reshape(-1).expand(len(population)) if std.numel() == 1 else std
    return std.reshape(population.groups, population.particles)[:, 0].clamp_min(floor)


def best_of(population: Population, objective: Objective, at_once: int) -> Population:
    """The member of every group whose clean state is nearest to what was measured, or has the highest reward."""
    seen = seen_of(population, objective, population.state, at_once)
    if isinstance(objective, GaussianNoise):
        score = -seen.gaps.double().square().sum(2)
    else:
        score = seen.values[..., 0].double()
    score = score.masked_fill(~seen.alive, -torch.inf)
    best = population.select(score.argmax(1, keepdim=True))
    return best.weighted(torch.zeros_like(best.log_weights))


__all__ = ["OUTPUTS", "best_of", "check_clean", "check_interacting", "measured", "noise_of_rows", "seen_of"]
