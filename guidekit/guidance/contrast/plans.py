"""Plans: what a branch does to the network, and the one call that answers perturbed and other rows together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guidekit.core.guidance import GuidanceError
from guidekit.core.prior import Time
from guidekit.core.prediction import Prediction
from guidekit.core.state import Coded, State, batch, cat, take
from guidekit.guidance.contrast.branches import as_row, repeated
from guidekit.networks.installation import installed
from guidekit.networks.perturbations import Operator
from guidekit.networks.places import Probe
from guidekit.networks.sites import SiteError, choose, find_sites

if TYPE_CHECKING:
    from guidekit.core.run import Run


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Operators for all rows of a branch.

    Args:
        operators: see `guidekit.networks.perturbations`.
        purpose: of the random numbers.
        companion: whether every row gets a companion with another condition in the same call, of which
            `NegativeExtrapolate` takes keys and values.
        negative: condition of the companions, what `Prior.condition` takes; None is the null condition.
    """

    operators: tuple[Operator, ...]
    purpose: str = "perturbation"
    companion: bool = False
    negative: Any = None

    def seeds(self, run: Run, rows: int) -> Tensor | None:
        """One seed a row for this step, (rows,) int64; None where nothing is drawn."""
        if not any(operator.random for operator in self.operators):
            return None
        return (run.draw(self.purpose).uniform((rows,)) * 2.0**53).long()

    def check(self, name: str, run: Run) -> None:
        """Raise where the prior's network has no such sites.

        Raises:
            GuidanceError: no network, or one without sites of that kind.
            UnknownNameError: no site of that name.
        """
        network, sites = network_sites(name, run)
        for operator in self.operators:
            try:
                chosen = choose(network, sites, operator.ports, operator.sites)
            except SiteError as error:
                raise GuidanceError(f"{name} cannot work with this prior ({run.prior.name}): {error}") from error
            if not chosen:
                raise GuidanceError(f"{name}: sites={operator.sites!r} chooses none in this prior ({run.prior.name})")

    @staticmethod
    def answer(run: Run, plans: Mapping[int, Plan], x: State, t: Time, coded: Coded) -> Prediction:
        """The prediction for all rows, from one call of the prior that `run` asks now."""
        size, condition, code, seed = batch(x), coded.condition, coded.code, coded.seed
        for number, plan in plans.items():
            if plan.companion:
                rows = (code == number).nonzero()[:, 0]
                run.ledger.network_rows += run.asked.network_rows(take(x, rows))
                condition = cat([_given(run, condition, len(code)), _negative(run, plan, len(rows))])
                t = torch.cat([t, t[rows]]) if isinstance(t, Tensor) and t.ndim else t
                x = cat([x, take(x, rows)])
                code, seed = torch.cat([code, code.new_full((len(rows),), -number)]), torch.cat([seed, seed[rows]])
        network, sites = network_sites("the perturbation", run)
        operators = {number: plan.operators for number, plan in plans.items()}
        time = torch.as_tensor(t, dtype=torch.float64).expand(len(code))
        with installed(network, operators, code, seed, sites=sites, time=time) as probe:
            prediction = run.asked.predict(x, t, condition)
        if len(code) > size:
            prediction = take(prediction, slice(size))
        return _with_records(prediction, probe, size)


def network_sites(name: str, run: Run) -> tuple[torch.nn.Module, list]:
    """The network that is asked now and its sites, looked for once in a run."""
    network = getattr(run.asked, "network", None)
    if not isinstance(network, torch.nn.Module):
        raise GuidanceError(f"{name} acts inside a network, and this prior ({run.asked.name}) has none")
    return run.kept(("sites", id(network)), lambda: (network, find_sites(network)))


def _given(run: Run, condition: State | None, rows: int) -> State:
    return repeated(run, run.asked.null_condition, rows) if condition is None else condition


def _negative(run: Run, plan: Plan, rows: int) -> State:
    row = run.asked.null_condition if plan.negative is None else as_row(run, plan.negative)
    return repeated(run, row, rows)


def _with_records(prediction: Prediction, probe: Probe, size: int) -> Prediction:
    """What was recorded, as parts with a row for every row of the call: "recorded" (B, ...) by site, and "dims"."""
    if not probe.records:
        return prediction
    recorded, dims = {}, {}
    for site, calls in probe.records.items():
        like, dims[site] = calls[0].value, calls[0].dims
        recorded[site] = like.new_zeros(size, *like.shape[1:])
        for call in calls:
            recorded[site] = recorded[site].index_copy(0, call.rows, call.value)
    return prediction.with_parts(recorded=recorded, dims=dims)


def without_records(prediction: Prediction) -> Prediction:
    """The prediction without the parts that recording has added."""
    kept = {name: part for name, part in prediction.parts.items() if name not in ("recorded", "dims")}
    return dataclasses.replace(prediction, parts=kept)


def kept_plan(run: Run, plug: object, make: Callable[[str], Plan]) -> Plan:
    """A plug's plan, made once in a run from the purpose of its random numbers."""
    key = f"{type(plug).__name__} {run.position(plug)}"
    return run.kept(("plan", key), lambda: make(key))


__all__ = ["Plan", "kept_plan", "network_sites", "without_records"]
