"""Null-space projection: what is measured comes from the measurement, all else from the prior."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Propose
from guidekit.core.kernel import GaussianKernel, Kernel
from guidekit.core.population import Population
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Prior
from guidekit.core.proposal import Proposal
from guidekit.core.sampler import Sampler
from guidekit.core.step import Step
from guidekit.guidance.inverse.measurement import OwnSteps, held, measurement
from guidekit.guidance.inverse.spectral import Place, SpectralKernel, place
from guidekit.objectives.gaussian import GaussianLikelihood, GaussianNoise
from guidekit.processes.grids import Levels
from guidekit.registry import register
from guidekit.samplers.ancestral import Ancestral

PICTURES = Levels(0.1, 10.0)
"""Noise levels for a single restoration: the prior's own error at more noise is above the spread of pictures."""


@register("guidance", "ddnm")
@dataclasses.dataclass(frozen=True, eq=False)
class DDNM(OwnSteps[None]):
    """D' = D + A^+ (y - A D) at each step, then x_u = a_u D' + s_u (eta n + sqrt(1 - eta^2) e), e of D: no gradient.

    Without noise in y, finished samples have A x = y exactly. With noise it is DDNM+: singular value by singular value
    the correction is weighed down, and less noise is added, so that what y brings in and what is added make up eta s_u.
    A restoration, not a posterior: where a number is measured its spread ends at 0, whatever the noise. It takes its
    own steps; the sampler gives the grid.

    Args:
        likelihood: of a linear measurement with a pseudo-inverse; with noise above 0, with singular values.
        eta: share of fresh noise, 0 to 1.

    Raises:
        ValueError: an eta out of range.

    Source: Wang et al. 2022, arXiv:2212.00490, algorithm 1, and DDNM+ by appendix I; they take eta = .85.
    """

    likelihood: GaussianLikelihood
    eta: float = 1.0
    requires = frozenset({Fact.FLOW, Fact.WHOLE, Fact.PSEUDO_INVERSE})
    default_sampler = Ancestral(times=PICTURES)

    def __post_init__(self) -> None:
        """Check eta."""
        check_eta(self.eta)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Steps are its own; noise needs singular values."""
        super().check(prior, sampler, members)
        if noisy(self.likelihood) and Fact.SVD not in self.likelihood.provides:
            raise GuidanceError(
                f"{self.name} with noise in the measurement needs its singular values, and {self.likelihood.name} does "
                "not tell them: give noise=0, or use guidance=mmps"
            )

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        if noisy(self.likelihood):
            return Proposal(weighed_step(place(population, self.likelihood, step), self.eta))
        return Proposal(self._projected(population, step))

    def _projected(self, population: Population, step: Step) -> Kernel:
        """The step without noise in y; needs the pseudo-inverse alone."""
        prediction: GaussianPrediction = population.predict()  # type: ignore[assignment]  # WHOLE and FLOW are required
        measured = measurement(self.likelihood, prediction.x, held(population, self.likelihood))
        b, r = population.process.coefficients(step.u)
        gap = measured.operator.pinv(measured.residual(prediction.mean)).reshape(prediction.x.shape)
        mean = b * (prediction.mean + gap)
        if self.eta < 1 and r > 0:
            mean = mean + math.sqrt(1 - self.eta**2) * r * prediction.noise
        return GaussianKernel(mean, self.eta * r, prediction.support)


def weighed_step(at: Place, eta: float) -> SpectralKernel:
    """The step of DDNM+, in coefficients."""
    nu, least = at.b * at.seen.std, torch.finfo(at.clean.dtype).tiny
    share = torch.where(nu > 0, (eta * at.r / nu.clamp_min(least)).clamp_max(1.0), 1.0)
    mean = at.b * (at.clean + at.mixed(share * (at.seen.y - at.clean), 0.0)) + math.sqrt(1 - eta**2) * at.r * at.noise
    std = ((eta * at.r) ** 2 - (share * nu).square()).clamp_min(0).sqrt()
    return SpectralKernel(mean, at.mixed(std, eta * at.r), at.seen)


def noisy(likelihood: GaussianNoise) -> bool:
    """Whether a measurement has noise in any row."""
    return bool((likelihood.std > 0).any())


def check_eta(eta: float) -> None:
    """Raise ValueError for an eta outside [0, 1]."""
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be from 0 to 1, got {eta}")


__all__ = ["DDNM", "PICTURES", "check_eta", "noisy", "weighed_step"]
