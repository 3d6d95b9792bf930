"""Rare events by splitting: those that came far are copied and moved, level by level."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guidekit.core.ledger import Ledger
from guidekit.core.state import put, take
from guidekit.events import GROUPS, Estimated, Event, remark
from guidekit.guidance.starts.from_sample import FromSample

LEVELS, MOVES = 200, 2
"""Most levels of splitting, and moves of every particle at each."""


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
    at = _stand(event, particles, seed)
    for number in range(at.number, LEVELS):
        raised, level = _raised(event, at)
        rows = raised.nonzero()[:, 0]
        if not len(rows):
            break
        at = dataclasses.replace(_culled(at, rows, level[rows]), open=raised, number=number + 1)
        for move in range(MOVES):
            at, taken = _moved(event, at, rows, level[rows], seed + 7_919 * (MOVES * number + move + 1))
        event.store.save("levels", *at.parted())
        told = f"level {number + 1}: {float(level[rows].mean()):.4g}, {taken:.0%} of moves taken"
        log(f"{told}, noise up to {at.reach:.2g}")
    inside = at.values >= event.at_least
    groups = at.logs.exp() * inside.double().mean(1)
    weights = torch.where(inside, at.logs[:, None], -torch.inf).flatten()
    told = remark(groups, event.at_least - float(at.values.max()))
    return Estimated(groups, at.states, weights, at.drawn, at.ledger, remark=told)


@dataclasses.dataclass(frozen=True)
class Stand:
    """Where splitting has come to.

    Args:
        states: particles (P * K, *S).
        values: their rewards (P, K).
        logs: log of the share that has reached each group's level, (P,).
        open: groups that are below the event, (P,) bool.
        generator: state of the random numbers that choose copies.
        reach: time up to which moves noise.
        number: levels that are done.
        drawn: samples so far.
        ledger: of them.
    """

    states: Any
    values: Tensor
    logs: Tensor
    open: Tensor
    generator: Tensor
    reach: float
    number: int
    drawn: int
    ledger: Ledger

    def parted(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """As tensors and plain JSON, for a store."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        said = {name: vars(self)[name] for name in ("reach", "number", "drawn")}
        return tensors, {**said, "ledger": dataclasses.asdict(self.ledger)}


def _stand(event: Event, particles: int, seed: int) -> Stand:
    """Where a store says that splitting has come to, or its start."""
    kept = event.store.load("levels")
    if kept is not None:
        tensors, said = kept
        fields: dict[str, Any] = {**tensors, **said, "ledger": Ledger(**said["ledger"])}
        return Stand(**fields)
    found, values = event.draw(None, GROUPS * particles, seed, "start")
    return Stand(
        states=found.samples,
        values=values.view(GROUPS, particles),
        logs=torch.zeros(GROUPS, dtype=torch.float64),
        open=torch.ones(GROUPS, dtype=torch.bool),
        generator=torch.Generator().manual_seed(seed).get_state(),
        reach=0.5,
        number=0,
        drawn=GROUPS * particles,
        ledger=found.ledger,
    )


def _raised(event: Event, at: Stand) -> tuple[Tensor, Tensor]:
    """Which groups (P,) go on to another level, and the levels (P,)."""
    values = at.values
    level = values.median(1).values
    tied = (values.min(1).values == level) & (level < event.at_least)  # no particle is below: the next value above
    above = torch.where(values > level[:, None], values, torch.inf).min(1).values
    level = torch.where(tied & above.isfinite(), above, level)
    return at.open & (level < event.at_least) & ~(tied & ~above.isfinite()), level


def _culled(at: Stand, rows: Tensor, level: Tensor) -> Stand:
    """Particles of some groups below their level become copies of those above it."""
    particles, values, logs = at.values.shape[1], at.values.clone(), at.logs.clone()
    kept = values[rows] >= level[:, None]
    logs[rows] += kept.double().mean(1).log()
    generator = torch.Generator()
    generator.set_state(at.generator)
    chosen = torch.multinomial(kept.double(), particles, True, generator=generator)
    chosen = torch.where(kept, torch.arange(particles), chosen)  # survivors stay, the others become copies of them
    states = put(at.states, _places(rows, particles), take(at.states, (rows[:, None] * particles + chosen).flatten()))
    values[rows] = values[rows].gather(1, chosen)
    return dataclasses.replace(at, states=states, values=values, logs=logs, generator=generator.get_state())


def _moved(event: Event, at: Stand, rows: Tensor, level: Tensor, seed: int) -> tuple[Stand, float]:
    """Every particle of some groups moved once where that stays above its level, and the share of moves taken."""
    particles, values = at.values.shape[1], at.values.clone()
    places, reach = _places(rows, particles), at.reach
    moved, new = event.draw(FromSample(take(at.states, places), reach), len(places), seed)
    good = new >= level.repeat_interleave(particles)
    values.view(-1)[places[good]] = new[good]
    taken = float(good.double().mean())
    reach = min(1.0, reach * 1.2) if taken > 0.5 else max(0.05, reach * 0.8) if taken < 0.25 else reach
    states = put(at.states, places[good], take(moved.samples, good.nonzero()[:, 0]))
    drawn, ledger = at.drawn + len(places), at.ledger + moved.ledger
    return dataclasses.replace(at, states=states, values=values, reach=reach, drawn=drawn, ledger=ledger), taken


def _places(rows: Tensor, particles: int) -> Tensor:
    """Particles of some groups."""
    return (rows[:, None] * particles + torch.arange(particles)).flatten()
