"""The engine of solvers that correct the clean estimate by what was measured, with a covariance of what is unknown."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, Layer, Propose
from guidekit.core.network import differentiable, noted
from guidekit.core.population import Population
from guidekit.core.prediction import GaussianPrediction, Prediction
from guidekit.core.prior import Prior
from guidekit.core.proposal import Proposal
from guidekit.core.question import Denoise, Question
from guidekit.core.sampler import Sampler
from guidekit.core.state import altered, batch, cat
from guidekit.core.step import Step
from guidekit.guidance.inverse.measurement import Measured, Measurement, Pull, held, level, measurement
from guidekit.objectives.gaussian import GaussianNoise
from guidekit.processes.grids import Levels
from guidekit.samplers.dpm_solver import DPMSolver

POSTERIOR = Levels(0.02, 20.0)
"""Noise levels for a calibrated posterior: from where hardly anything is known down to where hardly anything is not."""


class Correction(Protocol):
    """How much the clean estimate moves."""

    through: bool
    """Whether it asks for products with the Jacobian of the network."""

    def __call__(self, measured: Measurement, prediction: GaussianPrediction, pull: Pull) -> Tensor:
        """By how much E[x_0 | x_t] becomes E[x_0 | x_t, y], (B, *S).

        Args:
            measured: y, A and the noise.
            prediction: without the measurement and without a graph.
            pull: v (B, *S) -> (s^2 / a) J^T v with J = dE[x_0 | x_t] / dx_t, a covariance of x_0 given x_t.
        """

    def check(self, guidance: Guidance, prior: Prior) -> None:
        """Raise `GuidanceError` where it does not suit a prior."""


@dataclasses.dataclass(frozen=True, eq=False)
class Conditioned(Measured[None]):
    """E[x_0 | x_t] is moved by what a linear measurement adds to it; whatever samples then samples the posterior.

    It lives in the estimate alone, so every sampler of real states works with it, each with its own discretization
    error. Where particles are weighed the estimate stays, and the kernels are tilted by the gradient of
    log p(y | x_t) that the move stands for: inside a filter of the same likelihood that is twisted sequential Monte
    Carlo, exact whatever the covariance. At t = 1 of processes that end without a signal the estimate stays, too.

    Args:
        likelihood: of a linear measurement.
        correction: how much the estimate moves.
        title: its name in messages.
    """

    likelihood: GaussianNoise
    correction: Correction
    title: str = ""
    layer = Layer.GRADIENT
    requires = frozenset({Fact.FLOW, Fact.WHOLE, Fact.ADJOINT})
    shifts = True

    @property
    def name(self) -> str:
        """That of the preset."""
        return self.title or type(self).__name__

    @property
    def stream(self) -> str:
        """It draws nothing."""
        return self.name

    @property
    def default_sampler(self) -> Sampler:  # type: ignore[override]
        """Second-order steps, with noise: those of first order alone cost 10 points of coverage at 20 steps."""
        return DPMSolver(1.0, times=POSTERIOR)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """See `Correction.check`."""
        self.correction.check(self, prior)

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`."""
        setup, x, correction = question.population.setup, question.x, self.correction
        limit = setup.network.limit
        if correction.through and limit is not None and batch(x) > limit:
            rows = torch.arange(batch(x), device=x.device).split(limit)
            return cat(noted([self.denoise(inner, question.take(piece)) for piece in rows]))
        rows = held(question.population, self.likelihood, question.rows)
        measured = measurement(self.likelihood, x, rows)
        nested = torch.is_grad_enabled() and x.requires_grad
        with torch.set_grad_enabled(correction.through or nested):
            at = differentiable(x) if correction.through and not nested else x
            prediction: Any = inner(altered(question, x=at))
        a, s = level(prediction, x)

        def pull(v: Tensor) -> Tensor:
            setup.network.ledger.backward_passes += 1
            (found,) = torch.autograd.grad(
                prediction.mean, at, v, retain_graph=True, create_graph=nested, materialize_grads=True
            )
            return s.square() / a * found

        plain = prediction if nested or not correction.through else prediction.settled(x, self, None)
        move = correction(measured, plain, pull)
        if setup.weighted:
            return plain.noting(self, a / s.square() * move)
        return altered(plain, notes={key: note for key, note in plain.notes.items() if key is not self}).map(
            lambda support, mean: mean + move
        )

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`: kernels are tilted where particles are weighed."""
        proposal = inner(population, step)
        return proposal.tilt(population.predict().note(self)) if population.setup.weighted else proposal


__all__ = ["POSTERIOR", "Conditioned", "Correction"]
