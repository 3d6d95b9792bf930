"""Labels: what the condition of a token prior may name, and how users write one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.errors import UnknownNameError


@dataclasses.dataclass(frozen=True)
class Label:
    """One label of a conditional prior.

    Args:
        name: such as "species".
        values: names of its values in the order of their numbers.
        thresholds: of the quantity the label was cut from, where it was.
        aliases: other names of values, and their numbers.
    """

    name: str
    values: Sequence[str]
    thresholds: Sequence[float] = ()
    aliases: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def number(self, value: Any) -> int:
        """The number of a value given by name or number; None or -1 is "not given".

        Raises:
            UnknownNameError: no value of that name.
            ValueError: a number out of range.
        """
        if value is None:
            return -1
        if isinstance(value, str) and value in self.values:
            return list(self.values).index(value)
        if isinstance(value, str) and value in self.aliases:
            return self.aliases[value]
        if isinstance(value, int) and not isinstance(value, bool):
            if -1 <= value < len(self.values):
                return value
            choices = ", ".join(f"{i} ({v})" for i, v in enumerate(self.values))
            raise ValueError(f"label {self.name}={value} is out of range; accepted: {choices}, or -1 for not given")
        raise UnknownNameError(f"value of label {self.name}", str(value), self.values)


def several(condition: Any, labels: Sequence[Label]) -> list[Any] | None:
    """The conditions of a list, one a sample and then from the first again; None for what is one condition.

    With one label or none every list is one of conditions. With more, a plain list is one condition, its values in the
    order of the labels; then a list of conditions is one of lists or mappings.
    """
    if isinstance(condition, str) or not isinstance(condition, Sequence):
        return None
    nested = any(isinstance(one, Mapping) or _is_list(one) for one in condition)
    return list(condition) if nested or len(labels) <= 1 else None


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def label_rows(value: Any, labels: Sequence[Label]) -> Tensor:
    """A condition as label numbers (rows, K) int64, -1 where a label is not given.

    Args:
        value: one value (with a single label), a mapping from label names to values, a list of values in the order of
            several `labels`, a list of any of these (see `several`), or a tensor (rows,) or (rows, K) of numbers.
        labels: of the prior.

    Raises:
        UnknownNameError, ValueError: an unknown label or value; see `Label.number`.
    """
    if isinstance(value, Tensor):
        rows = value.reshape(-1, len(labels)) if value.ndim != 1 or len(labels) == 1 else value[None]
        for k, label in enumerate(labels):
            for number in rows[:, k].unique().tolist():
                label.number(int(number))
        return rows.long()
    conditions = several(value, labels)
    if conditions is not None:
        if not conditions:
            raise ValueError("condition is an empty list; give a condition, or leave condition= out")
        deep = [one for one in conditions if several(one, labels) is not None]
        if deep:
            raise ValueError(
                f"condition {deep[0]!r} stands in a list of conditions, and is a list of conditions itself"
            )
        return torch.cat([label_rows(one, labels) for one in conditions])
    if isinstance(value, Mapping):
        for name in value:
            if name not in [label.name for label in labels]:
                raise UnknownNameError("label", str(name), [label.name for label in labels])
        numbers = [label.number(value.get(label.name)) for label in labels]
    elif isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != len(labels):
            raise ValueError(
                f"condition has {len(value)} values; this prior has {len(labels)} labels, and several conditions are a "
                "list of lists or of {name: value}"
            )
        numbers = [label.number(v) for label, v in zip(labels, value, strict=True)]
    elif len(labels) == 1:
        numbers = [labels[0].number(value)]
    else:
        names = ", ".join(label.name for label in labels)
        raise ValueError(f"condition {value!r} is ambiguous: this prior has the labels {names}; write {{name: value}}")
    return torch.tensor([numbers])


def class_numbers(value: Any, count: int, prior: str) -> Tensor | None:
    """A condition as class numbers (rows,) int64 of a prior with `count` classes; -1 is the prior without condition.

    Raises:
        ValueError: what is no number of a class.
    """
    if value is None:
        return None
    try:
        numbers = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        numbers = None
    accepted = f"0 to {count - 1}, or -1 for none, one number or one a sample"
    if numbers is None or numbers.is_floating_point() or numbers.is_complex() or numbers.ndim > 1:
        raise ValueError(f"condition {value!r} is no class of this prior ({prior}); accepted: {accepted}")
    if ((numbers < -1) | (numbers >= count)).any():
        wrong = numbers[(numbers < -1) | (numbers >= count)].flatten()[0]
        raise ValueError(f"condition {int(wrong)} is no class of this prior ({prior}); accepted: {accepted}")
    return numbers.long().reshape(-1)
