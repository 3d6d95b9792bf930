"""Fields in their own unit as states: float32 arrays (H, W) <-> tensors (B, 1, H, W) of about unit size."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guidekit.core.units import Units


class FieldError(ValueError):
    """An array is no field of the expected kind; the message says what it is and what was expected."""


def check(field: Any, size: Sequence[int] | None = None, what: str = "field") -> np.ndarray:
    """The field as (H, W) float32.

    Args:
        field: real or whole numbers, (H, W) or (1, H, W).
        size: (H, W) it must have; None takes any.
        what: how messages call it.

    Raises:
        FieldError: other numbers, another shape, or numbers that are not finite.
    """
    array = np.asarray(field)
    if array.dtype.kind not in "iuf":
        raise FieldError(f"{what} has numbers of type {array.dtype}; real or whole ones are expected")
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    if array.ndim != 2 or array.size == 0 or (size is not None and array.shape != tuple(size)):
        wanted = "(H, W)" if size is None else f"({size[0]}, {size[1]})"
        raise FieldError(f"{what} has shape {array.shape}; {wanted} is expected: cut or resample it")
    array = array.astype(np.float32)
    missing = int((~np.isfinite(array)).sum())
    if missing:
        raise FieldError(f"{what} has {missing} numbers that are not finite; tasks with a mask fill gaps in")
    return array


@dataclasses.dataclass(frozen=True)
class FieldCodec:
    """The codec of a prior of fields.

    Args:
        shape: (1, H, W) of its states.
        units: value = scale * state + shift.
    """

    shape: tuple[int, int, int]
    units: Units

    @property
    def language(self) -> str:
        """What a state's numbers are."""
        units = self.units
        return f"fields {'x'.join(map(str, self.shape))}, {units.name}, {units.scale:g} a state and {units.shift:g}"

    def encode(self, objects: Sequence[Any]) -> Tensor:
        """States (B, 1, H, W) float32 of fields.

        Raises:
            FieldError: a field that does not fit, or none at all.
        """
        if not len(objects):
            raise FieldError("there are no fields; pass at least one")
        arrays = np.stack([check(one, self.shape[1:], f"field {i}") for i, one in enumerate(objects)])
        return self.units.states(torch.from_numpy(arrays)[:, None])

    def decode(self, states: Tensor) -> list[np.ndarray | None]:
        """Fields (H, W) float32 in the unit; None where one is not finite.

        Raises:
            FieldError: states of another shape, or of whole numbers.
        """
        if states.ndim != 4 or tuple(states.shape[1:]) != self.shape or not states.is_floating_point():
            wanted = ", ".join(map(str, self.shape))
            raise FieldError(
                f"states have shape {tuple(states.shape)} and type {states.dtype}; (B, {wanted}) of real numbers is "
                "expected"
            )
        numbers = self.units.values(states.detach().float()).cpu()
        finite = numbers.flatten(1).isfinite().all(1).tolist()
        return [one[0].numpy().copy() if good else None for one, good in zip(numbers, finite, strict=True)]
