"""The exact posterior of a Gaussian field given a linear measurement: solvers are checked against it on real fields."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Prior, Time
from guidekit.core.requirements import Fact, GuidanceError
from guidekit.processes import GaussianProcess

if TYPE_CHECKING:
    from guidekit.objectives.gaussian import GaussianNoise
    from guidekit.priors.gaussian_field import GaussianField

MOST_DENSE = 4096
"""Measured numbers of which a matrix is made."""


class ConditionedField(Prior):
    """p(x_0 | y) for y = A x_0 + noise and a Gaussian field, in float64 by conjugate gradients in the space of y.

    It is a prior: `predict` is the exact E[x_0 | x_t, y], so any sampler draws from the posterior, and `sample` draws
    from it without steps, x + C A^T (A C A^T + noise^2)^-1 (y - A x - noise) for x of the field.

    Args:
        field: the law without the measurement.
        likelihood: `LinearGaussian`, or a `GaussianLikelihood` with an operator that has an adjoint; y has one row, or
            one for each state that is asked about.
        tolerance: of the residual, beside the right-hand side.
        most: iterations; more are refused, not cut short.

    Raises:
        GuidanceError: a measurement without an adjoint.
    """

    name = "posterior of a gaussian field"
    process: GaussianProcess

    def __init__(
        self, field: GaussianField, likelihood: GaussianNoise, tolerance: float = 1e-10, most: int = 20_000
    ) -> None:
        self.field, self.likelihood, self.tolerance, self.most = field, likelihood, tolerance, most
        self.process, self.event_shape, self.dtype = field.process, field.event_shape, field.dtype
        self.codec, self.dataset = field.codec, field.dataset
        self._forward, self._adjoint = _linear(likelihood, self.event_shape)
        y = likelihood.y.double()
        self._y = y[None] if y.ndim == 1 else y
        self._std = likelihood.std.double().reshape(-1)

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> GaussianPrediction:
        """Exact E[x_0 | x_t, y], rounded to the precision of x; see `Prior.predict`."""
        a, s = self.process.coefficients(t)
        double = _double(t)
        before = self.field.predict(x.double(), double).mean
        found = before + self._gain(self._gap(before), lambda v: self.field.conditional_covariance(v, double))
        return GaussianPrediction(found.to(x), x, a, s)

    def mean(self) -> Tensor:
        """E[x_0 | y], (rows of y, *S), float64."""
        before = self.field.mean.double().expand(len(self._y), *self.event_shape)
        return before + self._gain(self._gap(before), self.field.covariance)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Exact draws of x_0 given y, (n, *S); y has one row, or n."""
        drawn = self.field.sample(n, generator).double()
        seen = self._forward(drawn)
        noise = torch.randn(seen.shape, generator=generator, dtype=torch.float64).to(seen.device)
        gap = self._y.to(seen) - seen - self._column(seen) * noise
        return (drawn + self._gain(gap, self.field.covariance)).to(self.dtype)

    def variances(self) -> Tensor:
        """Var[x_0 | y] of every number of a state, (*S), float64; the same for every y of one noise."""
        matrix, cross = self._dense()
        size = len(matrix)
        eye = torch.eye(size, dtype=torch.float64).to(matrix)
        noisy = torch.linalg.cholesky(matrix + self._std[0] ** 2 * eye)
        gone = torch.linalg.solve_triangular(noisy, cross.view(size, -1), upper=False).square().sum(0)
        return self._prior_variances() - gone.view(self.event_shape)

    def log_evidence(self) -> Tensor:
        """log p(y) in nats, float64 (rows of y,).

        Raises:
            ValueError: more measured numbers than a matrix is made of.
        """
        matrix, _ = self._dense()
        seen = matrix.diagonal() > 0  # operators such as masks have numbers in y that nothing is measured in
        matrix = matrix[seen][:, seen]
        gap = self._gap(self.field.mean.double().expand(len(self._y), *self.event_shape)).flatten(1)[:, seen]
        eye = torch.eye(len(matrix), dtype=torch.float64).to(matrix)
        found = []
        for row, std in zip(gap, self._std.expand(len(gap)), strict=True):
            found.append(MultivariateNormal(torch.zeros_like(row), matrix + std**2 * eye).log_prob(row))
        return torch.stack(found)

    def _dense(self) -> tuple[Tensor, Tensor]:
        """A C A^T, (m, m), and A C, (m, *S)."""
        shape = self._y.shape[1:]
        size = math.prod(shape)
        if size > MOST_DENSE:
            raise ValueError(f"{size:,} measured numbers; a matrix is made of at most {MOST_DENSE:,}")
        eye = torch.eye(size, dtype=torch.float64, device=self._y.device).view(size, *shape)
        cross = torch.cat([self.field.covariance(self._adjoint(part)) for part in eye.split(256)])
        matrix = torch.cat([self._forward(part).flatten(1) for part in cross.split(256)])
        return (matrix + matrix.T) / 2, cross

    def _prior_variances(self) -> Tensor:
        size = math.prod(self.event_shape)
        eye = torch.eye(size, dtype=torch.float64, device=self._y.device).view(size, *self.event_shape)
        parts = [self.field.filter(self.field.variances.double().sqrt(), part) for part in eye.split(256)]
        return torch.cat([part.square().flatten(1).sum(1) for part in parts]).view(self.event_shape)

    def _gap(self, states: Tensor) -> Tensor:
        """y - A x of states (B, *S), (B, *M)."""
        seen = self._forward(states)
        return self._y.to(seen).expand_as(seen) - seen

    def _column(self, y: Tensor) -> Tensor:
        return self._std.to(y).reshape(-1, *(1,) * (y.ndim - 1))

    def _gain(self, gap: Tensor, spread: Callable[[Tensor], Tensor]) -> Tensor:
        """K A^T (A K A^T + noise^2)^-1 gap for the covariance K that `spread` applies, (B, *S)."""
        noise = self._column(gap).square()

        def system(v: Tensor) -> Tensor:
            return self._forward(spread(self._adjoint(v))) + noise * v

        return spread(self._adjoint(conjugate_gradients(system, gap, self.tolerance, self.most)))


