"""Move what a source picture shows along a given field: a flow that is estimated, and colors that are kept."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor
from torch.nn import functional

from guidekit.core.objective import Number, Objective
from guidekit.core.prior import Prior
from guidekit.core.requirements import GuidanceError
from guidekit.objectives.gaussian import per_sample

Rows = tuple[Tensor | None, Tensor | None] | None


def affine_field(size: tuple[int, int], matrix: Tensor, shift: Tensor) -> Tensor:
    """F(p) = matrix (p - c) + shift + c - p, (2, H, W) in pixels, first down, then right; c is the middle.

    Args:
        size: (H, W).
        matrix: (2, 2), such as a rotation; the identity moves by the shift alone.
        shift: (2,).
    """
    height, width = size
    place = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")).to(matrix)
    middle = torch.tensor([(height - 1) / 2, (width - 1) / 2]).to(matrix)[:, None, None]
    moved = torch.einsum("ij,jhw->ihw", matrix, place - middle) + middle + shift.to(matrix)[:, None, None]
    return moved - place


def fetched(x: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
    """x at p + F(p), bilinear, (B, C, H, W), and where that is inside the picture, (B, H, W)."""
    height, width = x.shape[-2:]
    base = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")).to(x)
    place = (base + field.to(x)).expand(len(x), 2, height, width)
    size = torch.tensor([height - 1, width - 1]).to(x).clamp_min(1)[:, None, None]
    grid = (2 * place / size - 1).flip(1).permute(0, 2, 3, 1)  # grid_sample has the horizontal coordinate first
    inside = ((place >= 0) & (place <= size)).all(1)
    return functional.grid_sample(x, grid, align_corners=True, padding_mode="border"), inside


def residual_flow(source: Tensor, seen: Tensor, window: int = 5, firm: float = 1e-2) -> Tensor:
    """By how much what is seen still lies off the source, (B, 2, H, W) pixels: least squares in windows.

    In every window e minimizes sum (seen - source + grad(source) . e)^2 + firm |e|^2, which is linear in what is seen.

    Args:
        source, seen: (B, C, H, W).
        window: odd side, pixels.
        firm: squared units of the picture a pixel.

    Source: Lucas & Kanade 1981.
    """
    down, right = torch.gradient(source, dim=(-2, -1))
    gap = seen - source

    def pooled(a: Tensor, b: Tensor) -> Tensor:
        return functional.avg_pool2d((a * b).sum(1, keepdim=True), window, 1, window // 2)[:, 0]

    dd, dr, rr = pooled(down, down) + firm, pooled(down, right), pooled(right, right) + firm
    bd, br = -pooled(down, gap), -pooled(right, gap)
    determinant = dd * rr - dr * dr
    return torch.stack([rr * bd - dr * br, dd * br - dr * bd], 1) / determinant[:, None]


@dataclasses.dataclass(frozen=True, eq=False)
class Motion(Objective[Rows]):
    """-(flow mean_p |e(p)|_1 + color mean_p |source(p) - x_0(p + F(p))|_1): every p of the source moves to p + F(p).

    e is the flow that is left (`residual_flow`) once x_0 has been moved back along F; means are over pixels that stay
    inside the picture, and over those of the object where a mask says which they are. What is outside of it is not
    asked for: `Replacement` keeps it.

    Args:
        source: (1, C, H, W), or (P, C, H, W) for the P samples of a run.
        field: F in pixels, down and right, (2, H, W) or (P, 2, H, W); see `affine_field`.
        mask: 1 where the object is in the source, (H, W) or (P, H, W); None is everywhere.
        flow, color: weights, at least 0.

    Raises:
        ValueError: shapes that do not fit, or weights below 0.

    Source: Geng & Owens 2024, arXiv:2401.18085 (motion guidance), with the target field in the color term and a flow
    about it in closed form in place of a network's.
    """

    source: Tensor
    field: Tensor
    mask: Tensor | None = None
    flow: float = 3.0
    color: float = 100.0
    differentiable = True
    floor = None
    unit = "weighted pixels and colors"
    temperature = 1.0

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit, and weights that are none."""
        if self.source.ndim != 4 or self.field.shape[-3:] != (2, *self.source.shape[-2:]):
            raise ValueError(
                f"source {tuple(self.source.shape)} and field {tuple(self.field.shape)}: (n, C, H, W) and (2, H, W) fit"
            )
        if self.mask is not None and self.mask.shape[-2:] != self.source.shape[-2:]:
            raise ValueError(f"mask {tuple(self.mask.shape)}; (H, W) of the source is expected")
        if not all(0 <= weight < math.inf for weight in (self.flow, self.color)):
            raise ValueError(f"flow={self.flow}, color={self.color}; weights of at least 0 are expected")

    def rows(self, samples: int) -> Rows:
        """See `Objective.rows`: source with its mask, and field, where they are one per sample."""
        mask, count = self._mask, max(len(self.source), len(self._mask))
        both = torch.cat([one.to(self.source).expand(count, -1, -1, -1) for one in (self.source, mask)], 1)
        field = None if self.field.ndim == 3 else per_sample("the field", self.field, samples)
        held = (per_sample("the source", both, samples), field)
        return None if held == (None, None) else held

    @property
    def _mask(self) -> Tensor:
        """(n, 1, H, W)."""
        if self.mask is None:
            return torch.ones(1, 1, *self.source.shape[-2:])
        return self.mask.reshape(-1, 1, *self.mask.shape[-2:])

    def check(self, prior: Prior) -> None:
        """See `Objective.check`: pictures as the source."""
        if tuple(prior.event_shape) != tuple(self.source.shape[1:]):
            raise GuidanceError(
                f"{self.name}: the source is {tuple(self.source.shape[1:])}, and states of this prior ({prior.name}) "
                f"are {tuple(prior.event_shape)}"
            )

    def scores(self, states: Tensor, t: Number, rows: Rows) -> Tensor:
        """See the class, (B,)."""
        held, field = rows if rows is not None else (None, None)
        source = (self.source if held is None else held[:, :-1]).to(states).expand_as(states)
        mask = (self._mask if held is None else held[:, -1:]).to(states)[:, 0]
        seen, inside = fetched(states, self.field if field is None else field)
        weight = mask * inside
        weight = weight / weight.sum((1, 2), keepdim=True).clamp_min(1)
        off = residual_flow(source, seen).abs().sum(1)
        gap = (source - seen).abs().mean(1)
        return -(weight * (self.flow * off + self.color * gap)).sum((1, 2))
