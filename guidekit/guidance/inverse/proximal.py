"""The law of x_0 given a measurement and a Gaussian around a clean estimate: its mean, its mode, and draws from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.random import Draw
from guidekit.core.requirements import Fact
from guidekit.core.state import column
from guidekit.guidance.inverse.conjugate import solved
from guidekit.guidance.inverse.langevin import climbed, wandered
from guidekit.guidance.inverse.measurement import Measurement, held, measurement
from guidekit.objectives.gaussian import GaussianNoise


class Spread(Protocol):
    """A covariance V of x_0 given x_t = a x_0 + s noise."""

    def number(self, a: float, s: float) -> float | Tensor | None:
        """v, or (B,), where V = v I; None where it is no multiple of the identity."""

    def times(self, v: Tensor, a: float, s: float) -> Tensor:
        """V v of v (B, *S)."""

    def root(self, v: Tensor, a: float, s: float) -> Tensor:
        """V^(1/2) v of v (B, *S); differentiable."""

    def check(self, guidance: Guidance, prior: Prior) -> None:
        """Raise `GuidanceError` where it does not suit a prior."""


@dataclass(frozen=True)
class Round:
    """V = c s^2 / (a^2 c + s^2) I: exact where x_0 ~ N(., c I).

    Args:
        c: variance of an entry of x_0; None is infinite, V = (s / a)^2 I.
        share: of V that is taken.
    """

    c: float | None = None
    share: float = 1.0

    def number(self, a: float, s: float) -> float:
        """See `Spread`."""
        return self.share * (s * s / max(a, 1e-6) ** 2 if self.c is None else self.c * s * s / (a * a * self.c + s * s))

    def times(self, v: Tensor, a: float, s: float) -> Tensor:
        """See `Spread`."""
        return self.number(a, s) * v

    def root(self, v: Tensor, a: float, s: float) -> Tensor:
        """See `Spread`."""
        return self.number(a, s) ** 0.5 * v

    def check(self, guidance: Guidance, prior: Prior) -> None:
        """See `Spread`: any prior suits."""


@dataclass(frozen=True)
class OfRows:
    """V = v I with a v for every row.

    Args:
        variances: v, (B,), above 0.
    """

    variances: Tensor

    def number(self, a: float, s: float) -> Tensor:
        """See `Spread`."""
        return self.variances

    def times(self, v: Tensor, a: float, s: float) -> Tensor:
        """See `Spread`."""
        return column(self.variances, v) * v

    def root(self, v: Tensor, a: float, s: float) -> Tensor:
        """See `Spread`."""
        return column(self.variances.sqrt(), v) * v

    def check(self, guidance: Guidance, prior: Prior) -> None:
        """See `Spread`: any prior suits."""


@dataclass(frozen=True)
class OfField:
    """V = (C^-1 + a^2 / s^2)^-1 with the covariance C of a Gaussian field: exact where the prior is the field.

    Args:
        field: a `gk.priors.GaussianField` or `Gaussian`.
    """

    field: Any

    def number(self, a: float, s: float) -> None:
        """See `Spread`."""

    def times(self, v: Tensor, a: float, s: float) -> Tensor:
        """See `Spread`."""
        return self.field.conditional_covariance(v, a=a, s=s)

    def root(self, v: Tensor, a: float, s: float) -> Tensor:
        """See `Spread`."""
        return self.field.conditional_root(v, a=a, s=s)

    def check(self, guidance: Guidance, prior: Prior) -> None:
        """See `Spread`: the field is one, and of the same states."""
        if not hasattr(self.field, "conditional_root"):
            raise GuidanceError(
                f"{guidance.name} needs a Gaussian field, such as gk.priors.GaussianField.fit(states); "
                f"{getattr(self.field, 'name', self.field)} is none"
            )
        if tuple(self.field.event_shape) != tuple(prior.event_shape):
            raise GuidanceError(
                f"{guidance.name}: the field has states {tuple(self.field.event_shape)}, and those of this prior "
                f"({prior.name}) are {tuple(prior.event_shape)}"
            )


@dataclass(frozen=True)
class Near:
    """Clean states near a center, (a, s) apart from noisy ones: N(center, V), V = spread at (a, s).

    Args:
        center: (B, *S).
        spread: V.
        a, s: signal and noise it depends on.
    """

    center: Tensor
    spread: Spread
    a: float
    s: float

    def root(self, v: Tensor) -> Tensor:
        """V^(1/2) v."""
        return self.spread.root(v, self.a, self.s)

    def gain(self, measured: Measurement, gap: Tensor, iterations: int) -> Tensor:
        """V A^T (A V A^T + noise^2)^-1 gap of gap (B, *M), (B, *S).

        In closed form where V = v I and the singular values are known, by conjugate gradients elsewhere.
        """
        number = self.spread.number(self.a, self.s)
        if number is not None and Fact.SVD in getattr(measured.operator, "provides", ()):
            spectrum = measured.operator.svd
            seen = spectrum.measured(gap)
            values, number = spectrum.values.to(seen), column(number, seen)
            noise = column(measured.std.square(), seen)
            found = spectrum.synthesize(number * values / (number * values.square() + noise) * seen)
            return found.reshape(self.center.shape)

        def times(v: Tensor) -> Tensor:
            return self.spread.times(measured.adjoint(v), self.a, self.s)

        return times(solved(lambda v: measured.forward(times(v)) + measured.variance * v, gap, iterations))


@dataclass(frozen=True)
class Fit:
    """How a measurement is put into clean states near a center.

    Args:
        likelihood: of the measurement; a linear one is put in exactly, others by the gradient of their score.
        floor: least standard deviation of the noise of linear measurements that is assumed.
        iterations: of conjugate gradients where there is no closed form; of gradient steps for other likelihoods.
    """

    likelihood: Any
    floor: float
    iterations: int

    @property
    def linear(self) -> bool:
        """Whether the measurement is linear, with an adjoint."""
        return isinstance(self.likelihood, GaussianNoise) and Fact.ADJOINT in self.likelihood.provides

    def mode(self, population: Population, near: Near) -> Tensor:
        """Where p(y | x_0) N(x_0; center, V) is largest, (B, *S): its mean for linear measurements."""
        if not self.linear:
            return climbed(self._score(population), near.center, near.root, self.iterations)
        measured = self._measured(population, near)
        return near.center + near.gain(measured, measured.residual(near.center), self.iterations)

    def draw(self, population: Population, near: Near, draw: Draw) -> Tensor:
        """A draw from the law proportional to p(y | x_0) N(x_0; center, V), (B, *S).

        For linear measurements exact: a draw z of N(center, V) and a measurement y' of it differ from y by what z is
        moved for (Papandreou & Yuille 2010, Gaussian sampling by local perturbations). Others by Langevin steps.
        """
        if not self.linear:
            return wandered(self._score(population), near.center, near.root, self.iterations, draw)
        measured = self._measured(population, near)
        drawn = near.center + near.root(draw.named("state").normal(near.center))
        gap = measured.residual(drawn)
        noise = draw.named("measurement").normal(gap)
        return drawn + near.gain(measured, gap - measured.variance.sqrt() * noise, self.iterations)

    def _measured(self, population: Population, near: Near) -> Measurement:
        found = measurement(self.likelihood, near.center, held(population, self.likelihood))
        return Measurement(found.operator, found.y, found.std.clamp_min(self.floor), found.shape)

    def _score(self, population: Population) -> Callable[[Tensor], Tensor]:
        return lambda states: population.score_of(self.likelihood, states, torch.zeros(len(states)).to(states))


__all__ = ["Fit", "Near", "OfField", "OfRows", "Round", "Spread"]
