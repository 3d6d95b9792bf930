"""The particle filter: weights, resampling and the evidence, whatever the weights are made of."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, Layer, Move
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.random import Draw, pick
from guidekit.core.step import Step
from guidekit.errors import UnknownNameError
from guidekit.guidance.particles.islands import exchanged
from guidekit.guidance.particles.potentials import POTENTIALS, Potential
from guidekit.guidance.particles.resampling import RESAMPLERS, Resampler, ancestry, effective_sample_size
from guidekit.guidance.values import Estimate, estimate_of
from guidekit.registry import register

OUTPUTS = ("draw", "best", "all")
TEMPERATURE = 0.1
"""For rewards between 0 and 1, such as QED."""


@dataclasses.dataclass(frozen=True)
class Path:
    """What is remembered of a path: the sum of its log-potentials, and what its potential needs; each (B,) nats."""

    total: Tensor
    history: Tensor


@register("tool", "particle_filter")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ParticleFilter(Guidance[Path]):
    """K particles per group, weighted by potentials of an estimate and by changed kernels, and resampled.

    The weights take in log base - log kernel of every step that guidance inside has changed, so that what is inside is
    a
    proposal: the filter samples p(x_0) exp(value(x_0)) whatever it does (twisted sequential Monte Carlo). Weights are
    kept in log space and in float64, and kept when resampling does not fire.

    Args:
        estimate: value of the particles in nats; None is none, then only changed kernels weigh.
        potential: "difference", "max", "sum", or a function, see `potentials`.
        particles: K.
        resampler: "multinomial", "stratified", "systematic", "residual", "ssp", or a function of the population that
            gives a scheme, see `resampling`.
        ess_threshold: resample a group when its effective sample size falls below this share of K; None resamples at
            every evaluation, 0 never.
        interval: steps between evaluations, or the numbers of the steps, from 1, after which they are; the last step is
            always one.
        window: (from, to) times within which potentials are evaluated before the end.
        annealing: values before the end count (1 - t) to this power: the pull comes in slowly.
        tempering: ancestors are drawn by weights to this power above 0 and keep the rest as their weight: less than 1
            loses fewer lineages at each of more resamplings.
        islands: the particles of a group resample among themselves in so many equal parts; the parts are exchanged
            whole where their weights differ, by the same threshold.
        output: "draw" hands back one particle per group drawn by weight, "best" the one of largest total potential,
            "all" the weighted particles.

    Raises:
        ValueError: settings outside their choices.
    """

    estimate: Estimate | None = None
    potential: str | Potential = "difference"
    particles: int = 8
    resampler: str | Callable[[Population], Resampler] = "systematic"
    ess_threshold: float | None = 0.5
    interval: int | Sequence[int] = 1
    window: tuple[float, float] = (1.0, 0.0)
    annealing: float = 0.0
    tempering: float = 1.0
    islands: int = 1
    output: str = "draw"
    layer = Layer.FILTER
    provides = frozenset({Fact.WEIGHTS})

    def __post_init__(self) -> None:
        """Refuse settings outside their choices."""
        choices = {"output": OUTPUTS, "resampler": tuple(RESAMPLERS), "potential": tuple(POTENTIALS)}
        for field, names in choices.items():
            if isinstance(getattr(self, field), str) and getattr(self, field) not in names:
                raise UnknownNameError(field, getattr(self, field), names)
        if self.output == "best" and self.estimate is None:
            raise ValueError(
                "output='best' needs a reward, which says what is best, as FKSteering has; accepted here: draw, all"
            )
        for field, least in (("particles", self.particles), ("islands", self.islands)):
            if least < 1:
                raise ValueError(f"{field} must be at least 1, got {least}")
        if isinstance(self.interval, Sequence):
            if min(self.interval, default=0) < 1:
                raise ValueError(f"interval must name steps from 1, got {self.interval}")
        elif self.interval < 1:
            raise ValueError(f"interval must be at least 1, got {self.interval}")
        if not 0 <= self.annealing < math.inf:
            raise ValueError(f"annealing must be a power of at least 0, got {self.annealing}")
        if not 0 < self.tempering <= 1:
            raise ValueError(f"tempering must be a power above 0 and at most 1, got {self.tempering}")
        if self.particles % self.islands:
            raise ValueError(f"{self.particles} particles do not divide into {self.islands} islands")
        if self.ess_threshold is not None and not 0 <= self.ess_threshold <= 1:
            raise ValueError(f"ess_threshold must be a share between 0 and 1, got {self.ess_threshold}")
        if len(self.window) != 2 or not 1 >= self.window[0] >= self.window[1] >= 0:
            raise ValueError(f"window must be two times from noise (1) to clean (0), got {list(self.window)}")

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """What the estimate looks at."""
        return () if self.estimate is None else self.estimate.objectives

    @property
    def requires(self) -> frozenset[Fact]:  # type: ignore[override]
        """Copies must part again; and what the estimate needs."""
        return frozenset({Fact.NOISE}) | (frozenset() if self.estimate is None else self.estimate.requires)

    def start(self, population: Population) -> Population:
        """Paths begin with potential one."""
        zero = torch.zeros(len(population), dtype=torch.float64, device=population.device)
        return population.remember(self, Path(zero, zero - math.inf))

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """See `Guidance.move`."""
        population = inner(population, step)
        last = step.u == 0
        if not last and not (self._due(step.start.index + 1) and self.window[1] <= step.u <= self.window[0]):
            return population
        gain = population.log_ratio
        assert gain is not None, "a filter weighs"
        if self.estimate is not None:
            path, value = population.recall(self), self.estimate.value(population)
            if self.annealing and not last:
                value = value * (1 - step.u) ** self.annealing
            rule = POTENTIALS[self.potential] if isinstance(self.potential, str) else self.potential
            added, history = (value - path.total, path.history) if last else rule(value, path.total, path.history)
            population = population.remember(self, Path(path.total + added, history))
            gain = gain + added
        log_weights = population.log_weights + gain.view(population.groups, population.particles)
        ess = effective_sample_size(log_weights)
        population.setup.recorder.record("ess", ess)
        if last:
            record_lines(population, None)
            return population.weighted(log_weights)
        scheme = RESAMPLERS[self.resampler] if isinstance(self.resampler, str) else self.resampler(population)
        draw = population.draw(step, "resample", self)
        if self.islands > 1:
            ancestors, log_weights = exchanged(
                log_weights, self.islands, scheme, draw, tempering=self.tempering, threshold=self.ess_threshold
            )
            population = population.select(ancestors)
            record_lines(population, ancestors)
            return population.weighted(log_weights)
        return resample(population, log_weights, self._fires(ess, population.particles), scheme, draw, self.tempering)

    def _due(self, number: int) -> bool:
        return number in self.interval if isinstance(self.interval, Sequence) else number % self.interval == 0

    def _fires(self, ess: Tensor, of: int) -> Tensor:
        if self.ess_threshold is None:
            return torch.ones_like(ess, dtype=torch.bool)
        return ess < self.ess_threshold * of

    def finish(self, population: Population) -> Population:
        """Close the evidence estimate and hand back what `output` asks for."""
        log_weights, k, setup = population.log_weights, population.particles, population.setup
        evidence = torch.logsumexp(log_weights, 1) - math.log(k)
        population = population.weighted(log_weights, population.log_normalizer + evidence)
        setup.recorder.record("distinct roots", survivors(population))
        if self.output == "all":
            record_tilt(population, self)
            return population
        dead = log_weights.isneginf().all(1, keepdim=True)
        setup.network.ledger.count_later("degenerate_groups", dead.sum())
        if self.output == "best":
            chosen = population.recall(self).total.view(population.groups, k).argmax(1, keepdim=True)
        else:
            law = log_weights.masked_fill(dead, 0.0)
            uniform = Draw(setup.random, population.key, f"{setup.labels[self]} pick").uniform(population.groups)
            chosen = pick(law, uniform)[:, None]
        population = population.select(chosen)
        if self.output == "draw":
            record_tilt(population, self)
        return population.weighted(torch.zeros_like(population.log_weights))


@register("guidance", "fk_steering")
def FKSteering(  # noqa: N802 - a preset
    reward: Objective,
    temperature: float | None = None,
    potential: str = "difference",
    value: Estimate | Objective | None = None,
    *,
    particles: int = 8,
    resampler: str = "systematic",
    ess_threshold: float | None = 0.5,
    interval: int | Sequence[int] = 1,
    window: tuple[float, float] = (1.0, 0.0),
    annealing: float = 0.0,
    tempering: float = 1.0,
    islands: int = 1,
    output: str = "draw",
) -> ParticleFilter:
    """Feynman-Kac steering: a particle filter whose potentials are intermediate rewards; p(x_0) exp(reward /
    temperature).

    With lambda = 1 / temperature and r_s the value at the s-th evaluation, the log-potential of an evaluation is
      difference: lambda (r_u - r_t), r = 0 before the first;
      max:        lambda max_s r_s;
      sum:        lambda sum_s r_s;
    and the last one is lambda r(x_0) minus all potentials the path has had, which makes the target exact for every
    choice. A value of minus infinity before the end (an estimate that decodes to nothing) leaves the path's potential
    as it was. Guidance inside that changes kernels is a proposal, see `ParticleFilter`.

    Args:
        reward: to be increased.
        temperature: 1 / lambda, in the unit of the reward; None is what the reward suggests, or else `TEMPERATURE`.
        potential, particles, resampler, ess_threshold, interval, window, annealing, tempering, islands,
            output: see
            `ParticleFilter`; "best" is the particle of highest reward.
        value: of noisy states, see `guidekit.guidance.values.estimate_of`; None is the reward of the clean estimate,
            relaxed where the reward can be.

    Source: Singhal et al. 2025, arXiv:2501.06848, eq. 7-9; with changed kernels Wu et al. 2023, arXiv:2306.17775.
    """
    return ParticleFilter(
        estimate=estimate_of("FKSteering", reward, value, temperature, TEMPERATURE),
        potential=potential,
        particles=particles,
        resampler=resampler,
        ess_threshold=ess_threshold,
        interval=interval,
        window=window,
        annealing=annealing,
        tempering=tempering,
        islands=islands,
        output=output,
    )


def resample(
    population: Population, log_weights: Tensor, fire: Tensor, scheme: Resampler, draw: Draw, tempering: float = 1.0
) -> Population:
    """Resample the groups where fire (P,) is True; the others keep their weights.

    The evidence of a resampled group moves into its log-normalizer and its weights restart at one.
    """
    groups, k = log_weights.shape
    population.setup.recorder.record("resampled", fire)
    dead = log_weights.isneginf().all(1)
    population.setup.network.ledger.count_later("degenerate_groups", (fire & dead).sum())
    ancestors, left, evidence = ancestry(log_weights, fire, scheme, draw.uniform(groups, k), tempering)
    population = population.select(ancestors)
    record_lines(population, ancestors)
    return population.weighted(left, population.log_normalizer + evidence)


def survivors(population: Population) -> Tensor:
    """How many particles of the start have descendants, (P,)."""
    roots = population.roots.view(population.groups, -1)
    return (roots.sort(1).values.diff(dim=1) != 0).sum(1) + 1


def record_tilt(population: Population, owner: ParticleFilter) -> None:
    """Keep the log-potentials of all paths, (P, K) nats: what would have to be taken back to get to the prior."""
    zero = torch.zeros(len(population), dtype=torch.float64, device=population.device)
    total = zero if owner.estimate is None else population.recall(owner).total
    population.setup.recorder.record("log tilt", total.view(population.groups, -1))


def record_lines(population: Population, ancestors: Tensor | None) -> None:
    """Keep from which particle of its group each descends since the last evaluation, (P, K); None is from itself."""
    if ancestors is None:
        own = torch.arange(population.particles, device=population.device)
        ancestors = own.expand(population.groups, -1)
    population.setup.recorder.record("ancestors", ancestors.int())
    population.setup.recorder.record("survivors", survivors(population))
