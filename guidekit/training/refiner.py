"""Training of noise refiners: pairs of noise and guided samples, and a loss whose gradient is known in closed form."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from guidekit.core.guidance import Guidance, chain
from guidekit.core.population import Population
from guidekit.core.run import Run
from guidekit.guidance.starts.refined_noise import Refiner
from guidekit.priors.base import Prior
from guidekit.samplers import DDIM
from guidekit.sampling import sample


class _KeepStart(Guidance):
    """Keeps the noise that samples were made of."""

    def __init__(self) -> None:
        self.noise: list[Tensor] = []

    def start(self, population: Population, run: Run) -> Population:
        """The population as it is."""
        self.noise.append(population.state)
        return population


def guided_pairs(
    prior: Prior, guidance: Guidance | None, count: int, steps: int, seed: int = 0, condition: Any = None
) -> tuple[Tensor, Tensor]:
    """Noise (count, *S) and the guided samples (count, *S) that `steps` of DDIM make of it."""
    kept = _KeepStart()
    result = sample(prior, chain(guidance, kept), count, steps, seed, DDIM(), condition=condition)
    return torch.cat(kept.noise), result.samples


def unguided(prior: Prior, x: Tensor, steps: int, condition: Tensor | None = None) -> Tensor:
    """The unguided DDIM samples (B, *S) of noise x (B, *S)."""
    process = prior.process
    for t, u in pairwise(process.grid(steps)):
        x = process.reverse_kernel(prior.predict(x, t, condition), t, u, eta=0.0).mean
    return x


def train_refiner(
    prior: Prior,
    network: nn.Module,
    noise: Tensor,
    targets: Tensor,
    steps: int = 10,
    updates: int = 500,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    penalty: float = 0.0,
    condition: Tensor | None = None,
    seed: int = 0,
    log: Callable[[str], None] | None = None,
) -> Refiner:
    """Learn to map noise to noise whose unguided sample is the target.

    With the predicted noise held fixed in every step, the derivative of the sample in the noise is one positive number,
    which the learning rate takes up: the error of a sample is the gradient, and no graph of the sampler is kept.

    Args:
        prior: Gaussian prior, unguided.
        network: see `Refiner`.
        noise, targets: (N, *S) pairs, see `guided_pairs`.
        steps: of unguided DDIM.
        updates, batch_size, learning_rate: of Adam, with linear decay.
        penalty: weight of the mean square of the change, which keeps the noise near the Gaussian shell.
        condition: (N, ...) of the pairs, or None.
        seed: of the order.
        log: told the error of every hundredth update.

    Source: Ahn et al. 2024, arXiv:2412.03895, section 4.2 (multistep score distillation).
    """
    refiner, random = Refiner(copy.deepcopy(network)), torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(refiner.parameters(), learning_rate)
    std = float(prior.process.coefficients(1.0)[1])
    for update in range(updates):
        rows = torch.randint(len(noise), (batch_size,), generator=random)
        given = None if condition is None else condition[rows]
        refined = refiner(noise[rows], std, given)
        with torch.no_grad():
            error = unguided(prior, refined, steps, given) - targets[rows]
        change = (refined - noise[rows]) / std
        loss = (error * refined / std).flatten(1).sum(1).mean() + penalty * change.square().flatten(1).sum(1).mean()
        adam.param_groups[0]["lr"] = learning_rate * (1 - update / updates)
        adam.zero_grad()
        loss.backward()
        adam.step()
        if log is not None and update % 100 == 0:
            log(f"update {update}: mean square error {float(error.square().mean()):.4g}")
    return refiner.eval().requires_grad_(False)
