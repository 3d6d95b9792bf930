"""Twists for linear measurements with Gaussian noise: what y says about a noisy state, and proposals made of it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, Layer, Propose
from guidekit.core.kernel import GaussianKernel, Kernel
from guidekit.core.network import differentiable, noted
from guidekit.core.objective import Objective
from guidekit.core.owner import Owner
from guidekit.core.population import Population
from guidekit.core.prediction import GaussianPrediction, Prediction
from guidekit.core.proposal import Proposal
from guidekit.core.question import Denoise, Question
from guidekit.core.random import Draw
from guidekit.core.sampler import Sampler
from guidekit.core.state import altered, batch, cat, column
from guidekit.core.step import Step
from guidekit.guidance.inverse.measurement import Measurement, Pull, held, level, measurement
from guidekit.guidance.particles.covariances import (
    Covariance,
    check_noise,
    covariance_of,
    measured_size,
    round_evidence,
)
from guidekit.guidance.values.estimates import Estimate
from guidekit.objectives.gaussian import GaussianLikelihood, GaussianNoise, log_normal
from guidekit.processes.grids import Levels
from guidekit.registry import register
from guidekit.samplers.dpm_solver import DPMSolver

GRID = Levels(0.1, 200.0, rho=30.0)
"""Noise levels s / a of the default sampler of twisted filters, in the unit of the data; all but even in logarithm."""

LINEAR = frozenset({Fact.FLOW, Fact.WHOLE, Fact.ADJOINT})


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a twist says of rows.

    Args:
        value: log N(y; A E[x_0 | x_t], noise + A V A^T), (B,) float64, nats; minus infinity where it does not act.
        trace: of A V A^T, (B,) float64; 0 where it does not act.
        gradient: of the value at x_t with V held, (B, *S); None where nobody asked, 0 where it does not act.
    """

    value: Tensor
    trace: Tensor
    gradient: Tensor | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class LinearTwist(Estimate, Owner[Seen]):
    """log N(y; A D, noise^2 I + A V A^T), D = E[x_0 | x_t] and V for its covariance; at t = 0 the likelihood itself.

    In a filter the target is p(x_0) p(y | x_0) whatever V is; V decides the variance. Exact for Gaussian priors with
    their own V, that is with the Jacobian. A prediction that carries what a `WatchedTwist` or `TwistedKernel` inside
    has noted costs nothing more; without one, a V of the Jacobian asks the network once more.

    Args:
        likelihood: of a linear measurement, with noise above 0.
        covariance: V, see `guidekit.guidance.particles.covariances`.
        window: (most, least) noise level s / a at which it acts, in the unit of the data; None is at all. Elsewhere its
            value is minus infinity, which leaves the potential of a path as it was.

    Source: Wu et al. 2023, arXiv:2306.17775; with a covariance: see there.
    """

    likelihood: GaussianNoise
    covariance: Covariance
    window: tuple[float, float] | None = None
    temperature = 1.0

    def __post_init__(self) -> None:
        """Check the window and the noise."""
        if self.window is not None and not self.window[0] >= self.window[1] >= 0:
            raise ValueError(f"window must be two noise levels, the larger first, got {list(self.window)}")
        check_noise(self.likelihood)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """See `Estimate.objectives`."""
        return (self.likelihood,) if isinstance(self.likelihood, Objective) else ()

    @property
    def requires(self) -> frozenset[Fact]:
        """A linear measurement of real numbers."""
        return LINEAR

    def value(self, population: Population) -> Tensor:
        """See `Estimate.value`."""
        return population.score(self.likelihood) if population.moment.t == 0 else self.seen(population).value

    def seen(self, population: Population) -> Seen:
        """What it says here and now."""
        prediction: Any = population.predict()
        if self in prediction.notes:
            return prediction.note(self)
        if self.covariance.through:
            return self.look(population.setup.denoise, population.question(), gradient=False).note(self)
        return self.judged(population.question(), prediction)

    def look(self, inner: Denoise, question: Question, gradient: bool) -> Prediction:
        """The answer to a question, on which what the twist says is noted.

        Args:
            inner: answers.
            question: see there.
            gradient: whether the gradient is wanted: one backward pass, none more where V is the Jacobian, written out.
        """
        setup, x, through = question.population.setup, question.x, gradient or self.covariance.through
        limit = setup.network.limit
        if through and limit is not None and batch(x) > limit:
            rows = torch.arange(batch(x), device=x.device).split(limit)
            return cat(noted([self.look(inner, question.take(piece), gradient) for piece in rows]))
        nested = torch.is_grad_enabled() and x.requires_grad
        with torch.set_grad_enabled(through or nested):
            at = differentiable(x) if through and not nested else x
            prediction: Any = inner(altered(question, x=at))
        a, s = level(prediction, x)

        def pull(v: Tensor) -> Tensor:
            setup.network.ledger.backward_passes += 1
            (found,) = torch.autograd.grad(prediction.mean, at, v, retain_graph=True, materialize_grads=True)
            return s.square() / a * found

        with torch.no_grad():
            plain = altered(prediction, mean=prediction.mean.detach(), x=x.detach())
            seen = self.judged(question, plain, pull, gradient)
        if through and not nested:
            return prediction.settled(x, self, seen)
        return prediction.noting(self, seen)

    def judged(
        self, question: Question, prediction: GaussianPrediction, pull: Pull | None = None, gradient: bool = False
    ) -> Seen:
        """What it says of a prediction without a graph; pull: see `Covariance.evidence`."""
        population, mean = question.population, prediction.mean
        a, s = level(prediction, mean)
        most, least = (math.inf, 0.0) if self.window is None else self.window
        acts = ((s <= most * a) & (s >= least * a)).flatten().expand(len(mean))
        if self.window is not None and not bool(acts.any()):
            nothing = torch.zeros(len(mean), dtype=torch.float64, device=mean.device)
            return Seen(nothing - math.inf, nothing, torch.zeros_like(mean) if gradient else None)
        measured = measurement(self.likelihood, mean, held(population, self.likelihood, question.rows))
        found = self.covariance.evidence(measured, prediction, pull, population.setup)
        value = torch.where(acts, found.value, -math.inf)
        if not gradient or pull is None:
            return Seen(value, found.trace)
        moved = pull(measured.adjoint(found.solved)) if found.moved is None else found.moved
        slope = torch.where(column(acts, mean), a / s.square() * moved, 0.0)
        return Seen(value, found.trace, slope.to(mean))


