"""Classes of samples: the label named "class" of a prior, and the class that a user names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guidekit.core.prior import Prior
from guidekit.errors import UnknownNameError


def class_names(prior: Prior) -> tuple[str, ...]:
    """The classes a prior was trained with, in the order of their numbers; none for one without."""
    return next((tuple(label.values) for label in getattr(prior, "labels", ()) if label.name == "class"), ())


def class_number(label: str | int, classes: Sequence[str], what: str) -> int:
    """The number of a class given by name or number; "Ankle boot" is ankle_boot where there is no other.

    Args:
        label: name or number.
        classes: names in the order of their numbers.
        what: for messages, such as "class of emoji".

    Raises:
        UnknownNameError: no class of that name.
        ValueError: a number out of range.
    """
    if isinstance(label, int) and not isinstance(label, bool):
        if not 0 <= label < len(classes):
            known = f"0 ({classes[0]}) to {len(classes) - 1} exist" if classes else "there are none"
            raise ValueError(f"{what}: {label} is out of range; {known}")
        return label
    for name in (str(label), str(label).strip().lower().replace(" ", "_")):
        if name in classes:
            return list(classes).index(name)
    raise UnknownNameError(what, str(label), classes)


def condition_class(condition: Any, classes: Sequence[str]) -> int | None:
    """The number of the one class that a condition names, as users write it; None where it names none, or another.

    Args:
        condition: of a run: a name, a number, a mapping with the key "class", or a list of these that all name one.
        classes: names in the order of their numbers.
    """
    if isinstance(condition, Sequence) and not isinstance(condition, str):
        numbers = {condition_class(one, classes) for one in condition}
        return numbers.pop() if len(numbers) == 1 else None
    named = condition.get("class") if isinstance(condition, Mapping) else condition
    if isinstance(named, str) and named in classes:
        return list(classes).index(named)
    whole = isinstance(named, int) and not isinstance(named, bool) and 0 <= named < len(classes)
    return named if whole else None


def condition_classes(condition: Any, classes: Sequence[str], samples: int) -> list[int | None]:
    """The numbers of the classes that samples were made for: one condition of all, or a list with one a sample."""
    if isinstance(condition, Sequence) and not isinstance(condition, str) and len(condition) == samples:
        return [condition_class(one, classes) for one in condition]
    return [condition_class(condition, classes)] * samples
