"""Loop guidance: a state that diffuses together with its properties, each of which is told the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, chain
from guidekit.core.population import Population
from guidekit.core.prediction import Prediction
from guidekit.core.prior import Prior
from guidekit.core.question import Denoise, Question
from guidekit.core.sampler import Sampler
from guidekit.core.state import altered
from guidekit.core.support import Support
from guidekit.errors import UnknownNameError
from guidekit.guidance.contrast import LINEAR, Answers, Branch, Number, Schedules, Weight, contrast
from guidekit.registry import register


@dataclasses.dataclass(frozen=True)
class Trunk(Branch):
    """The same question to a prior that does not look at its stems."""

    requires = frozenset({Fact.FLOW, Fact.WHOLE})

    def __call__(self, question: Question, owner: Guidance) -> Question:
        """See `Branch`."""
        prior: Any = question.prior
        return altered(question, prior=prior.trunk)

    def check(self, name: str, prior: Prior) -> None:
        """See `Branch.check`; there must be stems."""
        stems = getattr(prior, "stems", None)
        if not isinstance(stems, slice) or stems.start >= stems.stop or not hasattr(prior, "trunk"):
            raise GuidanceError(
                f"{name} needs a prior whose states hold properties, and this one ({prior.name}) has none: "
                "guidekit train domain=graphs trainer=adjacency trainer.properties=[density] makes one"
            )


def combine(answers: Answers, weight: Number) -> Prediction:
    """D_0 + w (D_y - D_0) of the trunk; stems are what the trunk with its stems says, whatever the weight."""
    prior: Any = answers.question.prior

    def own_stems(support: Support, mixed: Tensor, own: Tensor) -> Tensor:
        return torch.cat([mixed[:, : prior.stems.start], own[:, prior.stems], mixed[:, prior.stems.stop :]], 1)

    return LINEAR.combine(answers, weight).map(own_stems, answers.own)


@register("tool", "held_stems")
@dataclasses.dataclass(frozen=True, eq=False)
class HeldStems(Guidance[None]):
    """Properties of the clean estimate are what is wanted: their noise goes down to it along q(y_u | y_t, y_0).

    Args:
        target: {name: value} in the unit of the property.
    """

    target: Mapping[str, float]
    layer = Layer.ESTIMATE
    requires = frozenset({Fact.FLOW, Fact.WHOLE})
    timeless = True

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """The prior must know the properties."""
        own: Any = prior
        try:
            own.scaled(self.target)
        except UnknownNameError as error:
            raise GuidanceError(f"LoopGuidance: {error}") from error

    def held(self, prior: Any, x: Tensor) -> Tensor:
        """States (B, D) with the properties that are wanted."""
        wanted = prior.scaled(self.target).to(x)
        stems = torch.where(wanted.isnan(), x[:, prior.stems], wanted)
        return torch.cat([x[:, : prior.stems.start], stems, x[:, prior.stems.stop :]], 1)

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`."""

        def wanted(support: Support, mean: Tensor) -> Tensor:
            return self.held(question.population.setup.prior, mean)

        return inner(question).map(wanted)

    def finish(self, population: Population) -> Population:
        """See `Guidance.finish`."""
        return population.at(self.held(population.setup.prior, population.state))


@register("guidance", "loop_guidance")
def LoopGuidance(  # noqa: N802 - a preset
    target: Mapping[str, float] | None = None, weight: Weight = 1.0, schedule: Schedules = None
) -> Guidance:
    """D = D_0 + w (D_y - D_0): a trunk that is told its stems, beside the trunk alone, for priors of both.

    A stem is a property that diffuses with the state. In every step the network estimates it from the state, its noisy
    value moves to the estimate as the state does, and the next step is told it: that is the loop. With a target the
    estimate is the target, so that y_t is the target noised to t. w = 1 is the joint prior, with one call; w = 0 is the
    trunk alone, whose stems follow it; above 1 the state obeys its stems more, and stems are estimated as at w = 1.

    The law of x under a target is exact where the noise of the stems has vanished before the state is decided: a share
    tau^2 / (1 + tau^2) of what the stem says is missing at a level at which its own noise is tau of its spread.

    Args:
        target: {name: value} of properties; None leaves them free.
        weight: w.
        schedule: see `CFG`.

    Source: Mercatali et al. 2024, arXiv:2410.24012 (Diffusion Twigs), with one network for trunk and stems and the
    stems noised in training as in sampling; the weight is not theirs.
    """
    told = contrast("LoopGuidance", (Trunk(),), dataclasses.replace(LINEAR, combine=combine), weight, schedule)
    return told if not target else chain(told, HeldStems(dict(target)))
