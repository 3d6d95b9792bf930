"""Training of energies of noisy states: which of some siblings, noised alike, has the reward?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.guidance.values.energy import LearnedEnergy
from guidekit.networks import ValueNetwork
from guidekit.objectives.objects import score
from guidekit.objectives.reward import objective_of
from guidekit.processes import DiscreteProcess
from guidekit.sampling import sample
from guidekit.training.trunks import shared_trunk
from guidekit.training.values import trained


@dataclasses.dataclass(frozen=True)
class Contrast:
    """What is collected, and how a contrast is trained.

    Args:
        temperature: of the tilt, in the unit of the reward.
        siblings: samples that are compared, noised to one time.
        base: unguided samples of the prior, noised afresh in every batch.
        sampling_steps: of each.
        updates, batch_size, learning_rate: of the fit; a batch is cut into groups of siblings.
    """

    temperature: float = 0.1
    siblings: int = 16
    base: int = 4096
    sampling_steps: int = 64
    updates: int = 1000
    batch_size: int = 256
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature={self.temperature}; a number above 0 is needed, in the unit of the reward")
        for name, least in (("siblings", 2), ("base", 2), ("sampling_steps", 1), ("updates", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}; at least {least} is needed")
        if self.batch_size < self.siblings:
            raise ValueError(f"batch_size={self.batch_size} is less than one group of {self.siblings} siblings")


class Siblings(IterableDataset):
    """Endless batches ((states, times), shares): groups of samples at one time each, and their softmax(reward / T)."""

    def __init__(self, clean: Tensor, rewards: Tensor, process: Any, contrast: Contrast, seed: int) -> None:
        self.clean, self.rewards, self.process, self.contrast, self.seed = clean, rewards, process, contrast, seed

    def __iter__(self) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor]]:
        """Fresh noise for every member of a group; a group in which nobody has a reward teaches nothing."""
        random, size = torch.Generator().manual_seed(self.seed), self.contrast.siblings
        groups = self.contrast.batch_size // size
        noise = torch.rand if isinstance(self.process, DiscreteProcess) else torch.randn
        while True:
            rows = torch.randint(len(self.clean), (groups * size,), generator=random)
            t = torch.rand(groups, generator=random).repeat_interleave(size)
            x0 = self.clean[rows]
            shares = torch.softmax(self.rewards[rows].view(groups, size).double() / self.contrast.temperature, 1)
            yield (self.process.noise(x0, t, noise(x0.shape, generator=random)), t), shares.nan_to_num(0.0).flatten()


@dataclasses.dataclass(frozen=True)
class SiblingLikelihood:
    """Cross-entropy between the shares of siblings and the softmax of their energies, (B,) nats; of groups in a row."""

    energy: LearnedEnergy
    siblings: int

    def __call__(self, network: torch.nn.Module, states: Any, shares: Any) -> Tensor:
        """For states (x, t) and shares (B,), groups in a row."""
        x, t = states
        found = dataclasses.replace(self.energy, network=network).scores(x, t, None).view(-1, self.siblings)
        return -self.siblings * shares * torch.log_softmax(found, 1).flatten()


def train_energy(
    prior: Prior,
    reward: Objective | Callable[[Tensor], Tensor],
    trunk: Mapping[str, Any] | str,
    contrast: Contrast = Contrast(),  # noqa: B008 - frozen
    condition: Any = None,
    seed: int = 0,
    log: Callable[[str], object] = lambda told: None,
    data: Tensor | None = None,
    seen: tuple[Tensor, Tensor] | None = None,
    keep: Callable[[tuple[Tensor, Tensor]], object] = lambda seen: None,
) -> LearnedEnergy:
    """Contrastive energy prediction: the energy whose softmax over siblings is that of their rewards.

    Siblings are samples of the prior that are noised to one time, each by noise of its own. The best answer to which of
    them has how much of exp(reward / temperature) is log E[exp(reward / temperature) | x_t], up to a function of t.

    Args:
        prior: whose samples are to be guided.
        reward: an objective, or a function of clean states (B, *S) -> (B,); minus infinity where there is none.
        trunk: {name, options} of the network, see `ValueNetwork`; "prior" takes the prior's own features, frozen.
        contrast: see `Contrast`.
        condition: of the prior, for all samples.
        seed: of all randomness.
        log: is told of the samples and of the fit.
        data: clean states (N, *S) in place of unguided samples, taken for draws from the prior's law.
        seen: (states, rewards) of a training with the same arguments that was cut.
        keep: given these before the fit.

    Source: Lu et al. 2023, arXiv:2304.12824, section 3.3.

    Raises:
        ValueError: no sample has a reward, or all have the same.
    """
    objective = objective_of(reward, "train_energy")
    if seen is None:
        clean = data
        if clean is None:
            clean = sample(prior, None, contrast.base, contrast.sampling_steps, seed, condition=condition).samples
        seen = clean, score(prior, objective, clean)
        keep(seen)
    clean, rewards = seen
    finite = rewards[rewards.isfinite()]
    if len(finite) == 0 or (len(finite) == len(rewards) and float(finite.min()) == float(finite.max())):
        raise ValueError(
            f"{len(finite)} of {len(rewards)} samples have a reward, all the same: there is nothing to learn"
        )
    log(f"{len(rewards)} samples, mean reward {float(finite.double().mean()):.4g}")
    torch.manual_seed(seed)
    network = shared_trunk(prior, 1) if isinstance(trunk, str) else ValueNetwork(trunk, 1)
    process: Any = prior.process
    energy = LearnedEnergy(network, process, contrast.temperature)
    batches = Siblings(clean, rewards, process, contrast, seed)
    fitted, loss = trained(
        network, SiblingLikelihood(energy, contrast.siblings), batches, contrast.updates, contrast.learning_rate, seed
    )
    log(f"{contrast.updates} updates, {loss:.3f} nats")
    return dataclasses.replace(energy, network=fitted)
