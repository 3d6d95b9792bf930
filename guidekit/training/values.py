"""Training of values of noisy states: the law of the reward, from the prior's own samples and from guided roll-ins."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from guidekit.core.random import keyed_generator
from guidekit.core.ledger import Ledger
from guidekit.core.run import Progress
from guidekit.guidance.values.learned import LearnedValue
from guidekit.guidance.values.slcd import SLCD
from guidekit.networks import ValueNetwork
from guidekit.objectives.rewards import score
from guidekit.core.prior import Prior
from guidekit.processes import DiscreteProcess
from guidekit.running.signals import Stopped
from guidekit.samplers import Ancestral
from guidekit.sampling import sample
from guidekit.training.denoising import DenoisingModule
from guidekit.training.stopping import StopBetweenUpdates

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
    reward: Callable[..., Tensor],
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
        reward: clean states (B, *S) -> (B,); minus infinity where there is none.
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
    if begun is None:
        base = data
        if base is None:
            base = sample(prior, None, schedule.base, schedule.sampling_steps, seed, condition=condition).samples
        seen, value, first = Collected(base, score(reward, base, Ledger())), None, 0
    else:
        seen, first = begun.seen, begun.step + 1
        value = untrained(prior, seen, trunk, bins, equal_counts)
        value.network.load_state_dict(begun.weights)
        value.network.eval().requires_grad_(False)
    unguided = len(seen.clean)
    if schedule.eta is None:
        rewards = seen.rewards[:unguided]
        spread = float(rewards[rewards.isfinite()].std().nan_to_num(0.0)) or 1.0
        schedule = dataclasses.replace(schedule, eta=(1 / spread, 4 / spread))
    for step in range(first, schedule.rounds + 1):
        if step:
            seen = seen.join(_roll_out(prior, reward, value, schedule, condition, seed + step))
        value, loss = _fit(prior, seen, trunk, schedule, bins, seed + step, equal_counts)
        if log is not None:
            best = seen.rewards[unguided:] if step else seen.rewards
            log(f"round {step}: {len(seen.rewards)} samples, last mean reward {_mean(best):.4g}, {loss:.3f} nats")
        if after is not None:
            after(step, value)
        if keep is not None:
            keep(Round(step, seen, value.network.state_dict()))
    return value


@dataclasses.dataclass(frozen=True)
class Collected:
    """Clean states with their rewards, and noisy states with the rewards they led to.

    Args:
        clean: (N, *S) unguided samples.
        rewards: (N + M,) of all samples, the guided ones last.
        noisy: (M * k, *S) states behind the switches, or None.
        times: (M * k,) of them.
        led_to: (M * k,) rewards of their ends.
    """

    clean: Tensor
    rewards: Tensor
    noisy: Tensor | None = None
    times: Tensor | None = None
    led_to: Tensor | None = None

    def join(self, other: tuple[Tensor, Tensor, Tensor, Tensor]) -> Collected:
        """With the (states, times, rewards they led to, rewards of samples) of a round."""
        states, times, led_to, rewards = other
        mine = [] if self.noisy is None else [(self.noisy, self.times, self.led_to)]
        joined = [torch.cat(parts) for parts in zip(*mine, (states, times, led_to), strict=True)]
        return Collected(self.clean, torch.cat([self.rewards, rewards]), *joined)


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


class Batches(IterableDataset):
    """Endless batches ((states, times), bins) from collected samples, all samples equally often."""

    def __init__(self, data: Collected, process: Any, edges: Tensor, size: int, seed: int) -> None:
        self.data, self.process, self.edges, self.size, self.seed = data, process, edges, size, seed

    def __iter__(self) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor]]:
        """Fresh noise for clean samples, stored states for guided ones."""
        data, random = self.data, torch.Generator().manual_seed(self.seed)
        clean = len(data.clean)
        share = clean / len(data.rewards)
        while True:
            count = int((torch.rand(self.size, generator=random) < share).sum())
            rows = torch.randint(clean, (count,), generator=random)
            t = torch.rand(count, generator=random)
            x0 = data.clean[rows]
            noise = torch.rand if isinstance(self.process, DiscreteProcess) else torch.randn
            states, times, rewards = self.process.noise(x0, t, noise(x0.shape, generator=random)), t, data.rewards[rows]
            if count < self.size:
                pick = torch.randint(len(data.noisy), (self.size - count,), generator=random)
                states, times = torch.cat([states, data.noisy[pick]]), torch.cat([times, data.times[pick]])
                rewards = torch.cat([rewards, data.led_to[pick]])
            yield (states, times), bin_of(rewards, self.edges)


@dataclasses.dataclass(frozen=True)
class BinLikelihood:
    """Cross-entropy of the bin a noisy state's reward falls into, (B,) nats."""

    value: LearnedValue

    def __call__(self, network: torch.nn.Module, states: tuple[Tensor, Tensor], bins: Tensor) -> Tensor:
        """For states (x, t) and bins (B,)."""
        x, t = states
        return F.nll_loss(dataclasses.replace(self.value, network=network).log_law(x, t), bins, reduction="none")


def small_trunk(prior: Prior) -> dict[str, Any]:
    """A network that suits a prior's states and is cheap beside its own: {name, options}, see `ValueNetwork`."""
    process = prior.process
    if not isinstance(process, DiscreteProcess):
        if len(prior.event_shape) == 3:
            return {"name": "image_encoder", "options": {"channels": prior.event_shape[0]}}
        return {"name": "perceptron", "options": {"size": math.prod(prior.event_shape)}}
    tokens = {"vocab_size": process.vocab_size, "max_length": prior.event_shape[0]}
    if process.pinned is None:
        return {"name": "dilated_convolution", "options": {**tokens, "width": 64, "dilations": [1, 1, 4, 16]}}
    padded = {**tokens, "pad_id": process.pinned}
    return {"name": "sequence_transformer", "options": {**padded, "width": 96, "depth": 2}}


