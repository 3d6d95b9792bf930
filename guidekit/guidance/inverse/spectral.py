"""Steps taken in the basis of an operator's singular vectors: each number by itself, with a noise of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from guidekit.core.kernel import Kernel
from guidekit.core.population import Population
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.random import Draw
from guidekit.core.state import column
from guidekit.core.step import Step
from guidekit.guidance.inverse.measurement import Coefficients, coefficients, held, measurement
from guidekit.objectives.gaussian import GaussianNoise


@dataclass(frozen=True)
class SpectralKernel(Kernel):
    """V (mean + std noise): a Gaussian whose covariance is diagonal in the basis of the coefficients.

    Args:
        mean: (B, *C).
        std: broadcasts against (B, *C), at least 0.
        basis: of the coefficients.
    """

    mean: Tensor
    std: Tensor
    basis: Coefficients

    def sample(self, draw: Draw) -> Tensor:
        """See `Kernel.sample`."""
        return self.basis.synthesize(self.mean + self.std * draw.normal(self.mean))

    def log_prob(self, state: Tensor) -> Tensor:
        """See `Kernel.log_prob`; numbers without noise count 0 at their only value, up to rounding of the state."""
        std = self.std.double().expand_as(self.mean)
        gap = (self.basis.analyze(state) - self.mean).double()
        inside = -0.5 * ((gap / std).square() + (2 * math.pi * std.square()).log())
        size = self.mean.double().flatten(1).norm(dim=1)  # the error of one number is that of the whole state
        fixed = torch.where(gap.abs() <= 1e-5 * (1 + column(size, gap)), 0.0, -math.inf)
        return torch.where(std > 0, inside, fixed).flatten(1).sum(1)


@dataclass(frozen=True)
class Place:
    """Where a step starts and ends, in coefficients.

    Args:
        seen: the measurement.
        clean: of E[x_0 | x_t], (B, *C).
        noise: of E[noise | x_t], (B, *C).
        b, r: signal and noise at the end of the step.
    """

    seen: Coefficients
    clean: Tensor
    noise: Tensor
    b: float
    r: float

    def mixed(self, measured: Tensor, missing: Tensor | float) -> Tensor:
        """Values where something is measured, and others elsewhere."""
        return torch.where(self.seen.seen, measured, torch.as_tensor(missing).to(self.clean))


def seen_by(population: Population, likelihood: GaussianNoise) -> Coefficients:
    """The measurement of all particles, in coefficients."""
    return coefficients(measurement(likelihood, population.state, held(population, likelihood)))


def place(population: Population, likelihood: GaussianNoise, step: Step) -> Place:
    """The particles at a step, in coefficients."""
    prediction: GaussianPrediction = population.predict()  # type: ignore[assignment]  # WHOLE and FLOW are required
    seen, x = seen_by(population, likelihood), prediction.x
    clean, state = seen.analyze(prediction.mean), seen.analyze(x)
    a, s = (column(torch.as_tensor(value).to(x), clean) for value in (prediction.a, prediction.s))
    b, r = population.process.coefficients(step.u)
    return Place(seen, clean, (state - a * clean) / s, b, r)


__all__ = ["Place", "SpectralKernel", "place", "seen_by"]
