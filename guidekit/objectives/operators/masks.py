"""Measurements of some entries of a state: masks, boxes, missing traces."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from guidekit.objectives.operators.base import Projection, Spectrum
from guidekit.objectives.operators.shapes import share, space


@dataclasses.dataclass(frozen=True)
class Keep(Projection):
    """A x = m x, with m 1 where something is known and 0 where not.

    Args:
        mask: bool, broadcasts against states (B, *S); True is known.

    Raises:
        ValueError: a mask of other numbers than 0 and 1.
    """

    mask: Tensor

    def __post_init__(self) -> None:
        """Refuse what is no mask."""
        if not bool(((self.mask == 0) | (self.mask == 1)).all()):
            raise ValueError(f"a mask has 1 where something is known and 0 where not; this one is {self.mask.dtype}")

    def forward(self, x: Tensor) -> Tensor:
        """What is kept of x (B, *S)."""
        return x * self.mask.to(x)

    @property
    def svd(self) -> Spectrum:
        """V is the identity."""
        return Spectrum(self.mask.double(), _same, _same, self.forward)


def _same(x: Tensor) -> Tensor:
    return x


def random_pixels(shape: Sequence[int], missing: float = 0.7, seed: int = 0) -> Tensor:
    """Which places in space (1, *space) are known; the others, drawn once, are missing in all channels.

    Args:
        shape: of a state (C, *space).
        missing: share of places, rounded to whole ones.
        seed: of the draw.
    """
    sizes = space(shape, (1, 2, 3), "a mask of pixels")
    count = torch.Size(sizes).numel()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    known = torch.ones(count, dtype=torch.bool)
    known[order[: round(share(missing, "missing") * count)]] = False
    return known.reshape(1, *sizes)


def outside_box(shape: Sequence[int], size: float = 0.5, at: Sequence[float] | None = None) -> Tensor:
    """Known is what lies outside of a box, (1, *space).

    Args:
        shape: of a state (C, *space).
        size: side of the box as a share of every axis.
        at: its middle, as shares of the axes; None is the middle of the state.

    Raises:
        ValueError: a share out of range, or a box that reaches beyond the border.
    """
    sizes = space(shape, (1, 2, 3), "a box")
    middle = (0.5,) * len(sizes) if at is None else tuple(at)
    side = share(size, "the side of the box")
    if len(middle) != len(sizes) or any(not side / 2 <= one <= 1 - side / 2 for one in middle):
        raise ValueError(f"a box of side {side} around {middle} does not lie within states {tuple(shape)}")
    hidden = torch.ones(1, *sizes, dtype=torch.bool)
    for axis, (n, one) in enumerate(zip(sizes, middle, strict=True)):
        width = max(1, round(side * n))
        first = min(max(0, round(one * n - width / 2)), n - width)
        inside = (torch.arange(n) >= first) & (torch.arange(n) < first + width)
        hidden = hidden & inside.reshape([-1 if i == axis + 1 else 1 for i in range(len(shape))])
    return ~hidden


def traces(
    shape: Sequence[int], missing: float = 0.5, every: int | None = None, axis: int = -1, seed: int = 0
) -> Tensor:
    """Which slices along an axis are known (traces of a survey, columns of a picture, samples of a series).

    Args:
        shape: of a state (C, *space).
        missing: share of slices, drawn once; the first and the last one are known.
        every: one in so many is known instead, from the first.
        axis: in space; -1 is the last.
        seed: of the draw.

    Returns:
        bool, of size 1 but for the axis.

    Raises:
        ValueError: an axis that is none, or a number out of range.
    """
    sizes = space(shape, (1, 2, 3), "missing traces")
    if not -len(sizes) <= axis < len(sizes):
        raise ValueError(f"axis={axis}; states {tuple(shape)} have {len(sizes)} axes in space, -1 is the last")
    n, place = sizes[axis], axis % len(sizes) + 1
    known = torch.ones(n, dtype=torch.bool)
    if every is not None:
        if not isinstance(every, int) or not 2 <= every < n:
            raise ValueError(f"every={every}; a whole number from 2 to {n - 1} is expected of {n} traces")
        known = torch.arange(n) % every == 0
    else:
        gone = min(round(share(missing, "missing") * n), n - 2)
        known[1 + torch.randperm(n - 2, generator=torch.Generator().manual_seed(seed))[:gone]] = False
    return known.reshape([-1 if i == place else 1 for i in range(len(shape))])
