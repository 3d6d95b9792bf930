"""Decoupled annealing: a clean state given the noisy one and the measurement, noised anew to the next level."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, Layer, Move, Propose
from guidekit.core.kernel import GaussianKernel
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Prior
from guidekit.core.proposal import Proposal
from guidekit.core.random import Draw
from guidekit.core.sampler import Sampler
from guidekit.core.step import Step
from guidekit.guidance.inverse.conditioned import POSTERIOR
from guidekit.guidance.inverse.measurement import check_own_steps
from guidekit.guidance.inverse.own_steps import check_counts, check_floor
from guidekit.guidance.inverse.proximal import Fit, Near, OfField, OfRows, Round, Spread
from guidekit.guidance.inverse.walks import walked
from guidekit.registry import register
from guidekit.samplers.ancestral import Ancestral

Conditional = Callable[[Population, Step, Draw], Tensor]
"""(population, step, draw) -> clean states (B, *S) drawn from p(x_0 | x_t, y)."""

GUESSED = 16
"""So many numbers of a state does the variance of unit data count as, beside what the network is seen to answer."""


@dataclasses.dataclass(frozen=True, eq=False)
class DecoupledAnnealing(Guidance[Tensor]):
    """x_u = a_u z + s_u noise with z drawn from p(x_0 | x_t, y): whatever the steps, exact where that law is.

    Steps depend on each other through z alone, so errors of early levels are forgotten. The sampler gives the time grid
    only, and has no memory to keep. The slot has the last z, NaN before the first.

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
        if self.spread is not None:
            self.spread.check(self, prior)

    def start(self, population: Population) -> Population:
        """See `Guidance.start`."""
        return population.remember(self, torch.full_like(population.state, torch.nan))

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """Draw z, for the step and for the next one."""
        z = self.conditional(population, step, population.draw(step, "conditional", self))
        return inner(population.remember(self, z), step)

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        b, r = population.process.coefficients(step.u)
        return Proposal(GaussianKernel(b * population.recall(self), r))


def answered(prediction: GaussianPrediction, z: Tensor) -> Tensor:
    """The mean variance of a number of x_0 given x_t = a z + s noise, by how the estimate answers to the noise, (B,).

    s / a times the mean of noise (E[x_0 | x_t] - z), whose expectation is (s^2 / a) tr(dE[x_0 | x_t] / dx_t) / d by
    Stein's lemma, and that is tr Cov[x_0 | x_t] / d. The variance for unit data counts as `GUESSED` more numbers, so
    that a state of few is not left to chance; where z is NaN it is all there is.
    """
    a, s = float(prediction.a), float(prediction.s)
    guess, size = Round(1.0).number(a, s), z[0].numel()
    noise = (prediction.x - a * z) / s
    found = s / max(a, 1e-6) * (noise * (prediction.mean - z)).flatten(1).mean(1)
    blend = (GUESSED * guess + size * found) / (GUESSED + size)
    return blend.nan_to_num(guess, guess, guess).clamp(1e-3 * guess, guess)


@register("guidance", "daps")
def DAPS(  # noqa: N802 - a preset
    likelihood: Objective,
    field: Prior | None = None,
    variance: float | Literal["network"] | None = "network",
    calls: int = 1,
    iterations: int = 30,
    floor: float = 0.01,
) -> Guidance:
    """Decoupled annealing: z ~ N(E[x_0 | x_t], V) times the likelihood, then noised to the next level.

    Linear measurements are put in exactly; others, such as phase retrieval, by Metropolis-adjusted Langevin steps. With
    the covariance of a fitted Gaussian field and one call a level it is exact on that field, and calibrated on mixtures
    and pictures (90 % regions cover 89 to 91 % at 20 levels). Without a field, V = v I with the mean variance that the
    network is seen to leave: close for pictures, and too round for what is correlated. No backward pass through the
    network.

    Args:
        likelihood: of a measurement, or any differentiable objective in nats.
        field: `gk.priors.GaussianField.fit(states)`, or the file of one: V = (C^-1 + a^2 / s^2)^-1.
        variance: used without a field. "network" takes v from how the estimate answers to the noise of the last step,
            see `answered`, for data of about unit size. A number c is the variance of an entry of Gaussian data,
            v = c s^2 / (a^2 c + s^2), many times too wide for pictures; None is the published v = (s / a)^2, wider yet.
        calls: of the network a level; more follow the probability flow with Euler's steps, as published with 5.
        iterations: of conjugate gradients where there is no closed form, or of Langevin steps where the measurement is
            not linear.
        floor: least standard deviation of the noise of linear measurements that is assumed; .01 as published.

    Raises:
        ValueError: settings outside their range.

    Source: Zhang et al. 2024, arXiv:2407.01521, algorithm 1; the choices of V are this library's.
    """
    learns = variance == "network" and field is None
    if variance is not None and variance != "network" and not (isinstance(variance, int | float) and variance > 0):
        raise ValueError(f'variance must be above 0, "network", or None for (s / a)^2; got {variance!r}')
    check_counts(calls=calls, iterations=iterations)
    check_floor(floor)
    fit = Fit(likelihood, floor, iterations)
    spread: Spread = OfField(field) if field is not None else Round(1.0 if learns else variance)  # type: ignore[arg-type]
    needs = frozenset() if fit.linear else frozenset({Fact.GRADIENT})

    def conditional(population: Population, step: Step, draw: Draw) -> Tensor:
        prediction: Any = population.predict()
        center = walked(population, prediction, calls, 1)
        around = OfRows(answered(prediction, population.recall(made))) if learns else spread
        return fit.draw(population, Near(center, around, float(prediction.a), float(prediction.s)), draw)

    made = DecoupledAnnealing(conditional, likelihood, needs, spread, "DAPS")
    return made


__all__ = ["DAPS", "DecoupledAnnealing", "answered"]
