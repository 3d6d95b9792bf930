"""Training of values of noisy states: the law of the reward, from the prior's own samples and from guided roll-ins."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from guidekit.core.loop import Progress
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.core.random import keyed_generator
from guidekit.guidance.learned.slcd import SLCD
from guidekit.guidance.values.learned import LearnedValue
from guidekit.networks import ValueNetwork
from guidekit.objectives.objects import score
from guidekit.objectives.reward import objective_of
from guidekit.running.signals import Stopped
from guidekit.samplers.ancestral import Ancestral
from guidekit.sampling import sample
from guidekit.training.collected import Batches, Collected, bin_edges, bin_means
from guidekit.training.denoising import DenoisingModule
from guidekit.training.quiet import quiet
from guidekit.training.stopping import StopBetweenUpdates
from guidekit.training.trunks import shared_trunk

STRATA = 8
"""Guided batches of a round, each with a switching time and an eta of its own."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How much is collected and trained.

    Args:
        rounds: of guided collection after the first fit; 0 learns from unguided samples only.
        base: unguided samples, noised afresh in every batch.
        collected: guided trajectories a round.
        sampling_steps: of every trajectory.
        states: of a trajectory that are kept behind its switch.
        eta: least and largest 1 / temperature of roll-ins, in units of 1 / reward; None is 1 and 4 over the standard
            deviation of the rewards of unguided samples.
        first_order: see `SLCD`.
        updates, batch_size, learning_rate: of a fit; every round starts from new weights.
    """

    rounds: int = 3
    base: int = 2048
    collected: int = 512
    sampling_steps: int = 64
    states: int = 8
    eta: tuple[float, float] | None = None
    scale: float = 1.0
    first_order: bool = True
    updates: int = 600
    batch_size: int = 128
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        if self.eta is not None and not 0 <= self.eta[0] <= self.eta[1]:
            raise ValueError(f"eta={list(self.eta)}; the least and the largest 1 / temperature, neither below 0")
        for name in ("base", "sampling_steps", "states", "updates", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; at least 1 is needed")


def train_value(
    prior: Prior,
    reward: Objective | Callable[[Tensor], Tensor],
    trunk: Mapping[str, Any] | str,
    schedule: Schedule = Schedule(),  # noqa: B008 - frozen
    bins: int = 32,
    condition: Any = None,
    seed: int = 0,
    log: Callable[[str], None] | None = None,
    after: Callable[[int, LearnedValue], None] | None = None,
    data: Tensor | None = None,
    equal_counts: bool = False,
    begun: Round | None = None,
    keep: Callable[[Round], None] | None = None,
) -> LearnedValue:
    """Learn the law of the reward given a noisy state, by supervised learning on the policy that will be used.

    The first fit sees unguided samples, noised. A round then draws trajectories that are guided by the present value
    down to a random time and unguided from there, so that what is learned is the law under the unguided process, but at
    states where guidance leads; all data so far are fitted again from new weights.

    Args:
        prior: whose samples are to be guided.
        reward: an objective, or a function of clean states (B, *S) -> (B,); minus infinity where there is none.
        trunk: {name, options} of the network, see `ValueNetwork`; "prior" takes the prior's own features, frozen, which
            is what `NOS` needs.
        schedule: see `Schedule`.
        bins: K; they cover all rewards seen so far evenly, and one more holds states without a reward.
        condition: of the prior, for all samples.
        seed: of all randomness.
        log: told one line after each fit.
        after: called with the round (0 is the first fit) and its value.
        data: clean states (N, *S) in place of unguided samples, such as those the prior was trained on; they are taken
            for draws from its law.
        equal_counts: bins hold equal numbers of unguided samples (or of `data`), in place of being equally wide.
        begun: last round of a training with the same arguments that was cut; it goes on as if it had not been.
        keep: given every round behind its fit, to be begun with.

    Source: Oertell et al. 2025, arXiv:2505.21666, algorithm 1.

    Raises:
        ValueError: no sample has a reward.
    """
    objective = objective_of(reward, "train_value")
    if begun is None:
        base = data
        if base is None:
            base = sample(prior, None, schedule.base, schedule.sampling_steps, seed, condition=condition).samples
        seen, first = Collected(base, score(prior, objective, base)), 0
    else:
        seen, first = begun.seen, begun.step + 1
        value = untrained(prior, seen, trunk, bins, equal_counts)
        value.network.load_state_dict(begun.weights)
        value.network.eval().requires_grad_(False)
    unguided = len(seen.clean)
    etas = schedule.eta or _suited(seen.rewards[:unguided])
    for step in range(first, schedule.rounds + 1):
        if step:
            seen = seen.join(roll_out(prior, objective, value, schedule, etas, condition, seed + step))
        value, loss = fit(prior, seen, trunk, schedule, bins, seed + step, equal_counts)
        if log is not None:
            best = seen.rewards[unguided:] if step else seen.rewards
            log(f"round {step}: {len(seen.rewards)} samples, last mean reward {_mean(best):.4g}, {loss:.3f} nats")
        if after is not None:
            after(step, value)
        if keep is not None:
            keep(Round(step, seen, value.network.state_dict()))
    return value


@dataclasses.dataclass(frozen=True)
class Round:
    """What a training of values has come to behind a round.

    Args:
        step: of the round.
        seen: all samples so far.
        weights: of the value's network.
    """

    step: int
    seen: Collected
    weights: Mapping[str, Tensor]

    def plain(self) -> dict[str, Any]:
        """As tensors and numbers, for a file; see `Round.of`."""
        return {"step": self.step, "seen": dict(vars(self.seen)), "weights": dict(self.weights)}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Round:
        """The round of what `plain` made."""
        return cls(plain["step"], Collected(**plain["seen"]), plain["weights"])


@dataclasses.dataclass(frozen=True)
class BinLikelihood:
    """Cross-entropy of the bin a noisy state's reward falls into, (B,) nats."""

    value: LearnedValue

    def __call__(self, network: torch.nn.Module, states: Any, bins: Any) -> Tensor:
        """For states (x, t) and bins (B,)."""
        x, t = states
        return F.nll_loss(dataclasses.replace(self.value, network=network).log_law(x, t), bins, reduction="none")


