"""Decoupled annealing: a clean state given the noisy one and the measurement, noised anew to the next level."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, Layer, Propose
from guidekit.core.kernel import GaussianKernel
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.proposal import Proposal
from guidekit.core.random import Draw
from guidekit.core.sampler import Sampler
from guidekit.core.step import Step
from guidekit.guidance.inverse.conditioned import POSTERIOR
from guidekit.guidance.inverse.measurement import check_own_steps
from guidekit.guidance.inverse.own_steps import check_counts, check_floor, check_nobody_inside
from guidekit.guidance.inverse.proximal import Fit, Near, OfField, Round, Spread
from guidekit.guidance.inverse.walks import walked
from guidekit.registry import register
from guidekit.samplers.ancestral import Ancestral

Conditional = Callable[[Population, Step, Draw], Tensor]
"""(population, step, draw) -> clean states (B, *S) drawn from p(x_0 | x_t, y)."""


@dataclasses.dataclass(frozen=True, eq=False)
class DecoupledAnnealing(Guidance[None]):
    """x_u = a_u z + s_u noise with z drawn from p(x_0 | x_t, y): whatever the steps, exact where that law is.

    Steps depend on each other through z alone, so errors of early levels are forgotten. The sampler gives the time grid
    only, and has no memory to keep.

    Args:
        conditional: draws z.
        wanted: the likelihood that the conditional obeys.
        needs: facts that it needs beside real states.
        spread: covariance that it assumes, for checks; None where it assumes none.
        title: its name in messages.

    Source: Zhang et al. 2024, arXiv:2407.01521, proposition 1.
    """

    conditional: Conditional
    wanted: Objective | None = None
    needs: frozenset[Fact] = frozenset()
    spread: Spread | None = None
    title: str = ""
    layer = Layer.PROPOSAL

    @property
    def name(self) -> str:
        """That of the preset."""
        return self.title or type(self).__name__

    @property
    def requires(self) -> frozenset[Fact]:  # type: ignore[override]
        """Real states, and what the conditional needs."""
        return frozenset({Fact.FLOW, Fact.WHOLE}) | self.needs

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """See `Guidance.objectives`."""
        return (self.wanted,) if isinstance(self.wanted, Objective) else ()

    @property
    def default_sampler(self) -> Sampler:  # type: ignore[override]
        """The grid on which it is calibrated."""
        return Ancestral(times=POSTERIOR)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Nobody's steps may be ignored, and the covariance must suit the prior."""
        check_own_steps(self, sampler, members)
        check_nobody_inside(self, members)
        if self.spread is not None:
            self.spread.check(self, prior)

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        z = self.conditional(population, step, population.draw(step, "conditional", self))
        b, r = population.process.coefficients(step.u)
        return Proposal(GaussianKernel(b * z, r))


@register("guidance", "daps")
def DAPS(  # noqa: N802 - a preset
    likelihood: Objective,
    field: Prior | None = None,
    variance: float | None = 1.0,
    calls: int = 1,
    iterations: int = 30,
    floor: float = 0.01,
) -> Guidance:
    """Decoupled annealing: z ~ N(E[x_0 | x_t], V) times the likelihood, then noised to the next level.

    Linear measurements are put in exactly; others, such as phase retrieval, by Metropolis-adjusted Langevin steps. With
    the covariance of a fitted Gaussian field and one call a level it is exact on that field, and calibrated on mixtures
    and pictures (90 % regions cover 89 to 91 % at 20 levels). Without a field, V = v I with the variance of an entry of
    x_0 given x_t if it were Gaussian: slightly too wide. No backward pass through the network.

    Args:
        likelihood: of a measurement, or any differentiable objective in nats.
        field: `gk.priors.GaussianField.fit(states)`, or the file of one: V = (C^-1 + a^2 / s^2)^-1.
        variance: c of an entry of x_0, used without a field: v = c s^2 / (a^2 c + s^2); None is the published
            v = (s / a)^2, which is far too wide.
        calls: of the network a level; more follow the probability flow with Euler's steps, as published with 5.
        iterations: of conjugate gradients where there is no closed form, or of Langevin steps where the measurement is
            not linear.
        floor: least standard deviation of the noise of linear measurements that is assumed; .01 as published.

    Raises:
        ValueError: settings outside their range.

    Source: Zhang et al. 2024, arXiv:2407.01521, algorithm 1; the choices of V are this library's.
    """
    if variance is not None and variance <= 0:
        raise ValueError(f"variance must be above 0, or None for (s / a)^2; got {variance}")
    check_counts(calls=calls, iterations=iterations)
    check_floor(floor)
    fit = Fit(likelihood, floor, iterations)
    spread: Spread = Round(variance) if field is None else OfField(field)

    def conditional(population: Population, step: Step, draw: Draw) -> Tensor:
        prediction: Any = population.predict()
        center = walked(population, prediction, calls, 1)
        return fit.draw(population, Near(center, spread, float(prediction.a), float(prediction.s)), draw)

    needs = frozenset() if fit.linear else frozenset({Fact.GRADIENT})
    return DecoupledAnnealing(conditional, likelihood, needs, spread, "DAPS")


__all__ = ["DAPS", "DecoupledAnnealing"]
