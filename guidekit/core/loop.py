"""Everything that is fixed before the first step, and the steps of a population."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from guidekit.core.guidance import Guidance, Move, Propose, overrides
from guidekit.core.ledger import Ledger
from guidekit.core.network import Network
from guidekit.core.objective import Objective
from guidekit.core.objects import Objects
from guidekit.core.owner import Owner
from guidekit.core.population import Population
from guidekit.core.prediction import Prediction
from guidekit.core.prior import Prior
from guidekit.core.proposal import Proposal
from guidekit.core.question import Denoise
from guidekit.core.random import Draw, KeyedRandom
from guidekit.core.recorder import Recorder
from guidekit.core.requirements import Fact, GuidanceError, check
from guidekit.core.sampler import Sampler
from guidekit.core.state import State, batch, moved, repeat, take
from guidekit.core.step import Key, Moment, Step


@dataclass(frozen=True)
class Progress:
    """What a progress callback is told after every step.

    Attributes:
        step: steps done, 1 .. steps.
        steps: steps in all.
        groups: index of the first group of this chunk and one past its last.
        population: the population after the step.
    """

    step: int
    steps: int
    groups: tuple[int, int]
    population: Population


@dataclass(frozen=True, eq=False)
class Setup:
    """Everything that is fixed before the first step.

    Args:
        prior, sampler: of the run.
        members: all guidances, inside first.
        steps: the plan.
        particles: K at the start.
        condition: tree with P rows, or None.
        dtype: of real-valued states.
        random, network, recorder: of this part of the run.
        weighted: whether somebody weighs particles, so that changed kernels must be accounted for.
        wanted: facts that some guidance requires.
        timeless: whether predictions depend on the state alone.
        rows: what guidances and objectives hold for every group, trees with P rows.
        labels: by which every owner's draws are named: its stream, and its number among those of that stream.
        denoise, propose, move: the hooks of all guidances around their innermost versions.
    """

    prior: Prior
    sampler: Sampler
    members: tuple[Guidance, ...]
    steps: tuple[Step, ...]
    particles: int
    condition: Any
    dtype: torch.dtype
    random: KeyedRandom
    network: Network
    recorder: Recorder
    weighted: bool
    wanted: frozenset[Fact]
    timeless: bool
    rows: dict[Owner, Any]
    labels: dict[Owner, str]
    denoise: Denoise
    propose: Propose
    move: Move

    @property
    def device(self) -> torch.device:
        """Where states live."""
        return self.random.device

    @property
    def visits(self) -> tuple[Step, ...]:
        """The steps of all rounds that guidances ask for; those of later rounds have draws of their own."""
        rounds = max([member.passes for member in self.members], default=1)
        later = (replace(step, key=(*step.key, "round", number)) for number in range(1, rounds) for step in self.steps)
        return (*self.steps, *later)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What all guidances want, each once."""
        return tuple(dict.fromkeys(objective for member in self.members for objective in member.objectives))

    def part(self, first: int, last: int) -> Setup:
        """The setup of groups first .. last - 1 of this one: a chunk, or the share of a rank; it counts by itself."""
        random, own = self.random, slice(first - self.random.first, last - self.random.first)
        random = KeyedRandom(random.seed, first, last - first, random.device)
        network = Network(self.network.limit, self.network.fixed, self.network.device)
        denoise, propose, move = wrapped(self.members, network)
        return replace(
            self,
            random=random,
            network=network,
            recorder=Recorder(last - first),
            condition=take(self.condition, own),
            rows=take(self.rows, own),
            denoise=denoise,
            propose=propose,
            move=move,
        )

    def decode(self, states: State) -> Objects:
        """The objects of clean states (B, *S)."""
        return Objects(states, self.prior.decode, self.prior.language)

    def shown(self, prediction: Prediction, on: str) -> Any:
        """What an objective looks at of a prediction, see `Objective.on`."""
        return self.decode(prediction.clean) if on == "objects" else prediction.view(on)

    def seen(self, states: State, on: str) -> Any:
        """What an objective looks at where these states stand for everything."""
        return self.decode(states) if on == "objects" else states

    def begin(self, particles: int | None = None, key: Key = (-1,)) -> Population:
        """The population before the first step; another key gives independent noise."""
        k = self.particles if particles is None else particles
        rows, first = self.random.groups * k, self.steps[0].start
        condition = None if self.condition is None else repeat(self.condition, k)
        state = self.noise(rows, condition, key)
        population = populate(self, state, first, k)
        for member in self.members:
            population = member.start(population)
        return population

    def noise(self, rows: int, condition: Any, key: Key = (-1,)) -> State:
        """States to start from, as a key draws them, for conditions with so many rows, or none."""
        state, t = self.prior.start(Draw(self.random, key, "start"), rows, self.dtype, condition), self.steps[0].t
        return self.prior.process.restart(state, t) if t < 1 else state

    def spent(self, before: Sequence[Ledger], seconds: float) -> Ledger:
        """What this part has cost, given what its objectives had cost before."""
        scored = (objective.spent() - known for objective, known in zip(self.objectives, before, strict=True))
        return sum(scored, self.network.ledger) + Ledger(seconds=seconds)


