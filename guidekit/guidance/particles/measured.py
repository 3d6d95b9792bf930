"""Particle filters for linear measurements with Gaussian noise: presets of twists, proposals and the filter."""

from __future__ import annotations

import dataclasses

import torch

from guidekit.core.guidance import Fact, Guidance, Layer, chain
from guidekit.core.population import Population
from guidekit.core.random import Draw
from guidekit.errors import UnknownNameError
from guidekit.guidance.particles.covariances import Covariance, covariance_of
from guidekit.guidance.particles.filter import ParticleFilter
from guidekit.guidance.particles.noised_measurement import (
    Decoupled,
    FilteredPath,
    ForwardPath,
    LookAhead,
    OptimalKernels,
)
from guidekit.guidance.particles.twist import FinalDraw, LinearTwist, TwistedKernel, WatchedTwist
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.registry import register

PROPOSALS, ENDS = ("twisted", "prior"), ("draw", "mean")


@register("guidance", "twisted_smc")
def TwistedSMC(  # noqa: N802 - a preset
    likelihood: GaussianLikelihood,
    covariance: str | Covariance = "jacobian",
    variance: float = 1.0,
    window: tuple[float, float] | None = None,
    proposal: str = "twisted",
    end: str = "draw",
    refreshes: int = 0,
    *,
    particles: int = 16,
    resampler: str = "systematic",
    ess_threshold: float | None = 0.5,
    interval: int = 1,
    output: str = "draw",
) -> Guidance:
    """Twisted sequential Monte Carlo for a linear measurement: draws of p(x_0 | y), and the evidence of y.

    Particles are weighed by the twist N(y; A D, noise^2 + A V A^T) with D = E[x_0 | x_t], kernels are shifted along its
    gradient, and the last state is drawn from N(D, v I) given y. Weights make up for both: samples and evidence are
    those of the prior's chain in these steps whatever V is; for the last draw see `FinalDraw`. Second-order steps with
    noise by default.

    Args:
        likelihood: of a linear measurement, with noise above 0.
        covariance, variance, window: of the twist, see `linear_twist`. "jacobian" costs a backward pass a measured
            number and step (up to 16, then ten), the others none by themselves.
        proposal: "twisted" shifts kernels (one backward pass a step, none more with "jacobian"); "prior" does not, as
            is best where V is an average or wrong at much noise.
        end: "draw" as above; "mean" leaves the last step to the sampler.
        refreshes: times that the first state is noised afresh from its own clean estimate, one network call each: for
            priors whose spread in all is not small beside the first noise level.
        particles, resampler, ess_threshold, interval, output: see `ParticleFilter`.

    Raises:
        UnknownNameError: no such covariance, proposal or end.
        ValueError: settings out of range.
        GuidanceError: a measurement without noise.

    Source: Wu et al. 2023, arXiv:2306.17775; covariances: see `guidekit.guidance.particles.covariances`; second-order
    steps, the last draw and their settings are this library's.
    """
    for name, value, names in (("proposal", proposal, PROPOSALS), ("end", end, ENDS)):
        if value not in names:
            raise UnknownNameError(name, value, names)
    if refreshes < 0:
        raise ValueError(f"refreshes must be at least 0, got {refreshes}")
    twist = LinearTwist(likelihood, covariance_of(covariance, variance), window)
    weighed = ParticleFilter(
        estimate=twist,
        particles=particles,
        resampler=resampler,
        ess_threshold=ess_threshold,
        interval=interval,
        output=output,
    )
    return chain(
        TwistedKernel(twist) if proposal == "twisted" else WatchedTwist(twist),
        FinalDraw(twist) if end == "draw" else None,
        weighed,
        RefreshedStart(refreshes) if refreshes else None,
    )


@register("guidance", "mcgdiff")
def MCGDiff(  # noqa: N802 - a preset
    likelihood: GaussianLikelihood,
    kappa: float = 1e-4,
    *,
    particles: int = 64,
    resampler: str = "multinomial",
    ess_threshold: float | None = None,
    output: str = "draw",
) -> Guidance:
    """Auxiliary particle filter of the noised measurement: no backward pass; draws of p(x_0 | y), and the evidence.

    In singular coordinates each measured number has the law that noising gives it, down to the level of its own noise,
    and steps are conditioned on it in closed form; weights look a step ahead. Below that level, steps are the prior's
    and the likelihood weighs once more at the end, so grids should stop at the levels of the measurement. Exact for the
    prior's chain in these steps.

    Args:
        likelihood: of a linear measurement whose singular values are known, with noise above 0.
        kappa: least variance of a noised measurement, in units of that of the state, above 0.
        particles, resampler, ess_threshold, output: see `ParticleFilter`; resampled at every step.

    Raises:
        ValueError: settings out of range.
        GuidanceError: a measurement without noise.

    Source: Cardoso et al. 2023, arXiv:2308.07983, algorithm 1 with the noisy measurement of section 3.2.
    """
    kernels = OptimalKernels(likelihood, kappa)
    weighed = ParticleFilter(
        estimate=LookAhead(kernels),
        particles=particles,
        resampler=resampler,
        ess_threshold=ess_threshold,
        output=output,
    )
    return chain(kernels, weighed)


