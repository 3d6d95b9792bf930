"""One execution of the sampling loop: start -> [denoise -> propose -> move] x steps -> finish."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guidekit.core.generators import Draw, KeyedRandom
from guidekit.core.guidance import Denoiser, Guidance, GuidanceError, flatten, overrides, wrap
from guidekit.core.kernels import Kernel
from guidekit.core.ledger import Ledger
from guidekit.core.population import Population, Time
from guidekit.core.predictions import Prediction
from guidekit.core.state import State, tree_batch, tree_cat, tree_index

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
        self.prior, self.sampler, self.device = prior, sampler, torch.device(device)
        self.plugs = flatten([guidance]) if guidance is not None else []
        self.first, self.groups, self.particles = groups[0], groups[1] - groups[0], particles
        self.condition, self.network_batch, self.progress = condition, network_batch, progress
        self.random = KeyedRandom(seed, self.first, self.groups, self.device)
        self.ledger, self.info, self.step = Ledger(), {}, -1
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
            asked = self.prior.network_rows(x)
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
        return self.ask(self.prior.predict, x, t, condition)
