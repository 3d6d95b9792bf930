"""Filtering: the measurement is noised along with the state, and every step is a product of two Gaussians."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Move, Propose
from guidekit.core.population import Population
from guidekit.core.proposal import Proposal
from guidekit.core.step import Step
from guidekit.guidance.inverse.ddnm import PICTURES, check_eta
from guidekit.guidance.inverse.measurement import OwnSteps
from guidekit.guidance.inverse.spectral import Place, SpectralKernel, place, seen_by
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.registry import register
from guidekit.samplers.ancestral import Ancestral


@register("guidance", "fps")
@dataclasses.dataclass(frozen=True, eq=False)
class FPS(OwnSteps[Tensor]):
    """A path y_t of the measurement is noised as x_t is; a step is the product of p(x_u | x_t) and N(y_u; A x_u, .).

    In the singular basis of A the product has a closed form. No gradient. Finished samples have A x = y where y has no
    noise; with noise its single particle is not the posterior, which the published method reaches by weights. It takes
    its own steps; the sampler gives the grid.

    Args:
        likelihood: of a linear measurement whose singular values are known.
        eta: share of fresh noise in a step, 0 to 1.

    Raises:
        ValueError: an eta out of range.

    Source: Dou & Song, ICLR 2024, "Diffusion posterior sampling for linear inverse problem solving: a filtering
    perspective", algorithm 1 with one particle.
    """

    likelihood: GaussianLikelihood
    eta: float = 0.85
    requires = frozenset({Fact.FLOW, Fact.WHOLE, Fact.SVD})
    default_sampler = Ancestral(times=PICTURES)

    def __post_init__(self) -> None:
        """Check eta."""
        check_eta(self.eta)

    def start(self, population: Population) -> Population:
        """The noise of y_t is what A sees of that of x_t; its slot has it in units of s, whatever the level."""
        seen = seen_by(population, self.likelihood)
        _, s = population.process.coefficients(population.moment.t)
        return population.remember(self, seen.analyze(population.state) / s)

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """A step of y_t, then one of x_t that knows where y_u is."""
        noise = population.recall(self)
        fresh = population.draw(step, "path", self).normal(noise)
        path = math.sqrt(1 - self.eta**2) * noise + self.eta * fresh
        return inner(population.remember(self, path), step)

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        return Proposal(product(place(population, self.likelihood, step), population.recall(self), self.eta))


def product(at: Place, path: Tensor, eta: float) -> SpectralKernel:
    """The law of x_u given x_t and y_u, in coefficients; path (B, *C): noise of y_u in units of its deviation."""
    own, its = (eta * at.r) ** 2, (at.b * at.seen.std).square()
    mean = at.b * at.clean + math.sqrt(1 - eta**2) * at.r * at.noise
    share = torch.where(its > 0, own / (own + its.clamp_min(torch.finfo(its.dtype).tiny)), 1.0)
    drawn = mean + share * (at.b * at.seen.y + at.r * path - mean)
    return SpectralKernel(at.mixed(drawn, mean), at.mixed((share * its).sqrt(), eta * at.r), at.seen)


__all__ = ["FPS", "product"]
