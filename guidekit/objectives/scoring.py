"""Scores of objects by functions that may misbehave, and whether a function is worth a run."""

from __future__ import annotations

import hashlib
import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from guidekit.core.ledger import Ledger
from guidekit.objectives.pool import Isolated
from guidekit.objectives.worker import attempt, attempt_all


def outcomes(function: Callable[[Any], float], objects: Sequence[Any]) -> Iterator[tuple[int, float | str]]:
    """For each object, as it is done, its index and its score or, as a string, why it has none.

    Nothing that a function does is raised.
    """
    if isinstance(function, Isolated):
        return function.outcomes(objects)
    if getattr(function, "batched", False):
        return enumerate(attempt_all(function, list(objects)) if len(objects) else [])
    return ((i, attempt(function, obj)) for i, obj in enumerate(objects))


class Batched:
    """A function of a list of objects that gives a list of as many numbers, declared as such; it may be pickled."""

    batched = True

    def __init__(self, function: Callable[[list[Any]], Sequence[float]]) -> None:
        self.function, self.__name__ = function, getattr(function, "__name__", type(function).__name__)
        for name in ("temperature", "floor"):
            if hasattr(function, name):
                setattr(self, name, getattr(function, name))

    def __call__(self, objects: list[Any]) -> Sequence[float]:
        """Scores of a list of objects."""
        return self.function(objects)


def refuse_useless(function: Callable[[Any], float], objects: Sequence[Any], name: str, kind: str) -> None:
    """Try a function on a few objects before a run is spent on it; without objects nothing is tried.

    Args:
        function: object -> number, or lists to lists.
        objects: real ones.
        name: of the function.
        kind: what objects are, for the message ("molecules").

    Raises:
        ValueError: it failed on all of them for the same reason.
    """
    found = sorted(outcomes(function, objects), key=itemgetter(0))
    reasons = [outcome for _, outcome in found if isinstance(outcome, str)]
    if not objects or len(reasons) < len(objects) or len({reason.partition(":")[0] for reason in reasons}) > 1:
        return
    raise ValueError(
        f"reward {name} failed on all {len(objects)} {kind} it was tried on: {reasons[0]} (a reward takes one of the "
        f"{kind} and returns one number, or -inf to reject it)"
    )


def digest(obj: Any) -> str | None:
    """A short text that equal objects share; None where an object cannot be pickled."""
    try:
        return hashlib.blake2b(pickle.dumps(obj, pickle.HIGHEST_PROTOCOL), digest_size=16).hexdigest()
    except Exception:
        return None


def failures(ledger: Ledger, kind: str, who: str = "the reward", then: str = "score minus infinity") -> str:
    """A sentence on objects that have no score, with the first reasons; empty where all have one.

    Args:
        ledger: of the run.
        kind: what failed, in the plural.
        who: failed on them.
        then: what becomes of them.
    """
    if not ledger.reward_failures:
        return ""
    late = f", {ledger.reward_timeouts} of them for want of time" if ledger.reward_timeouts else ""
    reasons = "; ".join(f"{reason} ({times} times)" for reason, times in ledger.reward_reasons.items())
    rest = ledger.reward_failures - sum(ledger.reward_reasons.values())
    others = f"; and {rest} for {'another reason' if rest == 1 else 'other reasons'}" if rest else ""
    return f"{who} failed on {ledger.reward_failures} {kind}{late}; they {then}: {reasons}{others}"


def remark(scores: Sequence[float], name: str, kind: str) -> str:
    """A sentence where the scores of distinct objects tell nothing apart; empty where they do, or there are too few."""
    finite = [score for score in scores if math.isfinite(score)]
    if len(scores) > 1 and not finite:
        return f"reward {name} failed on or rejected all {len(scores)} {kind} it saw: nothing was guided by it"
    if len(finite) > 1 and min(finite) == max(finite):
        return f"reward {name} was {finite[0]:g} for all {len(finite)} {kind} it scored: nothing was guided by it"
    return ""
