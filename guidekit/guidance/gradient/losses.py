"""How far a sample is from a measurement, as objectives: what gradient guidances descend in place of log p(y | x_0)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.ledger import Ledger
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.core.requirements import Fact
from guidekit.core.state import State
from guidekit.errors import UnknownNameError
from guidekit.objectives.gaussian import GaussianNoise, LinearGaussian
from guidekit.objectives.reward import objective_of

ROUNDS, CLOSE = 60, 1e-4
"""Most rounds of a power iteration, and the relative change at which it ends."""

MOST = 64
"""So many times longer than safe steps may be: those of a measurement with noise 1 / 8 of a prior of unit size."""


@dataclasses.dataclass(frozen=True, eq=False)
class OfLikelihood(Objective[Any]):
    """Base of objectives made of the residual y - A(x_0) of a likelihood, whatever its noise.

    Args:
        likelihood: of a measurement.
    """

    likelihood: GaussianNoise

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """Where the likelihood is."""
        return self.likelihood.differentiable

    @property
    def name(self) -> str:
        """Of the likelihood."""
        return self.likelihood.name

    @property
    def parts(self) -> frozenset[str] | None:  # type: ignore[override]
        """Of the likelihood."""
        return self.likelihood.parts

    def rows(self, samples: int) -> Any:
        """See `Objective.rows`."""
        return self.likelihood.rows(samples)

    @property
    def counts_failures(self) -> bool:
        """See `GaussianNoise.counts_failures`."""
        return self.likelihood.counts_failures

    def spent(self) -> Ledger:
        """See `Objective.spent`."""
        return self.likelihood.spent()

    def check(self, prior: Prior) -> None:
        """See `Objective.check`."""
        self.likelihood.check(prior)


@dataclasses.dataclass(frozen=True, eq=False)
class Distance(OfLikelihood):
    """-||y - A(x_0)||, one norm a sample: its gradient has one length, however near the measurement is."""

    def scores(self, states: State, t: float | Tensor, rows: Any) -> Tensor:
        """See the class, (B,)."""
        return -self.likelihood.distance(states, rows)


@dataclasses.dataclass(frozen=True, eq=False)
class Misfit(OfLikelihood):
    """-||y - A(x_0)||^2 / (2 |A|^2), with |A| the largest singular value of a linear operator, else 1.

    A step of 1 along its gradient in x_0 is the longest that never overshoots what a linear operator measures.
    """

    sizes: dict[Any, float] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def scores(self, states: State, t: float | Tensor, rows: Any) -> Tensor:
        """See the class, (B,)."""
        kind = states.shape[1:] if isinstance(states, Tensor) else None
        if kind not in self.sizes:
            self.sizes[kind] = operator_size(self.likelihood, states)
        return self.likelihood.residual(states, rows).square().sum(1) * (-0.5 / self.sizes[kind] ** 2)


def operator_size(likelihood: GaussianNoise, states: State) -> float:
    """|A|, the largest singular value, where a likelihood's operator says that it is linear; otherwise 1.

    Args:
        likelihood: of a measurement.
        states: (B, *S), of which only shape, type and device are looked at.
    """
    if isinstance(likelihood, LinearGaussian):
        return float(torch.linalg.matrix_norm(likelihood.a.double(), 2)) or 1.0
    operator: Any = getattr(likelihood, "operator", None)
    if not isinstance(states, Tensor) or not getattr(operator, "linear", False):
        return 1.0
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, *states.shape[1:], generator=generator, dtype=torch.float64).to(states)
    before = size = 0.0
    with torch.no_grad():
        if len(operator.forward(x)) != 1:  # an operator of its own for every sample
            return 1.0
        for _ in range(ROUNDS):
            x = _normal_matrix(operator, x / torch.linalg.vector_norm(x))
            size = float(torch.linalg.vector_norm(x))
            if size == 0 or abs(size - before) < CLOSE * size:
                break
            before = size
    return math.sqrt(size) or 1.0


def check_bearable(guidance: Guidance, objective: Objective, prior: Prior, strength: float) -> None:
    """Refuse log p(y | x_0) of a linear measurement in steps that are many times too long for its noise.

    Its gradient grows with 1 / noise^2, and steps of noise^2 / |A|^2 are the longest that never overshoot what is
    measured; a few times that come back where the prior pulls, many diverge.

    Raises:
        GuidanceError: with the scale that is safe.
    """
    if not isinstance(objective, GaussianNoise) or not (objective.std > 0).all():
        return
    if not isinstance(objective, LinearGaussian) and not getattr(getattr(objective, "operator", None), "linear", False):
        return
    noise, size = float(objective.std.min()), operator_size(objective, torch.zeros(1, *prior.event_shape))
    safe = (noise / size) ** 2
    if abs(strength) > MOST * safe:
        raise GuidanceError(
            f"{guidance.name} climbs {objective.name} in nats: with noise {noise:.3g} steps of scale {strength:g} are "
            f"{strength / safe:,.0f} times too long and diverge; scale={safe:.2g} is safe, and so is guidance=dps, or "
            "guidance=mmps for a posterior"
        )


def _normal_matrix(operator: Any, x: Tensor) -> Tensor:
    """A^T A x, by differentiation where the operator has no adjoint."""
    if Fact.ADJOINT in operator.provides:
        return operator.adjoint(operator.forward(x))
    with torch.enable_grad():
        leaf = x.requires_grad_()
        seen = operator.forward(leaf)
        (found,) = torch.autograd.grad(seen, leaf, seen.detach())
    return found


def _itself(likelihood: GaussianNoise) -> Objective:
    return likelihood


LOSSES: dict[str, Callable[[GaussianNoise], Objective]] = {"residual": Misfit, "norm": Distance, "nats": _itself}
"""By name: `Misfit`, `Distance`, and log p(y | x_0) as it is."""


def target(given: Any, who: str, loss: str) -> Objective:
    """What is climbed: a likelihood as one of `LOSSES`, any other objective as it is.

    Raises:
        GuidanceError: no objective.
        UnknownNameError: no such loss.
    """
    objective = objective_of(given, who, "a likelihood, or another objective")
    if loss not in LOSSES:
        raise UnknownNameError(f"loss of {who}", str(loss), LOSSES)
    return LOSSES[loss](objective) if isinstance(objective, GaussianNoise) else objective
