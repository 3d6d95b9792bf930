"""Guidance by the gradient of an objective of the clean estimate, taken through the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.core.guidance import Denoiser, Guidance, GuidanceError, overrides
from guidekit.core.kernels import GaussianKernel
from guidekit.core.population import Population, Time
from guidekit.core.prediction import Prediction
from guidekit.core.run import Run
from guidekit.core.state import State, map_leaves
from guidekit.processes import GaussianProcess


@dataclasses.dataclass(frozen=True)
class GradientGuidance(Guidance):
    """x_u = step(x_t) + scale * grad_{x_t} objective(E[x_0 | x_t]); one network call and one backward pass a step.

    The gradient is taken per sample (the objective returns one number a row), so a sample does not depend on its batch.

    Args:
        objective: clean states (B, *S) -> (B,), to be increased; differentiable.
        scale: displacement per unit of gradient, a number or a function of t; 0 is unguided.

    Source: the update of Chung et al. 2022, arXiv:2209.14687, for any objective; see `DPS`.
    """

    objective: Callable[[Tensor], Tensor]
    scale: float | Callable[[float], float] = 1.0

    @property
    def _part(self) -> str:
        return f"gradient {id(self)}"

    def check(self, run: Run) -> None:
        """A gradient needs a state of real numbers and an objective that has one."""
        if not isinstance(run.prior.process, GaussianProcess):
            kind = type(run.prior.process).__name__
            raise GuidanceError(
                f"gradient guidance moves real-valued states, and this prior ({run.prior.name}) is {kind}"
            )
        if not getattr(self.objective, "differentiable", True):
            raise GuidanceError("gradient guidance needs a differentiable objective; this one is a black box: try SVDD")
        for plug in run.plugs[run.position(self) + 1 :]:
            if overrides(plug, "denoise") and not isinstance(plug, GradientGuidance):
                name = type(plug).__name__
                raise GuidanceError(
                    f"the gradient must look through the guided prediction: write chain({name}, gradient)"
                )

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """The inner belief, with the gradient at x kept among its parts."""
        nested = torch.is_grad_enabled() and x.requires_grad  # another gradient looks through this one
        with torch.enable_grad():
            leaf = x if nested else x.detach().requires_grad_()
            prediction = inner(leaf, t, condition)
            value = self.objective(prediction.mean)
            (gradient,) = torch.autograd.grad(value.sum(), leaf, retain_graph=nested)
        inner.run.ledger.backward_passes += 1
        if not nested:
            prediction = map_leaves(Tensor.detach, prediction)
        return prediction.with_parts(**{self._part: gradient})

    def propose(
        self, inner: Callable[[Population, float, float], GaussianKernel], population: Population, t: float, u: float
    ) -> GaussianKernel:
        """The inner kernel, moved along the gradient."""
        kernel = inner(population, t, u)
        scale = self.scale(t) if callable(self.scale) else self.scale
        return kernel.shift(scale * kernel.prediction.parts[self._part])


def DPS(likelihood: Callable[[Tensor], Tensor], scale: float = 0.3) -> GradientGuidance:  # noqa: N802 - a preset
    """Diffusion posterior sampling: after each step, x_u -= scale * grad_{x_t} ||y - A(E[x_0|x_t])||_2.

    A heuristic: with many steps it enforces the measurement almost exactly whatever its noise, so it is narrower than
    the posterior. The norm is taken per sample; the original code takes one over the whole batch.

    Args:
        likelihood: of a measurement, with `distance(x0) -> (B,)`; any other differentiable objective is used as it is.
        scale: zeta; 0.3 to 1 for images in [-1, 1] and 1,000 ancestral steps.

    Source: Chung et al. 2022, arXiv:2209.14687, algorithm 1.
    """
    return GradientGuidance(Distance(likelihood) if hasattr(likelihood, "distance") else likelihood, scale)


@dataclasses.dataclass(frozen=True)
class Distance:
    """The negative residual norm of a likelihood as an objective."""

    likelihood: Callable[[Tensor], Tensor]

    def __call__(self, x0: Tensor) -> Tensor:
        """-||y - A(x_0)||, (B,)."""
        return -self.likelihood.distance(x0)
