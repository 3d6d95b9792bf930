"""What a forward model or a reward says of the members of ensembles, in batches; who fails takes no part."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer
from guidekit.core.ledger import Ledger
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.sampler import Sampler
from guidekit.core.state import batch
from guidekit.errors import UnknownNameError
from guidekit.guidance.ensembles.kalman import Seen
from guidekit.guidance.inverse.measurement import held
from guidekit.guidance.inverse.own_steps import check_counts, check_floor
from guidekit.objectives.gaussian import GaussianNoise, check_measured, check_rows
from guidekit.objectives.reward import objective_of
from guidekit.objectives.worker import reason

NOT_FINITE = "the forward model gave numbers that are not finite"
OUTPUTS = ("all", "best")


@dataclasses.dataclass(frozen=True, eq=False)
class Ensemble(Guidance[None]):
    """Base of guidances whose particles are members of an ensemble, and move each other.

    A subclass has the settings `particles`, `updates`, `at_once`, `strength`, `floor`, `rule` and `output`, too.

    Args:
        likelihood: of a measurement, or a reward.
    """

    likelihood: Objective
    layer = Layer.RECURRENCE
    requires = frozenset({Fact.FLOW, Fact.WHOLE})

    def check_settings(self, **choices: Sequence[str]) -> None:
        """Take a function for an objective; refuse settings outside their range.

        Args:
            choices: what a setting of this name may be.

        Raises:
            ValueError: one that is not.
        """
        own: Any = self
        object.__setattr__(self, "likelihood", objective_of(self.likelihood, type(self).__name__, "a likelihood"))
        check_counts(updates=own.updates, at_once=own.at_once, particles=own.particles)
        check_floor(own.floor)
        for name, known in (*choices.items(), ("output", OUTPUTS)):
            if getattr(own, name) not in known:
                raise UnknownNameError(f"{name} of an ensemble", str(getattr(own, name)), known)
        if not 0 <= own.strength < math.inf:
            raise ValueError(f"strength must be a finite number of at least 0, got {own.strength}")

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """See `Guidance.objectives`."""
        return (self.likelihood,)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """No weights, clean states, and a noise where it is weighed by."""
        if any(Fact.WEIGHTS in member.provides for member in members):
            raise GuidanceError(
                f"members of {self.name} move each other, which no weight makes up for: leave out the particle filter"
            )
        if self.likelihood.on == "noisy":
            raise GuidanceError(
                f"{self.name} looks at clean states, and {self.likelihood.name} is a value of noisy ones"
            )
        if self.rule != "descent" and not isinstance(self.likelihood, GaussianNoise):  # type: ignore[attr-defined]
            raise GuidanceError(
                f"{self.name} weighs the ensemble against the noise of a measurement, and {self.likelihood.name} has "
                'none: use rule="descent"'
            )

    def caution(self, steps: int) -> str:
        """See `Guidance.caution`."""
        alone = self.particles == 1
        return f"{self.name}: one member has nobody to learn from and is the unguided sampler" if alone else ""

    def seen(self, population: Population, states: Tensor) -> Seen:
        """See `seen_of`; members that failed are recorded, and groups of which all did are counted."""
        found = seen_of(population, self.likelihood, states, self.at_once)  # type: ignore[attr-defined]  # see above
        population.setup.recorder.record("failed members", (~found.alive).sum(1))
        population.setup.network.ledger.count_later("degenerate_groups", (~found.alive).all(1).sum())
        return found


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
        GuidanceError: the forward model raised on all members, and has at all updates before.
        ScoreError: it gives something else than measurements like y.
    """
    groups, k = population.groups, population.particles
    if not isinstance(objective, GaussianNoise):
        scores = population.score_of(objective, states, torch.zeros(batch(states)).to(states)).view(groups, k, 1)
        scores = scores.to(states.device)
        return Seen(scores, -torch.ones_like(scores), scores.isfinite()[..., 0])
    population.count_rewards(batch(states))
    values = measured(objective, states, at_once, population.setup.network.ledger)
    slot = held(population, objective)
    y = objective.y if slot is None or slot[0] is None else slot[0]
    y = y[None] if y.ndim == values.ndim - 1 else y
    check_measured(values, y, batch(states))
    gaps = values - y.to(values)
    alive = values.flatten(1).isfinite().all(1) & gaps.flatten(1).isfinite().all(1)
    return Seen(values.reshape(groups, k, -1), gaps.reshape(groups, k, -1), alive.view(groups, k))


@torch.no_grad()
def measured(likelihood: GaussianNoise, states: Tensor, at_once: int, ledger: Ledger) -> Tensor:
    """A(x) of states (B, *S), (B, *M), without gradients; NaN where the forward model raised.

    Args:
        likelihood: whose forward model is asked.
        states: clean ones.
        at_once: most of them in one call.
        ledger: counts failures, unless the forward model does so itself; the states are counted already.

    Raises:
        GuidanceError: it raised on all of them, and has on all before.
        ScoreError: it gives no row for each of them.
    """
    found: list[tuple[Tensor | None, str]] = []
    for rows in states.split(at_once):
        found += _tried(likelihood.measured, rows)
    shape = next((value.shape[1:] for value, _ in found if value is not None), None)
    if shape is None:
        if ledger.reward_failures + len(found) >= ledger.reward_calls:
            raise GuidanceError(f"{likelihood.name}: the forward model {found[0][1]}, on all {len(found)} states")
        shape = likelihood.y.shape[min(1, likelihood.y.ndim - 1) :]
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
        value = forward(rows)
    except Exception as error:  # a simulator of somebody else's: one member is not worth the run
        if len(rows) == 1:
            return [(None, reason(error))]
    else:
        check_rows(value, len(rows))
        return [(value, "")]
    return [one for row in rows.split(1) for one in _tried(forward, row)]


def noise_of_rows(population: Population, objective: GaussianNoise, floor: float) -> Tensor:
    """The noise of the measurement of every group, at least the floor, (P,)."""
    slot = held(population, objective)
    std = objective.std if slot is None or slot[1] is None else slot[1]
    each = std.to(population.device).reshape(-1).expand(len(population))
    return each.view(population.groups, population.particles)[:, 0].clamp_min(floor)


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


__all__ = ["OUTPUTS", "Ensemble", "best_of", "measured", "noise_of_rows", "seen_of"]
