"""Guidance by a measurement that nobody knows: learned from a few pairs, forward and back."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Layer
from guidekit.core.prediction import Prediction
from guidekit.core.question import Denoise, Question
from guidekit.guidance.inverse.measurement import Measured, held, measurement
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.objectives.operators.base import Linear
from guidekit.registry import register


@register("guidance", "learned_operator")
@dataclasses.dataclass(frozen=True, eq=False)
class LearnedOperator(Measured[None]):
    """E[x_0 | x_t] moves by strength (B y' - B A E[x_0 | x_t]), with A and its inverse B both learned, or known.

    B A need not be a projection, as that of a known operator's pseudo-inverse is, so a strength below 1 keeps errors of
    the pair from adding up. The measurement is made consistent with the pair first, y' = A B y, unless told not to.
    With a known linear A, its pseudo-inverse and strength 1 it is DDNM. Changes the estimate alone: any sampler.

    Args:
        likelihood: of a measurement whose operator has a `pinv`, such as one of `fit_operator`.
        strength: alpha, at least 0; 0 is no guidance. .3 as published, with 100 steps; 1 for a pair fitted in closed
            form.
        perturbed: whether y is replaced by A B y.

    Raises:
        ValueError: a strength below 0.

    Source: Lu et al. 2025, arXiv:2501.08819 (DADiff), section 3; the networks there are convolutional.
    """

    likelihood: GaussianLikelihood
    strength: float = 0.3
    perturbed: bool = True
    layer = Layer.ESTIMATE
    requires = frozenset({Fact.FLOW, Fact.WHOLE, Fact.PSEUDO_INVERSE})

    def __post_init__(self) -> None:
        """Check the strength."""
        if not self.strength >= 0:
            raise ValueError(f"strength must be at least 0, got {self.strength}")

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`."""
        prediction = inner(question)
        x = question.x
        measured = measurement(self.likelihood, x, held(question.population, self.likelihood, question.rows))
        forward, back = measured.forward, measured.operator.pinv
        y = forward(back(measured.y).reshape(-1, *x.shape[1:])) if self.perturbed else measured.y

        def move(support: object, mean: Tensor) -> Tensor:
            gap = back(y).reshape(-1, *x.shape[1:]) - back(forward(mean)).reshape(mean.shape)
            return mean + self.strength * gap

        return prediction.map(move)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedOperator(Linear):
    """A kernel, moved by `stride`, and a linear way back, both fitted to pairs; made by `fit_operator`.

    Args:
        kernel: (k,) * d, of odd size, the same in all channels; edges are replicated.
        restorer: (D, m), states from measurements, flattened.
        offset: mean state and mean measurement, (D,) and (m,).
        stride: of the measurement.
        shape: S = (channels, *grid) with d axes.
    """

    kernel: Tensor
    restorer: Tensor
    offset: tuple[Tensor, Tensor]
    stride: int
    shape: tuple[int, ...]

    def forward(self, x: Tensor) -> Tensor:
        """The kernel over states (B, C, *grid), (B, C, *grid / stride)."""
        return blurred(x, self.kernel, self.stride)

    def pinv(self, y: Tensor) -> Tensor:
        """The way back of measurements (B, *M), (B, *S)."""
        states, measurements = self.offset
        found = (y.flatten(1) - measurements.to(y)) @ self.restorer.to(y).T + states.to(y)
        return found.view(len(y), *self.shape)


def blurred(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    """A kernel over states (B, C, *grid) with replicated edges, every `stride`-th answer."""
    axes, half = kernel.ndim, kernel.shape[0] // 2
    convolve = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)[axes - 1]
    flat = x.flatten(0, 1).unsqueeze(1)
    padded = torch.nn.functional.pad(flat, (half,) * (2 * axes), mode="replicate")
    found = convolve(padded, kernel.to(x)[None, None], stride=stride)
    return found.view(*x.shape[:2], *found.shape[2:])


@register("tool", "fit_operator")
def fit_operator(
    states: Tensor,
    measured: Tensor,
    clean: Tensor | None = None,
    size: int = 7,
    ridge: float = 1e-3,
    noise: float = 0.05,
) -> FittedOperator:
    """The blur and downsampling that best explain pairs, by least squares, and the best linear way back.

    Args:
        states: clean ones of the pairs, (n, C, *grid).
        measured: what was measured of each, (n, C, *grid / stride).
        clean: more states, whose covariance the way back relies on; None is those of the pairs.
        size: of the kernel along each axis, odd.
        ridge: of the least squares, beside the mean square of the states.
        noise: standard deviation that the way back allows for, beside that of the measurements.

    Raises:
        ValueError: an even size, or measurements that are no whole fraction of the grid.
    """
    grid, seen = states.shape[2:], measured.shape[2:]
    stride = grid[0] // seen[0]
    if size % 2 == 0:
        raise ValueError(f"size of the kernel must be odd, got {size}")
    if any(one != -(-whole // stride) for whole, one in zip(grid, seen, strict=True)):
        raise ValueError(f"measurements have a grid {tuple(seen)} where states have {tuple(grid)}: no whole fraction")
    kernel = fit_kernel(states.double(), measured.double(), stride, size, ridge)
    return way_back(kernel, stride, states if clean is None else clean, noise)


def fit_kernel(states: Tensor, measured: Tensor, stride: int, size: int, ridge: float) -> Tensor:
    """The kernel (size,) * d whose answers on the states are nearest to what was measured, float64."""
    axes = states.ndim - 2
    eye = torch.eye(size**axes, dtype=torch.float64).view(-1, *(size,) * axes)
    columns = torch.stack([blurred(states, one, stride).flatten() for one in eye], 1)
    gram = columns.T @ columns
    gram = gram + ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    return torch.linalg.solve(gram, columns.T @ measured.flatten()).view(*(size,) * axes)


def way_back(kernel: Tensor, stride: int, clean: Tensor, noise: float = 0.05) -> FittedOperator:
    """A kernel with the best linear way back for the mean and the covariance of clean states.

    Args:
        kernel: of odd size along each axis, learned or known.
        stride: of the measurement.
        clean: states (n, C, *grid).
        noise: see `fit_operator`.
    """
    known = clean.double()
    flat, seen = known.flatten(1), blurred(known, kernel, stride).flatten(1)
    offset = flat.mean(0), seen.mean(0)
    flat, seen = flat - offset[0], seen - offset[1]
    spread = seen.T @ seen / len(flat)
    level = (noise**2) * spread.diagonal().mean()
    spread = spread + level * torch.eye(len(spread), dtype=torch.float64)
    restorer = torch.linalg.solve(spread, seen.T @ flat / len(flat)).T
    return FittedOperator(kernel, restorer, offset, stride, tuple(clean.shape[1:]))


__all__ = ["FittedOperator", "LearnedOperator", "blurred", "fit_kernel", "fit_operator", "way_back"]