def wrapped(members: Sequence[Guidance], network: Network) -> tuple[Denoise, Propose, Move]:
    """The hooks of all guidances around their innermost versions; those that do not override one cost nothing."""
    denoise: Denoise = network
    propose: Propose = _propose
    for member in members:
        if overrides(member, "denoise"):
            denoise = partial(member.denoise, denoise)
        if overrides(member, "propose"):
            propose = partial(member.propose, propose)
    move: Move = partial(_move, propose)
    for member in members:
        if overrides(member, "move"):
            move = partial(member.move, move)
    return denoise, propose, move


def prepare(
    prior: Prior,
    guidance: Guidance | None = None,
    *,
    sampler: Sampler,
    steps: int = 64,
    groups: tuple[int, int] = (0, 1),
    particles: int = 1,
    seed: int = 0,
    condition: Any = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    network_limit: int | None = None,
    network_fixed: bool = False,
    known: Callable[[], Sequence[Sampler]] = tuple,
    fitting: Callable[[Prior, Objective], Sequence[str]] = lambda prior, objective: (),
) -> Setup:
    """Check that everything fits, plan the steps and wrap the hooks.

    Args:
        prior: on the device.
        guidance: one or a `chain`; None samples the prior.
        sampler: of the run.
        steps: of the grid.
        groups: (first, one past last) index of the groups.
        particles: K a group.
        seed: of all randomness.
        condition: tree with one row a group, or None.
        dtype: of real-valued states; None is the prior's.
        device: where states live.
        network_limit, network_fixed: see `Network`.
        known: makes the samplers to be recommended where one does not fit.
        fitting: names the guidances to be recommended where one cannot take its objective.

    Raises:
        GuidanceError: parts that do not fit together.
    """
    members = guidance.members if guidance is not None else ()
    sampler, facts = sampler.suited(prior), set()
    if condition is not None:
        facts.add(Fact.CONDITION)
    if particles > 1:
        facts.add(Fact.PARTICLES)
    check(prior, sampler, members, frozenset(facts), known, fitting)
    moments = [Moment(t, index) for index, t in enumerate(sampler.grid(prior, steps))]
    whole = plan = tuple(Step(*ends, (visit,)) for visit, ends in enumerate(itertools.pairwise(moments)))
    for member in members:
        plan = member.plan(plan, prior)
    if not plan:
        raise GuidanceError(f"no step is left of {steps}: take more steps, or start at a noisier time")
    network = Network(network_limit, network_fixed, device)
    denoise, propose, move = wrapped(members, network)
    samples = groups[1] - groups[0]
    held = {owner: owner.rows(samples) for member in members for owner in (member, *member.objectives)}
    names = [member.stream for member in members]
    wanted: frozenset[Fact] = frozenset().union(*(member.requires for member in members))
    return Setup(
        prior=prior,
        sampler=sampler,
        members=members,
        steps=plan if plan is whole else tuple(Step(s.start, s.end, (visit,)) for visit, s in enumerate(plan)),
        particles=particles,
        condition=condition,
        dtype=dtype or prior.dtype,
        random=KeyedRandom(seed, groups[0], samples, device),
        network=network,
        recorder=Recorder(samples),
        weighted=any(Fact.WEIGHTS in member.provides for member in members),
        wanted=wanted,
        timeless=prior.timeless and all(member.timeless for member in members if overrides(member, "denoise")),
        rows={owner: moved(rows, device) for owner, rows in held.items() if rows is not None},
        labels={member: f"{names[i]} {names[:i].count(names[i])}" for i, member in enumerate(members)},
        denoise=denoise,
        propose=propose,
        move=move,
    )


def _propose(population: Population, step: Step) -> Proposal:
    """The innermost `propose`: the sampler's own kernel."""
    setup = population.setup
    here = population.here(step, population.predict())
    kernel, memory = setup.sampler.step(here, population.slots.get(setup.sampler))
    return Proposal(kernel, kernel if setup.weighted else None, memory)


def _move(propose: Propose, population: Population, step: Step) -> Population:
    """The innermost `move`: draw from what is proposed."""
    if step.start is not population.moment and step.start != population.moment:
        raise ValueError(f"the population is at {population.moment}, the step starts at {step.start}")
    return population.advance(step, propose(population, step))


def populate(setup: Setup, state: State, moment: Moment, particles: int) -> Population:
    """A population of K particles a group at any state (P * K, *S) and moment."""
    groups, rows, device = setup.random.groups, batch(state), setup.random.device
    return Population(
        setup=setup,
        particles=particles,
        moment=moment,
        key=(-1,),
        state=state,
        condition=None if setup.condition is None else repeat(setup.condition, particles),
        log_weights=torch.zeros(groups, particles, dtype=torch.float64, device=device),
        log_normalizer=torch.zeros(groups, dtype=torch.float64, device=device),
        log_ratio=torch.zeros(rows, dtype=torch.float64, device=device) if setup.weighted else None,
        roots=torch.arange(rows, device=device) % particles,
        slots=repeat(setup.rows, particles),
    )


def walk(population: Population, steps: Sequence[Step], move: Move | None = None) -> Population:
    """The population after the given steps, taken by a move, the whole run's by default; differentiable."""
    take_step: Callable[[Population, Step], Population] = population.setup.move if move is None else move
    for step in steps:
        population = take_step(population, step)
    return population


__all__ = ["Progress", "Setup", "populate", "prepare", "walk", "wrapped"]
