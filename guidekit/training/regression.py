"""Training losses of diffusion over real-valued states: functions of a network and clean states, one loss a sample."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor, nn

from guidekit.core.state import column
from guidekit.priors.neural import denoised
from guidekit.priors.parametrization import loss_weight
from guidekit.processes import GaussianProcess
from guidekit.training.objectives import strata


class Noisy(NamedTuple):
    """Noisy states (B, *S) with their signal and noise (B,)."""

    x: Tensor
    a: Tensor
    s: Tensor


@dataclasses.dataclass(frozen=True)
class DenoisingError:
    """Squared error of what the network predicts, mean over the numbers of a state, at stratified noise levels.

    Args:
        process: forward process.
        parametrization, sigma_data: see `guidekit.priors.parametrization`; the error is that of the output, which for
            "edm" is the error of the posterior mean over c_out^2.
        levels: mean and standard deviation of log(s / a); None draws t uniformly on (0, 1).

    Source: Ho et al. 2020, arXiv:2006.11239, eq. 14; levels and weight: Karras et al. 2022, arXiv:2206.00364, table 1.
    """

    process: GaussianProcess
    parametrization: str = "edm"
    sigma_data: float = 0.5
    levels: tuple[float, float] | None = (-1.2, 1.2)

    def __call__(
        self, network: nn.Module, x0: Tensor, labels: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Loss (B,) for clean states (B, *S) with labels (B, K)."""
        noisy = self.noise(x0, generator)
        return self.error(self.mean(network, noisy, labels), x0, noisy)

    def noise(self, x0: Tensor, generator: torch.Generator | None = None) -> Noisy:
        """Noisy states at stratified levels."""
        a, s = self.coefficients(len(x0), x0.device, generator)
        eps = torch.randn(x0.shape, generator=generator, device=x0.device)
        return Noisy(column(a, x0) * x0 + column(s, x0) * eps, a, s)

    def mean(self, network: nn.Module, noisy: Noisy, labels: Tensor | None) -> Tensor:
        """E[x_0 | x], (B, *S), as the network has it."""
        return denoised(network, *noisy, self.parametrization, self.sigma_data, labels)

    def error(self, mean: Tensor, target: Tensor, noisy: Noisy) -> Tensor:
        """Loss (B,) of posterior means (B, *S) against what they should be."""
        weight = loss_weight(self.parametrization, noisy.a, noisy.s, self.sigma_data)
        return weight * (mean - target).square().flatten(1).mean(1)

    def coefficients(self, n: int, device: torch.device, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Signal and noise (n,) of a batch."""
        u = strata(n, device, generator).clamp(1e-4, 1 - 1e-4)
        if self.levels is None:
            return self.process.coefficients(u)
        mean, std = self.levels
        sigma = (mean + std * torch.special.ndtri(u)).exp()
        # The network sees the ratio alone; the unit size is that of the process.
        preserving = self.process.coefficients(1.0)[0] < 1
        a = 1 / (1 + sigma.square()).sqrt() if preserving else torch.ones_like(sigma)
        return a, sigma * a
