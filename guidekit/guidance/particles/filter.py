"""The particle filter: weights, resampling and the evidence, whatever the weights are made of."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.core.random import Draw
from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.population import Population
from guidekit.core.prediction import pick
from guidekit.core.run import Run
from guidekit.guidance.particles.resampling import RESAMPLERS

OUTPUTS = ("draw", "best", "all")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParticleFilter(Guidance):
    """K particles per group, weighted by what `log_potential` says and by corrections of tilted proposals, resampled.

    Weights are kept in log space and in float64, and kept when resampling does not fire.

    Args:
        particles: K.
        resampler: "multinomial", "stratified", "systematic", "residual" or "ssp".
        ess_threshold: resample a group when its effective sample size falls below this share of K; None resamples at
            every evaluation, 0 never.
        interval: steps between evaluations; the last step is always one.
        window: (from, to) times within which potentials are evaluated before the end.
        output: "draw" hands back one particle per group drawn by weight, "best" the one of largest total potential,
            "all" the weighted particles.
    """

    particles: int = 8
    resampler: str = "systematic"
    ess_threshold: float | None = 0.5
    interval: int = 1
    window: tuple[float, float] = (1.0, 0.0)
    output: str = "draw"
    reorders = True

    def __post_init__(self) -> None:
        """Refuse settings outside their choices."""
        for field, choices in (("output", OUTPUTS), ("resampler", tuple(RESAMPLERS))):
            if getattr(self, field) not in choices:
                raise ValueError(f"{field}={getattr(self, field)!r}; accepted: {', '.join(choices)}")
        if self.interval < 1:
            raise ValueError(f"interval={self.interval}; it must be at least 1")
        if len(self.window) != 2 or not 1 >= self.window[0] >= self.window[1] >= 0:
            raise ValueError(f"window={list(self.window)}; two times are needed, from noise (1) to clean (0): [1, 0]")

    def check(self, run: Run) -> None:
        """Resampling copies particles: without noise the copies would stay copies. One set of weights, one filter."""
        if sum(isinstance(plug, ParticleFilter) for plug in run.plugs) > 1:
            raise GuidanceError("two particle filters would share one set of weights: keep one of them")
        if getattr(run.sampler, "eta", 1.0) == 0 and not hasattr(run.prior.process, "vocab_size"):
            raise GuidanceError("a particle filter needs a stochastic sampler: copies stay copies")
        if type(run.sampler).__name__ in ("Euler", "Heun"):
            raise GuidanceError(
                "a particle filter needs a stochastic sampler: copies stay copies under a deterministic one"
            )

    def log_potential(self, population: Population, u: float, last: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Log-potential of this evaluation (P * K,), and what to remember of it; none by itself."""
        return torch.zeros(len(population), dtype=torch.float64, device=population.run.device), {}

    def start(self, population: Population, run: Run) -> Population:
        """Paths begin with potential one."""
        zero = torch.zeros(len(population), dtype=torch.float64, device=run.device)
        root = torch.arange(len(population), device=run.device) % population.particles
        return population.remember(fk_total=zero, fk_history=zero - math.inf, fk_root=root)

    def move(
        self, inner: Callable[[Population, float, float], Population], population: Population, t: float, u: float
    ) -> Population:
        """See `Guidance.move`."""
        population = inner(population, t, u)
        run, last = population.run, u == 0
        due = (run.step + 1) % self.interval == 0 and self.window[1] <= u <= self.window[0]
        if not last and not due:
            return population
        step, memory = self.log_potential(population, u, last)
        total = population.memory["fk_total"] + step
        if "log_ratio" in population.memory:
            step = step + population.memory["log_ratio"]
            memory["log_ratio"] = torch.zeros_like(step)
        population = population.remember(fk_total=total, **memory)
        log_weights = population.log_weights + step.view(population.groups, population.particles)
        ess = effective_sample_size(log_weights)
        run.record("ess", ess)
        if last:
            return population.weighted(log_weights)
        fire = torch.ones_like(ess, dtype=torch.bool)
        if self.ess_threshold is not None:
            fire = ess < self.ess_threshold * population.particles
        return resample(population, log_weights, fire, self.resampler, run.draw("resample", self))

    def finish(self, population: Population, run: Run) -> Population:
        """Close the evidence estimate and hand back what `output` asks for."""
        log_weights, k = population.log_weights, population.particles
        evidence = torch.logsumexp(log_weights, 1) - math.log(k)
        population = population.weighted(log_weights, population.log_normalizer + evidence)
        roots = population.memory["fk_root"].view(population.groups, k)
        run.record("distinct roots", (roots.sort(1).values.diff(dim=1) != 0).sum(1) + 1)
        if self.output == "all":
            return population
        dead = log_weights.isneginf().all(1, keepdim=True)
        run.ledger.degenerate_groups += int(dead.sum())
        if self.output == "best":
            chosen = population.memory["fk_total"].view(population.groups, k).argmax(1, keepdim=True)
        else:
            law = torch.log_softmax(log_weights.masked_fill(dead, 0.0), 1)
            chosen = pick(law, run.draw("pick", self).uniform((population.groups,)))[:, None]
        population = population.select(chosen)
        return population.weighted(torch.zeros_like(population.log_weights))


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """(sum w)^2 / sum w^2 per group, (P,), between 1 and K; 0 where no weight is positive."""
    w = torch.softmax(log_weights, 1)
    return (1 / w.square().sum(1)).nan_to_num(0.0)


def resample(population: Population, log_weights: Tensor, fire: Tensor, scheme: str, draw: Draw) -> Population:
    """Resample the groups where fire (P,) is True; the others keep their weights.

    The evidence of a resampled group moves into its log-normaliser and its weights restart at one.
    """
    groups, k = log_weights.shape
    run = population.run
    run.record("resampled", fire)
    dead = log_weights.isneginf().all(1)
    run.ledger.degenerate_groups += int((fire & dead).sum())
    weights = torch.softmax(log_weights.masked_fill(dead[:, None], 0.0), 1)
    ancestors = RESAMPLERS[scheme](weights, draw.uniform((groups, k)))
    ancestors = torch.where(fire[:, None], ancestors, torch.arange(k, device=ancestors.device))
    evidence = torch.logsumexp(log_weights, 1) - math.log(k)
    normalizer = torch.where(fire, population.log_normalizer + evidence, population.log_normalizer)
    return population.select(ancestors).weighted(log_weights.masked_fill(fire[:, None], 0.0), normalizer)
