"""Coupled sampling: the measurement diffuses in a space of its own, and every step knows where it is at its end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, Layer, Move, Propose
from guidekit.core.kernel import GaussianKernel, Kernel
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.proposal import Proposal
from guidekit.core.random import Draw
from guidekit.core.sampler import Sampler
from guidekit.core.state import altered, column
from guidekit.core.step import Step
from guidekit.guidance.inverse.conjugate import solved
from guidekit.guidance.inverse.measurement import Measured, Measurement, check_unweighted, held, measurement
from guidekit.guidance.inverse.own_steps import check_counts
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.processes.grids import Levels
from guidekit.registry import register
from guidekit.samplers.ancestral import Ancestral


@register("guidance", "c_dps")
@dataclasses.dataclass(frozen=True, eq=False)
class CDPS(Measured[Tensor]):
    """y_t = a y + s n diffuses beside x_t; a step is a draw from p(x_u | x_t) N(y_u; A x_u, C_u), in closed form.

    p(x_u | x_t) is the step of the sampler. C_u = (b^2 sigma^2 + r^2) + r^2 A A^T is what separates y_u from A x_u: the
    noise of the measurement, that of its path, and that of the state. Draws are exact by conjugate gradients: any A
    with an adjoint, no gradient, nothing to tune. C_u forgets that x_u itself tells its noise in part, so the
    measurement is trusted less than it should be: too wide a law. The last step, which has no noise, is the prior's.

    Args:
        likelihood: of a linear measurement.
        iterations: of conjugate gradients; the system's largest eigenvalue over its least is below 2 + 3 |A|^2.

    Raises:
        ValueError: less than one iteration.

    Source: Hamidi, Yang & Liang 2025, arXiv:2510.09676 (C-DPS), of which the abstract was read: reconstructed.
    """

    likelihood: GaussianLikelihood
    iterations: int = 20
    layer = Layer.PROPOSAL
    requires = frozenset({Fact.FLOW, Fact.WHOLE, Fact.ADJOINT, Fact.NOISE})
    default_sampler = Ancestral(times=Levels(0.02, 20.0))

    def __post_init__(self) -> None:
        """Check the iterations."""
        check_counts(iterations=self.iterations)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """No weight makes up for it."""
        check_unweighted(self, members)

    def start(self, population: Population) -> Population:
        """The noise n of the path at the first level, (B, *M)."""
        like = self.seen(population).y
        like = like.expand(len(population.state), *like.shape[1:])
        step = population.setup.steps[0]
        return population.remember(self, population.draw(step, "start of the path", self).normal(like))

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """The path goes down to the level of u before the state does."""
        noise, process = population.recall(self), population.process
        (a, s), (b, r) = process.coefficients(step.t), process.coefficients(step.u)
        fresh = population.draw(step, "path", self).normal(noise)
        return inner(population.remember(self, lowered(noise, fresh, r * a / (b * s))), step)

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        proposal: Any = inner(population, step)
        kernel: GaussianKernel = proposal.kernel
        if kernel.deterministic:
            return proposal
        measured, (b, r) = self.seen(population), population.process.coefficients(step.u)
        y = b * measured.y + r * population.recall(self)
        return altered(proposal, kernel=CoupledKernel(kernel, measured, y, b, r, self.iterations))

    def seen(self, population: Population) -> Measurement:
        """What was measured of all particles."""
        return measurement(self.likelihood, population.state, held(population, self.likelihood))


def lowered(noise: Tensor, fresh: Tensor, ratio: float) -> Tensor:
    """Noise of y_u in units of its deviation, given that of y_t and `ratio` = (r / b) / (s / a): a Brownian bridge."""
    return ratio * noise + (1 - ratio**2) ** 0.5 * fresh


@dataclasses.dataclass(frozen=True)
class CoupledKernel(Kernel):
    """N(x; mean, g^2) N(y; A x, C) normalized, C = (b^2 sigma^2 + r^2) I + r^2 A A^T.

    Args:
        free: N(mean, g^2).
        measured: A, A^T and sigma.
        y: of the path, (B, *M).
        b, r: signal and noise of x.
        iterations: of conjugate gradients.
    """

    free: GaussianKernel
    measured: Measurement
    y: Tensor
    b: float
    r: float
    iterations: int

    def sample(self, draw: Draw) -> Tensor:
        """A free draw and a simulated measurement of it; then what the measured one differs by is carried over."""
        x, g2 = self.free.sample(draw), column(torch.as_tensor(self.free.std).to(self.y).square().reshape(-1), self.y)
        forward, adjoint = self.measured.forward, self.measured.adjoint
        own = (self.b**2 * self.measured.variance + self.r**2).to(self.y)
        heard = own.sqrt() * draw.named("noise of y").normal(self.y)
        heard = heard + self.r * forward(draw.named("noise of x").normal(x))

        def system(v: Tensor) -> Tensor:
            return own * v + (self.r**2 + g2) * forward(adjoint(v))

        gap = solved(system, self.y - forward(x) - heard, self.iterations)
        return x + self.free.support.project(column(g2.flatten(), x) * adjoint(gap))


__all__ = ["CDPS", "CoupledKernel", "lowered"]
