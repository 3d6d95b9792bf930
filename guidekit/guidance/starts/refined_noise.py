"""Guidance paid in advance: a small network that maps noise to the noise whose unguided sample is the guided one."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.population import Population
from guidekit.core.run import Run
from guidekit.processes import GaussianProcess


class Refiner(nn.Module):
    """Noise to refined noise, x + s R(x / s, c): R is a network of the kind that denoises, asked at full noise.

    Args:
        network: (states (B, *S), level (B,), labels (B, K) or None) -> (B, *S); zero at first, where its head is.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, std: float, labels: Tensor | None = None) -> Tensor:
        """Refined noise (B, *S) of noise x (B, *S) with standard deviation `std`."""
        return x + std * self.network(x / std, x.new_ones(len(x)), labels)


@dataclasses.dataclass(frozen=True, eq=False)
class RefinedNoise(Guidance):
    """Start from refined noise: what was guidance at every step is one more network call at the start.

    Made for deterministic samplers of the step count it was trained with; stochastic ones forget their start.

    Args:
        refiner: made by `guidekit.training.refiner.train_refiner`.

    Source: Ahn et al. 2024, arXiv:2412.03895, section 4.
    """

    refiner: Refiner
    needs = ("real-valued states", "a trained refiner")

    def check(self, run: Run) -> None:
        """There must be Gaussian noise to refine."""
        if not isinstance(run.prior.process, GaussianProcess):
            raise GuidanceError(f"RefinedNoise refines Gaussian noise, and this prior ({run.prior.name}) has none")

    def start(self, population: Population, run: Run) -> Population:
        """The refined start."""
        std = float(run.prior.process.coefficients(1.0)[1])
        with torch.no_grad():
            refined = self.refiner(population.state, std, population.condition)
        run.ledger.network_calls += 1
        run.ledger.network_rows += len(population)
        return population.advance(refined)