def conjugate_gradients(
    system: Callable[[Tensor], Tensor], wanted: Tensor, tolerance: float = 1e-10, most: int = 20_000
) -> Tensor:
    """v with system(v) = wanted, (B, *M), for a symmetric positive definite system; every row by itself.

    Raises:
        ArithmeticError: the residual is above tolerance times the norm of `wanted` after `most` iterations.
    """
    axes = tuple(range(1, wanted.ndim))
    found, residual = torch.zeros_like(wanted), wanted.clone()
    direction, power = residual, residual.square().sum(axes, keepdim=True)
    enough = tolerance**2 * power
    for _ in range(most):
        if bool((power <= enough).all()):
            return found
        image = system(direction)
        step = torch.where(power > enough, power / (direction * image).sum(axes, keepdim=True), 0.0)
        found, residual = found + step * direction, residual - step * image
        new = residual.square().sum(axes, keepdim=True)
        direction = residual + torch.where(power > enough, new / power, 0.0) * direction
        power = torch.where(power > enough, new, power)
    worst = float((power / enough.clamp_min(1e-300)).max().sqrt()) * tolerance
    raise ArithmeticError(f"{most} iterations left a residual of {worst:.1e}: the noise is too small beside the field")


def _linear(
    likelihood: GaussianNoise, shape: tuple[int, ...]
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """A x of (B, *S) and A^T y of (B, *M)."""
    operator = getattr(likelihood, "operator", None)
    if Fact.ADJOINT not in likelihood.provides or operator is None:
        raise GuidanceError(f"the exact posterior of a field needs a linear measurement; {likelihood.name} is none")
    return operator.forward, lambda y: operator.adjoint(y).reshape(len(y), *shape)


def _double(t: Time) -> Time:
    return t.double() if isinstance(t, Tensor) else t
