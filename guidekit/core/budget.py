"""Hard limits on what a run may cost: who is about to spend more is stopped before."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping

from guidekit.core.ledger import Ledger
from guidekit.errors import UnknownNameError


class BudgetError(ValueError):
    """A budget that is none, or that no sample could be finished with; the message says what would do."""


class SpentError(Exception):
    """The next thing would cost more than is left.

    Args:
        limit: name of the limit.
        needed: what would have been spent with it.
    """

    def __init__(self, limit: str, needed: float) -> None:
        super().__init__(limit, needed)
        self.limit, self.needed = limit, needed


@dataclasses.dataclass(frozen=True)
class Budget:
    """What all groups of a run may cost together; None is no limit.

    Args:
        network_calls: states that the network looks at, however many of them in one batch.
        reward_calls: objects or states scored.
        seconds: wall time of the loop.

    Raises:
        BudgetError: a limit that is no number above 0.
    """

    network_calls: int | None = None
    reward_calls: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse limits that are none."""
        for name, limit in self.limits.items():
            number = isinstance(limit, int | float) and not isinstance(limit, bool)
            if not number or not 0 < limit < math.inf:
                raise BudgetError(f"budget.{name}={limit!r}; a number above 0 is needed, or none")

    @property
    def limits(self) -> dict[str, float]:
        """The limits by name, those that there are."""
        return {name: limit for name, limit in vars(self).items() if limit is not None}


def budget_of(given: Budget | Mapping[str, float | None] | None) -> Budget:
    """A budget from what users write; without limits where nothing is given.

    Raises:
        UnknownNameError: there is no such limit.
        BudgetError: see `Budget`, or something that is no budget.
    """
    if isinstance(given, Budget) or given is None:
        return given or Budget()
    if not isinstance(given, Mapping):
        raise BudgetError(f"budget={given!r}; give limits by name, such as {{'network_calls': 10000}}")
    known = [field.name for field in dataclasses.fields(Budget)]
    for name in given:
        if name not in known:
            raise UnknownNameError("limit of budget", str(name), known)
    return Budget(**given)  # type: ignore[arg-type]  # checked by it


def costs(ledger: Ledger) -> dict[str, float]:
    """What a ledger says of every limit."""
    return {
        "network_calls": ledger.network_rows,
        "reward_calls": ledger.reward_calls,
        "seconds": ledger.seconds,
    }


class Meter:
    """Watches over one chunk of a run.

    Args:
        left: of every limit that there is.

    Attributes:
        steps: that the chunk has taken.
        used: by the chunk, of every limit.
    """

    def __init__(self, left: Mapping[str, float]) -> None:
        self.left, self.steps = left, 0
        self.used: dict[str, float] = dict.fromkeys(left, 0)
        self._began = time.perf_counter()

    def spend(self, name: str, number: float) -> None:
        """Something is about to be spent.

        Raises:
            SpentError: it is more than is left.
        """
        if name in self.left:
            self.used[name] += number
            self._check(name)
        if "seconds" in self.left:
            self.used["seconds"] = time.perf_counter() - self._began
            self._check("seconds")

    def _check(self, name: str) -> None:
        if self.used[name] > self.left[name]:
            raise SpentError(name, self.used[name])


class Purse:
    """What is left of a budget, and how many groups the rest would pay for.

    Args:
        budget: of all parts of a run.

    Attributes:
        stopped: name of the limit that ended the run; empty while none has.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget, self.stopped = budget, ""
        self.spent: dict[str, float] = dict.fromkeys(budget.limits, 0)
        self.next_part()

    def next_part(self) -> None:
        """Groups of another part, say without guidance, cost something else."""
        self._groups, self._part = 0, dict.fromkeys(self.spent, 0.0)

    @property
    def left(self) -> dict[str, float]:
        """Of every limit."""
        return {name: limit - self.spent[name] for name, limit in self.budget.limits.items()}

    def meter(self) -> Meter | None:
        """For the next chunk; None where there is no limit."""
        return Meter(self.left) if self.spent else None

    def pays(self, most: int) -> int:
        """Groups that the next chunk may have; 0 where the rest pays for none, and the run ends.

        The first chunk of a part has one group, by which the others are priced; chunks grow as prices become certain,
        and get small again at the end: one that had to be stopped would be lost.
        """
        if self.stopped:
            return 0
        if not self.spent:
            return most
        if not self._groups:
            return 1
        groups = min(most, self._groups)
        for name, left in self.left.items():
            cost = self._part[name] / self._groups
            if left < cost:
                self.stopped = name
                return 0
            if cost:
                groups = min(groups, max(1, int(0.5 * left / cost)))
        return groups

    def paid(self, ledger: Ledger, groups: int) -> None:
        """A chunk is finished."""
        cost = costs(ledger)
        for name in self.spent:
            self.spent[name] += cost[name]
            self._part[name] += cost[name]
        self._groups += groups

    def ended(self, meter: Meter | None, told: SpentError, steps: int, *, first: bool) -> None:
        """A chunk was stopped, and what it has used is gone.

        Args:
            meter: of the chunk.
            told: by it.
            steps: of a whole chunk.
            first: nothing is finished yet.

        Raises:
            BudgetError: it was the first one, and there is nothing to hand back.
        """
        assert meter is not None
        if first:
            raise self._refusal(meter, told, steps) from None
        self.lost(meter)
        self.stopped = told.limit

    def lost(self, meter: Meter | None) -> None:
        """A chunk was given up: what it has used is spent all the same."""
        for name, used in ({} if meter is None else meter.used).items():
            self.spent[name] += used

    def _refusal(self, meter: Meter, told: SpentError, steps: int) -> BudgetError:
        """Why no sample could be finished: in one line, with what would do."""
        given = f"budget.{told.limit}={self.budget.limits[told.limit]:g}"
        if not meter.steps:
            return BudgetError(
                f"{given} is less than one step of one sample takes; {told.needed:.4g} are spent by then"
            )
        about = told.needed * steps / meter.steps
        return BudgetError(
            f"{given} ends the run at step {meter.steps + 1} of {steps} of its first sample; about {about:.4g} are "
            "needed for one"
        )