def own_trunk(prior: Prior) -> dict[str, Any]:
    """{name, options} of a prior's network, as a trunk."""
    return {"name": prior.made["name"], "options": {"timed": False, **prior.made["options"]}}


def shared_trunk(prior: Prior, outputs: int) -> ValueNetwork:
    """A value network on the prior's own features, which stay as they are.

    Raises:
        ValueError: the prior has none.
    """
    if not hasattr(prior, "from_features"):
        raise ValueError(f"{prior.name} has no features to learn a value from")
    return ValueNetwork(copy.deepcopy(prior.network).requires_grad_(False), outputs)


def bin_edges(rewards: Tensor, bins: int, equal_counts: bool = False) -> Tensor:
    """Edges (bins + 1,) over all finite rewards, of equally wide bins or of bins with equal numbers of rewards.

    Raises:
        ValueError: none is finite.
    """
    finite = rewards[rewards.isfinite()].double()
    if len(finite) == 0:
        raise ValueError(f"none of {len(rewards)} samples has a reward, so there is nothing to learn from")
    if equal_counts:
        return torch.quantile(finite, torch.linspace(0, 1, bins + 1, dtype=torch.float64))
    low, high = float(finite.min()), float(finite.max())
    return torch.linspace(low, high if high > low else low + 1, bins + 1, dtype=torch.float64)


def bin_of(rewards: Tensor, edges: Tensor) -> Tensor:
    """Bins 1 .. K of rewards (B,), 0 for those that are minus infinity."""
    inside = torch.bucketize(rewards.double(), edges[1:-1], right=True) + 1
    return torch.where(rewards.isfinite(), inside, 0)


def bin_means(rewards: Tensor, edges: Tensor) -> Tensor:
    """What a bin stands for, (K + 1,): the mean of the rewards seen in it, its middle where there is none."""
    bins, count = bin_of(rewards, edges), len(edges)
    finite = rewards.double().where(rewards.isfinite(), 0.0)
    number = torch.zeros(count, dtype=torch.float64).index_add(0, bins, torch.ones_like(finite))
    total = torch.zeros(count, dtype=torch.float64).index_add(0, bins, finite)
    middle = torch.cat([edges[:1], (edges[1:] + edges[:-1]) / 2])
    means = torch.where(number > 0, total / number.clamp_min(1), middle)
    means[0] = -math.inf
    return means


def untrained(
    prior: Prior, data: Collected, trunk: Mapping[str, Any] | str, bins: int, equal_counts: bool = False
) -> LearnedValue:
    """A value with new weights, whose bins are those of the data."""
    network = shared_trunk(prior, bins + 1) if trunk == "prior" else ValueNetwork(trunk, bins + 1)
    means = bin_means(data.rewards, _edges(data, bins, equal_counts))
    return LearnedValue(network, prior.process, means)


def _edges(data: Collected, bins: int, equal_counts: bool) -> Tensor:
    return bin_edges(data.rewards[: len(data.clean)] if equal_counts else data.rewards, bins, equal_counts)


def _fit(
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
    module = DenoisingModule(
        value.network,
        BinLikelihood(value),
        schedule.learning_rate,
        warmup=min(50, schedule.updates // 10),
        total_steps=schedule.updates,
        label_dropout=0.0,
        ema=0.99,
        seed=seed,
    )
    batches = DataLoader(Batches(data, prior.process, edges, schedule.batch_size, seed), batch_size=None)
    with quiet(), StopBetweenUpdates() as stop:
        loop = lightning.Trainer(
            max_steps=len(module.configure_optimizers()) * schedule.updates,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[stop],
        )
        loop.fit(module, batches)
    if stop.signal is not None:
        raise Stopped(stop.signal)
    trained = copy.deepcopy(module.average).eval().requires_grad_(False)
    return dataclasses.replace(value, network=trained), float(loop.callback_metrics["train/loss"])


def _roll_out(
    prior: Prior, reward: Callable[..., Tensor], value: LearnedValue, schedule: Schedule, condition: Any, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States and times behind the switch of guided trajectories, the rewards they led to, and one reward a sample."""
    random = keyed_generator("cpu", seed, 0, "switches")
    low, high = schedule.eta
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
            time = progress.population.run.grid[progress.step]
            if 0 < time <= switch:
                seen.append((time, progress.population.state))

        guided = SLCD(value, eta, lambda t, switch=switch: schedule.scale * (t > switch), schedule.first_order)
        options = dict(condition=condition, sampler=Ancestral(), batch_size=size, progress=keep)
        clean = sample(prior, guided, size, schedule.sampling_steps, seed * STRATA + stratum, **options).samples
        rewards = score(reward, clean, Ledger())
        seen.append((0.0, clean))
        chosen = torch.randperm(len(seen), generator=random)[: schedule.states].tolist()
        states = torch.cat([seen[i][1] for i in chosen])
        times = torch.tensor([seen[i][0] for i in chosen]).repeat_interleave(size)
        found.append((states, times, rewards.repeat(len(chosen)), rewards))
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Lightning without its notes and warnings: a run of many short fits would print them again and again."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logger.setLevel(level)


def _mean(rewards: Tensor) -> float:
    return float(rewards[rewards.isfinite()].mean())
