"""The linear inverse problem of MCGDiff: mixtures of 25 Gaussians, measurements with exact posteriors, and its grid.

Source of the protocol: Cardoso et al. 2023, arXiv:2308.07983, and its code, of which settings were read.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Prior, Time
from guidekit.objectives.operators.dense import Dense
from guidekit.priors.gaussian_field import GaussianField
from guidekit.processes.gaussian import GaussianProcess
from guidekit.processes.tables import TableVP

SAMPLES = 2000
SLICES = 100


class RoundMixture(Prior):
    """sum_k w_k N(m_k, v I), whose denoiser takes two matrix products however many dimensions there are.

    Args:
        means: (K, D) float64.
        log_w: (K,).
        process: forward process.
        variance: v, of every component.
    """

    name = "mixture of round Gaussians"
    dtype = torch.float64
    process: GaussianProcess

    def __init__(self, means: Tensor, log_w: Tensor, process: GaussianProcess, variance: float = 1.0) -> None:
        self.means, self.log_w, self.process, self.variance = means, log_w, process, variance
        self.event_shape = (1, means.shape[1])

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> GaussianPrediction:
        """Exact posterior mean."""
        a, s = self.process.coefficients(t)
        aa, ss = (torch.as_tensor(v, dtype=x.dtype).reshape(-1, 1) for v in (a, s))
        flat, variance = x.flatten(1), aa * aa * self.variance + ss * ss
        fits = (aa * (flat @ self.means.T) - 0.5 * aa * aa * self.means.square().sum(1)) / variance
        centers = torch.softmax(self.log_w + fits, 1) @ self.means
        mean = (aa * self.variance * flat + ss * ss * centers) / variance
        return GaussianPrediction(mean.view_as(x), x, a, s)


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """One measurement.

    Attributes:
        prior: its mixture, with weights of its own.
        a, y, std: the measurement y = A x + std noise.
        exact: exact draws, twice `SAMPLES`, (n, D).
        slices: directions, (D, `SLICES`).
    """

    prior: RoundMixture
    a: Tensor
    y: Tensor
    std: float
    exact: Tensor
    slices: Tensor

    @cached_property
    def operator(self) -> Dense:
        """A."""
        return Dense(self.a, self.prior.event_shape)

    def distance(self, samples: Tensor) -> float:
        """Mean over slices of the Wasserstein-1 distance to the exact draws; NaN where samples are not finite.

        Args:
            samples: (n, *S), n a divisor of `SAMPLES`.
        """
        samples = samples.repeat(SAMPLES // len(samples), *[1] * (samples.ndim - 1))
        if not bool((samples.abs() < 1e6).all()):
            return math.nan
        seen, known = (
            (one.double() @ self.slices).sort(0).values for one in (samples.flatten(1), self.exact[:SAMPLES])
        )
        return float((seen - known).abs().mean())


def problem(d: int, dy: int, number: int, variance: float = 1.0) -> Problem:
    """A problem of the protocol, the same in every run; variance: of the components, 1 in the protocol.

    25 components with means (-8 i, -8 j) repeated, weights the squares of normal numbers; A with singular values
    uniform on [0, 1]; noise a uniform share of the largest of them.
    """
    rng = np.random.default_rng(1000 * d + 10 * dy + number)
    means = np.array([[-8.0 * (i, j)[k % 2] for k in range(d)] for i in range(-2, 3) for j in range(-2, 3)])
    weights = rng.standard_normal(25) ** 2
    weights /= weights.sum()
    u, _, v = np.linalg.svd(rng.standard_normal((dy, d)), full_matrices=False)
    values = np.sort(rng.uniform(size=dy))[::-1]
    a = (u * values) @ v
    std, size = float(rng.uniform() * values.max()), math.sqrt(variance)
    truth = means[rng.choice(25, p=weights)] + size * rng.standard_normal(d)
    y = a @ truth + std * rng.standard_normal(dy)
    law = variance * a @ a.T + std**2 * np.eye(dy)
    gap = y - means @ a.T
    evidence = np.log(weights) - 0.5 * np.einsum("ki,ij,kj->k", gap, np.linalg.inv(law), gap)
    after = np.exp(evidence - evidence.max())
    count = 2 * SAMPLES
    x = means[rng.choice(25, count, p=after / after.sum())] + size * rng.standard_normal((count, d))
    x += variance * np.linalg.solve(law, (y + std * rng.standard_normal((count, dy)) - x @ a.T).T).T @ a
    slices = rng.standard_normal((d, SLICES))
    prior = RoundMixture(torch.tensor(means), torch.tensor(np.log(weights)), PROCESS, variance)
    slices /= np.linalg.norm(slices, axis=0)
    return Problem(prior, torch.tensor(a), torch.tensor(y)[None], std, torch.tensor(x), torch.tensor(slices))


BETAS = tuple(float(beta) for beta in np.linspace(0.02, 1e-4, 999))
PROCESS = GaussianProcess(TableVP(BETAS))


def times(values: Sequence[float], std: float, steps: int) -> list[float]:
    """`steps` + 1 times of the protocol, from 1 to 0: even in the signal, with the levels that the measurement has.

    Args:
        values: singular values of A.
        std: of its noise; a level is where the noise of the state is that of a measured direction, s / a = std / value.
        steps: network calls.
    """
    signal = np.concatenate([[1.0], np.sqrt(np.cumprod(1 - np.array(BETAS)))])
    power = signal**2
    levels = {int(np.abs(std**2 * power - (1 - power) * value**2).argmin()) for value in values} - {0}
    end = int((signal < 1e-2).argmax())
    gap = (1 - signal[end]) / max(1, steps - len(levels))
    chosen_, last = [0], 1.0
    for index in range(1, end):
        if last - signal[index] >= gap or index in levels:
            chosen_.append(index)
            last = float(signal[index])
    left = steps + 1 - len(chosen_)
    more = np.ceil(np.linspace(chosen_[-1], len(BETAS), max(left, 1) + 1))[1:]
    indices = sorted({*chosen_, *(int(one) for one in more)}, reverse=True)
    return [index / len(BETAS) for index in indices]


def fitted(prior: RoundMixture, draws: int = 4000) -> GaussianField:
    """The Gaussian field of so many draws from a mixture."""
    generator = torch.Generator().manual_seed(17)
    which = torch.multinomial(prior.log_w.exp(), draws, replacement=True, generator=generator)
    states = prior.means[which]
    states = states + math.sqrt(prior.variance) * torch.randn(states.shape, generator=generator, dtype=torch.float64)
    return GaussianField.fit(states[:, None], basis="dense", process=prior.process)
