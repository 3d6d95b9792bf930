"""Filters that noise the measurement along with the state: their kernels, and what they weigh by, in coefficients.

What is measured of x_0 with noise l, in the unit of x_0, is what a noisy state has of it at the level s / a = l: from
there up the measurement has a law q(c_t | y) of its own, which states are conditioned on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, Move, Propose
from guidekit.core.kernel import GaussianKernel
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.proposal import Proposal
from guidekit.core.random import Draw
from guidekit.core.sampler import Sampler
from guidekit.core.state import altered, column, repeat
from guidekit.core.step import Step
from guidekit.guidance.inverse.ddnm import check_eta
from guidekit.guidance.inverse.fps import product
from guidekit.guidance.inverse.measurement import Coefficients, Measured
from guidekit.guidance.inverse.own_steps import check_nobody_inside
from guidekit.guidance.inverse.spectral import SpectralKernel, place, seen_by
from guidekit.guidance.particles.covariances import check_noise
from guidekit.guidance.values.estimates import Estimate
from guidekit.objectives.gaussian import GaussianNoise
from guidekit.processes.grids import Levels
from guidekit.samplers.ancestral import Ancestral

OWN_GRID = Ancestral(times=Levels(0.1, 200.0))
"""Grid of filters that take their own steps, in the unit of the data."""

SPECTRAL = frozenset({Fact.FLOW, Fact.WHOLE, Fact.SVD})


@dataclasses.dataclass(frozen=True, eq=False)
class SpectralProposal(Measured[Tensor]):
    """Base of proposals that know the singular values of a measurement.

    Args:
        likelihood: of a linear measurement whose singular values are known, with real singular vectors.
    """

    likelihood: GaussianNoise
    layer = Layer.PROPOSAL
    requires = SPECTRAL | {Fact.WEIGHTS}
    shifts = True

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Laws of coefficients are compared, which complex ones do not have."""
        operator: Any = self.likelihood.operator  # type: ignore[attr-defined]  # whoever has singular values has one
        if operator.svd.analyze(torch.zeros(1, *prior.event_shape, dtype=prior.dtype)).is_complex():
            raise GuidanceError(
                f"{self.name} weighs coefficients, and those of this measurement are complex: use twisted_smc"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class OptimalKernels(SpectralProposal):
    """p(x_u | x_t) times q(c_u; y) of what is measured and still above its noise: the best kernel for that twist.

    Where the level s / a is at least the noise l of a coefficient, q = N(a y, s^2 - a^2 l^2 + kappa a^2 (1 + l^2)).

    Args:
        likelihood: see `SpectralProposal`; with noise above 0.
        kappa: widens q, above 0: at the level of the noise it would be a point.

    Source: Cardoso et al. 2023, arXiv:2308.07983, eq. 3.2 to 3.6.
    """

    kappa: float = 1e-4

    def __post_init__(self) -> None:
        """Check kappa and the noise."""
        if not 0 < self.kappa < math.inf:
            raise ValueError(f"kappa must be above 0, got {self.kappa}")
        check_noise(self.likelihood)

    def law(self, seen: Coefficients, a: float, s: float) -> tuple[Tensor, Tensor, Tensor]:
        """Where q has something to say at a level, its mean and its variance; each broadcasts against (B, *C)."""
        power = seen.std.square()
        acts = seen.seen & (s * s >= a * a * power * (1 - 1e-6))
        variance = (s * s - a * a * power).clamp_min(0) + self.kappa * a * a * (1 + power)
        return acts, a * seen.y, variance

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        proposal = inner(population, step)
        plain = spectral(proposal.kernel, seen_by(population, self.likelihood))
        if plain is None:
            return proposal
        acts, mean, variance = self.law(plain.basis, *population.process.coefficients(step.u))
        gain = torch.where(acts, plain.std.square() / (plain.std.square() + variance), 0.0)
        std = torch.where(acts, (gain * variance).sqrt(), plain.std)
        kernel = SpectralKernel(plain.mean + gain * (mean - plain.mean), std, plain.basis)
        return altered(proposal, kernel=kernel, base=plain)


@dataclasses.dataclass(frozen=True, eq=False)
class LookAhead(Estimate):
    """log of the integral of p(x_v | x_u) q(c_v; y) over the next step, from u to v: weights before the move.

    Where the next step has nothing above its noise, log q(c_u; y); once there is none, minus infinity, which leaves a
    path's potential as it was, until the likelihood itself at the end.

    Args:
        kernels: the proposal that it belongs to.
    """

    kernels: OptimalKernels
    temperature = 1.0

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """See `Estimate.objectives`."""
        return self.kernels.objectives

    def value(self, population: Population) -> Tensor:
        """See `Estimate.value`."""
        if population.moment.t == 0:
            return population.score(self.objectives[0])
        setup, moment = population.setup, population.moment
        seen = seen_by(population, self.kernels.likelihood)
        step = next(one for one in setup.steps if one.start == moment)
        acts, mean, variance = self.kernels.law(seen, *population.process.coefficients(moment.t))
        here = inside(seen.analyze(population.state) - mean, variance, acts)
        value = torch.where(acts.flatten(1).any(1), here, -math.inf)
        acts, mean, variance = self.kernels.law(seen, *population.process.coefficients(step.u))
        if step.u == 0 or not bool(acts.any()):
            return value
        kernel, _ = setup.sampler.step(population.here(step, population.predict()), population.slots.get(setup.sampler))
        ahead = spectral(kernel, seen)
        if ahead is None:
            return value
        looked = inside(ahead.mean - mean, ahead.std.square() + variance, acts)
        return torch.where(acts.flatten(1).any(1), looked, value)  # row by row: each may have a noise of its own


@dataclasses.dataclass(frozen=True, eq=False)
class SharedPath(SpectralProposal):
    """Base of proposals that follow a path of noise added to y, one for all particles of a group; its slot.

    The slot has the path in units of the deviation that it has at its level, (B, *C).
    """

    def start(self, population: Population) -> Population:
        """Noise of y at the noisiest time."""
        setup = population.setup
        like = seen_by(population, self.likelihood).analyze(population.state)[:: population.particles]
        noise = Draw(setup.random, population.key, f"{setup.labels[self]} path").normal(like)
        return population.remember(self, repeat(noise, population.particles))

    def fresh(self, population: Population, step: Step) -> Tensor:
        """New noise of a step, (B, *C)."""
        like = population.recall(self)[:: population.particles]
        return repeat(population.draw(step, "path", self).normal(like), population.particles)


@dataclasses.dataclass(frozen=True, eq=False)
class ForwardPath(SharedPath):
    """What is measured is put on a path that y has taken through the noise; weights say how likely the prior finds it.

    The path is drawn backwards from q(c_u | c_t, y) and ends where the level is that of the measurement's noise, or at
    y itself where there is none.

    Args:
        likelihood: see `SpectralProposal`; its noise may be 0.

    Source: Trippe et al. 2023, arXiv:2206.04119, algorithm 2, for masks without noise.
    """

    def start(self, population: Population) -> Population:
        """The path, and states on it."""
        population = super().start(population)
        seen = seen_by(population, self.likelihood)
        place_ = seen.analyze(population.state)
        acts, path = self.path(population, seen, population.moment.t)
        return population.at(seen.synthesize(torch.where(acts, path, place_)))

    def path(self, population: Population, seen: Coefficients, t: float) -> tuple[Tensor, Tensor]:
        """Where there is a path at a time, and the path, (B, *C)."""
        a, s = population.process.coefficients(t)
        left = s * s - (a * seen.std).square()
        return seen.seen & (left >= -1e-9 * s * s), a * seen.y + left.clamp_min(0).sqrt() * population.recall(self)

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """A step of the path, then one of the states."""
        seen = seen_by(population, self.likelihood)
        power = seen.std.square()
        ends = [population.process.coefficients(t) for t in (step.t, step.u)]
        high, low = ((torch.as_tensor((s / a) ** 2 if a > 0 else math.inf) - power).clamp_min(0) for a, s in ends)
        kept = (low / high).nan_to_num(0.0).clamp(0, 1)
        noise = kept.sqrt() * population.recall(self) + (1 - kept).sqrt() * self.fresh(population, step)
        return inner(population.remember(self, noise.to(population.recall(self))), step)

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        proposal, seen = inner(population, step), seen_by(population, self.likelihood)
        plain = spectral(proposal.kernel, seen)
        acts, path = self.path(population, seen, step.u)
        if plain is not None:
            kernel = SpectralKernel(torch.where(acts, path, plain.mean), torch.where(acts, 0.0, plain.std), seen)
            return altered(proposal, kernel=kernel, base=plain)
        if not bool(acts.any()):
            return proposal
        mean: Any = proposal.kernel
        placed = seen.synthesize(torch.where(acts, path, seen.analyze(mean.mean)))
        return proposal.replaced(altered(mean, mean=placed))


@dataclasses.dataclass(frozen=True, eq=False)
class FilteredPath(SharedPath):
    """A step is the product of N(m, eta^2 s_u^2 I) and N(y_u; A x_u, noise), y_u on a path of noise; its own steps.

    Weighed by the integral of the product, how likely y_u was from where the particle stood.

    Args:
        likelihood: see `SpectralProposal`; with noise above 0.
        eta: share of fresh noise in a step, 0 to 1.

    Source: Dou & Song, ICLR 2024, algorithm 1.
    """

    eta: float = 0.85

    def __post_init__(self) -> None:
        """Check eta and the noise."""
        check_eta(self.eta)
        if self.eta == 0:
            raise ValueError("eta must be above 0: particles need noise to part")
        check_noise(self.likelihood)

    @property
    def default_sampler(self) -> Sampler:  # type: ignore[override]
        """For its grid."""
        return OWN_GRID

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Steps are its own."""
        super().check(prior, sampler, members)
        check_nobody_inside(self, members)

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """A step of the path, then one of the states."""
        noise, fresh = population.recall(self), self.fresh(population, step)
        return inner(population.remember(self, math.sqrt(1 - self.eta**2) * noise + self.eta * fresh), step)

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        at, path = place(population, self.likelihood, step), population.recall(self)
        own = (self.eta * at.r) ** 2
        mean = at.b * at.clean + math.sqrt(1 - self.eta**2) * at.r * at.noise
        gap, variance = at.b * at.seen.y + at.r * path - mean, own + (at.b * at.seen.std).square()
        kernel = product(at, path, self.eta)
        return Proposal(kernel, kernel).weigh(inside(gap, variance, at.seen.seen))


@dataclasses.dataclass(frozen=True, eq=False)
class Decoupled(SpectralProposal):
    """x_0 is drawn from N(D, v I) given y and noised again, on a bridge from x_t; its own steps.

    With levels l = s / a and d = l_t^2 - l_u^2, x_u / b ~ N((eta l_u^2 x_t / a + d x_0) / (eta l_u^2 + d),
    d l_u^2 / (eta l_u^2 + d)); v = c s^2 / (c a^2 + s^2). The kernel of the prior, which the weights compare with, is
    the same without y.

    Args:
        likelihood: see `SpectralProposal`; with noise above 0.
        eta: how much x_u remembers of x_t: 1 is the step of DDPM, 0 noises x_0 afresh.
        variance: c, of the prior, in the unit of the state squared.

    Source: Kelvinius et al. 2025, arXiv:2502.06379, sections 3.1 and 3.2.
    """

    eta: float = 0.5
    variance: float = 1.0

    def __post_init__(self) -> None:
        """Check eta."""
        check_eta(self.eta)

    @property
    def default_sampler(self) -> Sampler:  # type: ignore[override]
        """For its grid."""
        return OWN_GRID

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Steps are its own."""
        super().check(prior, sampler, members)
        check_nobody_inside(self, members)

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        at, prediction = place(population, self.likelihood, step), population.predict()
        a, s = (column(torch.as_tensor(one).to(at.clean), at.clean) for one in (prediction.a, prediction.s))  # type: ignore[attr-defined]
        spread = self.variance * s.square() / (self.variance * a.square() + s.square())
        low, high = (at.r / at.b) ** 2, (s / a.clamp_min(1e-6)).square()
        size = self.eta * low + high - low
        memory, share = self.eta * low / size, (high - low) / size
        rest = (high - low) * low / size
        x = at.seen.analyze(population.state) / a.clamp_min(1e-6)
        power = at.seen.std.square()
        gain = torch.where(at.seen.seen, spread / (spread + power), 0.0)
        plain = SpectralKernel(
            at.b * (memory * x + share * at.clean), at.b * (rest + share.square() * spread).sqrt(), at.seen
        )
        known = at.clean + gain * (at.seen.y - at.clean)
        std = at.b * (rest + share.square() * spread * (1 - gain)).sqrt()
        return Proposal(SpectralKernel(at.b * (memory * x + share * known), std, at.seen), plain)


def spectral(kernel: Any, seen: Coefficients) -> SpectralKernel | None:
    """A Gaussian kernel in coefficients; None for one without noise.

    Raises:
        GuidanceError: a kernel of another kind.
    """
    if isinstance(kernel, SpectralKernel):
        return kernel
    if not isinstance(kernel, GaussianKernel):
        raise GuidanceError(f"a Gaussian kernel is needed inside, got a {type(kernel).__name__}")
    if kernel.deterministic:
        return None
    mean = seen.analyze(kernel.mean)
    return SpectralKernel(mean, column(torch.as_tensor(kernel.std).to(mean), mean), seen)


def inside(gap: Tensor, variance: Tensor, acts: Tensor) -> Tensor:
    """log N(gap; 0, variance) over the coefficients that act, (B,) float64."""
    gap, variance = gap.double(), variance.double().clamp_min(torch.finfo(torch.float64).tiny)
    each = -0.5 * (gap.square() / variance + (2 * math.pi * variance).log())
    return torch.where(acts, each, 0.0).flatten(1).sum(1).expand(len(gap))


__all__ = ["Decoupled", "FilteredPath", "ForwardPath", "LookAhead", "OptimalKernels"]
