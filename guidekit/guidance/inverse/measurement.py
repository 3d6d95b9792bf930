"""A linear measurement as solvers see it: for the rows they are asked about, in the precision and shape of states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer
from guidekit.core.objective import Objective
from guidekit.core.owner import Memory
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Prior
from guidekit.core.sampler import Sampler
from guidekit.core.state import column, take
from guidekit.guidance.inverse.own_steps import check_nobody_inside
from guidekit.objectives.gaussian import GaussianNoise
from guidekit.objectives.operators.base import Spectrum
from guidekit.samplers.ancestral import DDIM, Ancestral

if TYPE_CHECKING:
    from guidekit.core.population import Population


@dataclass(frozen=True)
class Measurement:
    """y = A x_0 + noise.

    Args:
        operator: A, with what the likelihood says that it offers.
        y: (B or 1, *M), in the precision and on the device of states.
        std: of the noise, (B or 1,).
        shape: S, of one state.
    """

    operator: Any
    y: Tensor
    std: Tensor
    shape: tuple[int, ...]

    @property
    def variance(self) -> Tensor:
        """Of the noise, broadcasts against (B, *M)."""
        return column(self.std.square(), self.y)

    def forward(self, x: Tensor) -> Tensor:
        """A x of states (B, *S), (B, *M)."""
        return self.operator.forward(x)

    def adjoint(self, v: Tensor) -> Tensor:
        """A^T v of (B, *M), (B, *S)."""
        return self.operator.adjoint(v).reshape(len(v), *self.shape)

    def residual(self, x: Tensor) -> Tensor:
        """y - A x of states (B, *S), (B, *M)."""
        return self.y - self.forward(x)


def measurement(likelihood: GaussianNoise, x: Tensor, rows: Any) -> Measurement:
    """What was measured of states x (B, *S).

    Args:
        likelihood: of a linear measurement.
        x: says precision, device and shape.
        rows: slot of the likelihood, for the same rows; None where it holds nothing for each sample.
    """
    y, std = (None, None) if rows is None else rows
    y = likelihood.y if y is None else y
    if y.ndim == 1:
        y = y[None]
    std = likelihood.std if std is None else std
    operator: Any = likelihood.operator  # type: ignore[attr-defined]  # whoever offers an adjoint has one
    return Measurement(operator, y.to(x), std.to(x).reshape(-1), tuple(x.shape[1:]))


def held(population: Population, likelihood: GaussianNoise, rows: Tensor | None = None) -> Any:
    """What a likelihood holds for rows of a population; None where nothing."""
    slot = population.slots.get(likelihood)
    return slot if slot is None or rows is None else take(slot, rows)


class Measured(Guidance[Memory]):
    """Base of guidances that obey a measurement, their setting `likelihood`."""

    likelihood: Any

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """See `Guidance.objectives`; what is none is refused by what the run requires."""
        return (self.likelihood,) if isinstance(self.likelihood, Objective) else ()


class OwnSteps(Measured[Memory]):
    """Base of those whose steps are their own, whatever the sampler: it gives the grid."""

    layer = Layer.PROPOSAL
    requires = frozenset({Fact.FLOW, Fact.WHOLE})

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Nobody's steps may be ignored."""
        check_own_steps(self, sampler, members)


Pull = Callable[[Tensor], Tensor]
"""v (B, *S) -> Cov[x_0 | x_t] v."""


@dataclass(frozen=True)
class Coefficients:
    """A measurement in the basis of its right singular vectors, in which its numbers do not mix.

    Args:
        spectrum: of the operator.
        y: (U^T y) / singular values, (B or 1, *C), 0 where nothing is measured.
        std: of its noise, broadcasts against (B, *C); 0 where nothing is measured.
        seen: (*C) bool, whether it is measured.
        shape: S, of one state.
    """

    spectrum: Spectrum
    y: Tensor
    std: Tensor
    seen: Tensor
    shape: tuple[int, ...]

    def analyze(self, x: Tensor) -> Tensor:
        """V^T x of states (B, *S), (B, *C)."""
        return self.spectrum.analyze(x)

    def synthesize(self, c: Tensor) -> Tensor:
        """V c, (B, *S)."""
        return self.spectrum.synthesize(c).reshape(len(c), *self.shape)


def coefficients(measured: Measurement, cut: float = 1e-6) -> Coefficients:
    """A measurement whose operator has singular values; those below `cut` times the largest count as none."""
    spectrum: Spectrum = measured.operator.svd
    inverse = spectrum.inverse(cut).to(measured.y)
    y = inverse * spectrum.measured(measured.y)
    return Coefficients(spectrum, y, column(measured.std, y) * inverse, inverse.expand(y.shape[1:]) > 0, measured.shape)


def level(prediction: GaussianPrediction, x: Tensor) -> tuple[Tensor, Tensor]:
    """Signal and noise at the prediction's time, each broadcasting against states x, with a kept off 0."""
    a, s = (torch.as_tensor(value, dtype=x.dtype, device=x.device) for value in (prediction.a, prediction.s))
    return column(a.clamp_min(1e-6), x), column(s, x)


def check_own_steps(guidance: Guidance, sampler: Sampler, members: Sequence[Guidance]) -> None:
    """Refuse what a guidance that takes steps of its own would ignore: the sampler's, others', a filter's weights."""
    if not isinstance(sampler, Ancestral | DDIM):
        raise GuidanceError(
            f"{guidance.name} takes its own steps and needs a sampler for the time grid alone: use "
            f"sampler=ancestral, with any times, not {sampler!r}"
        )
    check_nobody_inside(guidance, members)
    check_unweighted(guidance, members)


def check_unweighted(guidance: Guidance, members: Sequence[Guidance]) -> None:
    """Refuse a particle filter around what no weight makes up for."""
    if any(Fact.WEIGHTS in member.provides for member in members):
        raise GuidanceError(
            f"{guidance.name} puts a measurement in by force, which no weight makes up for: leave out the filter, or "
            "use guidance=mmps inside it"
        )


__all__ = [
    "Coefficients",
    "Measured",
    "Measurement",
    "OwnSteps",
    "Pull",
    "check_own_steps",
    "check_unweighted",
    "coefficients",
    "held",
    "level",
    "measurement",
]
