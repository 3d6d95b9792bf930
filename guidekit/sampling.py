"""`sample`: draw from a prior, guided or not."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import time
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from guidekit import registry
from guidekit.core import loop
from guidekit.core.budget import Budget, Meter, Purse, SpentError, budget_of
from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.ledger import Ledger
from guidekit.core.loop import Progress, Setup
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.core.requirements import Fact, Layer, suits
from guidekit.core.sampler import Sampler
from guidekit.core.state import State, batch, cat, map_leaves, moved, take
from guidekit.objectives.gaussian import GaussianNoise
from guidekit.samplers.ancestral import Ancestral
from guidekit.samplers.first_hitting import FirstHitting
from guidekit.samplers.insertion import Insertion

ROWS = 4096
"""Particles (times candidates) sampled together where no batch size is given."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run hands back.

    Attributes:
        samples: clean states, K' particles a group in group order, (P * K', *S).
        log_weights: (P, K') float64, unnormalized; all zero for unweighted samples.
        log_normalizer: (P,) float64, log of the evidence estimate of particle methods, otherwise zero; nats.
        ledger: network calls, reward calls, seconds.
        info: diagnostics by name, (P, number of records, ...).
        prior: that made the samples.
        stopped: name of the limit of the budget that ended the run before all groups were drawn; empty otherwise.
    """

    samples: State
    log_weights: Tensor
    log_normalizer: Tensor
    ledger: Ledger
    info: dict[str, Tensor]
    prior: Prior | None = None
    stopped: str = ""

    def objects(self) -> list[Any]:
        """The objects that the samples stand for, None where there is none; decoded by the prior that made them."""
        if self.prior is None:
            raise ValueError("this result does not know the prior that made it: decode its samples with a domain")
        return self.prior.decode(self.samples)


def sample(
    prior: Prior,
    guidance: Guidance | None = None,
    num_samples: int = 1,
    steps: int = 64,
    seed: int = 0,
    sampler: Sampler | str | None = None,
    particles: int | None = None,
    condition: Any = None,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    dtype: torch.dtype | None = None,
    network_fixed: bool = False,
    budget: Budget | Mapping[str, float | None] | None = None,
) -> Result:
    """Draw num_samples groups from a prior, steered by a guidance.

    Args:
        prior: what is sampled.
        guidance: one, or a `chain` of several; None is unguided.
        num_samples: number of groups P. A guidance that reduces its group hands back one sample each.
        steps: steps of the time grid (first-hitting samplers never take more than there are tokens).
        seed: of all randomness. A sample is a function of the seed and its index, not of the batch.
        sampler: one, or its name; None is what the guidance asks for, or the prior, or first-hitting for masked priors,
            insertion for other absorbing ones and ancestral for all others.
        particles: K per group; None is what the guidance asks for.
        condition: one for all groups, or several in a list, for one group each and then from the first again: numbers
            or names of classes, or what `prior.condition` takes.
        device: where states and network calls live.
        batch_size: groups sampled together; None fits about 4,096 particles.
        progress: called with a `Progress` after every step.
        dtype: of real-valued states; None is the prior's.
        network_fixed: fill every network call up to the prior's limit, so that the last bits of dense networks do not
            depend on the batch either.
        budget: what all groups may cost together, `Budget(network_calls=..., reward_calls=..., seconds=...)` or a
            mapping. It is never exceeded: groups that it does not pay for are left out, and `Result.stopped` says so.

    Returns:
        all groups, in order; as many as the budget paid for.

    Raises:
        ValueError: a setting that is out of range or no such thing; the message says what is accepted.
        GuidanceError: the guidance cannot work with this prior or sampler.
        BudgetError: the budget does not pay for one sample.

    Warns:
        UserWarning: settings that work and give little, see `Guidance.caution`.
    """
    purse = Purse(budget_of(budget))
    sampling = prepare(
        prior,
        guidance,
        num_samples,
        steps,
        seed,
        sampler,
        particles,
        condition,
        device,
        batch_size,
        dtype=dtype,
        network_fixed=network_fixed,
    )
    for told in sampling.cautions:
        warnings.warn(told, stacklevel=2)
    parts: list[Result] = []
    at = 0
    while at < num_samples and (size := purse.pays(sampling.batch_size)):
        end = min(at + size, num_samples)
        meter = purse.meter()
        try:
            part = sampling.draw(at, end, progress, meter)
        except SpentError as told:
            purse.ended(meter, told, len(sampling.setup.visits), first=not parts)
            break
        purse.paid(part.ledger, end - at)
        parts.append(part)
        at = end
    return dataclasses.replace(join(parts), stopped=purse.stopped)


@dataclasses.dataclass(frozen=True, eq=False)
class Sampling:
    """Everything of `sample` that has been checked; groups are drawn as they are asked for.

    Attributes:
        setup: of all groups.
        batch_size: groups sampled together, as given or as memory allows.
    """

    setup: Setup
    batch_size: int

    @property
    def num_samples(self) -> int:
        """Number of groups P."""
        return self.setup.random.groups

    @property
    def cautions(self) -> tuple[str, ...]:
        """What to expect of the run, see `Guidance.caution`."""
        told = (member.caution(len(self.setup.steps)) for member in self.setup.members)
        return tuple(dict.fromkeys(filter(None, told)))

    def draw(
        self,
        begin: int,
        end: int,
        progress: Callable[[Progress], None] | None = None,
        meter: Meter | None = None,
    ) -> Result:
        """Groups begin to end - 1, the same whichever others are drawn, up to the rounding of batched arithmetic.

        Raises:
            SpentError: a meter says that they cost too much.
        """
        setup, began = self.setup.part(begin, end), time.perf_counter()
        before = [objective.spent() for objective in setup.objectives]
        with torch.no_grad(), metered(setup, meter):
            population = setup.begin()
            visits = setup.visits
            for number, step in enumerate(visits, 1):
                population = setup.move(population, step)
                if meter is not None:
                    meter.steps = number
                if progress is not None:
                    progress(Progress(number, len(visits), (begin, end), population))
            for member in setup.members:
                population = member.finish(population)
        return Result(
            population.state,
            population.log_weights,
            population.log_normalizer,
            setup.spent(before, time.perf_counter() - began),
            setup.recorder.stacked(),
            setup.prior,
        )


@contextlib.contextmanager
def metered(setup: Setup, meter: Meter | None) -> Iterator[None]:
    """Networks and rewards of a setup ask a meter before they spend anything."""
    setup.network.meter = meter
    counting: list[Any] = [
        member for objective in setup.objectives for member in objective.members if hasattr(member, "allow")
    ]
    for member in counting:
        member.allow = None if meter is None else partial(meter.spend, "reward_calls")
    try:
        yield
    finally:
        for member in counting:
            member.allow = None


def prepare(
    prior: Prior,
    guidance: Guidance | None = None,
    num_samples: int = 1,
    steps: int = 64,
    seed: int = 0,
    sampler: Sampler | str | None = None,
    particles: int | None = None,
    condition: Any = None,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    *,
    dtype: torch.dtype | None = None,
    network_fixed: bool = False,
) -> Sampling:
    """Check the arguments of `sample` and draw nothing yet; raises as it does."""
    _check_kinds(prior, guidance)
    members = guidance.members if guidance is not None else ()
    if particles is None:
        particles = max([member.particles for member in members], default=1)
    counts = {"num_samples": num_samples, "steps": steps, "particles": particles, "batch_size": batch_size}
    for name, value in counts.items():
        if value is not None and not (isinstance(value, int) and value >= 1):
            raise ValueError(f"{name}={value!r}; a whole number of at least 1 is needed")
    if batch_size is None:
        crowd = particles * max([member.crowd for member in members], default=1)
        batch_size = max(1, ROWS // crowd)
    prior = prior.to(usable(device))
    setup = loop.prepare(
        prior,
        guidance,
        sampler=chosen_sampler(sampler, prior, members),
        steps=steps,
        groups=(0, num_samples),
        particles=particles,
        seed=seed,
        condition=per_group(prior.condition(condition), num_samples, device),
        dtype=dtype,
        device=device,
        network_limit=prior.network_batch,
        network_fixed=network_fixed,
        known=known_samplers,
        fitting=fitting_guidances,
    )
    return Sampling(setup, batch_size)


def join(parts: list[Result]) -> Result:
    """Results of consecutive chunks as one; diagnostics that a chunk has fewer of are cut to what all have."""
    names = [name for name in parts[0].info if all(name in part.info for part in parts)]
    info = {}
    for name in names:
        values = [part.info[name] for part in parts]
        count = min(value.shape[1] for value in values)
        info[name] = torch.cat([value[:, :count] for value in values])
    return Result(
        cat([part.samples for part in parts]),
        torch.cat([part.log_weights for part in parts]),
        torch.cat([part.log_normalizer for part in parts]),
        sum((part.ledger for part in parts), Ledger()),
        info,
        parts[0].prior,
    )


def known_samplers() -> list[Sampler]:
    """One of every sampler, with its defaults, to be recommended where one does not fit."""
    return [kind() for _, kind in registry.usable("sampler")]


MOST_NAMED = 6
"""Guidances that a message recommends."""


def fitting_guidances(prior: Prior, objective: Objective, most: int = MOST_NAMED) -> list[str]:
    """Names of registered guidances that could take an objective with a prior: solvers of measurements first.

    One fits where it takes the objective alone, and what it requires is provided by the prior, by the objective, by the
    sampler that it would get, or by itself.
    """
    found = []
    for name, kind in registry.usable("guidance"):
        needed = [setting for setting in registry.settings(kind) if setting.required]
        kinds = [one for setting in needed for one in (typing.get_args(setting.annotation) or (setting.annotation,))]
        if len(needed) != 1 or not any(inspect.isclass(one) and issubclass(one, Objective) for one in kinds):
            continue
        try:
            members = kind(objective).members
            sampler = chosen_sampler(None, prior, members)
            own = frozenset({Fact.PARTICLES}).union(*(member.provides for member in members))
            needs = frozenset[Fact]().union(*(member.requires for member in members))
            fits = needs <= prior.provides | sampler.provides | objective.provides | own
            for member in members if fits else ():  # which may look at what they require
                member.check(prior, sampler, members)
        except (ValueError, TypeError, AttributeError):
            continue
        if fits:
            measured = any(inspect.isclass(one) and issubclass(one, GaussianNoise) for one in kinds)
            solver = measured or ".inverse." in kind.__module__
            found.append((not solver, members[0].layer != Layer.GRADIENT, name))
    return [name for *_, name in sorted(found)[:most]]


def chosen_sampler(sampler: Sampler | str | None, prior: Prior, members: tuple[Guidance, ...] = ()) -> Sampler:
    """A sampler from what was given, or else what a guidance asks for, or else the prior's own.

    Raises:
        ValueError: something that is no sampler, or a name of none.
    """
    if isinstance(sampler, str):
        return registry.get("sampler", sampler)()
    if sampler is not None:
        if not isinstance(sampler, Sampler):
            raise ValueError(f"sampler={_described(sampler)}; give a sampler such as DDIM(), or its name")
        return sampler
    wanted = [member.default_sampler for member in members if member.default_sampler is not None]
    wanted = [choice for choice in wanted if suits(choice, prior)]
    if wanted:
        return wanted[-1]
    if prior.default_sampler is not None:
        return prior.default_sampler
    if Fact.PARTS in prior.provides or Fact.ABSORBING not in prior.provides:
        return Ancestral()
    return FirstHitting() if Fact.MASKED in prior.provides else Insertion()


def _check_kinds(prior: Any, guidance: Any) -> None:
    """Raise where the two first arguments are not what they should be."""
    if not isinstance(prior, Prior):
        raise ValueError(f"prior={_described(prior)}; give a prior such as domain.load_prior()")
    if guidance is not None and not isinstance(guidance, Guidance):
        raise GuidanceError(f"guidance={_described(guidance)}; give a guidance such as guidekit.guidance.CFG(3.0)")


def _described(value: Any) -> str:
    kind = "class" if isinstance(value, type) else "function" if inspect.isfunction(value) else ""
    return f"the {kind} {value.__name__}" if kind else repr(value)


def usable(device: torch.device | str) -> torch.device | str:
    """The device, or a ValueError where there is none of that name on this machine."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        found = ["cpu", *(name for name in ("cuda", "mps", "xpu") if getattr(torch, name).is_available())]
        raise ValueError(f"device={str(device)!r} cannot be used here; accepted: {', '.join(found)}") from error
    return device


def per_group(condition: State | None, groups: int, device: torch.device | str) -> State | None:
    """A condition with one row a group; several go round: group i has row i modulo their number."""
    if condition is None:
        return None
    if isinstance(condition, int | float):
        condition = torch.tensor([condition])
    if isinstance(condition, Tensor) and condition.ndim == 0:
        condition = condition.reshape(1)
    condition = moved(condition, device)
    rows = batch(condition)
    if not 1 <= rows <= groups:
        raise ValueError(f"{rows} conditions are given for {groups} samples; at most one a sample is accepted")
    if rows == 1 < groups:
        return map_leaves(lambda leaf: leaf.expand(groups, *leaf.shape[1:]), condition)
    return condition if rows == groups else take(condition, torch.arange(groups, device=device) % rows)
