"""Particle Gibbs: sweeps of a particle filter, each of which keeps one whole path of the sweep before."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, Move, chain, overrides
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.proposal import Proposal
from guidekit.core.random import pick
from guidekit.core.sampler import Sampler
from guidekit.core.state import State, altered, put, take
from guidekit.core.step import Step
from guidekit.guidance.particles.filter import TEMPERATURE, ParticleFilter
from guidekit.guidance.particles.resampling import Resampler, conditional, log_mean, multinomial
from guidekit.guidance.values import Estimate, MonteCarlo, estimate_of
from guidekit.registry import register


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a path was at one moment, and what belonged to it there; trees with B rows.

    Args:
        state: (B, *S).
        log_ratio: (B,), not yet weighed.
        slots: memory of the sampler and of guidances, but the filter's.
    """

    state: State
    log_ratio: Tensor
    slots: dict[Any, Any]


@dataclasses.dataclass(frozen=True)
class Paths:
    """Places of every particle's path so far, those of the reference (empty in the first sweep), and its evidence.

    Args:
        sofar: one place a step.
        reference: the same of every particle of a group; one place more than there are steps.
        evidence: (B,) log Z of the first sweep, the one without a bias.
    """

    sofar: tuple[Place, ...]
    reference: tuple[Place, ...]
    evidence: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class KeptPath(Guidance[Paths]):
    """Goes through all steps `sweeps` times; the last particle of a group takes the path drawn from the sweep before.

    Args:
        sweeps: at least 1.
        ancestors: draw the past of the kept path anew after every resampling, see `ParticleGibbs`.
    """

    sweeps: int = 4
    ancestors: bool = False
    layer = Layer.REFERENCE
    requires = frozenset({Fact.NOISE, Fact.WEIGHTS})

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """What goes back in time, or draws its potentials, would change a path that is to stay."""
        place = members.index(self)
        for member in members[:place]:
            if member.layer is Layer.RECURRENCE:
                raise GuidanceError(
                    f"ParticleGibbs keeps a path, and {member.name} goes back on it: leave one of them out"
                )
            if self.ancestors and (overrides(member, "move") or overrides(member, "start")):
                raise GuidanceError(
                    f"ancestors=True needs kernels that look at the state alone, and {member.name} remembers or "
                    "chooses: give ancestors=False"
                )
        for member in members[place + 1 :]:
            if member.layer is Layer.START:
                raise GuidanceError(f"ParticleGibbs starts every sweep from noise, and {member.name} from elsewhere")
            if isinstance(member, ParticleFilter) and isinstance(member.estimate, MonteCarlo):
                raise GuidanceError(
                    "ParticleGibbs needs potentials that are the same in every sweep, and MonteCarlo draws its own: "
                    "give another value"
                )

    @property
    def passes(self) -> int:  # type: ignore[override]
        """See `Guidance.passes`."""
        return self.sweeps

    def start(self, population: Population) -> Population:
        """Paths begin."""
        zero = torch.zeros(len(population), dtype=torch.float64, device=population.device)
        return population.remember(self, Paths((self._place(population),), (), zero))

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """See `Guidance.move`; before the first step of a sweep all but the kept path start anew."""
        if population.moment.t == 0:
            population = self._again(population, step)
        paths, last = population.recall(self), self._last(population)
        sofar = len(paths.sofar)
        moved = inner(population, step)
        if paths.reference:
            kept = take(paths.reference[sofar], last)
            if self.ancestors:  # its own past may be another one now
                moved_on = self._proposal(population, step).log_ratio(paths.reference[sofar].state)
                ratio = paths.evidence.new_zeros(len(population)) + moved_on  # (B,), also where nothing has changed
                kept = dataclasses.replace(kept, log_ratio=(self._place(population).log_ratio + ratio)[last])
            moved = self._placed(moved, last, kept)
        return moved.remember(self, dataclasses.replace(paths, sofar=(*paths.sofar, self._place(moved))))

    def scheme(self, population: Population) -> Resampler:
        """Multinomial in the first sweep, in others such that the kept path stays, or goes on from another's past."""
        paths = population.recall(self)
        if not paths.reference:
            return multinomial
        if not self.ancestors:
            return conditional
        step = population.setup.steps[population.key[0] + 1]
        step = dataclasses.replace(step, key=(*step.key, *population.key[1:]))
        going_on = self._proposal(population, step).base.log_prob(paths.reference[len(paths.sofar)].state)  # type: ignore[union-attr]
        filter_ = next(member for member in population.setup.members if isinstance(member, ParticleFilter))
        if filter_ in population.slots:  # what the path had been weighed by is replaced by what is to come
            going_on = going_on - population.recall(filter_).total
        going_on = going_on.view(population.groups, population.particles)

        def with_ancestor(weights: Tensor, u: Tensor) -> Tensor:
            law = going_on + weights.log()
            own = torch.full_like(law, -torch.inf)
            own[:, -1] = 0  # rounding must not make impossible what has happened
            law = torch.where(law.isneginf().all(1, keepdim=True), own, law)
            ancestors = multinomial(weights, u)
            ancestors[:, -1] = pick(law, u[:, -1])
            return ancestors

        return with_ancestor

    def finish(self, population: Population) -> Population:
        """The evidence is that of the first sweep: a kept path biases those of the others."""
        paths = population.recall(self)
        if not paths.reference:
            return population
        population.setup.recorder.record("sweeps", torch.full((population.groups,), self.sweeps))
        dead = population.log_weights.isneginf().all(1)
        population.setup.network.ledger.count_later("degenerate_groups", dead.sum())
        weights = population.log_weights.masked_fill(dead[:, None], 0.0)
        evidence = paths.evidence.view(population.groups, -1)[:, 0]
        return population.weighted(weights, evidence - log_mean(weights))

    def _again(self, population: Population, step: Step) -> Population:
        """A new start of all but one particle a group; that one is drawn by weight with its path."""
        paths, k = population.recall(self), population.particles
        evidence = paths.evidence
        if not paths.reference:
            evidence = (population.log_normalizer + log_mean(population.log_weights)).repeat_interleave(k)
        dead = population.log_weights.isneginf().all(1, keepdim=True)
        law = population.log_weights.masked_fill(dead, 0.0)
        chosen = pick(law, population.draw(step, "reference", self).uniform(population.groups))
        rows = torch.arange(population.groups, device=chosen.device) * k + chosen
        reference = take(paths.sofar, rows.repeat_interleave(k))
        fresh = population.setup.begin(k, (*step.key, "start"))
        fresh = altered(fresh, moment=step.start)
        last = self._last(fresh)
        fresh = self._placed(fresh, last, take(reference[0], last))
        return fresh.remember(self, Paths((self._place(fresh),), reference, evidence))

    def _proposal(self, population: Population, step: Step) -> Proposal:
        proposal = population.setup.propose(population, step)
        if proposal.memory is not None:
            raise GuidanceError(
                f"ancestors=True needs a sampler without a memory, and {population.setup.sampler.name} has one: "
                "use sampler=ancestral, or give ancestors=False"
            )
        return proposal

    def _last(self, population: Population) -> Tensor:
        """The row of every group that keeps the path, (P,)."""
        return torch.arange(1, population.groups + 1, device=population.device) * population.particles - 1

    def _place(self, population: Population) -> Place:
        """Where all particles are; what the filter and this guidance remember is kept elsewhere."""
        others = {
            owner: memory
            for owner, memory in population.slots.items()
            if owner is not self and not isinstance(owner, ParticleFilter)
        }
        return Place(population.state, population.log_ratio, others)  # type: ignore[arg-type]

    def _placed(self, population: Population, rows: Tensor, place: Place) -> Population:
        """The population with some rows at a place (P rows)."""
        slots = {**population.slots}
        for owner, memory in place.slots.items():
            slots[owner] = put(slots[owner], rows, memory)
        state = put(population.state, rows, place.state)
        return altered(population, state=state, log_ratio=put(population.log_ratio, rows, place.log_ratio), slots=slots)


