"""Gaussian random fields, fitted to data in seconds: exact denoisers, draws, and posteriors of linear measurements."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Prior, Time
from guidekit.core.state import column
from guidekit.priors.bases import Basis, Rotation, named
from guidekit.priors.gaussian import Gaussian
from guidekit.processes import EDM, GaussianProcess

if TYPE_CHECKING:
    from guidekit.objectives.gaussian import GaussianNoise
    from guidekit.priors.conditioned_field import ConditionedField

LEAST = 1e-10
"""Variances below this share of the largest are taken as it, so that every direction has some."""


class GaussianField(Prior):
    """N(mean, C) with C diagonal in a basis: C = B^T diag(variances) B. All its answers are filters in that basis.

    Args:
        mean: of the field, (*S); S = (channels, *grid).
        variances: of the coefficients, (*S), above 0. A "fourier" field on a torus has its power spectrum here, equal
            at k and -k; a "cosine" field is stationary with reflecting edges.
        basis: "fourier", "cosine", or a `Rotation` whose columns are the eigenvectors of any covariance.
        process: forward process.

    Raises:
        ValueError: shapes that do not fit, variances not above 0, or a spectrum that differs at k and -k.
    """

    name = "gaussian field"
    process: GaussianProcess

    def __init__(
        self, mean: Tensor, variances: Tensor, basis: str | Basis = "fourier", process: GaussianProcess | None = None
    ) -> None:
        self.mean, self.variances = torch.as_tensor(mean), torch.as_tensor(variances)
        self.basis = named(basis) if isinstance(basis, str) else basis
        if self.mean.shape != self.variances.shape or self.mean.ndim < 2 or not self.mean.is_floating_point():
            raise ValueError(
                f"the mean has shape {tuple(self.mean.shape)} and the variances {tuple(self.variances.shape)}; "
                "expected (channels, *grid) for both"
            )
        if not bool((self.variances.isfinite() & (self.variances > 0)).all()):
            raise ValueError("variances of a field must be finite numbers above 0")
        self.basis.check(self.variances)
        self.process, self.dtype = process or EDM(), self.mean.dtype
        self.event_shape = tuple(self.mean.shape)

    @classmethod
    def fit(
        cls,
        states: Tensor,
        basis: str = "cosine",
        uniform_mean: bool = False,
        shrinkage: float | None = None,
        process: GaussianProcess | None = None,
    ) -> GaussianField:
        """The field of some states: their mean, and the mean square of their coefficients.

        Args:
            states: (n, channels, *grid), two at least.
            basis: "fourier" for periodic data, "cosine" for pieces cut out of something larger, "dense" for a full
                covariance, of states of a few thousand numbers at most.
            uniform_mean: one mean a channel instead of one a place.
            shrinkage: of a dense covariance towards its mean variance, 0 to 1; None is the estimate of the optimum
                (Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4, lemma 3.3). Others average what is equal by
                symmetry and need none.
            process: forward process.

        Raises:
            ValueError: fewer than two states, or no such basis.
        """
        if states.ndim < 3 or len(states) < 2:
            raise ValueError(f"states have shape {tuple(states.shape)}; two or more of (channels, *grid) are needed")
        mean = states.double().mean(0)
        if uniform_mean:
            mean = mean.mean(tuple(range(1, mean.ndim)), keepdim=True).expand_as(mean).contiguous()
        centered = states.double() - mean
        found: Basis
        if basis == "dense":
            variances, found = _shrunk(centered, shrinkage)
        else:
            found = named(basis)
            variances = found.power(centered) * len(states) / (len(states) - (0 if uniform_mean else 1))
        variances = variances.clamp_min(LEAST * float(variances.max()))
        return cls(mean.to(states), variances.to(states), found.to(states), process)

    def filter(self, weights: Tensor, v: Tensor) -> Tensor:
        """B^T diag(weights) B v of v (B, *S), in its precision; weights (*S) or (B, *S), equal at k and -k."""
        return self.basis.filter(weights, v)

    def covariance(self, v: Tensor) -> Tensor:
        """C v of v (B, *S)."""
        return self.filter(self.variances.to(v), v)

    def precision(self, v: Tensor) -> Tensor:
        """C^-1 v of v (B, *S)."""
        return self.filter(1 / self.variances.to(v), v)

    def conditional_covariance(
        self, v: Tensor, t: Time | None = None, *, a: Time | None = None, s: Time | None = None
    ) -> Tensor:
        """Cov[x_0 | x_t] v = (C^-1 + a^2 / s^2)^-1 v of v (B, *S); it does not depend on x_t.

        Args:
            v: (B, *S).
            t: time, a number or (B,); or signal and noise (a, s) themselves, as a prediction has them.
        """
        if t is not None:
            a, s = self.process.coefficients(t)
        a, s = _rows(a, v), _rows(s, v)
        variances = self.variances.to(v)
        return self.filter(variances * s**2 / (a**2 * variances + s**2), v)

    def conditional_root(self, v: Tensor, *, a: Time, s: Time) -> Tensor:
        """Cov[x_0 | x_t]^(1/2) v of v (B, *S): of white noise, a draw of x_0 given x_t less its mean."""
        a, s = _rows(a, v), _rows(s, v)
        variances = self.variances.to(v)
        return self.filter((variances * s**2 / (a**2 * variances + s**2)) ** 0.5, v)

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> GaussianPrediction:
        """Exact posterior mean m + a C (a^2 C + s^2)^-1 (x - a m); see `Prior.predict`."""
        a, s = self.process.coefficients(t)
        aa, ss = _rows(a, x), _rows(s, x)
        mean, variances = self.mean.to(x), self.variances.to(x)
        pull = self.filter(aa * variances / (aa**2 * variances + ss**2), x - aa * mean)
        return GaussianPrediction(mean + pull, x, a, s)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Exact draws of x_0, (n, *S)."""
        white = torch.randn(n, *self.event_shape, generator=generator, dtype=torch.float64).to(self.mean)
        return self.mean + self.filter(self.variances.sqrt(), white)

    def log_prob(self, x: Tensor) -> Tensor:
        """log density of states (B, *S) in nats, float64 (B,)."""
        gap, variances = x.double() - self.mean.double(), self.variances.double()
        whitened = self.basis.to(gap).filter(variances.rsqrt(), gap).square().flatten(1).sum(1)
        return -0.5 * (whitened + variances.log().sum() + variances.numel() * math.log(2 * math.pi))

    def posterior(self, likelihood: GaussianNoise) -> ConditionedField:
        """The law of x_0 given a linear measurement, exact up to the tolerance of its solver; see there."""
        from guidekit.priors.conditioned_field import ConditionedField

        return ConditionedField(self, likelihood)

    def log_evidence(self, likelihood: GaussianNoise) -> Tensor:
        """log p(y) in nats, float64 (rows of y,); by a matrix of the at most 4,096 measured numbers."""
        return self.posterior(likelihood).log_evidence()

    def dense(self) -> Gaussian:
        """The same law as a `Gaussian` of flattened states (B, D), float64; for small ones."""
        size = self.mean.numel()
        eye = torch.eye(size, dtype=torch.float64, device=self.mean.device).view(size, *self.event_shape)
        covariance = self.basis.to(eye).filter(self.variances.double(), eye).view(size, size)
        return Gaussian(self.mean.double().flatten(), (covariance + covariance.T) / 2, self.process)

    def to(self, device: torch.device | str) -> GaussianField:
        """The field with its tensors on another device."""
        new = copy.copy(self)
        new.mean, new.variances = self.mean.to(device), self.variances.to(device)
        new.basis = self.basis.to(new.mean)
        return new


def _rows(value: Time | None, like: Tensor) -> Tensor | float:
    """A number, or one a row (B, 1, ...) in the precision of states."""
    if value is None:
        raise ValueError("give a time, or both a and s")
    return column(value, like).to(like.dtype) if isinstance(value, Tensor) else value


def _shrunk(centered: Tensor, shrinkage: float | None) -> tuple[Tensor, Rotation]:
    """Eigenvalues (*S) and eigenvectors of the shrunk covariance of centered states (n, *S)."""
    flat = centered.flatten(1)
    count, size = flat.shape
    found = flat.T @ flat / count
    level = found.diagonal().mean()
    if shrinkage is None:
        spread = (found - level * torch.eye(size).to(found)).square().sum()
        # The mean of |x x^T - S|_F^2 over states, without a matrix for each.
        error = (flat.square().sum(1).square().mean() - found.square().sum()) / count
        shrinkage = float((error / spread).clamp(0, 1)) if float(spread) else 1.0
    values, vectors = torch.linalg.eigh((1 - shrinkage) * found + shrinkage * level * torch.eye(size).to(found))
    shape = centered.shape[1:]
    return values.view(shape), Rotation(vectors)


__all__ = ["GaussianField"]
