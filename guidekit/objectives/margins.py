"""Satisfy a decoder with a margin: what is read correctly is left alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.core.objective import Number, Objective
from guidekit.objectives.gaussian import per_sample


def shortfall(values: Tensor, wanted: Tensor, margin: float) -> Tensor:
    """By how much values lack a margin on the wanted side of 0, at least 0; the shape of values.

    Args:
        values: real numbers; a decoder reads 1 where they are above 0.
        wanted: bits, a shape that broadcasts.
        margin: at least 0, in the unit of the values.
    """
    return (margin - torch.where(wanted.bool(), values, -values)).clamp_min(0)


@dataclasses.dataclass(frozen=True, eq=False)
class Margin(Objective[Tensor | None]):
    """-mean_i max(0, margin - (+-) value_i(x_0)), + where bit i is wanted to be 1: 0 once all are read with the margin.

    Bits that have their margin have no gradient. A watermark, a barcode, or constraints that are met where a number is
    positive.

    Args:
        values: states (B, *S) -> (B, n) real numbers, whose signs are the bits; differentiable.
        wanted: bits, (n,), or (P, n) for the P samples of a run.
        margin: in the unit of the values, at least 0.

    Raises:
        ValueError: a margin below 0, or bits that are none.

    Source: the hinge of Liao et al. 2024, arXiv:2409.06355 (DiffQRCoder), for any decoder.
    """

    values: Callable[[Tensor], Tensor]
    wanted: Tensor
    margin: float = 0.1
    differentiable = True
    floor = None
    unit = "of the decoder's values"
    temperature = 0.01

    def __post_init__(self) -> None:
        """Refuse margins below 0 and what are no bits."""
        if not 0 <= self.margin < math.inf:
            raise ValueError(f"margin={self.margin}; a finite number of at least 0 is expected")
        if self.wanted.ndim not in (1, 2) or not bool(((self.wanted == 0) | (self.wanted == 1)).all()):
            raise ValueError(f"wanted are bits 0 or 1, (n,) or (samples, n), got {tuple(self.wanted.shape)}")

    def rows(self, samples: int) -> Tensor | None:
        """See `Objective.rows`: bits where they are one row per sample."""
        return None if self.wanted.ndim == 1 else per_sample("the bits", self.wanted, samples)

    def scores(self, states: Tensor, t: Number, rows: Tensor | None) -> Tensor:
        """See the class, (B,)."""
        found = self.values(states)
        wanted = (self.wanted if rows is None else rows).to(found.device)
        if found.shape[1:] != wanted.shape[-1:]:
            raise ValueError(
                f"the decoder gives {tuple(found.shape[1:])} values a state, {wanted.shape[-1]} are wanted"
            )
        return -shortfall(found, wanted, self.margin).mean(1)
