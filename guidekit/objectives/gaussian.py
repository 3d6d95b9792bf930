"""Likelihoods of measurements with Gaussian noise, and quadratic rewards: linear ones have exact posteriors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guidekit.core.ledger import Ledger
from guidekit.core.objective import Objective, ScoreError
from guidekit.core.requirements import Fact, GuidanceError
from guidekit.core.state import batch
from guidekit.objectives.operators.dense import Dense

Number = float | Tensor
Held = tuple[Tensor | None, Tensor | None]
"""Measurement and noise of every sample, each None where it is one for all."""


def certain(t: Number) -> float:
    """No variance: a clean estimate that is taken for the clean state itself."""
    return 0.0


def per_sample(name: str, values: Tensor, samples: int) -> Tensor | None:
    """Values with one row a sample; None where they are one row for all.

    Raises:
        ScoreError: another number of rows.
    """
    if values.ndim == 0 or len(values) == 1:
        return None
    if len(values) != samples:
        raise ScoreError(f"{name} has {len(values)} rows for {samples} samples: give one for all, or one per sample")
    return values


def check_measured(seen: Any, y: Tensor, size: int) -> None:
    """Refuse what an operator gave for so many states unless it is measured as y (1 or B, *M) is.

    Raises:
        ScoreError: something else than a tensor (B, *M).
    """
    check_rows(seen, size)
    if y.shape[1:] != seen.shape[1:] or len(y) not in (1, size):
        raise ScoreError(
            f"the operator gave {tuple(seen.shape)} for {size} states and y is {tuple(y.shape)}: both are batch "
            f"first, with the same shape of a measurement, and y has 1 or {size} rows"
        )


def check_rows(seen: Any, size: int) -> None:
    """Refuse what an operator gave for so many states unless it is a tensor with as many rows.

    Raises:
        ScoreError: something else.
    """
    if not isinstance(seen, Tensor):
        raise ScoreError(
            f"the operator gave something of type {type(seen).__name__}; a tensor is needed, with a row for each state "
            "(guidekit.objectives.operators.simulator.Simulator takes functions of NumPy arrays)"
        )
    if seen.ndim == 0 or len(seen) != size:
        raise ScoreError(
            f"the operator gave {tuple(seen.shape)} for {size} states: a measurement is needed for each of them"
        )
    if seen.is_complex():
        raise ScoreError("the operator gave complex numbers; real ones are needed, such as torch.view_as_real(y)")


def log_normal(gap: Tensor, variance: Number) -> Tensor:
    """log N(gap; 0, variance I) of rows (B, m), (B,) nats; variance a number or (B,)."""
    variance = torch.as_tensor(variance, dtype=gap.dtype, device=gap.device)
    return -0.5 * (gap.square().sum(1) / variance + gap.shape[1] * (2 * math.pi * variance).log())


def spent_by(likelihood: Any) -> Ledger | None:
    """What the operator of a likelihood tells of its cost; None where it does not."""
    told = getattr(getattr(likelihood, "operator", None), "spent", None)
    return None if told is None else told()


class GaussianNoise(Objective[Held]):
    """Base of likelihoods log N(y; A(x_0), noise^2 I): a subclass has `y`, `std` and `measured`."""

    differentiable = True
    floor = None
    y: Tensor
    std: Tensor

    def measured(self, states: Any) -> Tensor:
        """A(x_0) of states (B, *S), (B, *M)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement measured(states)")

    def variance(self, t: Number) -> Number:
        """Of A(x_0) given the noisy state at t, beside that of the noise."""
        return 0.0

    @property
    def counts_failures(self) -> bool:
        """Whether the operator counts by itself what it fails on."""
        return spent_by(self) is not None

    def spent(self) -> Ledger:
        """See `Objective.spent`: what the operator tells."""
        return spent_by(self) or Ledger()

    def rows(self, samples: int) -> Held | None:
        """See `Objective.rows`: y and the noise where they are one per sample."""
        held = (per_sample("y", self.y, samples), per_sample("the noise", self.std, samples))
        return None if held == (None, None) else held

    def residual(self, states: Any, rows: Held | None = None) -> Tensor:
        """y - A(x_0), (B, m).

        Raises:
            ScoreError: a measurement of another shape than the operator gives.
        """
        y = self.y if rows is None or rows[0] is None else rows[0]
        seen = self.measured(states)
        check_measured(seen, y, batch(states))
        return (y.to(seen) - seen).reshape(len(seen), -1)

    def distance(self, states: Any, rows: Held | None = None) -> Tensor:
        """Euclidean norm of the residual, (B,)."""
        return torch.linalg.vector_norm(self.residual(states, rows), dim=1)

    def scores(self, states: Any, t: Number, rows: Held | None) -> Tensor:
        """log p(y | x_0) in nats, (B,)."""
        std = self.std if rows is None or rows[1] is None else rows[1]
        if bool((self.std == 0).any()):
            raise ScoreError(
                f"{self.name}: a measurement without noise has no density to score; give a noise above 0, or use a "
                "guidance that only puts it in, such as ddnm, ddrm or replacement"
            )
        gap = self.residual(states, rows)
        variance = self.variance(t)
        variance = variance.to(gap) if isinstance(variance, Tensor) else variance
        found = log_normal(gap, std.to(gap).reshape(-1) ** 2 + variance)
        return found.nan_to_num(nan=-math.inf) if self.counts_failures else found


