"""What every domain's `evaluate` refuses before it counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def check_sets(what: str, samples: Sequence[Any], **real: Sequence[Any] | None) -> None:
    """Raise ValueError without samples, or for a set of real ones that is given and empty.

    Args:
        what: samples are, in the plural.
        samples: to be judged.
        real: sets by name, such as reference=..., training_set=...; None is not given.
    """
    if not len(samples):
        raise ValueError(f"there are no {what} to evaluate; pass at least one (None stands for an invalid one)")
    for name, given in real.items():
        if given is not None and not len(given):
            raise ValueError(f"the {name.replace('_', ' ')} is empty; pass real {what} or None")


def check_labels(what: str, labels: Mapping[str, tuple[Sequence[int] | None, Sequence[Any] | None]]) -> None:
    """Raise ValueError where labels are not one for each: {"labels": (numbers, samples), ...}."""
    for name, (numbers, of) in labels.items():
        count = 0 if of is None else len(of)
        if numbers is not None and len(numbers) != count:
            raise ValueError(f"{len(numbers)} {name} for {count} {what}; give one each, -1 for none")
