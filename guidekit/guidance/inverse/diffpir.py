"""Half-quadratic splitting: the clean estimate is made to fit the measurement, and noised anew."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch

from guidekit.core.guidance import Fact, Propose
from guidekit.core.kernel import GaussianKernel
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.proposal import Proposal
from guidekit.core.sampler import Sampler
from guidekit.core.step import Step
from guidekit.guidance.inverse.measurement import OwnSteps
from guidekit.guidance.inverse.own_steps import check_counts, check_floor
from guidekit.guidance.inverse.proximal import Fit, Near, Round
from guidekit.processes.grids import Levels
from guidekit.registry import register
from guidekit.samplers.ancestral import Ancestral

PICTURES = Levels(0.1, 10.0)
"""The last level decides about the PSNR: .1 suits it, .02 the posterior."""


@register("guidance", "diffpir")
@dataclasses.dataclass(frozen=True, eq=False)
class DiffPIR(OwnSteps[None]):
    """x_u = a_u z + s_u (sqrt(1 - zeta) e' + sqrt(zeta) noise), z = argmin |y - A z|^2 / noise^2 + rho |z - D|^2.

    D = E[x_0 | x_t], rho = weight a_t^2 / s_t^2, e' = (x_t - a_t z) / s_t. No backward pass. Right on average where
    weight = 1 is, and too narrow, for z is the most likely state and no draw; weight 2 and zeta .5 are best for the
    spread. Linear measurements have z in closed form or by conjugate gradients, others by gradient steps.

    Args:
        likelihood: of a measurement, or any differentiable objective in nats.
        weight: lambda; 1 is Bayes' for an estimate off by s / a. The released code has 7 to 25 times .5.
        zeta: share of fresh noise, 0 to 1; 0 is deterministic.
        floor: least standard deviation of the noise of linear measurements that is assumed.
        iterations: of conjugate gradients where there is no closed form, or of gradient steps where the measurement is
            not linear.

    Raises:
        ValueError: settings outside their range.

    Source: Zhu et al. 2023, arXiv:2305.08995, algorithm 1, eq. 13.
    """

    likelihood: Objective
    weight: float = 1.0
    zeta: float = 1.0
    floor: float = 0.02
    iterations: int = 30

    def __post_init__(self) -> None:
        """Check the settings."""
        if not self.weight > 0:
            raise ValueError(f"weight must be above 0, got {self.weight}")
        if not 0 <= self.zeta <= 1:
            raise ValueError(f"zeta is a share of noise from 0 to 1, got {self.zeta}")
        check_counts(iterations=self.iterations)
        check_floor(self.floor)

    @property
    def fit(self) -> Fit:
        """How the measurement is put in."""
        return Fit(self.likelihood, self.floor, self.iterations)

    @property
    def requires(self) -> frozenset[Fact]:  # type: ignore[override]
        """Real states, and a gradient where the measurement is not linear."""
        return frozenset({Fact.FLOW, Fact.WHOLE} if self.fit.linear else {Fact.FLOW, Fact.WHOLE, Fact.GRADIENT})

    @property
    def default_sampler(self) -> Sampler:  # type: ignore[override]
        """The levels that suit pictures."""
        return Ancestral(times=PICTURES)

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        prediction: Any = population.predict()
        a, s = float(prediction.a), float(prediction.s)
        z = self.fit.mode(population, Near(prediction.mean, Round(share=1 / self.weight), a, s))
        b, r = population.process.coefficients(step.u)
        kept = r * math.sqrt(1 - self.zeta) / s
        return Proposal(GaussianKernel(torch.add((b - kept * a) * z, prediction.x, alpha=kept), r * self.zeta**0.5))


__all__ = ["DiffPIR"]
