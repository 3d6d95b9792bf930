"""What a twist takes for the covariance V of x_0 given x_t: none, round, that of the network's Jacobian, an average."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Protocol

import torch
from torch import Tensor

from guidekit.core.guidance import GuidanceError
from guidekit.core.loop import Setup, prepare, walk
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.random import Draw
from guidekit.core.state import column
from guidekit.core.support import EVERYWHERE
from guidekit.errors import UnknownNameError
from guidekit.guidance.inverse.measurement import Measurement, Pull, level
from guidekit.guidance.particles.linear_evidence import EXPLICIT, Evidence, evidence, of_matrix, signs
from guidekit.objectives.gaussian import log_normal
from guidekit.processes.grids import Levels
from guidekit.samplers.dpm_solver import DPMSolver

FEWEST = 20
"""Steps that draws of the prior take at least."""

LARGEST = 4096
"""Most measured numbers whose covariance is kept as a table."""


class Covariance(Protocol):
    """V for rows of a prediction."""

    through: bool
    """Whether it asks for products with the Jacobian of the network."""

    def evidence(
        self, measured: Measurement, prediction: GaussianPrediction, pull: Pull | None, setup: Setup
    ) -> Evidence:
        """log N(y; A E[x_0 | x_t], noise + A V A^T), and its system solved.

        Args:
            measured: y, A and the noise.
            prediction: without a graph.
            pull: v (B, *S) -> (s^2 / a) J^T v; None where nobody asked for gradients and `through` is False.
            setup: of the run.
        """


@dataclasses.dataclass(frozen=True, eq=False)
class Certain:
    """V = 0: the clean estimate is taken for the clean state."""

    through = False

    def evidence(
        self, measured: Measurement, prediction: GaussianPrediction, pull: Pull | None, setup: Setup
    ) -> Evidence:
        """See `Covariance`."""
        gap = measured.residual(prediction.mean)
        value = log_normal(gap.double().flatten(1), measured.std.double().square())
        return Evidence(value, gap / measured.variance, torch.zeros_like(value))


@dataclasses.dataclass(frozen=True, eq=False)
class Constant:
    """V = variance I at every time.

    Args:
        variance: above 0, in the unit of the state squared.
    """

    variance: float
    through = False

    def evidence(
        self, measured: Measurement, prediction: GaussianPrediction, pull: Pull | None, setup: Setup
    ) -> Evidence:
        """See `Covariance`."""
        return round_evidence(measured, prediction, self.variance)


@dataclasses.dataclass(frozen=True, eq=False)
class PseudoInverse:
    """V = c s^2 / (c a^2 + s^2) I: that of a prior N(m, c I).

    Args:
        variance: c, above 0.

    Source: Song et al. 2023, OpenReview 9_gsMA8MRKQ.
    """

    variance: float = 1.0
    through = False

    def evidence(
        self, measured: Measurement, prediction: GaussianPrediction, pull: Pull | None, setup: Setup
    ) -> Evidence:
        """See `Covariance`."""
        a, s = (one.double().flatten() for one in level(prediction, prediction.mean))
        power = s.square()
        return round_evidence(measured, prediction, self.variance * power / (self.variance * a.square() + power))


@dataclasses.dataclass(frozen=True, eq=False)
class Jacobian:
    """V = (s^2 / a) dE[x_0 | x_t] / dx_t, which is Cov[x_0 | x_t] of an exact denoiser.

    One product with J^T a measured number, up to `EXPLICIT` of them; two a step of conjugate gradients above.

    Args:
        iterations: of conjugate gradients, and of the log-determinant's.

    Source: Boys et al. 2023, arXiv:2310.06721; conjugate gradients: Rozet et al. 2024, arXiv:2405.13712.
    """

    iterations: int = 5
    through = True

    def evidence(
        self, measured: Measurement, prediction: GaussianPrediction, pull: Pull | None, setup: Setup
    ) -> Evidence:
        """See `Covariance`."""
        gap, rows = measured.residual(prediction.mean), []
        assert pull is not None, "`through` says that it is needed"

        def image(v: Tensor) -> Tensor:
            rows.append(pull(measured.adjoint(v)))
            return measured.forward(rows[-1])

        found = evidence(gap, image, measured.variance, steps=self.iterations)
        if gap[0].numel() > EXPLICIT:
            return found
        parts = zip(found.solved.flatten(1).unbind(1), rows, strict=True)
        moved = sum((column(share, row) * row for share, row in parts), torch.zeros_like(prediction.mean))
        return dataclasses.replace(found, moved=moved)


@dataclasses.dataclass(frozen=True, eq=False)
class Average:
    """V = E[Cov[x_0 | x_t]] = Cov[x_0] - Cov[E[x_0 | x_t]] over x_t, from draws of the prior, noised again; kept.

    No backward pass. The draws are made once a run, in as many steps as it has (20 at least), and cost two network
    rows a draw and step.

    Args:
        draws: from the prior.
    """

    draws: int = 200
    known: dict[Any, tuple[Any, Tensor, Tensor]] = dataclasses.field(default_factory=dict, init=False, repr=False)
    through = False

    def evidence(
        self, measured: Measurement, prediction: GaussianPrediction, pull: Pull | None, setup: Setup
    ) -> Evidence:
        """See `Covariance`."""
        made_of = (setup.prior, measured.operator)  # held, so that their ids stay theirs
        key = (*map(id, made_of), setup.steps, setup.dtype, str(setup.device))
        if key not in self.known:
            self.known.clear()
            self.known[key] = (made_of, *self._table(measured, setup))
        _, levels, table = self.known[key]
        a, s = (one.double().flatten() for one in level(prediction, prediction.mean))
        nearest = ((s / a).log()[:, None] - levels).abs().argmin(1)
        gap = measured.residual(prediction.mean)
        return of_matrix(gap, table[nearest], measured.variance)

    @torch.no_grad()
    def _table(self, measured: Measurement, setup: Setup) -> tuple[Tensor, Tensor]:
        """Logarithms of levels s / a (T,), and A V A^T at each of them (T, m, m), float64."""
        size = measured.y[0].numel()
        if size > LARGEST:
            raise GuidanceError(
                f"covariance=average keeps a table of {size} x {size} numbers a step; up to {LARGEST} measured numbers "
                "are accepted: take covariance=jacobian or pseudo_inverse"
            )
        by = DPMSolver(times=Levels(0.02, 200.0, rho=30.0))
        own = prepare(
            setup.prior, sampler=by, steps=max(FEWEST, len(setup.steps)), groups=(0, self.draws), dtype=setup.dtype,
            device=setup.device, network_limit=setup.network.limit,
        )  # fmt: skip
        drawn = walk(own.begin(), own.steps)
        levels, table, process = [], [], drawn.process
        for place, step in enumerate(setup.steps):
            a, s = process.coefficients(step.t)
            noise = Draw(own.random, (place,), "average").normal(drawn.state)
            noisy: Any = own.denoise(dataclasses.replace(drawn.question(), x=a * drawn.state + s * noise, t=step.t))
            gap = measured.forward(drawn.state - noisy.mean).flatten(1).double()
            levels.append(math.log(s / max(a, 1e-6)))
            table.append(gap.T @ gap / self.draws)
        ledger, spent = setup.network.ledger, own.network.ledger
        ledger.count(network_rows=spent.network_rows, network_calls=spent.network_calls)
        return torch.tensor(levels, dtype=torch.float64, device=setup.device), torch.stack(table)


def round_evidence(
    measured: Measurement, prediction: GaussianPrediction, variance: Tensor | float, noise: Tensor | float = 0.0
) -> Evidence:
    """The evidence of y + noise with V = variance I where states have freedom to move; variance a number or (B,)."""
    support = prediction.support

    def image(v: Tensor) -> Tensor:
        return measured.forward(support.project(measured.adjoint(v)))

    gap = measured.residual(prediction.mean) + noise
    return evidence(gap, image, measured.variance, variance, shared=support is EVERYWHERE)


def measured_size(measured: Measurement) -> Tensor:
    """tr(A A^T), (): of the signs that traces are probed by where there are more than `EXPLICIT` numbers."""
    numbers = measured.y[0].numel()
    rows = torch.eye(numbers).to(measured.y).view(-1, *measured.y.shape[1:])
    return measured.adjoint(rows if numbers <= EXPLICIT else signs(measured.y)).double().square().sum()


def check_noise(likelihood: Any) -> None:
    """Raise `GuidanceError` for a measurement without noise: it has no density."""
    std = getattr(likelihood, "std", None)  # what is no measurement is refused by what the run requires
    if std is not None and bool((std == 0).any()):
        raise GuidanceError("a measurement without noise has no density: give a noise above 0, or use smcdiff")


COVARIANCES = ("none", "constant", "pseudo_inverse", "jacobian", "average")


def covariance_of(name: str | Covariance, variance: float = 1.0) -> Covariance:
    """A covariance by name; variance is the constant itself, or that of the prior for `pseudo_inverse`.

    Raises:
        UnknownNameError: no such covariance.
        ValueError: a variance that is not above 0.
    """
    if not isinstance(name, str):
        return name
    if not 0 < variance < math.inf:
        raise ValueError(f"variance must be above 0 and finite, got {variance}")
    if name not in COVARIANCES:
        raise UnknownNameError("covariance", name, COVARIANCES)
    made: dict[str, Covariance] = {
        "none": Certain(),
        "constant": Constant(variance),
        "pseudo_inverse": PseudoInverse(variance),
        "jacobian": Jacobian(),
        "average": Average(),
    }
    return made[name]


__all__ = ["COVARIANCES", "Average", "Certain", "Constant", "Covariance", "Jacobian", "PseudoInverse", "covariance_of"]
