"""What a network over real-valued states predicts, and how it becomes a posterior mean: x = a x_0 + s eps.

Conversion happens once, at the edge (`NeuralGaussian`); guidance sees posterior means only.

| name | output |
|---|---|
| x0 | E[x_0 | x] |
| eps | E[eps | x] |
| score | gradient of log p_t(x) = -eps / s |
| v | a eps - s x_0 (Salimans & Ho 2022, arXiv:2202.00512, where a^2 + s^2 = 1; the same formula elsewhere) |
| flow | eps - x_0, the velocity of rectified flow |
| edm | F with x_0 = c_skip x / a + c_out F, of unit size at all levels (arXiv:2206.00364, table 1) |
"""

from __future__ import annotations

import torch
from torch import Tensor

from guidekit.core.state import column
from guidekit.errors import UnknownNameError

Number = float | Tensor
LEAST_LEVEL, MOST_LEVEL = -7.0, 7.0
"""Range of log(s / a) that networks are told apart."""


def to_mean(kind: str, output: Tensor, x: Tensor, a: Number, s: Number, sigma_data: float = 0.5) -> Tensor:
    """E[x_0 | x], (B, *S), from a network's output (B, *S) at x (B, *S); a and s are numbers or (B,).

    Raises:
        UnknownNameError: no parametrisation of that name.
    """
    skip, out = _coefficients(kind, a, s, sigma_data)
    return column(skip, x) * x + column(out, x) * output


def from_mean(kind: str, mean: Tensor, x: Tensor, a: Number, s: Number, sigma_data: float = 0.5) -> Tensor:
    """The output (B, *S) that stands for a posterior mean (B, *S): the inverse of `to_mean`, for s > 0."""
    skip, out = _coefficients(kind, a, s, sigma_data)
    return (mean - column(skip, x) * x) / column(out, x)


def noise_level(a: Number, s: Number) -> Tensor:
    """What networks are told, in [0, 1]: log(s / a) over [-7, 7], cut off outside."""
    a, s = (torch.as_tensor(v, dtype=torch.float32) for v in (a, s))
    log = s.clamp_min(1e-30).log() - a.clamp_min(1e-30).log()
    return ((log - LEAST_LEVEL) / (MOST_LEVEL - LEAST_LEVEL)).clamp(0, 1)


def input_scale(a: Number, s: Number, sigma_data: float = 0.5) -> Number:
    """1 / std of x for data of standard deviation sigma_data: networks see inputs of unit size."""
    return 1 / (a * a * sigma_data**2 + s * s) ** 0.5


def loss_weight(kind: str, a: Number, s: Number, sigma_data: float = 0.5) -> Number:
    """Factor of the squared error of the posterior mean that makes it the squared error of the output."""
    return _coefficients(kind, a, s, sigma_data)[1] ** -2


def _coefficients(kind: str, a: Number, s: Number, sigma_data: float) -> tuple[Number, Number]:
    """(c, d) with x_0 = c x + d output."""
    if kind == "x0":
        return 0.0 * s, 1.0 + 0.0 * s
    if kind == "eps":
        return 1 / a, -s / a
    if kind == "score":
        return 1 / a, s * s / a
    if kind == "v":
        size = a * a + s * s
        return a / size, -s / size
    if kind == "flow":
        return 1 / (a + s), -s / (a + s)
    if kind == "edm":  # with sigma = s / a and x / a in place of x
        size = (a * a * sigma_data**2 + s * s) ** 0.5
        return a * sigma_data**2 / size**2, s * sigma_data / size
    raise UnknownNameError("parametrisation", kind, PARAMETRIZATIONS)


PARAMETRIZATIONS = ("x0", "eps", "score", "v", "flow", "edm")
"""Names of all parametrisations."""

__all__ = ["PARAMETRIZATIONS", "from_mean", "input_scale", "loss_weight", "noise_level", "to_mean"]
