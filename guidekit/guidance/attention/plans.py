"""Plans: what a branch does to the network, and the one call that answers perturbed and other rows together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.owner import Owner
from guidekit.core.prediction import Prediction
from guidekit.core.prior import Prior
from guidekit.core.question import Marks, Question
from guidekit.core.requirements import Fact, Layer
from guidekit.core.state import State, altered, batch, cat, leaves, map_leaves, spread, take
from guidekit.guidance.contrast.branches import Branch, condition_row
from guidekit.interventions.installation import installed
from guidekit.interventions.operators import Operator
from guidekit.interventions.places import Probe
from guidekit.interventions.selection import find_sites
from guidekit.interventions.sites import Site, SiteError

ALONE = "perturbs the network and cannot wrap {inside}: write chain({name}, {inside}), or give {name} a weight"
DRAWN = "perturbs the network and cannot wrap {inside}: give {name} a weight in place of {inside}"
"""Why rows would lose their meaning around another contrast, without and with numbers drawn for every row."""


@dataclasses.dataclass(frozen=True)
class Records:
    """What the operators of a plan have recorded.

    Args:
        values: (B, ...) by site.
        dims: extents of the tokens' grid, by site.
    """

    values: Mapping[str, Tensor]
    dims: Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True, eq=False)
class Plan(Owner[Records]):
    """Operators for all rows of a branch; what they record is noted on the answer, by plan.

    Args:
        operators: see `guidekit.interventions.operators`.
        companion: whether every row gets a companion with another condition in the same call, of which
            `NegativeExtrapolate` takes keys and values.
        negative: condition of the companions, what `Prior.condition` takes; None is the null condition.
    """

    operators: tuple[Operator, ...]
    companion: bool = False
    negative: Any = None

    @property
    def random(self) -> bool:
        """Whether numbers are drawn for every row."""
        return any(operator.random for operator in self.operators)

    def check(self, name: str, prior: Prior, advice: str = "") -> None:
        """Raise where the prior's network has no such sites; advice ends the message.

        Raises:
            GuidanceError: no network, or one without sites of that kind.
            UnknownNameError: no site of that name.
        """
        network, sites = network_sites(name, prior)
        for operator in self.operators:
            try:
                chosen = operator.chosen(network, sites)
            except SiteError as error:
                raise GuidanceError(f"{name} cannot work with this prior ({prior.name}): {error}{advice}") from error
            if not chosen:
                raise GuidanceError(f"{name}: sites={operator.sites!r} chooses none in this prior ({prior.name})")

    def answer(self, question: Question, prior: Prior) -> Prediction:
        """The answer to a question with marks, of this plan and others, from one call of the prior."""
        marks, size = question.marks, batch(question.x)
        assert marks is not None, "only questions with marks are answered under a plan"
        x, t, condition, code, seed = question.x, question.t, question.condition, marks.codes, marks.seeds
        plans = {number: plan for number, plan in enumerate(marks.plans, 1) if isinstance(plan, Plan)}
        for number, plan in plans.items():
            if plan.companion:
                rows = (code == number).nonzero()[:, 0]
                question.population.setup.network.also_asked(prior.network_rows(take(x, rows)))
                given = prior.null(len(code)) if condition is None else condition
                condition = cat([given, plan.companions(prior, len(rows), code.device)])
                t = torch.cat([t, t[rows]]) if isinstance(t, Tensor) and t.ndim else t
                x = cat([x, take(x, rows)])
                code, seed = torch.cat([code, code.new_full((len(rows),), -number)]), torch.cat([seed, seed[rows]])
        network, sites = network_sites("the perturbation", prior)
        operators = {number: plan.operators for number, plan in plans.items()}
        time = torch.as_tensor(t, dtype=torch.float64).expand(len(code))
        with installed(network, operators, code, seed, sites=sites, time=time) as probe:
            prediction = prior.predict(x, t, condition)
        if len(code) > size:
            prediction = take(prediction, slice(size))
        if probe.records:
            found = records(probe, size)
            for plan in plans.values():
                prediction = prediction.noting(plan, found)
        return prediction

    def companions(self, prior: Prior, rows: int, device: torch.device) -> State:
        """The condition of so many companions."""
        if self.negative is None:
            return prior.null(rows)
        row = take(condition_row(prior, self.negative), 0)
        return map_leaves(lambda leaf: leaf.to(device), spread(row, rows))


def records(probe: Probe, size: int) -> Records:
    """What was recorded, with a row for every one of a call, zero where nothing was."""
    values, dims = {}, {}
    for site, calls in probe.records.items():
        like, dims[site] = calls[0].value, calls[0].dims
        values[site] = like.new_zeros(size, *like.shape[1:])
        for call in calls:
            values[site] = values[site].index_copy(0, call.rows, call.value)
    return Records(values, dims)


@dataclasses.dataclass(frozen=True)
class Marked(Branch):
    """Another branch, answered by a network under a plan.

    Args:
        plan: what is done.
        branch: that is marked.
    """

    plan: Plan
    branch: Branch = Branch()

    @property
    def requires(self) -> frozenset[Fact]:  # type: ignore[override]
        """A network, and what the branch needs."""
        return self.branch.requires | {Fact.NETWORK}

    @property
    def draws(self) -> bool:  # type: ignore[override]
        """As the plan or the branch."""
        return self.plan.random or self.branch.draws

    def __call__(self, question: Question, owner: Guidance) -> Question:
        """See `Branch`."""
        return marked(self.branch(question, owner), self.plan, owner)

    def alone(self, prior: Prior) -> str:
        """See `Branch.alone`."""
        return DRAWN if self.draws else ALONE

    def check(self, name: str, prior: Prior) -> None:
        """See `Branch.check`."""
        self.branch.check(name, prior)
        self.plan.check(name, prior)


def marked(question: Question, plan: Plan, owner: Guidance, code: Tensor | None = None) -> Question:
    """A question whose rows are answered under a plan where code (B',) int64 is 1, and plainly where it is 0."""
    if code is None:
        code = torch.ones(batch(question.x), dtype=torch.int64, device=leaves(question.x)[0].device)
    seed = torch.zeros_like(code)
    if plan.random:
        seed = (question.uniform(owner, "perturbation") * 2.0**53).long()
    return altered(question, marks=Marks((plan,), code, seed))


def network_alone(guidance: Guidance, members: Sequence[Guidance]) -> None:
    """Raise `GuidanceError` where another contrast lies inside a guidance that perturbs the network."""
    inside = [each.name for each in members[: members.index(guidance)] if each.layer is Layer.CONTRAST]
    if inside:
        raise GuidanceError(f"{guidance.name} {ALONE.format(name=guidance.name, inside=inside[0])}")


def network_sites(name: str, prior: Prior) -> tuple[torch.nn.Module, list[Site]]:
    """The network of a prior and its sites."""
    if Fact.NETWORK not in prior.provides or prior.network is None:
        raise GuidanceError(f"{name} acts inside a network, and this prior ({prior.name}) has none")
    return prior.network, sites_of(prior.network)


@lru_cache(maxsize=4)
def sites_of(network: torch.nn.Module) -> list[Site]:
    """The sites of a network, looked for once."""
    return find_sites(network)


__all__ = ["DRAWN", "Marked", "Plan", "Records", "marked", "network_alone", "network_sites"]
