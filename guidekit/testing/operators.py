"""What every measurement operator must do, by what it says that it offers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.requirements import Fact


def uniform(*shape: int, seed: int = 0) -> Tensor:
    """Numbers from 0.05 to 0.95, float64."""
    return 0.05 + 0.9 * torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def check_operator(
    operator: Any,
    shape: Sequence[int],
    states: Callable[..., Tensor] = uniform,
    tolerance: float = 1e-6,
    slopes: float = 1e-5,
) -> None:
    """Run the contract of an operator in float64.

    Rows do not mix; a linear one is linear and its adjoint, pseudo-inverse and singular values are what they say; a
    differentiable one has the slopes of finite differences; noise stays where something is measured.

    Args:
        operator: see `guidekit.objectives.operators.Operator`.
        shape: S, of one state without the batch.
        states: (B, *S, seed=) -> states that it takes, float64.
        tolerance: relative error of all identities.
        slopes: relative error of slopes.

    Raises:
        AssertionError: with a sentence on the broken property.
    """
    name = type(operator).__name__
    x, z = states(2, *shape, seed=1), states(2, *shape, seed=2)
    y = operator.forward(x)
    assert len(y) == 2, f"{name} gave measurements {tuple(y.shape)} of 2 states; they are batch first"
    singles = torch.cat([operator.forward(x[i : i + 1]) for i in (0, 1)])
    _close(y, singles, f"{name}: two states at once are not measured like each of them", tolerance)
    _close(
        operator.within(operator.within(z_like(y))),
        operator.within(z_like(y)),
        f"{name}: within is no projection",
        1e-9,
    )
    if operator.linear:
        _linear(operator, name, x, z, y, tolerance)
    if operator.differentiable:
        _slopes(operator, name, x[:1], slopes)


def z_like(y: Tensor) -> Tensor:
    """Normal numbers of the shape of measurements."""
    return torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=y.dtype)


def _linear(operator: Any, name: str, x: Tensor, z: Tensor, y: Tensor, tolerance: float) -> None:
    both = operator.forward(2 * x - 3 * z)
    _close(both, 2 * y - 3 * operator.forward(z), f"{name} says that it is linear and is not", tolerance)
    if Fact.ADJOINT in operator.provides:
        v = z_like(y)
        left, right = (y * v).flatten(1).sum(1), (x * operator.adjoint(v)).flatten(1).sum(1)
        scale = y.flatten(1).norm(dim=1) * v.flatten(1).norm(dim=1)
        assert bool(((left - right).abs() <= tolerance * scale).all()), f"{name}: <A x, v> is not <x, A^T v>"
    if Fact.PSEUDO_INVERSE in operator.provides:
        found = operator.pinv(y)
        _close(operator.forward(found), y, f"{name}: A A+ A is not A", tolerance)
        v = z_like(y)
        once = operator.pinv(v)
        _close(operator.pinv(operator.forward(once)), once, f"{name}: A+ A A+ is not A+", tolerance)
        left = (found * z).flatten(1).sum(1)  # A+ A is symmetric
        right = (x * operator.pinv(operator.forward(z))).flatten(1).sum(1)
        assert bool(((left - right).abs() <= tolerance * x.norm() * z.norm()).all()), f"{name}: A+ A is not symmetric"
    if Fact.SVD in operator.provides:
        svd = operator.svd
        c = svd.analyze(x)
        assert c[0].numel() == x[0].numel(), (
            f"{name}: V has {c[0].numel()} columns for states of {x[0].numel()} entries"
        )
        _close(svd.synthesize(c), x, f"{name}: V V^T is not the identity", tolerance)
        _close(c.flatten(1).abs().norm(dim=1), x.flatten(1).norm(dim=1), f"{name}: V is not orthonormal", tolerance)
        assert bool((svd.values >= 0).all()), f"{name}: singular values below 0"
        _close(svd.measured(y), svd.values.to(c) * c, f"{name}: U^T A x is not diag(values) V^T x", tolerance)
        cut = svd.values > 1e-3 * svd.values.max()  # where the size of an entry still says something
        coefficients = torch.randn(c.shape, generator=torch.Generator().manual_seed(4), dtype=c.dtype) * cut.to(c)
        given = operator.forward(svd.synthesize(coefficients)).flatten(1).norm(dim=1)
        _close(
            given, (svd.values.to(c) * coefficients).flatten(1).norm(dim=1), f"{name}: U is not orthonormal", tolerance
        )


def _slopes(operator: Any, name: str, x: Tensor, tolerance: float) -> None:
    """<v, J u> by differentiation and by central differences."""
    leaf = x.clone().requires_grad_()
    with torch.enable_grad():
        y = operator.forward(leaf)
        v = z_like(y.detach())
        (gradient,) = torch.autograd.grad((y * v).sum(), leaf)
    u = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=x.dtype)
    h = 1e-6
    ends = [(operator.forward(x + sign * h * u) * v).sum() for sign in (1, -1)]
    found, wanted = float((gradient * u).sum()), float(ends[0] - ends[1]) / (2 * h)
    scale = float(gradient.norm() * u.norm()) / x.numel() ** 0.5
    assert abs(found - wanted) <= tolerance * max(abs(wanted), scale), (
        f"{name}: the slope is {found:.8g}, finite differences say {wanted:.8g}"
    )


def _close(found: Tensor, wanted: Tensor, told: str, tolerance: float) -> None:
    size = float(wanted.abs().max()) or 1.0
    worst = float((found - wanted).abs().max()) / size
    assert found.shape == wanted.shape and worst <= tolerance, f"{told} (relative error {worst:.1e})"