def noise_of(value: Any, name: str = "noise") -> Tensor:
    """A standard deviation as a tensor; a number, or one a sample. 0 is a measurement that is exact.

    Raises:
        ScoreError: one that is below 0 or no number.
    """
    std = torch.as_tensor(value, dtype=torch.get_default_dtype() if not isinstance(value, Tensor) else None)
    if std.ndim > 1 or not bool(((std >= 0) & std.isfinite()).all()):
        shown = f"{float(std.min()):g}" if std.numel() else "nothing"
        raise ScoreError(f"{name} must be at least 0, got {shown}: a number, or one a sample")
    return std


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianLikelihood(GaussianNoise):
    """log N(y; operator(x_0), noise^2 I). Data are batch first: one row for all samples, or one per sample.

    Args:
        operator: states (B, *S) -> (B, *M), differentiable; or an `Operator`, see `guidekit.objectives.operators`.
        y: (1, *M), or (P, *M) for the P samples of a run.
        noise: standard deviation in the unit of the measurement, a number or (P,); 0 for solvers that need no density.
        spread: t -> variance of operator(x_0) given the noisy state, which is added to noise^2.
        parts: names of the parts of a composite that it looks at.

    Raises:
        ScoreError: a noise below 0, or a measurement with NaN.
    """

    operator: Any
    y: Tensor
    noise: float | Tensor = 0.05
    spread: Callable[[Number], Number] = certain
    parts: frozenset[str] | None = None
    std: Tensor = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check noise and measurement."""
        object.__setattr__(self, "std", noise_of(self.noise))
        if not bool(self.y.isfinite().all()):
            wrong = int((~self.y.isfinite()).sum())
            raise ScoreError(
                f"the measurement y has {wrong} entries that are NaN or infinite: leave them out by the operator"
            )

    @property
    def name(self) -> str:
        """With that of the operator."""
        return f"a likelihood of {getattr(self.operator, '__name__', type(self.operator).__name__)}"

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """Where the operator is; functions are taken to be."""
        return bool(getattr(self.operator, "differentiable", True))

    def check(self, prior: Any) -> None:
        """See `Objective.check`: an operator that tells its shape must take the prior's states."""
        shape = getattr(self.operator, "shape", None)
        if shape is not None and self.parts is None and tuple(shape) != tuple(prior.event_shape):
            raise GuidanceError(
                f"{self.name} is of states {tuple(shape)}, and those of this prior ({prior.name}) are "
                f"{tuple(prior.event_shape)}"
            )

    @property
    def provides(self) -> frozenset[Fact]:
        """A gradient where there is one, and what the operator offers."""
        return super().provides | getattr(self.operator, "provides", frozenset())

    def measured(self, states: Any) -> Tensor:
        """See `GaussianNoise.measured`."""
        forward = getattr(self.operator, "forward", self.operator)
        return forward(states)

    def variance(self, t: Number) -> Number:
        """See `GaussianNoise.variance`."""
        return self.spread(t)


@dataclasses.dataclass(frozen=True, eq=False)
class LinearGaussian(GaussianNoise):
    """Likelihood of a measurement y = A x_0 + noise_std * noise of states (B, D).

    Args:
        a: A, (m, D).
        y: measurement, (m,), or (P, m) with one row per sample.
        noise_std: standard deviation of the noise, in the unit of y; a number or (P,).

    Raises:
        ScoreError: shapes that do not fit, or a noise below 0.
    """

    a: Tensor
    y: Tensor
    noise_std: Tensor | float
    std: Tensor = dataclasses.field(init=False, repr=False)
    operator: Dense = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Make tensors of what was given and check that the shapes fit."""
        for name in ("a", "y", "noise_std"):
            object.__setattr__(self, name, torch.as_tensor(getattr(self, name)))
        object.__setattr__(self, "std", noise_of(self.noise_std, "noise_std"))
        if self.a.ndim != 2 or self.y.ndim not in (1, 2) or self.y.shape[-1] != self.a.shape[0]:
            raise ScoreError(
                f"A is {tuple(self.a.shape)} and y {tuple(self.y.shape)}; expected (m, D) and (m,) or (samples, m)"
            )
        object.__setattr__(self, "operator", Dense(self.a if self.a.is_floating_point() else self.a.double()))

    @property
    def provides(self) -> frozenset[Fact]:
        """A gradient, and what a matrix offers."""
        return super().provides | self.operator.provides

    def rows(self, samples: int) -> Held | None:
        """See `Objective.rows`; a y without a batch is one for all."""
        y = None if self.y.ndim == 1 else per_sample("y", self.y, samples)
        held = (y, per_sample("noise_std", self.std, samples))
        return None if held == (None, None) else held

    def measured(self, states: Tensor) -> Tensor:
        """See `GaussianNoise.measured`."""
        return states.flatten(1) @ self.a.to(states).T

    def residual(self, states: Tensor, rows: Held | None = None) -> Tensor:
        """y - A x_0, (B, m)."""
        y = self.y if rows is None or rows[0] is None else rows[0]
        return y.to(states) - self.measured(states)


@dataclasses.dataclass(frozen=True, eq=False)
class QuadraticReward(Objective[None]):
    """Reward -||x_0 - center||^2 / (2 scale^2): a measurement of every coordinate, up to a constant.

    Args:
        center: (D,), in the unit of the data.
        scale: in the unit of the data, above 0.
    """

    center: Tensor
    scale: float = 1.0
    differentiable = True
    floor = None

    def scores(self, states: Tensor, t: Number, rows: None) -> Tensor:
        """Reward of clean states (B, D), (B,)."""
        return -0.5 * (states - self.center.to(states)).square().sum(1) / self.scale**2

    def likelihood(self, temperature: float = 1.0) -> LinearGaussian:
        """The likelihood proportional to exp(reward / temperature)."""
        center = torch.as_tensor(self.center)
        return LinearGaussian(torch.eye(len(center)).to(center), center, self.scale * math.sqrt(temperature))
