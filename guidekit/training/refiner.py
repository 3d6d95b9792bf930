"""Training of noise refiners: pairs of noise and guided samples, and a loss whose gradient is known in closed form."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.loop import Progress
from guidekit.core.prior import Prior
from guidekit.guidance.starts.refined_noise import Refiner, fingerprint
from guidekit.processes import GaussianProcess
from guidekit.samplers.ancestral import DDIM
from guidekit.sampling import join, prepare

PAIRS_AT_ONCE = 256
"""Guided samples drawn together."""


def guided_pairs(
    prior: Prior,
    guidance: Guidance | None,
    count: int,
    steps: int,
    seed: int = 0,
    condition: Any = None,
    sampler: DDIM = DDIM(),  # noqa: B008 - frozen
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Noise (count, *S) and the guided samples (count, *S) that `steps` of DDIM make of it.

    Args:
        prior, guidance, steps, seed, condition, progress: as of `guidekit.sample`.
        count: pairs.
        sampler: with the time grid of the steps.

    Raises:
        GuidanceError: a guidance that makes a sample of several particles, which no one noise belongs to.
    """
    run = prepare(prior, guidance, count, steps, seed, sampler, condition=condition, batch_size=PAIRS_AT_ONCE)
    if run.setup.particles > 1:
        names = ", ".join(member.name for member in run.setup.members if member.particles > 1)
        raise GuidanceError(f"a refiner learns which noise becomes which sample; {names} chooses among several")
    noise = prepare(prior, None, count, steps, seed, sampler).setup.begin().state
    parts = [run.draw(begin, min(begin + run.batch_size, count), progress) for begin in range(0, count, run.batch_size)]
    return noise, join(parts).samples