def untrained(
    prior: Prior, data: Collected, trunk: Mapping[str, Any] | str, bins: int, equal_counts: bool = False
) -> LearnedValue:
    """A value with new weights, whose bins are those of the data."""
    network = shared_trunk(prior, bins + 1) if isinstance(trunk, str) else ValueNetwork(trunk, bins + 1)
    means = bin_means(data.rewards, _edges(data, bins, equal_counts))
    process: Any = prior.process
    return LearnedValue(network, process, means)


def _edges(data: Collected, bins: int, equal_counts: bool) -> Tensor:
    return bin_edges(data.rewards[: len(data.clean)] if equal_counts else data.rewards, bins, equal_counts)


def fit(
    prior: Prior,
    data: Collected,
    trunk: Mapping[str, Any] | str,
    schedule: Schedule,
    bins: int,
    seed: int,
    equal_counts: bool = False,
) -> tuple[LearnedValue, float]:
    """A value trained from new weights on all data, and the mean loss of its last updates."""
    edges = _edges(data, bins, equal_counts)
    torch.manual_seed(seed)
    value = untrained(prior, data, trunk, bins, equal_counts)
    batches = Batches(data, prior.process, edges, schedule.batch_size, seed)
    network, loss = trained(
        value.network, BinLikelihood(value), batches, schedule.updates, schedule.learning_rate, seed
    )
    return dataclasses.replace(value, network=network), loss


def trained(
    network: torch.nn.Module,
    loss: Callable[..., Tensor],
    batches: IterableDataset,
    updates: int,
    learning_rate: float,
    seed: int,
) -> tuple[torch.nn.Module, float]:
    """The running average of a network after so many updates, and the mean loss of the last ones.

    Raises:
        Stopped: by a signal.
    """
    module = DenoisingModule(
        network,
        loss,
        learning_rate,
        warmup=min(50, updates // 10),
        total_steps=updates,
        label_dropout=0.0,
        ema=0.99,
        seed=seed,
    )
    with quiet(), StopBetweenUpdates() as stop:
        loop = lightning.Trainer(
            max_steps=updates,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[stop],
        )
        loop.fit(module, DataLoader(batches, batch_size=None))
    if stop.signal is not None:
        raise Stopped(stop.signal)
    average = copy.deepcopy(module.average).eval().requires_grad_(False)
    return average, float(loop.callback_metrics["train/loss"])


def roll_out(
    prior: Prior,
    objective: Objective,
    value: LearnedValue,
    schedule: Schedule,
    etas: tuple[float, float],
    condition: Any,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States and times behind the switch of guided trajectories, the rewards they led to, and one reward a sample."""
    random = keyed_generator("cpu", seed, 0, "switches")
    low, high = etas
    found = []
    for stratum in range(STRATA):
        size = (schedule.collected * (stratum + 1)) // STRATA - (schedule.collected * stratum) // STRATA
        if size == 0:
            continue
        u, v = torch.rand(2, generator=random).tolist()
        switch, eta = (stratum + u) / STRATA, low + (high - low) * v
        seen: list[tuple[float, Tensor]] = []

        def keep(progress: Progress, switch: float = switch, seen: list = seen) -> None:
            """Remember states that unguided steps start from, their end left out."""
            t = progress.population.moment.t
            if 0 < t <= switch:
                seen.append((t, progress.population.state))

        def scale(t: float, switch: float = switch) -> float:
            return schedule.scale * (t > switch)

        guided = SLCD(value, eta, scale, schedule.first_order)
        steps, own = schedule.sampling_steps, seed * STRATA + stratum
        made = sample(prior, guided, size, steps, own, Ancestral(), condition=condition, batch_size=size, progress=keep)
        clean = made.samples
        rewards = score(prior, objective, clean)
        seen.append((0.0, clean))
        chosen = torch.randperm(len(seen), generator=random)[: schedule.states].tolist()
        states = torch.cat([seen[i][1] for i in chosen])
        times = torch.tensor([seen[i][0] for i in chosen]).repeat_interleave(size)
        found.append((states, times, rewards.repeat(len(chosen)), rewards))
    states, times, led_to, rewards = (torch.cat(parts) for parts in zip(*found, strict=True))
    return states, times, led_to, rewards


def _suited(rewards: Tensor) -> tuple[float, float]:
    """Least and largest eta for rewards (B,) of unguided samples."""
    spread = float(rewards[rewards.isfinite()].std().nan_to_num(0.0)) or 1.0
    return 1 / spread, 4 / spread


def _mean(rewards: Tensor) -> float:
    return float(rewards[rewards.isfinite()].mean())
