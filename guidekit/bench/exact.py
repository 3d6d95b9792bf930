"""Linear inverse problems whose posterior is known: what solvers are judged against."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Prior, Time
from guidekit.objectives.operators.dense import Dense
from guidekit.priors.gaussian import Gaussian, GaussianMixture
from guidekit.priors.gaussian_field import GaussianField
from guidekit.processes import EDM

NOISES = (0.05, 0.15, 0.3)
"""Standard deviations of the noise; those of the priors are about 1."""

EXACT_DRAWS = 200
"""Of every posterior, for its mean and std."""


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
    """sum_k w_k N(m_k, C_k), as what a posterior is worked out from.

    Args:
        log_w: (K,); means: (K, D); covariances: (K, D, D); all float64.
    """

    log_w: Tensor
    means: Tensor
    covariances: Tensor

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws (count, D)."""
        which = torch.multinomial(self.log_w.exp(), count, replacement=True, generator=generator)
        return self._drawn(which, generator)

    def _drawn(self, which: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(len(which), self.means.shape[1], generator=generator, dtype=torch.float64)
        return self.means[which] + _times(torch.linalg.cholesky(self.covariances), which, noise)

    def posterior(self, a: Tensor, y: Tensor, std: float, count: int, generator: torch.Generator) -> Tensor:
        """Exact draws (P, count, D) given y (P, m) = A x + std noise; by Matheron's rule in a component drawn first."""
        across = a @ self.covariances
        law = across @ a.T + std**2 * torch.eye(len(a), dtype=torch.float64)
        root = torch.linalg.cholesky(law)
        gap = (y[:, None] - self.means @ a.T)[..., None]
        white = torch.linalg.solve_triangular(root, gap, upper=False)[..., 0]
        evidence = -0.5 * white.square().sum(-1) - root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        weights = torch.softmax(self.log_w + evidence, 1)
        which = torch.multinomial(weights, count, replacement=True, generator=generator).flatten()
        x = self._drawn(which, generator)
        seen = y.repeat_interleave(count, 0)
        noise = torch.randn(seen.shape, generator=generator, dtype=torch.float64)
        gains = torch.cholesky_solve(across, root).mT
        x = x + _times(gains, which, seen + std * noise - x @ a.T)
        return x.unflatten(0, (len(y), count))


def _times(matrices: Tensor, which: Tensor, rows: Tensor) -> Tensor:
    """Each row (B, n) by the matrix (K, m, n) of its number, (B, m)."""
    if len(matrices) == 1:
        return rows @ matrices[0].T
    return torch.einsum("bij,bj->bi", matrices[which], rows)


class Jumps(Prior):
    """Increments of a Levy process: independent, each of a Brownian part and, with a chance, a Gaussian jump.

    The state is the vector of increments, whose law factors, so that the denoiser is a formula; operators see the
    signal, their running sum. The posterior is a mixture of 2^D Gaussians, one a pattern of jumps.

    Args:
        size: D.
        chance: of a jump in each increment.
        still, jump: stds of an increment without and with a jump.

    Source: the protocol of Bohra et al. 2022, arXiv:2203.09920, with enumeration instead of Gibbs sampling.
    """

    name = "jumps"
    dtype = torch.float64

    def __init__(self, size: int = 12, chance: float = 0.25, still: float = 0.1, jump: float = 1.0) -> None:
        self.process: Any = EDM()
        self.event_shape = (size,)
        self.log_w = torch.tensor([1 - chance, chance], dtype=torch.float64).log()
        self.variances = torch.tensor([still, jump], dtype=torch.float64).square()

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> GaussianPrediction:
        """Exact posterior mean, increment by increment."""
        a, s = self.process.coefficients(t)
        aa, ss = (v[:, None, None] if isinstance(v, Tensor) else v for v in (a, s))
        variance = aa * aa * self.variances.to(x) + ss * ss
        seen = x[..., None]
        share = torch.softmax(self.log_w.to(x) - 0.5 * (seen.square() / variance + torch.log(variance)), -1)
        return GaussianPrediction((share * aa * self.variances.to(x) / variance * seen).sum(-1), x, a, s)

    def mixture(self) -> Mixture:
        """All patterns of jumps."""
        size = self.event_shape[0]
        patterns = torch.tensor(list(itertools.product([0, 1], repeat=size)))
        return Mixture(
            self.log_w[patterns].sum(1),
            torch.zeros(len(patterns), size, dtype=torch.float64),
            torch.diag_embed(self.variances[patterns]),
        )


class Shaped(Prior):
    """A prior of vectors (D,) as one of states of another shape: fields have channels.

    Args:
        inner: of vectors.
        shape: S, with D numbers.
    """

    def __init__(self, inner: Prior, shape: tuple[int, ...]) -> None:
        self.inner, self.event_shape = inner, shape
        self.name, self.process, self.dtype = inner.name, inner.process, inner.dtype

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> GaussianPrediction:
        """That of the inner prior."""
        found: Any = self.inner.predict(x.flatten(1), t)
        return GaussianPrediction(found.mean.view_as(x), x, found.a, found.s)


def mixture_of(prior: Prior) -> Mixture:
    """A prior of this module as a mixture."""
    if isinstance(prior, Shaped):
        return mixture_of(prior.inner)
    if isinstance(prior, Jumps):
        return prior.mixture()
    if isinstance(prior, GaussianField):
        return mixture_of(prior.dense())
    if isinstance(prior, GaussianMixture):
        return Mixture(prior.log_w.double(), prior.means.double(), prior.covariances.double())
    raise ValueError(f"the posterior of {prior.name} is not known: give a Gaussian or a mixture of them")


def fitted(prior: Prior, draws: int = 4000) -> GaussianField:
    """The Gaussian field of so many draws from a prior: what a user would fit to data, stationary for fields."""
    states = mixture_of(prior).sample(draws, torch.Generator().manual_seed(17)).unflatten(1, prior.event_shape)
    process: Any = prior.process
    basis = "fourier" if len(prior.event_shape) > 2 else "dense"
    return GaussianField.fit(states, basis, basis == "fourier", process=process)


@dataclasses.dataclass(frozen=True, eq=False)
class Problems:
    """P measurements by one operator, with what is to be found.

    Attributes:
        prior: of the truths.
        operator: A.
        truths: (P, *S).
        y: (P, m).
        noise: std of each, (P,).
        exact: draws from the posterior of each, (P, R, *S).
    """

    prior: Prior
    operator: Dense
    truths: Tensor
    y: Tensor
    noise: Tensor
    exact: Tensor


def problems(name: str, each: int, seed: int = 0) -> dict[str, Problems]:
    """The problems of a prior of `PRIORS` by operator: `each` of every noise level (a third for fields), float64.

    The exact draws are `EXACT_DRAWS` and 20 more, which can be judged as if a solver had made them.
    """
    prior, operators = PRIORS[name]()
    if len(prior.event_shape) == 1:
        prior = Shaped(prior, (1, *prior.event_shape))
    shape = prior.event_shape
    if len(shape) > 2:  # they have many statistics that are nearly independent, and take longest
        each = max(4, each // 3)
    law, found = mixture_of(prior), {}
    for number, (title, a) in enumerate(operators.items()):
        generator = torch.Generator().manual_seed(1000 * seed + 100 + number)
        parts = []
        for std in NOISES:
            x = law.sample(each, generator)
            y = x @ a.T + std * torch.randn(each, len(a), generator=generator, dtype=torch.float64)
            parts.append(
                (
                    x,
                    y,
                    torch.full((each,), std, dtype=torch.float64),
                    law.posterior(a, y, std, EXACT_DRAWS + 20, generator),
                )
            )
        truths, y, noise, exact = (torch.cat(list(one)) for one in zip(*parts, strict=True))
        truths, exact = truths.unflatten(1, shape), exact.unflatten(2, shape)
        found[title] = Problems(prior, Dense(a, shape), truths, y, noise, exact)
    return found


def _kernel(width: float, reach: int = 4) -> Tensor:
    k = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).double() / width) ** 2)
    return k / k.sum()