def unguided(
    prior: Prior,
    x: Tensor,
    times: Sequence[float],
    condition: Tensor | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Unguided DDIM samples (B, *S) of noise x (B, *S) at the first of `times`; progress is told how many are made."""
    process: Any = prior.process
    done = []
    for rows in torch.arange(len(x)).split(min(PAIRS_AT_ONCE, prior.network_batch or len(x))):
        part, given = x[rows], None if condition is None else condition[rows]
        with torch.no_grad():
            for t, u in pairwise(times):
                part = process.reverse_kernel(prior.predict(part, t, given), t, u, eta=0.0).mean
        done.append(part)
        if progress is not None:
            progress(int(rows[-1]) + 1)
    return torch.cat(done)


@dataclasses.dataclass(frozen=True)
class RefinerRound:
    """What a training of refiners has come to behind a round.

    Args:
        number: of the round, from 1.
        weights: of the network.
        random: state of the generator of the order.
    """

    number: int
    weights: Mapping[str, Tensor]
    random: Tensor


def train_refiner(
    prior: Prior,
    network: nn.Module,
    noise: Tensor,
    targets: Tensor,
    steps: int = 10,
    rounds: int = 2,
    updates: int = 500,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    penalty: float = 0.0,
    condition: Tensor | None = None,
    seed: int = 0,
    sampler: DDIM = DDIM(),  # noqa: B008 - frozen
    progress: Callable[[str], None] | None = None,
    begun: RefinerRound | None = None,
    keep: Callable[[RefinerRound], None] | None = None,
) -> Refiner:
    """Learn to map noise to noise whose unguided sample is the target.

    With the predicted noise held fixed in every step, the derivative of the sample in the noise is one positive number,
    so the error of a sample is the direction in which its noise has to move, and no graph of the sampler is kept. The
    sampler is dear, and the network is small. So every round samples all pairs once, moves the noise of each by one
    gradient step, and fits the network to these moves by many updates; the authors sample again for every update.

    Args:
        prior: Gaussian prior, unguided.
        network: see `Refiner`.
        noise, targets: (N, *S) pairs, see `guided_pairs`.
        steps, sampler: of unguided DDIM, as for `guided_pairs`.
        rounds: of sampling and fitting.
        updates, batch_size, learning_rate: of Adam in a round, with linear decay.
        penalty: weight of the mean square of the change, which keeps the noise near the Gaussian shell.
        condition: (N, ...) of the pairs, or None.
        seed: of the order.
        progress: told in words what is being done.
        begun: last round of a training with the same arguments that was cut; it goes on as if it had not been.
        keep: given every round behind its fit, to be begun with.

    Source: Ahn et al. 2024, arXiv:2412.03895, section 4.2 (multistep score distillation).
    """
    say, process = progress or (lambda text: None), _gaussian(prior)
    times = tuple(sampler.grid(prior, steps))
    seen = None if condition is None else condition.unique(dim=0)
    network = copy.deepcopy(network)
    refiner = Refiner(network, process, tuple(prior.event_shape), times, seen, fingerprint(prior))
    random, std = torch.Generator().manual_seed(seed), float(process.coefficients(times[0])[1])
    first = 1
    if begun is not None:
        network.load_state_dict(begun.weights)
        network.eval().requires_grad_(False)
        random.set_state(begun.random)
        first = begun.number + 1
    for number in range(first, rounds + 1):
        name = f"round {number} of {rounds}"
        start = refined(refiner, noise, condition)

        def sampled(done: int, name: str = name) -> None:
            say(f"{name}: {done} sampled")

        ends = unguided(prior, start, times, condition, sampled)
        error = ends - targets
        few = slice(0, FEW)
        gain = gain_of(prior, start[few], ends[few], error[few], times, None if condition is None else condition[few])
        wanted = (start - noise) / std - error / gain
        found = f"{name}: mean square error {float(error.square().mean()):.4g}"
        network.train().requires_grad_()
        adam = torch.optim.Adam(network.parameters(), learning_rate)
        for update in range(updates):
            rows = torch.randint(len(noise), (batch_size,), generator=random)
            given = None if condition is None else condition[rows]
            change = (refiner(noise[rows], given) - noise[rows]) / std
            loss = (change - wanted[rows]).square().mean() + penalty * change.square().mean()
            adam.param_groups[0]["lr"] = learning_rate * (1 - update / updates)
            adam.zero_grad()
            loss.backward()
            adam.step()
            say(f"{found}, {update + 1} of {updates} updates")
        network.eval().requires_grad_(False)
        if keep is not None:
            keep(RefinerRound(number, network.state_dict(), random.get_state()))
    return refiner


FEW = 64
"""Pairs that the size of a gradient step is measured on."""


def gain_of(
    prior: Prior, noise: Tensor, ends: Tensor, error: Tensor, times: Sequence[float], condition: Tensor | None
) -> float:
    """How far samples move against their error, when their noise (in units of its deviation) moves by minus the error.

    Args:
        prior, times, condition: as for `unguided`.
        noise, ends, error: (B, *S) noise, its samples, and their distance from the targets.
    """
    std = float(_gaussian(prior).coefficients(times[0])[1])
    size = float(error.square().mean().sqrt())
    if size == 0:
        return 1.0
    little = PROBE / size
    moved = unguided(prior, noise - std * little * error, times, condition) - ends
    gain = -float((moved * error).sum() / (little * error.square().sum()))
    return max(gain, LEAST_GAIN)


PROBE, LEAST_GAIN = 0.02, 0.1
"""Root mean square of the change of noise that a gain is measured by, and the least one that is believed."""


def _gaussian(prior: Prior) -> GaussianProcess:
    """The process of a prior; `GuidanceError` where it adds no Gaussian noise."""
    if not isinstance(prior.process, GaussianProcess):
        raise GuidanceError(f"a refiner changes Gaussian noise, and this prior ({prior.name}) has none")
    return prior.process


def refined(refiner: Refiner, noise: Tensor, condition: Tensor | None = None) -> Tensor:
    """Refined noise (N, *S) of noise (N, *S)."""
    parts = torch.arange(len(noise)).split(PAIRS_AT_ONCE)
    with torch.no_grad():
        return torch.cat([refiner(noise[rows], None if condition is None else condition[rows]) for rows in parts])