@dataclasses.dataclass(frozen=True, eq=False)
class WatchedTwist(Guidance[None]):
    """Has the network answer with a graph, so that a twist of the Jacobian inside a filter asks it once.

    Args:
        twist: what the filter weighs by.
    """

    twist: LinearTwist
    layer = Layer.GRADIENT
    requires = LINEAR

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """See `Guidance.objectives`."""
        return self.twist.objectives

    @property
    def default_sampler(self) -> Sampler:  # type: ignore[override]
        """Second-order steps with noise: the bias of those of first order is the larger part of the error."""
        return DPMSolver(1.0, times=GRID)

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`."""
        return self.twist.look(inner, question, gradient=False)


@dataclasses.dataclass(frozen=True, eq=False)
class TwistedKernel(WatchedTwist):
    """Kernels shifted by their variance times the gradient of a twist: a proposal, which a filter around it weighs.

    Value and gradient come from one network call; from one backward pass, or those of the Jacobian.

    Source: Wu et al. 2023, arXiv:2306.17775, section 3.2.
    """

    requires = LINEAR | {Fact.WEIGHTS}
    shifts = True

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`."""
        return self.twist.look(inner, question, gradient=True)

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        return inner(population, step).tilt(population.predict().note(self.twist).gradient)


@dataclasses.dataclass(frozen=True, eq=False)
class FinalDraw(Guidance[None]):
    """The last state is drawn from N(D, v I) given y, in place of the sampler's D; v is what the twist makes of V.

    v is the mean of V over what is measured, particle by particle, at most (s / a)^2. Relative to a chain that ends by
    a draw from N(D, v I) the weights are exact: samples and evidence are those of this chain times p(y | x_0). That
    chain is the prior's own where x_0 given x_t is Gaussian and round at the last noise level above 0 (a Gaussian prior
    with covariance c I, or a mixture of such with modes many levels apart). Elsewhere each number is off by at most its
    own spread given x_t and v's, together less than twice the last level s / a where that spread is below the level;
    the sampler's D has no spread at all.

    Args:
        twist: with a covariance above 0.
    """

    twist: LinearTwist
    layer = Layer.PROPOSAL
    requires = LINEAR | {Fact.WEIGHTS}

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """See `Guidance.objectives`."""
        return self.twist.objectives

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        proposal = inner(population, step)
        if step.u > 0:
            return proposal
        prediction: Any = population.predict()
        most = (torch.as_tensor(prediction.s / prediction.a) ** 2).double().to(population.device)
        likelihood = self.twist.likelihood
        measured = measurement(likelihood, prediction.mean, held(population, likelihood))
        mean = self.twist.seen(population).trace / measured_size(measured)
        variance = torch.minimum(mean.clamp_min(1e-20), most)
        base = GaussianKernel(prediction.mean, variance.sqrt(), prediction.support)
        return altered(proposal, kernel=MeasuredKernel(base, measured, prediction), base=base)


@dataclasses.dataclass(frozen=True)
class MeasuredKernel(Kernel):
    """N(mean, v I) given y = A x + noise, by Matheron's rule.

    Args:
        base: N(mean, v I), with v a number a row (B,).
        measured: y, A and the noise.
        prediction: whose mean the base has.
    """

    base: GaussianKernel
    measured: Measurement
    prediction: GaussianPrediction

    @property
    def variance(self) -> Tensor:
        """v, (B,)."""
        return torch.as_tensor(self.base.std).square()

    def sample(self, draw: Draw) -> Tensor:
        """See `Kernel.sample`."""
        measured, support = self.measured, self.base.support
        x = self.base.sample(draw)
        seen = measured.forward(x)
        noise = column(measured.std, seen) * draw.named("y").normal(seen)
        found = round_evidence(measured, altered(self.prediction, mean=x), self.variance, noise)
        return x + column(self.variance.to(x), x) * support.project(measured.adjoint(found.solved))

    def log_prob(self, state: Tensor) -> Tensor:
        """See `Kernel.log_prob`."""
        fit = log_normal(self.measured.residual(state).double().flatten(1), self.measured.std.double().square())
        evidence = round_evidence(self.measured, self.prediction, self.variance).value
        return self.base.log_prob(state) + fit - evidence


@register("estimate", "linear_twist")
def linear_twist(
    likelihood: GaussianLikelihood,
    covariance: str | Covariance = "pseudo_inverse",
    variance: float = 1.0,
    window: tuple[float, float] | None = None,
) -> LinearTwist:
    """log N(y; A E[x_0 | x_t], noise^2 I + A V A^T): what a linear measurement says of a noisy state.

    Args:
        likelihood: of a linear measurement, with noise above 0.
        covariance: V. "none" is 0; "constant" variance I; "pseudo_inverse" what a prior with this variance has;
            "jacobian" the network's own, by backward passes; "average" from one pass of the prior.
        variance: of "constant" and "pseudo_inverse", in the unit of the state squared.
        window: (most, least) noise level s / a at which it acts, see `LinearTwist`.

    Raises:
        UnknownNameError: no such covariance.
        ValueError: a variance or window that cannot be.

    Source: see `LinearTwist`.
    """
    return LinearTwist(likelihood, covariance_of(covariance, variance), window)


__all__ = ["FinalDraw", "LinearTwist", "MeasuredKernel", "Seen", "TwistedKernel", "WatchedTwist", "linear_twist"]