def _blurred(identity: Tensor, width: float, dim: int) -> Tensor:
    k = _kernel(width)
    return sum(k[j] * torch.roll(identity, j - len(k) // 2, dim) for j in range(len(k)))  # type: ignore[return-value]


def _some(size: int, count: int) -> Tensor:
    chosen = torch.randperm(size, generator=torch.Generator().manual_seed(2))[:count].sort().values
    return torch.eye(size, dtype=torch.float64)[chosen]


def _positive(covariance: Tensor) -> Tensor:
    """The nearest positive definite matrix: distances on a ring make some eigenvalues slightly negative."""
    values, basis = torch.linalg.eigh(covariance)
    return (basis * values.clamp_min(1e-6)) @ basis.T


def _gaussian() -> tuple[Prior, dict[str, Tensor]]:
    """A periodic signal of 32 numbers with a Matern covariance of length 3."""
    lag = (torch.arange(32)[:, None] - torch.arange(32)).abs().double()
    lag = torch.minimum(lag, 32 - lag)
    eye = torch.eye(32, dtype=torch.float64)
    prior = Gaussian(torch.zeros(32, dtype=torch.float64), _positive((1 + lag / 3) * torch.exp(-lag / 3)), EDM())
    return prior, {"mask": _some(32, 12), "blur": _blurred(eye, 1.5, 0), "average": eye.unflatten(0, (8, 4)).mean(1)}


def _mixture() -> tuple[Prior, dict[str, Tensor]]:
    """Two Gaussians of 8 correlated numbers, means 4 apart, weights .6 and .4."""
    place, eye = torch.arange(8).double(), torch.eye(8, dtype=torch.float64)
    narrow = torch.exp(-(place[:, None] - place).abs() / 2) * 0.25
    mean = torch.randn(8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    mean = 2 * mean / mean.norm()
    prior = GaussianMixture(
        torch.stack([mean, -mean]),
        weights=torch.tensor([0.6, 0.4], dtype=torch.float64),
        covariances=torch.stack([narrow, 0.5 * narrow + 0.1 * eye]),
        process=EDM(),
    )
    blur = 0.5 * eye + 0.25 * torch.roll(eye, 1, 0) + 0.25 * torch.roll(eye, -1, 0)
    return prior, {"mask": eye[[0, 3, 5]], "blur": blur, "average": eye.unflatten(0, (2, 4)).mean(1)}


def _field() -> tuple[Prior, dict[str, Tensor]]:
    """A periodic 16 x 16 field with an exponential covariance of length 2.5: a spectrum that falls as a power."""
    lag = torch.minimum(torch.arange(16), 16 - torch.arange(16)).double()
    spectrum = torch.fft.fft2(torch.exp(-(lag[:, None].square() + lag.square()).sqrt() / 2.5)).real.clamp_min(1e-6)
    spectrum = spectrum / spectrum.mean()
    prior = GaussianField(torch.zeros(1, 16, 16, dtype=torch.float64), spectrum[None], "fourier", EDM())
    eye = torch.eye(256, dtype=torch.float64)
    pictures = eye.unflatten(0, (16, 16))
    blur = _blurred(_blurred(pictures, 1.2, 0), 1.2, 1).flatten(0, 1)
    average = torch.nn.functional.avg_pool2d(eye.unflatten(1, (1, 16, 16)), 4).flatten(1).T.contiguous()
    return prior, {"mask": _some(256, 77), "blur": blur, "average": average}


def _jumps() -> tuple[Prior, dict[str, Tensor]]:
    """A signal of 12 values that jumps three times on average."""
    prior = Jumps()
    total = torch.tril(torch.ones(12, 12, dtype=torch.float64))
    smooth = torch.stack([torch.exp(-0.5 * ((torch.arange(12) - i) / 1.5) ** 2) for i in range(12)]).double()
    smooth = smooth / smooth.sum(1, keepdim=True)
    return prior, {"mask": total[[1, 4, 6, 9]], "blur": smooth @ total, "average": total.unflatten(0, (4, 3)).mean(1)}


PRIORS: Mapping[str, Callable[[], tuple[Prior, dict[str, Tensor]]]] = {
    "gaussian": _gaussian,
    "mixture": _mixture,
    "field": _field,
    "jumps": _jumps,
}
"""Priors whose posteriors are known, each with its operators, by name."""