@register("guidance", "particle_gibbs")
def ParticleGibbs(  # noqa: N802 - a preset
    reward: Objective,
    temperature: float | None = None,
    potential: str = "difference",
    value: Estimate | Objective | None = None,
    *,
    sweeps: int = 8,
    ancestors: bool = False,
    particles: int = 4,
    ess_threshold: float | None = 0.5,
    interval: int | Sequence[int] = 1,
    window: tuple[float, float] = (1.0, 0.0),
    output: str = "draw",
) -> Guidance:
    """Particle Gibbs: sweeps of FK steering that keep one path; the law p(x_0) exp(reward / temperature) at any K >= 2.

    One path of every sweep is drawn by its weight and stays in the next one, among K - 1 new particles; it never loses
    its place when the group is resampled. That leaves the law of tilted paths as it is: the more sweeps, the less a
    sample knows of the first one, however few the particles. Kept paths share their past with most particles of late
    steps; `ancestors` draws that past anew and mixes faster, where kernels look at the state alone.

    It is chain(KeptPath(sweeps), ParticleFilter(resampler=...)): what belongs inside a filter goes inside it.
    The evidence that is handed back is that of the first sweep.

    Args:
        reward, temperature, potential, value: see `FKSteering`.
        sweeps: runs of all steps; 1 is FK steering with multinomial resampling.
        ancestors: ancestor sampling, on samplers without a memory.
        particles: K of a group, the kept one among them, at least 2.
        ess_threshold, interval, window, output: see `ParticleFilter`.

    Raises:
        ValueError: settings outside their choices.

    Source: Andrieu, Doucet & Holenstein 2010, doi:10.1111/j.1467-9868.2009.00736.x; diffusion models Dang et al. 2025,
    arXiv:2507.08390; ancestor sampling Lindsten, Jordan & Schon 2014, arXiv:1401.0604.
    """
    if sweeps < 1:
        raise ValueError(f"sweeps must be at least 1, got {sweeps}")
    if particles < 2:
        raise ValueError(f"particles must be at least 2, the kept path and a new one; got {particles}")
    kept = KeptPath(sweeps, ancestors)
    filtered = ParticleFilter(
        estimate=estimate_of("ParticleGibbs", reward, value, temperature, TEMPERATURE),
        potential=potential,
        particles=particles,
        resampler=kept.scheme,
        ess_threshold=ess_threshold,
        interval=interval,
        window=window,
        output=output,
    )
    return chain(kept, filtered)
