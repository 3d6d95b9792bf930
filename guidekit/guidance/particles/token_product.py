"""Feynman-Kac correctors of tokens: products of powers of several laws, two priors or one under two conditions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, Propose, chain, overrides
from guidekit.core.population import Population
from guidekit.core.prediction import Prediction, normalized
from guidekit.core.prior import Prior
from guidekit.core.proposal import Proposal
from guidekit.core.question import Denoise, Question, jointly
from guidekit.core.sampler import Sampler
from guidekit.core.state import altered
from guidekit.core.step import Step
from guidekit.core.token_kernels import TokenKernel, powered
from guidekit.guidance.contrast.branches import Branch
from guidekit.guidance.particles.filter import ParticleFilter
from guidekit.guidance.particles.score_product import experts
from guidekit.registry import register
from guidekit.samplers.ancestral import Ancestral
from guidekit.samplers.first_hitting import FirstHitting


@dataclasses.dataclass(frozen=True, eq=False)
class LawProduct(Guidance[tuple[Prediction, ...]]):
    """The engine: within a particle filter, the law prod_i p_i(x)^beta_i of tokens, at every time of the chain.

    A reverse kernel is K_i(z_u | z_t) = q(z_t | z_u) p_i(z_u) / p_i(z_t). So prod_i K_i^beta_i q^(1 - B), with B the
    sum of the powers and q the law of the noising, is q(z_t | z_u) target(z_u) / target(z_t), which sums over z_t to
    what carries the target along; it is normalized for the step, and its sum is the weight. Where a sampler chooses the
    place and a law the token (first hitting), q cancels. The weights begin with the limit law to the power B - 1. For
    short steps they grow at the rate (B - 1) Q_out + R_out - sum_i beta_i R_i,out.

    Args:
        branches: experts, each what is asked in place of the question.
        powers: beta_i, one an expert; those of power 0 are not asked.

    Raises:
        ValueError: powers that are not finite, or whose sum is not above 0.
    """

    branches: tuple[Branch, ...]
    powers: tuple[float, ...]
    layer = Layer.ESTIMATE  # what changes predictions must come before

    def __post_init__(self) -> None:
        """Drop experts of power 0; check the powers."""
        if not all(map(math.isfinite, self.powers)) or math.fsum(self.powers) <= 0:
            raise ValueError(f"the powers {list(self.powers)} must be finite and add up to more than 0")
        kept = [(branch, power) for branch, power in zip(self.branches, self.powers, strict=True) if power]
        object.__setattr__(self, "branches", tuple(branch for branch, _ in kept))
        object.__setattr__(self, "powers", tuple(power for _, power in kept))

    @property
    def total(self) -> float:
        """B, the sum of the powers."""
        return math.fsum(self.powers)

    @property
    def requires(self) -> frozenset[Fact]:  # type: ignore[override]
        """Tokens, weights, and what the experts need."""
        facts = frozenset({Fact.SEQUENCE, Fact.WEIGHTS})
        return facts.union(*(branch.requires for branch in self.branches))

    @property
    def timeless(self) -> bool:  # type: ignore[override]
        """Where no other prior looks at the time."""
        return all(branch.prior is None or branch.prior.timeless for branch in self.branches)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Experts must exist, steps be those of the reverse chain, and nobody change the product outside."""
        for branch in self.branches:
            branch.check(self.name, prior)
        if not isinstance(sampler, Ancestral | FirstHitting):
            raise GuidanceError(
                f"{self.name} needs steps whose noising is known, and those of {sampler!r} are others: use "
                "sampler=ancestral or first_hitting"
            )
        for other in members[members.index(self) + 1 :]:
            if overrides(other, "denoise"):
                raise GuidanceError(f"{self.name} weighs what is inside it: write chain({other.name}, {self.name})")

    def start(self, population: Population) -> Population:
        """See `Guidance.start`: the target's law where nothing is left of the data, over that of the start."""
        if self.total == 1:
            return population
        process, z = population.process, population.state
        noised = int(process.pinned == 0)  # an id that is lost, as all are but padding
        limit = process.transition(1.0, 0.0)[noised].to(z.device).log()
        logs = limit[z] if process.pinned is None else limit[z].masked_fill(z == process.pinned, 0.0)
        return population.reweigh((self.total - 1) * logs.sum(1))

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """The product of the predicted laws, which others see; each of them is noted."""
        asked: Any = jointly(inner, [branch(question, self) for branch in self.branches])
        logs = powered([one.log_probs for one in asked], self.powers)
        product = asked[-1].laws(lambda laws: normalized(logs, laws))
        return product.noting(self, tuple(one.plain() for one in asked))

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`; the base is the product itself, which is no law: what it sums to is the weight."""
        proposal = inner(population, step)
        kernels: list[Any] = [inner(population.believing(one), step).kernel for one in population.predict().note(self)]
        first: TokenKernel = kernels[0]
        noising = population.process.transition(step.t, step.u).to(population.device).T[population.state].log()
        kernel, product = first.powers(kernels[1:], self.powers, noising)
        return altered(proposal, kernel=kernel, base=None if proposal.base is None else product)


@register("guidance", "token_product")
def TokenProduct(  # noqa: N802 - a preset
    power: float = 1.0, weight: float = 1.0, also: Sequence[Any] = (), other: Prior | None = None
) -> LawProduct:
    """Within a particle filter: the law (p_0^(1 - w) p_c^w prod_j p_j p_other)^power of tokens.

    The inside of `DiscreteFKCProduct`, for a filter of your own: with `FKSteering` a reward, between the two a tilt
    (`DCBG`) as a proposal. Experts speak of sequences of the length that was drawn at the start, by the prior's law of
    lengths; each costs a network row.

    Args:
        power: beta; 2 is sampling at half of the temperature.
        weight: w of the condition, see `CFG`; 1 is the conditional model alone.
        also: further conditions whose laws are multiplied in, each what `Prior.condition` takes.
        other: a second prior of the same tokens and process, whose law is multiplied in, under the same condition.

    Raises:
        ValueError: settings out of range.

    Source: Skreta et al. 2025, arXiv:2503.02819, and for tokens Lee et al. 2025, arXiv:2502.06079, in the form for
    powers of any sum and steps of any size, which is ours.
    """
    return LawProduct(*experts(power, weight, also, other))


@register("guidance", "discrete_fkc_product")
def DiscreteFKCProduct(  # noqa: N802 - a preset
    power: float = 1.0,
    weight: float = 1.0,
    also: Sequence[Any] = (),
    other: Prior | None = None,
    *,
    particles: int = 8,
    resampler: str = "systematic",
    ess_threshold: float | None = 0.5,
    interval: int = 1,
    window: tuple[float, float] = (1.0, 0.0),
    output: str = "draw",
) -> Guidance:
    """Product of experts on tokens: weighted particles of the law (p_0^(1 - w) p_c^w prod_j p_j p_other)^power.

    It is chain(TokenProduct(...), ParticleFilter(...)), see there. Of real numbers there is `FeynmanKacCorrector`.

    Args:
        power, weight, also, other: see `TokenProduct`.
        particles, resampler, ess_threshold, interval, window, output: see `ParticleFilter`; no particle is the best.

    Raises:
        ValueError: settings out of range.

    Source: see `TokenProduct`.
    """
    return chain(
        TokenProduct(power, weight, also, other),
        ParticleFilter(
            particles=particles,
            resampler=resampler,
            ess_threshold=ess_threshold,
            interval=interval,
            window=window,
            output=output,
        ),
    )


__all__ = ["DiscreteFKCProduct", "LawProduct", "TokenProduct"]
