"""One execution of the sampling loop: start -> [denoise -> propose -> move] x steps -> finish."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guidekit.core.generators import Draw, KeyedRandom
from guidekit.core.guidance import Denoiser, Guidance, GuidanceError, flatten, overrides, wrap
from guidekit.core.kernels import Kernel
from guidekit.core.ledger import Ledger
from guidekit.core.population import Population, Time
from guidekit.core.predictions import Prediction
from guidekit.core.state import Coded, State, tree_batch, tree_cat, tree_index

if TYPE_CHECKING:
    from guidekit.priors.base import Prior
    from guidekit.samplers.base import Sampler


@dataclasses.dataclass(frozen=True)
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


class Run:
    """Composes prior, sampler and guidance, and executes the loop for consecutive groups.

    Args:
        prior: what is sampled.
        sampler: fills `propose` where no plug touches it.
        guidance: plug or chain; None samples the prior.
        steps: steps of the time grid.
        groups: (first, one past last) index of the groups sampled here.
        particles: K, particles per group.
        seed: of all randomness.
        condition: pytree with one row per group of this run, or None.
        device: where states live.
        network_batch: most states in one network call; larger requests are split. None is no limit.
        progress: called after every step.

    Attributes:
        schedule_time: time that schedules are to look at while a sampler asks within its step, otherwise None.
        memory: what plugs remember of the rows that are asked about now, see `recall`.
        perturbations: what the codes of rows mean, see `code_of`.
        asked: the prior that network calls go to now, see `using`.
    """

    def __init__(
        self,
        prior: Prior,
        sampler: Sampler,
        guidance: Guidance | None,
        steps: int,
        groups: tuple[int, int],
        particles: int = 1,
        seed: int = 0,
        condition: State | None = None,
        device: torch.device | str = "cpu",
        network_batch: int | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.prior, self.sampler, self.steps, self.device = prior, sampler, steps, torch.device(device)
        self.plugs = flatten([guidance]) if guidance is not None else []
        self.first, self.groups, self.particles = groups[0], groups[1] - groups[0], particles
        self.condition, self.network_batch, self.progress = condition, network_batch, progress
        self.random = KeyedRandom(seed, self.first, self.groups, self.device)
        self.ledger, self.info, self.step = Ledger(), {}, -1
        self.schedule_time: float | None = None
        self.memory: dict[str, Tensor] = {}
        self.perturbations: list[Any] = []
        self.asked: Prior = prior
        self._kept: dict[object, Any] = {}
        if condition is not None and prior.null_condition is None:
            raise GuidanceError(f"a condition was given, but this prior ({prior.name}) was made without conditions")
        sampler.check(prior)
        for plug in self.plugs:
            plug.check(self)
        self.grid = sampler.grid(prior, steps)
        self.time_independent = prior.time_independent and all(
            plug.time_independent for plug in self.plugs if overrides(plug, "denoise")
        )
        self.denoise = Denoiser(self, self._network)
        for plug in self.plugs:
            if overrides(plug, "denoise"):
                self.denoise = Denoiser(self, partial(plug.denoise, self.denoise))
        self.propose = wrap("propose", self.plugs, sampler.propose)
        self.move = wrap("move", self.plugs, self._move)

    def execute(self) -> Population:
        """Run the loop and return the finished population."""
        began = time.perf_counter()
        with torch.no_grad():
            population = self._start()
            for step, (t, u) in enumerate(pairwise(self.grid)):
                self.step = step
                population = self.move(population, t, u)
                if self.progress is not None:
                    groups = (self.first, self.first + self.groups)
                    self.progress(Progress(step + 1, len(self.grid) - 1, groups, population))
            self.step = len(self.grid) - 1
            for plug in self.plugs:
                population = plug.finish(population, self)
        self.ledger.seconds += time.perf_counter() - began
        return population

    def draw(self, purpose: str, plug: Guidance | None = None) -> Draw:
        """Random numbers of the present step for a named purpose; two plugs of one kind draw independently."""
        if plug is not None:
            purpose = f"{purpose} {self.position(plug)}"
        return Draw(self.random, self.step, purpose)

    def position(self, plug: Guidance) -> int:
        """Place of a plug in the onion, 0 is innermost."""
        return next(i for i, other in enumerate(self.plugs) if other is plug)

    @contextmanager
    def within(self, t: float, population: Population | None = None) -> Iterator[None]:
        """While a sampler asks at other states and times of the step from t: schedules and memories stay those of t.

        Args:
            t: time at which the step starts.
            population: whose prediction at t was asked for; None leaves plugs without a memory.
        """
        before = {} if population is None else population.remembered()
        outer, self.schedule_time = self.schedule_time, t
        try:
            with self.remembering(before):
                yield
        finally:
            self.schedule_time = outer

    @contextmanager
    def remembering(self, memory: dict[str, Tensor]) -> Iterator[None]:
        """While a question is asked about rows with the given memory; see `recall`."""
        outer, self.memory = self.memory, memory
        try:
            yield
        finally:
            self.memory = outer

    def recall(self, name: str, rows: int) -> Tensor | None:
        """What a plug has remembered of the rows (B, ...) it is asked about; None if nothing, or of other rows.

        A plug remembers by `prediction.with_parts(memory={name: (B, ...)})`; the population keeps it with its particle.
        """
        value = self.memory.get(name)
        return value if value is not None and len(value) == rows else None

    @contextmanager
    def using(self, prior: Prior) -> Iterator[None]:
        """While another prior is asked, through all guidance inside; its calls are counted like the run's own."""
        outer, self.asked = self.asked, self.kept(("prior", id(prior)), lambda: (prior, prior.to(self.device)))[1]
        try:
            yield
        finally:
            self.asked = outer

    def kept(self, key: object, make: Callable[[], Any]) -> Any:
        """make(), called once in this run for every key."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def code_of(self, perturbation: Any) -> int:
        """The code 1, 2, ... of rows for which the network is to be perturbed; 0 for None."""
        if perturbation is None:
            return 0
        if perturbation not in self.perturbations:
            self.perturbations.append(perturbation)
        return self.perturbations.index(perturbation) + 1

    def record(self, name: str, value: Tensor) -> None:
        """Keep a diagnostic of the present step, leading with the groups (P, ...); returned in the result's info."""
        self.info.setdefault(name, []).append(value)

    def _start(self) -> Population:
        state = self.prior.start(self.draw("start"), self.groups * self.particles)
        condition = None
        if self.condition is not None:
            rows = torch.arange(self.groups, device=self.device).repeat_interleave(self.particles)
            condition = tree_index(self.condition, rows)
        population = self.sampler.start(Population(self, self.groups, self.particles, state, condition))
        for plug in self.plugs:
            population = plug.start(population, self)
        return population

    def _move(self, population: Population, t: float, u: float) -> Population:
        kernel: Kernel = self.propose(population, t, u)
        state = kernel.sample(self.draw("move"))
        memory = kernel.memory(state)
        if "log_ratio" in memory:  # summed up until a particle filter takes it into its weights
            memory["log_ratio"] = memory["log_ratio"] + population.memory.get("log_ratio", 0.0)
        return population.advance(state, **memory)

    def ask(self, question: Callable[..., Prediction], x: State, t: Time, condition: State | None = None) -> Prediction:
        """question(x, t, condition), counted as one network call, or as several where that is too many rows."""
        rows, limit = tree_batch(x), self.network_batch
        if limit is None or rows <= limit:
            asked = self.asked.network_rows(x)
            self.ledger.network_calls += asked > 0
            self.ledger.network_rows += asked
            return question(x, t, condition)
        parts = []
        for begin in range(0, rows, limit):
            cut = slice(begin, begin + limit)
            part = tree_index(condition, cut) if condition is not None else None
            parts.append(self.ask(question, tree_index(x, cut), t[cut] if isinstance(t, Tensor) else t, part))
        return tree_cat(parts)

    def _network(self, x: State, t: Time, condition: State | None = None) -> Prediction:
        return self.ask(self._predict, x, t, condition)

    def _predict(self, x: State, t: Time, condition: State | None = None) -> Prediction:
        if isinstance(condition, Coded):
            return self._perturbed(x, t, condition)
        return self.asked.predict(x, t, condition)

    def _perturbed(self, x: State, t: Time, coded: Coded) -> Prediction:
        """The answer of a network that is perturbed in the rows whose code is not 0."""
        plans = {code: self.perturbations[code - 1] for code in coded.code.unique().tolist() if code}
        if not plans:
            return self.asked.predict(x, t, coded.condition)
        return next(iter(plans.values())).answer(self, plans, x, t, coded)