@register("guidance", "smcdiff")
def SMCDiff(  # noqa: N802 - a preset
    likelihood: GaussianLikelihood,
    *,
    particles: int = 16,
    resampler: str = "systematic",
    ess_threshold: float | None = 0.5,
    output: str = "draw",
) -> Guidance:
    """Replacement with weights: what is measured is put on one noised path of y, the rest is weighed by how it fits.

    No backward pass. Exact as particles and steps grow, path by path (`output=draw` draws a path a sample); in few
    steps the replaced numbers are those of the forward process, which the prior's steps only approach. A measurement
    without noise ends at y itself. The log-normalizer is that of the path, log p(path), not the evidence of y.

    Args:
        likelihood: of a linear measurement whose singular values are known: a mask, or the like; noise may be 0. With
            noise numbers are free once the level s / a is below it.
        particles, resampler, ess_threshold, output: see `ParticleFilter`.

    Source: Trippe et al. 2023, arXiv:2206.04119, algorithm 2; with noise, the path ends where that of Cardoso et al.
    2023, arXiv:2308.07983, begins.
    """
    weighed = ParticleFilter(particles=particles, resampler=resampler, ess_threshold=ess_threshold, output=output)
    return chain(ForwardPath(likelihood), weighed)


@register("guidance", "fps_smc")
def FPSSMC(  # noqa: N802 - a preset
    likelihood: GaussianLikelihood,
    eta: float = 0.85,
    *,
    particles: int = 20,
    resampler: str = "multinomial",
    ess_threshold: float | None = None,
    output: str = "draw",
) -> Guidance:
    """`FPS` with weights: every step is conditioned on a noised path of y, one for all particles of a group.

    No backward pass; its own steps, the sampler gives the grid. Weights multiply how likely y_u was at every step, as
    published. Means are right, path by path, as particles grow, where noise is small beside the last level s / a;
    spreads are too small in any number of steps, as a step takes x_0 for known (.32 for .44 in a test), and larger
    noise is counted as if it were drawn anew at every step. The log-normalizer is that of the path, not the evidence.

    Args:
        likelihood: of a linear measurement whose singular values are known, with noise above 0.
        eta: share of fresh noise in a step, above 0 and at most 1.
        particles, resampler, ess_threshold, output: see `ParticleFilter`; resampled at every step.

    Raises:
        ValueError: an eta out of range.
        GuidanceError: a measurement without noise.

    Source: Dou & Song, ICLR 2024, "Diffusion posterior sampling for linear inverse problem solving: a filtering
    perspective", algorithm 1.
    """
    weighed = ParticleFilter(particles=particles, resampler=resampler, ess_threshold=ess_threshold, output=output)
    return chain(FilteredPath(likelihood, eta), weighed)


@register("guidance", "ddsmc")
def DDSMC(  # noqa: N802 - a preset
    likelihood: GaussianLikelihood,
    eta: float = 0.5,
    variance: float = 1.0,
    *,
    particles: int = 16,
    resampler: str = "multinomial",
    ess_threshold: float | None = None,
    output: str = "draw",
) -> Guidance:
    """Decoupled filter: x_0 is drawn from N(D, v I) given y and noised again; weights as of twisted SMC.

    No backward pass; its own steps, the sampler gives the grid. Exact for the chain that draws x_0 from N(D, v I)
    without y, which is that of the prior for N(m, c I) with eta=1 or 0; others bend it, by the less the shorter the
    steps. The published weights compare with a kernel that leaves out v; then numbers that y says nothing about would
    weigh.

    Args:
        likelihood: of a linear measurement whose singular values are known, with noise above 0.
        eta: how much a step remembers of the state before: 1 is the step of DDPM, 0 noises x_0 afresh.
        variance: c of v = c s^2 / (c a^2 + s^2), that of a number of x_0 in the prior.
        particles, resampler, ess_threshold, output: see `ParticleFilter`; resampled at every step.

    Raises:
        ValueError: settings out of range.
        GuidanceError: a measurement without noise.

    Source: Kelvinius et al. 2025, arXiv:2502.06379, algorithm 1 with the clean estimate for the reconstruction.
    """
    twist = LinearTwist(likelihood, covariance_of("pseudo_inverse", variance))
    weighed = ParticleFilter(
        estimate=twist, particles=particles, resampler=resampler, ess_threshold=ess_threshold, output=output
    )
    return chain(Decoupled(likelihood, eta, variance), weighed)


@dataclasses.dataclass(frozen=True, eq=False)
class RefreshedStart(Guidance[None]):
    """The first state noised afresh from its own clean estimate, a x_0 + s noise, so many times.

    Pure noise is not the law of a state at the first time where the signal there is not small: in many dimensions, with
    a mean far from 0. One network call a time.

    Args:
        times: at least 1.
    """

    times: int = 2
    layer = Layer.START
    requires = frozenset({Fact.FLOW, Fact.WHOLE})

    def start(self, population: Population) -> Population:
        """See `Guidance.start`."""
        setup = population.setup
        a, s = population.process.coefficients(population.moment.t)
        for place in range(self.times):
            prediction = population.predict()
            draw = Draw(setup.random, population.key, f"{setup.labels[self]} refresh {place}")
            noise: torch.Tensor = prediction.support.project(draw.normal(prediction.mean))  # type: ignore[attr-defined]
            population = population.at(a * prediction.mean + s * noise)  # type: ignore[attr-defined]
        return population


__all__ = ["DDSMC", "FPSSMC", "MCGDiff", "RefreshedStart", "SMCDiff", "TwistedSMC"]
