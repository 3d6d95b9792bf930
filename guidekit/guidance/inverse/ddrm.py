"""Diffusion in the basis of an operator's singular vectors, where every number has a rule of its own."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Propose
from guidekit.core.population import Population
from guidekit.core.proposal import Proposal
from guidekit.core.step import Step
from guidekit.guidance.inverse.ddnm import PICTURES, check_eta
from guidekit.guidance.inverse.measurement import OwnSteps
from guidekit.guidance.inverse.spectral import Place, SpectralKernel, place, seen_by
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.registry import register
from guidekit.samplers.ancestral import Ancestral


@register("guidance", "ddrm")
@dataclasses.dataclass(frozen=True, eq=False)
class DDRM(OwnSteps[None]):
    """In the singular basis of A, numbers whose noise in y is below that of the step are taken from y. No gradient.

    Numbers that are not measured take a step of DDIM; those whose measurement is noisier than the step take one towards
    it. Finished samples have A x = y where y has no noise. With noise the spread is too small. It takes its own steps;
    the sampler gives the grid.

    Args:
        likelihood: of a linear measurement whose singular values are known.
        eta: share of fresh noise in what is not, or only poorly, measured, 0 to 1.
        eta_b: share of y in what is measured well, 0 to 1.

    Raises:
        ValueError: an eta out of range.

    Source: Kawar et al. 2022, arXiv:2201.11793, eq. 7 and 8.
    """

    likelihood: GaussianLikelihood
    eta: float = 0.85
    eta_b: float = 1.0
    requires = frozenset({Fact.FLOW, Fact.WHOLE, Fact.SVD})
    default_sampler = Ancestral(times=PICTURES)

    def __post_init__(self) -> None:
        """Check both etas."""
        check_eta(self.eta)
        check_eta(self.eta_b)

    def start(self, population: Population) -> Population:
        """What is measured better than it is noised begins at y, noised to the first time."""
        seen = seen_by(population, self.likelihood)
        a, s = population.process.coefficients(population.moment.t)
        pure = seen.analyze(population.state)
        return population.at(seen.synthesize(started(seen.y, seen.std, seen.seen, pure, a, s)))

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        return Proposal(ruled_step(place(population, self.likelihood, step), self.eta, self.eta_b))


def started(y: Tensor, std: Tensor, seen: Tensor, pure: Tensor, a: float, s: float) -> Tensor:
    """Coefficients (B, *C) to start from: pure noise of deviation s, around a y where a std is below s."""
    nu = a * std
    left = (1 - (nu / s).square()).clamp_min(0).sqrt()
    return torch.where(seen & (nu < s), a * y + left * pure, pure)


def ruled_step(at: Place, eta: float, eta_b: float) -> SpectralKernel:
    """The step of DDRM, in coefficients."""
    nu, least = at.b * at.seen.std, torch.finfo(at.clean.dtype).tiny
    kept = math.sqrt(1 - eta**2) * at.r
    towards = at.b * (at.seen.y - at.clean) / nu.clamp_min(least)
    poorly = at.b * at.clean + kept * towards
    well = at.b * torch.lerp(at.clean, at.seen.y.expand_as(at.clean), eta_b)
    left = (at.r**2 - (eta_b * nu).square()).clamp_min(0).sqrt()
    mean = torch.where(nu > at.r, poorly, well)
    std = torch.where(nu > at.r, eta * at.r, left)
    return SpectralKernel(at.mixed(mean, at.b * at.clean + kept * at.noise), at.mixed(std, eta * at.r), at.seen)


__all__ = ["DDRM", "ruled_step", "started"]
