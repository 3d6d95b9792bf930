"""log N(gap; 0, c A V A^T + noise) of measured numbers, and the system behind it solved: explicit or by Lanczos."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from guidekit.core.random import keyed_generator

EXPLICIT = 16
"""Measured numbers up to which the system is written out."""

ROUNDS = 30
"""Steps of Lanczos for systems that cost no network call."""

CLOSE = 1e-7
"""Share of the first vector's length below which a direction of Lanczos is rounding."""

Image = Callable[[Tensor], Tensor]
"""v (B, *M) -> A V A^T v, symmetric and nearly positive semidefinite; rows do not mix."""


@dataclass(frozen=True)
class Evidence:
    """Of every row.

    Args:
        value: log N(gap; 0, c A V A^T + noise), (B,) float64, nats.
        solved: (c A V A^T + noise)^-1 gap, (B, *M), in the precision of the gap.
        trace: of c A V A^T, (B,) float64.
        moved: V A^T solved, (B, *S), where it has cost nothing; None elsewhere.
    """

    value: Tensor
    solved: Tensor
    trace: Tensor
    moved: Tensor | None = None


def evidence(
    gap: Tensor, image: Image, variance: Tensor, scale: Tensor | float = 1.0, steps: int = ROUNDS, shared: bool = False
) -> Evidence:
    """The evidence of gaps under the system scale * image + variance.

    Up to `EXPLICIT` numbers it is written out and exact. Above, Lanczos from the gap gives solution and quadratic form,
    and from one probe of signs, the same for all rows, the log-determinant: exact where the system is diagonal (masks,
    block means), close elsewhere. Eigenvalues of the image below 0, which those of a network's Jacobian can be, are 0.

    Args:
        gap: (B, *M).
        image: see `Image`; one call a measured number, or two a step.
        variance: of the noise, broadcasts against (B, *M), above 0, one number a row.
        scale: c, a number or (B,), at least 0.
        steps: of Lanczos.
        shared: the image is the same for all rows and takes any number of them.
    """
    rows, noise = len(gap), variance.double().flatten(1)[:, :1]
    c = torch.as_tensor(scale, dtype=torch.float64, device=gap.device).reshape(-1, 1)
    if gap[0].numel() <= EXPLICIT:
        return of_matrix(gap, written_out(image, gap[:1] if shared else gap), variance, scale)
    values, weights, solve = lanczos(image, gap, steps)
    spread = c * values + noise
    fit = gap.double().flatten(1).square().sum(1) * (weights / spread).sum(1)
    probe = signs(gap)
    places, shares, _ = lanczos(image, probe.expand_as(gap) if not shared else probe, steps)
    size = gap[0].numel()
    log_det = size * (shares * (c * places + noise).log()).sum(1)
    value = -0.5 * (fit + log_det + size * math.log(2 * math.pi))
    trace = (c * size * (shares * places).sum(1, keepdim=True)).flatten().expand(rows)
    return Evidence(value, solve(1 / spread).view_as(gap).to(gap.dtype), trace)


def of_matrix(gap: Tensor, matrix: Tensor, variance: Tensor, scale: Tensor | float = 1.0) -> Evidence:
    """The evidence under a system that is written out, scale * matrix + variance; matrix (B or 1, m, m) float64."""
    c = torch.as_tensor(scale, dtype=torch.float64, device=gap.device).reshape(-1, 1)
    values, vectors = torch.linalg.eigh(matrix)
    values = c * values.clamp_min(0.0)
    spread = values + variance.double().flatten(1)[:, :1]
    inside = (vectors.mT @ gap.double().flatten(1)[..., None])[..., 0]
    value = -0.5 * (inside.square() / spread + (2 * math.pi * spread).log()).sum(1)
    solved = (vectors @ (inside / spread)[..., None])[..., 0]
    return Evidence(value, solved.view_as(gap).to(gap.dtype), values.sum(1).expand(len(gap)))


def written_out(image: Image, like: Tensor) -> Tensor:
    """The matrix of an image, (B, m, m) float64, made symmetric; like (B, *M) says for which rows."""
    units = torch.eye(like[0].numel(), dtype=like.dtype, device=like.device).view(-1, *like.shape[1:])
    matrix = torch.stack([image(unit.expand_as(like)).flatten(1).double() for unit in units], 2)
    return 0.5 * (matrix + matrix.mT)


def signs(like: Tensor) -> Tensor:
    """A row of signs (1, *M), always the same ones: what a trace is probed by."""
    generator = keyed_generator("cpu", "signs", tuple(like.shape[1:]))
    drawn = torch.randint(0, 2, (1, *like.shape[1:]), generator=generator)
    return (2 * drawn - 1).to(like)


def lanczos(image: Image, start: Tensor, steps: int) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """What an image looks like from a vector, row by row.

    Args:
        image: see `Image`.
        start: (B, *M).
        steps: calls of the image; no more than there are numbers.

    Returns:
        eigenvalues (B, k), at least 0; their shares of the vector (B, k), which add up to 1; and a function that takes
        values f(eigenvalue) (B, k) to f(image) start (B, m). All float64.

    Source: Golub & Meurant 2010, "Matrices, Moments and Quadrature", chapter 3; vectors are made orthogonal twice.
    """
    length = start.double().flatten(1).norm(dim=1)
    first = start.double().flatten(1) / length.clamp_min(1e-300)[:, None]
    basis, steps = first[:, None], min(steps, start[0].numel())
    matrix = first.new_zeros(len(start), steps, steps)
    for k in range(steps):
        seen = image(basis[:, k].view_as(start).to(start.dtype)).double().flatten(1)
        matrix[:, k, k] = (basis[:, k] * seen).sum(1)
        if k == steps - 1:
            break
        size = seen.norm(dim=1)
        for _ in range(2):
            seen = seen - (basis.mT @ (basis @ seen[..., None]))[..., 0]
        left = seen.norm(dim=1)
        left = torch.where(left > CLOSE * size, left, 0.0)
        matrix[:, k, k + 1] = matrix[:, k + 1, k] = left
        more = torch.where(left[:, None] > 0, seen / left.clamp_min(1e-300)[:, None], 0.0)
        basis = torch.cat([basis, more[:, None]], 1)
    values, vectors = torch.linalg.eigh(matrix)

    def applied(f: Tensor) -> Tensor:
        inside = (vectors @ (f * vectors[:, 0])[..., None])[..., 0]
        return length[:, None] * (basis.mT @ inside[..., None])[..., 0]

    return values.clamp_min(0.0), vectors[:, 0].square(), applied


__all__ = ["EXPLICIT", "Evidence", "Image", "evidence", "of_matrix", "written_out"]
