"""Shapes of states (C, *space): what operators check where they are made."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def space(shape: Sequence[int], axes: Sequence[int], who: str) -> tuple[int, ...]:
    """The sizes in space of states (C, *space).

    Args:
        shape: of one state without the batch.
        axes: numbers of axes in space that are taken.
        who: for messages.

    Raises:
        ValueError: another number of axes, or one without entries.
    """
    if len(shape) - 1 not in axes or min(shape, default=0) < 1:
        wanted = " or ".join({1: "(C, T)", 2: "(C, H, W)", 3: "(C, D, H, W)"}[one] for one in axes)
        raise ValueError(f"{who} is of states {wanted}; these are {tuple(shape)}")
    return tuple(shape[1:])


def fits(x: Tensor, shape: Sequence[int], who: str, what: str = "states") -> Tensor:
    """x (B, *shape) as it is.

    Raises:
        ValueError: another shape.
    """
    if tuple(x.shape[1:]) != tuple(shape):
        raise ValueError(f"{who} is of {what} {tuple(shape)}; it was given {tuple(x.shape[1:])}")
    return x


def share(value: float, name: str) -> float:
    """A share above 0 and below 1.

    Raises:
        ValueError: another number.
    """
    if not isinstance(value, int | float) or not 0 < value < 1:
        raise ValueError(f"{name}={value}; a share above 0 and below 1 is expected")
    return float(value)
