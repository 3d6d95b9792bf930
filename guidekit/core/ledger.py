"""What a run cost."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

REASONS = 3
"""Reasons of failures that are kept."""


@dataclasses.dataclass
class Ledger:
    """Counts of expensive things.

    Attributes:
        network_calls: batched forward passes.
        network_rows: states the network looked at in them; divide by the number of samples for the usual NFE. States
            whose answer is known without it (no token is masked any more) do not count.
        cached_rows: evaluations answered from the cache because the state had not changed.
        backward_passes: batched backward passes through the network.
        reward_calls: objects scored (repeated objects are scored once).
        reward_repeated: states whose object was known already, or stood behind another state, and was not scored again.
        reward_seconds: wall time that black-box rewards of objects took; not compared.
        reward_invalid: states with no object to score (an unparsable SMILES, say); they score minus infinity.
        reward_failures: objects on which the reward raised, hung, crashed, or returned anything but a number below
            infinity; they score minus infinity.
        reward_timeouts: those of them that took longer than allowed.
        reward_reasons: the first reasons of failures, and how often each was met.
        value_calls: noisy states that a value (or a reward's relaxation) was asked about by transition guidance.
        degenerate_groups: times that no particle of a group had a finite weight and a uniform draw was made instead.
        seconds: wall time of the loop.
    """

    network_calls: int = 0
    network_rows: int = 0
    cached_rows: int = 0
    backward_passes: int = 0
    reward_calls: int = 0
    reward_repeated: int = 0
    reward_seconds: float = dataclasses.field(default=0.0, compare=False)
    reward_invalid: int = 0
    reward_failures: int = 0
    reward_timeouts: int = 0
    reward_reasons: dict[str, int] = dataclasses.field(default_factory=dict)
    value_calls: int = 0
    degenerate_groups: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Nothing is counted on a device yet."""
        self._later: dict[tuple[str, str], Tensor] = {}

    def count(self, **counts: int) -> None:
        """Add to counts by name."""
        for name, number in counts.items():
            setattr(self, name, getattr(self, name) + number)

    def count_later(self, name: str, number: Tensor, reason: str = "") -> None:
        """Add a number that a device has still to work out: nobody waits for it before `settled`.

        Args:
            name: of the count.
            number: (), whole.
            reason: of failures, where the count is one of them.
        """
        known = self._later.get((name, reason))
        self._later[name, reason] = number if known is None else known + number

    def settled(self) -> Ledger:
        """This ledger with everything in its counts that was to be added later."""
        for (name, reason), number in self._later.items():
            times = int(number)
            if reason and times:
                self.count_failure(reason, times=times)
            elif not reason:
                self.count(**{name: times})
        self._later.clear()
        return self

    def __add__(self, other: Ledger) -> Ledger:
        """Sum of two ledgers, field by field."""
        return self._with(other, 1)

    def __sub__(self, other: Ledger) -> Ledger:
        """What was counted since another state of the same ledger."""
        return self._with(other, -1)

    def _with(self, other: Ledger, sign: int) -> Ledger:
        names = (field.name for field in dataclasses.fields(self) if field.name != "reward_reasons")
        self.settled()
        other.settled()
        total = Ledger(**{name: getattr(self, name) + sign * getattr(other, name) for name in names})
        total.reward_reasons.update(self.reward_reasons)
        for reason, times in other.reward_reasons.items():
            total._met(reason, sign * times)
        return total

    @property
    def throughput(self) -> dict[str, float]:
        """Of black-box rewards of objects: objects a second, and the share of states that cost nothing; {} without."""
        asked = self.reward_calls + self.reward_repeated
        if not self.reward_seconds:
            return {}
        return {
            "objects a second": self.reward_calls / self.reward_seconds,
            "share not scored again": self.reward_repeated / asked if asked else 0.0,
        }

    def count_failure(self, reason: str, timed_out: bool = False, times: int = 1) -> None:
        """Objects on which the reward failed."""
        self.reward_failures += times
        self.reward_timeouts += times * timed_out
        self._met(reason, times)

    def _met(self, reason: str, times: int) -> None:
        if reason in self.reward_reasons or len(self.reward_reasons) < REASONS:
            self.reward_reasons[reason] = self.reward_reasons.get(reason, 0) + times
        if self.reward_reasons.get(reason) == 0:
            del self.reward_reasons[reason]
