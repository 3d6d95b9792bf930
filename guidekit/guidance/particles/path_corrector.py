"""Feynman-Kac correctors of real-valued states: products of powers of diffusion models, tilted by a reward."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.divergence import divergence, estimated_divergence
from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, Move, Propose, overrides
from guidekit.core.network import differentiable, slopes
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.prediction import GaussianPrediction, Prediction
from guidekit.core.prior import Prior
from guidekit.core.proposal import Proposal
from guidekit.core.question import Denoise, Question, jointly
from guidekit.core.sampler import Sampler
from guidekit.core.state import altered, batch, column, map_leaves
from guidekit.core.step import Step
from guidekit.errors import UnknownNameError
from guidekit.guidance.contrast.branches import Branch
from guidekit.guidance.particles import feynman_kac
from guidekit.guidance.particles.feynman_kac import SHARES, Growth
from guidekit.objectives.reward import objective_of
from guidekit.samplers.sde import SILENT

EXACT = 64
"""Numbers of a state up to which a divergence is exact where nothing is said: a backward pass for each of them."""


def by_signal(a: float, s: float) -> float:
    """a^2 / (a^2 + s^2): the share of a reward that a state is held to while it is noisy; data of about unit size."""
    return a * a / (a * a + s * s)


@dataclasses.dataclass(frozen=True)
class Note:
    """What was found out about every row: how its weight grows, and the gradient of the reward (B, *S) or None."""

    growth: Growth
    gradient: Tensor | None


@dataclasses.dataclass(frozen=True, eq=False)
class PathCorrector(Guidance[Note]):
    """The engine: within a particle filter, the law prod_i q_i(x)^beta_i exp(gamma r(x)) at every time of the path.

    The formula, and where it comes from, is in `feynman_kac`. The noise and the order are those of the sampler (use
    `dpm_solver` with eta = 1), whose kernels get theta times their variance, and half the tilt of the reward. The start
    is drawn from the law that the target has where the experts know nothing, N(0, s^2 / B). A single expert to the
    power 1 without a reward is left as it is: all increments are 0. The log-normalizer of the filter estimates the log
    of the integral of the target.

    Args:
        branches: experts, each what is asked in place of the question.
        powers: beta_i, one an expert; those of power 0 are not asked.
        reward: r, of states whatever their noise (it is not told the time); differentiable. None is none.
        gamma: its strength where the state is clean, 1 / temperature.
        formulation: theta, a name of `SHARES`.
        ramp: (a, s) -> share of gamma that holds there, 1 where s = 0.
        probes: of the divergence, where one is needed: 0 is exact, a backward pass a number of the state; others are
            estimated with so many random signs, which adds noise to the weights. None is exact up to `EXACT` numbers,
            and one probe above.
        center, increment_clip: see `feynman_kac.tamed`.

    Raises:
        ValueError: settings out of range, or powers whose sum is not above 0: no law has them.
    """

    branches: tuple[Branch, ...]
    powers: tuple[float, ...]
    reward: Objective | None = None
    gamma: float = 1.0
    formulation: str = "scaled_noise"
    ramp: Callable[[float, float], float] = by_signal
    probes: int | None = None
    center: bool = False
    increment_clip: float | None = None
    layer = Layer.ESTIMATE  # what changes predictions must come before

    def __post_init__(self) -> None:
        """Drop experts of power 0; check the settings."""
        if not all(math.isfinite(number) for number in (*self.powers, self.gamma)):
            raise ValueError(f"powers and strengths must be finite numbers, got {[*self.powers, self.gamma]}")
        if self.total <= 0:
            raise ValueError(f"the powers {list(self.powers)} add up to {self.total:g}; above 0 is needed")
        if self.formulation not in SHARES:
            raise UnknownNameError("formulation", self.formulation, SHARES)
        if self.probes is not None and self.probes < 0:
            raise ValueError(f"probes must be at least 0, got {self.probes}")
        if self.increment_clip is not None and not 0 < self.increment_clip < math.inf:
            raise ValueError(f"increment_clip must be above 0 and finite, got {self.increment_clip}")
        if self.reward is not None:
            object.__setattr__(self, "reward", objective_of(self.reward, self.name) if self.gamma else None)
        kept = [(branch, power) for branch, power in zip(self.branches, self.powers, strict=True) if power]
        object.__setattr__(self, "branches", tuple(branch for branch, _ in kept))
        object.__setattr__(self, "powers", tuple(power for _, power in kept))

    @property
    def total(self) -> float:
        """B, the sum of the powers."""
        return math.fsum(self.powers)

    @property
    def plain(self) -> bool:
        """Whether the target is what one expert samples."""
        return self.powers == (1.0,) and self.reward is None

    @property
    def requires(self) -> frozenset[Fact]:  # type: ignore[override]
        """Real states and weights, what the experts need, and a gradient of the reward."""
        facts = frozenset({Fact.FLOW, Fact.WHOLE, Fact.WEIGHTS}).union(*(one.requires for one in self.branches))
        return facts if self.reward is None else facts | {Fact.GRADIENT}

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """See `Guidance.objectives`."""
        return () if self.reward is None else (self.reward,)

    def share(self, a: float) -> float:
        """theta where the signal is a; where there is none, the score of the target is not defined."""
        return SHARES["scaled_noise" if a < SILENT else self.formulation](self.total)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Experts must exist; whoever changes the mean outside would not change theirs."""
        for branch in self.branches:
            branch.check(self.name, prior)
        for other in members[members.index(self) + 1 :]:
            if other.layer <= Layer.ESTIMATE and overrides(other, "denoise"):
                raise GuidanceError(f"{self.name} weighs what is inside it: write chain({other.name}, {self.name})")

    def start(self, population: Population) -> Population:
        """See `Guidance.start`: the law of the target where the experts know nothing but how much noise there is."""
        if self.total == 1:
            return population
        return population.at(map_leaves(lambda leaf: leaf / math.sqrt(self.total), population.state))

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """The prediction that the step is made of; how the weights grow is noted."""
        if self.plain:
            return inner(self.branches[0](question, self))
        x: Any = question.x
        share = self.share(question.process.coefficients(question.moment.t)[0])
        nested = torch.is_grad_enabled() and x.requires_grad
        with torch.set_grad_enabled(nested or share != 1):
            at = x if nested or share == 1 else differentiable(x)
            asked = altered(question, x=at)
            answers: list[Any] = jointly(inner, [branch(asked, self) for branch in self.branches])
            weights = [power / self.total for power in self.powers]
            mean = sum(weight * answer.mean for weight, answer in zip(weights, answers, strict=True))
            spread = None if share == 1 else self._spread(question, mean, at, answers[-1])
        if not nested and share != 1:
            mean, answers = mean.detach(), [map_leaves(Tensor.detach, answer.plain()) for answer in answers]
        own = altered(answers[-1], mean=mean, x=x, branches=None)
        note = self._note(question, answers, spread, own, share)
        if self.formulation == "target_score" and share == 1:
            own = altered(own, mean=feynman_kac.clean_of_target(mean, x, own.a, self.total))
        return own.noting(self, note)

    def _spread(self, question: Question, mean: Tensor, x: Tensor, own: GaussianPrediction) -> Tensor:
        """v div S = B (a tr d mean / dx - d), (B,)."""
        probes = self.probes if self.probes is not None else int(x[0].numel() > EXACT)
        ledger = question.population.setup.network.ledger
        ledger.backward_passes += probes or x[0].numel()
        if probes:
            draws = [question.uniform(self, f"probe {number}", *x.shape[1:]) for number in range(probes)]
            trace = estimated_divergence(mean, x, torch.stack([1.0 - 2.0 * (draw < 0.5) for draw in draws]).to(x))
        else:
            trace = divergence(mean, x)
        a: Any = own.a
        return (self.total * (a * trace - own.support.dimensions(x))).detach()

    def _note(
        self,
        question: Question,
        answers: Sequence[GaussianPrediction],
        spread: Tensor | None,
        own: GaussianPrediction,
        share: float,
    ) -> Note:
        """How the weights grow where these answers were given."""
        reward, gradient = self._reward(question.population, question.x, question.rows)
        pull, slope = None, torch.zeros_like(reward)
        if gradient is not None:
            a, s = question.process.coefficients(question.t)
            pull = column(self.strength(a, s) * s, gradient) * gradient
            slope = own.support.dot(question.x, gradient).double()
        noises = [answer.noise.detach() for answer in answers]
        rate = feynman_kac.rate(share, self.powers, noises, spread, own.support, pull)
        return Note(Growth(rate, reward, slope), gradient)

    def _reward(self, population: Population, x: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The reward (B,) of states, as if they were clean, and its gradient (B, *S)."""
        if self.reward is None:
            return torch.zeros(batch(x), dtype=torch.float64, device=x.device), None
        held = population.slots.get(self.reward)
        held = held if held is None or rows is None else map_leaves(lambda leaf: leaf[rows], held)
        population.setup.network.ledger.count(value_calls=batch(x))
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            scores = self.reward.look(lambda on: leaf, 0.0, held)
            gradient = slopes(scores, leaf)
        return scores.detach().double(), torch.zeros_like(x) if gradient is None else gradient

    def strength(self, a: Any, s: Any) -> Any:
        """gamma at a signal and a noise."""
        return self.gamma * self.ramp(a, s)

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`; the changed kernel is the law that is wanted."""
        proposal = inner(population, step)
        if self.plain:
            return proposal
        a, s = population.process.coefficients(step.t)
        note: Note = population.predict().note(self)
        kernel, share = proposal.kernel, self.share(a)
        if share != 1:
            kernel = kernel.power(1 / share)
        if note.gradient is not None:
            kernel = kernel.tilt(0.5 * self.strength(a, s) * note.gradient)
        return proposal.replaced(kernel)

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """See `Guidance.move`: what the step adds to the weights, by the rates at both of its ends."""
        if self.plain:
            return inner(population, step)
        process, before = population.process, population.predict().note(self).growth
        moved = inner(population, step)
        now, then = process.coefficients(step.t), process.coefficients(step.u)
        if now[0] < SILENT:
            now = (0.0, now[1])
        if then[1] > 0:
            after = moved.predict().note(self).growth
        else:
            state: Any = moved.state
            reward, gradient = self._reward(moved, state, None)
            slope = reward if gradient is None else self._support(population).dot(state, gradient).double()
            after = Growth(torch.zeros_like(reward), reward, slope)
        gammas = (self.strength(*now), self.strength(*then))
        added = feynman_kac.gain(before, after, gammas, now, then)
        added = feynman_kac.tamed(added, population.particles, self.center, self.increment_clip)
        if step.start == population.setup.steps[0].start:
            added = added + self._begun(population, before, gammas[0], now, then)
        return moved.reweigh(added)

    def _support(self, population: Population) -> Any:
        prediction: Any = population.predict()
        return prediction.support

    def _begun(
        self,
        population: Population,
        before: Growth,
        gamma: float,
        now: tuple[float, float],
        then: tuple[float, float],
    ) -> Any:
        """The log-weight of the start: of a step from no signal that is the law at its end."""
        (a, s), reward = (now, gamma * before.reward) if now[0] > 0 else (then, 0.0)
        if self.total == 1 or s == 0:
            return reward
        state: Any = population.state
        size = self._support(population).dimensions(state)
        return reward + feynman_kac.log_normalizer(self.powers, s / a, size)


__all__ = ["EXACT", "Note", "PathCorrector", "by_signal"]
