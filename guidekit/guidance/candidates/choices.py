"""Who goes on of all candidates: one of each particle's, or the best of a group."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guidekit.core.population import Population
from guidekit.core.random import Draw, pick
from guidekit.core.state import State, leaves
from guidekit.core.step import Step
from guidekit.guidance.candidates.judges import Pieces
from guidekit.guidance.candidates.votes import Vote, added

if TYPE_CHECKING:
    from guidekit.guidance.candidates.engine import CandidateSearch

Width = int | Sequence[int]
"""A number of particles or candidates; several are spread evenly over the steps."""


def at(width: Width, step: Step, steps: Sequence[Step]) -> int:
    """The width of a step."""
    if isinstance(width, int):
        return width
    return width[min(step.start.index * len(width) // (steps[-1].start.index + 1), len(width) - 1)]


@dataclasses.dataclass(frozen=True)
class OneOfEach:
    """One of the M candidates of every particle, drawn with probability proportional to exp(vote).

    Args:
        greedy: a best one in place of that, which no weight makes up for.
        vote: see `guidekit.guidance.candidates.votes`.
    """

    greedy: bool = False
    vote: Vote = added
    particles = 1

    def idle(self, crowd: int, candidates: int, step: Step, steps: Sequence[Step]) -> bool:
        """Whether there is nothing to choose."""
        return candidates == 1

    def __call__(self, search: CandidateSearch, crowd: Population, candidates: int, step: Step) -> Population:
        """The population that goes on."""
        values = search.judge(crowd)  # (R, P * K * M, S)
        votes = self.vote(values.unflatten(1, (-1, candidates)).movedim(-1, -2))  # (P * K, S, M)
        parents, pieces = votes.shape[:2]
        hopeless = votes.isneginf().all(2)
        crowd.setup.network.ledger.count_later("degenerate_groups", hopeless.sum())
        votes = votes.masked_fill(hopeless[..., None], 0.0)
        points = crowd.draw(step, "choose", search).uniform(parents * pieces).view(parents, pieces)
        winner = choose(votes, points, greedy=self.greedy)
        first = torch.arange(crowd.particles // candidates, device=crowd.device) * candidates
        chosen = crowd.select(first + winner[:, 0].view(crowd.groups, -1))
        if isinstance(search.judge, Pieces):
            return chosen.at(assembled(search.judge, crowd.state, winner))
        mean = torch.logsumexp(votes[:, 0], 1) - math.log(candidates)
        return chosen.reweigh(mean - votes[:, 0].gather(1, winner)[:, 0])

    def finish(self, search: CandidateSearch, population: Population) -> Population:
        """Every particle is one that was wanted."""
        return population


@dataclasses.dataclass(frozen=True)
class BestOfAll:
    """The best A of all candidates of a group, whoever they descend from: a beam.

    Of equal states one counts, and the others follow after all that differ: a beam of copies would be none.

    Args:
        width: A.
        output: "best" hands back the best of a group at the end, "all" the A of them.
        vote: see `guidekit.guidance.candidates.votes`.
    """

    width: Width = 4
    output: str = "best"
    vote: Vote = added
    greedy = True

    @property
    def particles(self) -> int:
        """Particles of a group at the start."""
        return self.width if isinstance(self.width, int) else self.width[0]

    def idle(self, crowd: int, candidates: int, step: Step, steps: Sequence[Step]) -> bool:
        """Whether there is nothing to choose."""
        return crowd * candidates <= at(self.width, step, steps)

    def __call__(self, search: CandidateSearch, crowd: Population, candidates: int, step: Step) -> Population:
        """The population that goes on, best first."""
        chosen = self.ordered(search, crowd, crowd.draw(step, "choose", search))
        chosen = chosen[:, : at(self.width, step, crowd.setup.steps)]
        record, best = crowd.setup.recorder.record, crowd.select(chosen)
        record("parents", torch.div(chosen, candidates, rounding_mode="floor").int())
        return best

    def ordered(self, search: CandidateSearch, crowd: Population, draw: Draw) -> Tensor:
        """All particles of every group, best first, (P, K)."""
        values = search.judge(crowd)[..., 0]
        votes = self.vote(values.unflatten(1, (crowd.groups, -1)))
        known = votes > -torch.inf
        crowd.setup.network.ledger.count_later("degenerate_groups", (~known.any(1)).sum())
        rank = 2 * known.int() + ~copies(crowd, search.branch.seen(crowd))
        order = draw.uniform(crowd.groups, crowd.particles).argsort(1)  # ties are broken at random
        for key in (votes, rank):
            order = order.gather(1, key.gather(1, order).argsort(dim=1, descending=True, stable=True))
        return order

    def finish(self, search: CandidateSearch, population: Population) -> Population:
        """See `output`."""
        if self.output == "all":
            return population
        draw = Draw(population.setup.random, population.key, f"{population.setup.labels[search]} finish")
        return population.select(self.ordered(search, population, draw)[:, :1])


Choice = OneOfEach | BestOfAll


def choose(values: Tensor, u: Tensor, *, greedy: bool) -> Tensor:
    """Index (...) of one of M values (..., M) by softmax, or of a best one; u (...) uniform."""
    if greedy:  # ties are broken at random
        values = torch.where(values == values.amax(-1, keepdim=True), 0.0, -torch.inf)
    return pick(values.double(), u)


def assembled(judge: Pieces, states: Tensor, winner: Tensor) -> Tensor:
    """States (N, *S) whose pieces come from the candidates (N * M, *S) that won each; winner (N, pieces)."""
    parents, pieces = winner.shape
    cut = judge.cut(states).unflatten(0, (parents, -1))  # (N, M, pieces, ...)
    device = states.device
    return judge.join(cut[torch.arange(parents, device=device)[:, None], winner, torch.arange(pieces, device=device)])


def copies(crowd: Population, states: State) -> Tensor:
    """Whether an earlier particle of its group is the same by states, a tree with B rows; (P, K)."""
    marks = torch.zeros(len(crowd), dtype=torch.int64, device=crowd.device)
    for leaf in leaves(states):
        flat = leaf.flatten(1)
        bits = flat.double().view(torch.int64) if flat.is_floating_point() else flat.long()
        odd = torch.arange(1, bits.shape[1] + 1, device=bits.device) * 0x9E3779B97F4A7C1 | 1
        mixed = (bits + 0x632BE59BD9B4E01) * odd
        marks = marks * 0x2545F4914F6CDD1D + (mixed ^ (mixed >> 29)).sum(1)
    marks = marks.view(crowd.groups, -1)
    same = marks[:, :, None] == marks[:, None, :]
    return same.tril(-1).any(2)
