"""`sample`: draw from a prior, guided or not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, flatten
from guidekit.core.ledger import Ledger
from guidekit.core.run import Progress, Run
from guidekit.core.state import State, tree_batch, tree_cat, tree_map, tree_to
from guidekit.priors.base import Prior
from guidekit.processes import Masked
from guidekit.samplers import Ancestral, FirstHitting, Sampler

ROWS = 4096
"""Particles (times candidates) sampled together where no batch size is given."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run hands back.

    Attributes:
        samples: clean states, K' particles a group in group order, (P * K', *S).
        log_weights: (P, K') float64, unnormalised; all zero for unweighted samples.
        log_normalizer: (P,) float64, log of the evidence estimate of particle methods, otherwise zero; nats.
        ledger: network calls, reward calls, seconds.
        info: diagnostics by name, (P, number of records, ...).
    """

    samples: State
    log_weights: Tensor
    log_normalizer: Tensor
    ledger: Ledger
    info: dict[str, Tensor]


def sample(
    prior: Prior,
    guidance: Guidance | None = None,
    num_samples: int = 1,
    steps: int = 64,
    seed: int = 0,
    sampler: Sampler | None = None,
    particles: int | None = None,
    condition: State | None = None,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Draw num_samples groups from a prior, steered by a guidance.

    Args:
        prior: what is sampled.
        guidance: a plug or `chain` of plugs; None is unguided.
        num_samples: number of groups P. A plug that reduces its group hands back one sample each.
        steps: steps of the time grid (first-hitting samplers never take more than there are tokens).
        seed: of all randomness. A sample is a function of the seed and its index, not of the batch.
        sampler: None is what the guidance asks for, or first-hitting for masked priors, ancestral for all others.
        particles: K per group; None is what the guidance asks for.
        condition: one row per group, or one row for all: a number for a class label, or what `prior.condition` takes.
        device: where states and network calls live.
        batch_size: groups sampled together; None fits about 4,096 particles.
        progress: called with a `Progress` after every step.

    Returns:
        all groups, in order.

    Raises:
        ValueError: num_samples, steps, particles or batch_size below 1, or a condition of another length.
        GuidanceError: the guidance cannot work with this prior or sampler.
    """
    sampling = prepare(prior, guidance, num_samples, steps, seed, sampler, particles, condition, device, batch_size)
    size = sampling.batch_size
    return join(
        [sampling.draw(begin, min(begin + size, num_samples), progress) for begin in range(0, num_samples, size)]
    )


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Everything of `sample` that has been checked; groups are drawn as they are asked for.

    Attributes:
        num_samples: number of groups P.
        batch_size: groups sampled together, as given or as memory allows.
        run: makes the execution of the loop for groups (first, one past last), with a progress callback.
    """

    num_samples: int
    batch_size: int
    run: Callable[[tuple[int, int], Callable[[Progress], None] | None], Run]

    def draw(self, begin: int, end: int, progress: Callable[[Progress], None] | None = None) -> Result:
        """Groups begin to end - 1, the same whichever others are drawn, up to the rounding of batched arithmetic."""
        run = self.run((begin, end), progress)
        population = run.execute()
        info = {name: torch.stack(values, 1) for name, values in run.info.items()}
        return Result(population.state, population.log_weights, population.log_normalizer, run.ledger, info)


def prepare(
    prior: Prior,
    guidance: Guidance | None = None,
    num_samples: int = 1,
    steps: int = 64,
    seed: int = 0,
    sampler: Sampler | None = None,
    particles: int | None = None,
    condition: State | None = None,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
) -> Sampling:
    """Check the arguments of `sample` and draw nothing yet; raises as it does."""
    plugs = flatten([guidance]) if guidance is not None else []
    if particles is None:
        particles = max([plug.particles for plug in plugs], default=1)
    for name, value in (
        ("num_samples", num_samples),
        ("steps", steps),
        ("particles", particles),
        ("batch_size", batch_size),
    ):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}; at least 1 is needed")
    if batch_size is None:
        crowd = particles * max([getattr(plug, "candidates", 1) for plug in plugs], default=1)
        batch_size = max(1, ROWS // crowd)
    prior = prior.to(usable(device))
    if sampler is None:
        wanted = [plug.default_sampler for plug in plugs if plug.default_sampler is not None]
        wanted = [choice for choice in wanted if choice.fits(prior.process)]
        own = FirstHitting() if isinstance(prior.process, Masked) else Ancestral()
        sampler = wanted[-1] if wanted else own
    condition = _per_group(prior.condition(condition), num_samples, device)

    def run(groups: tuple[int, int], progress: Callable[[Progress], None] | None) -> Run:
        rows = None if condition is None else tree_map(lambda leaf: leaf[slice(*groups)], condition)
        limit = prior.network_batch
        return Run(prior, sampler, guidance, steps, groups, particles, seed, rows, device, limit, progress)

    run((0, 1), None)  # a run checks its parts when it is made
    return Sampling(num_samples, batch_size, run)


def usable(device: torch.device | str) -> torch.device | str:
    """The device, or a ValueError where there is none of that name on this machine."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        found = ["cpu", *(name for name in ("cuda", "mps", "xpu") if getattr(torch, name).is_available())]
        raise ValueError(f"device={str(device)!r} cannot be used here; accepted: {', '.join(found)}") from error
    return device


def join(parts: list[Result]) -> Result:
    """Results of consecutive chunks as one."""
    return Result(
        tree_cat([part.samples for part in parts]),
        torch.cat([part.log_weights for part in parts]),
        torch.cat([part.log_normalizer for part in parts]),
        sum((part.ledger for part in parts), Ledger()),
        {name: torch.cat([part.info[name] for part in parts]) for name in parts[0].info},
    )


def _per_group(condition: State | None, groups: int, device: torch.device | str) -> State | None:
    if condition is None:
        return None
    if isinstance(condition, int | float):
        condition = torch.tensor(condition)
    if isinstance(condition, Tensor) and condition.ndim == 0:
        condition = condition.expand(groups)
    condition = tree_to(condition, device)
    if tree_batch(condition) == 1 < groups:
        condition = tree_map(lambda leaf: leaf.expand(groups, *leaf.shape[1:]), condition)
    if tree_batch(condition) != groups:
        raise ValueError(f"condition has {tree_batch(condition)} rows; expected 1 or num_samples = {groups}")
    return condition
