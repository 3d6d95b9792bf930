"""Classifier-based guidance of discrete diffusion: next tokens weighted by what they are worth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, Propose
from guidekit.core.objective import Goal, Objective
from guidekit.core.population import Population
from guidekit.core.proposal import Proposal
from guidekit.core.step import Step
from guidekit.guidance.transition.edits import ROWS, Edits, edits_for
from guidekit.objectives.reward import Value, objective_of
from guidekit.registry import register
from guidekit.samplers.ctmc import EulerCTMC


@dataclasses.dataclass(frozen=True, eq=False)
class EditGuidance(Guidance[None]):
    """What guidances that weigh single-token edits share; see `DCBG` for the settings."""

    reward: Goal | None = None
    scale: float | Callable[[float], float] = 1.0
    first_order: bool = False
    value: Objective | None = None
    most_rows: int = ROWS
    layer = Layer.PROPOSAL
    shifts = True

    def __post_init__(self) -> None:
        """Take functions for objectives, and check the settings."""
        name = self.name
        if self.reward is None and self.value is None:
            raise GuidanceError(f"{name} needs something to obey: give reward=, or value= of noisy states")
        if self.reward is not None:
            object.__setattr__(self, "reward", objective_of(self.reward, name))
        if self.value is not None:
            object.__setattr__(self, "value", _noisy(self.value, name))
        if isinstance(self.scale, int | float) and not math.isfinite(self.scale):
            raise ValueError(f"scale must be a finite number, got {self.scale}")
        if self.most_rows < 1:
            raise ValueError(f"most_rows must be at least 1, got {self.most_rows}")
        self.edits  # noqa: B018 - refuses what has no gradient

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """The value where one is given, otherwise the reward."""
        judge = self.reward if self.value is None else self.value
        return () if judge is None else (judge,)

    @cached_property
    def edits(self) -> Edits:
        """What edits are worth."""
        return edits_for(self.objectives[0], self.first_order, self.most_rows)

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """The inner proposal, with every edit weighted by exp(scale * change)."""
        proposal = inner(population, step)
        scale = self.scale(step.t) if callable(self.scale) else self.scale
        return proposal if scale == 0 else self.weighted(proposal, scale * self.edits(population))

    def weighted(self, proposal: Proposal, log_weights: Tensor) -> Proposal:
        """The proposal with edits weighted by the exponential of log_weights (B, L, C)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement weighted(proposal, log_weights)")


@register("guidance", "dcbg")
@dataclasses.dataclass(frozen=True, eq=False)
class DCBG(EditGuidance):
    """Discrete classifier-based guidance: p(z_u^l = v | z_t) exp(scale * change of v), normalized at every position.

    Within a particle filter the weights correct for the tilt (twisted sequential Monte Carlo).

    Args:
        reward: of clean tokens or objects, used where no value is given: then edits are made to the clean estimate.
        scale: gamma for a log-probability, 1 / alpha for a reward, a number or a function of t; 0 is unguided.
        first_order: one gradient in place of L V evaluations; needs an objective with `relaxed`.
        value: of noisy tokens, nats; an objective, or a function (z (B, L), t) -> (B,).
        most_rows: most edited sequences in one evaluation.

    Raises:
        GuidanceError: nothing to obey, or no gradient where one is needed.
        ValueError: a scale that is not finite.

    Source: Schiff et al. 2024, arXiv:2412.10193, eq. 9-12 (D-CBG).
    """

    requires = frozenset({Fact.SEQUENCE, Fact.TILTS})

    def weighted(self, proposal: Proposal, log_weights: Tensor) -> Proposal:
        """See `EditGuidance.weighted`."""
        return proposal.tilt(log_weights)


@register("guidance", "predictor")
@dataclasses.dataclass(frozen=True, eq=False)
class PredictorGuidance(EditGuidance):
    """Rates R(z -> z') exp(scale * change) of the reversed chain: good edits also come sooner.

    With the exact value and scale = 1 it samples the conditional law, up to the error of the steps. It needs steps in
    time: `EulerCTMC` (the default here) or ancestral ones. Rates of noising that a stochastic sampler adds are left as
    they are, since the conditional law has the same (the authors' code guides them too).

    Args:
        reward, scale, first_order, value, most_rows: as in `DCBG`.

    Source: Nisonoff et al. 2024, arXiv:2406.01572, eq. 2-3; scale is 1 / their guidance temperature.
    """

    requires = frozenset({Fact.SEQUENCE, Fact.JUMPS})
    default_sampler = EulerCTMC()

    def weighted(self, proposal: Proposal, log_weights: Tensor) -> Proposal:
        """See `EditGuidance.weighted`."""
        return proposal.changed(lambda kernel: kernel.accelerate(log_weights))


@register("guidance", "tag")
def TAG(  # noqa: N802 - a preset
    reward: Goal | None = None,
    scale: float | Callable[[float], float] = 1.0,
    value: Objective | None = None,
) -> PredictorGuidance:
    """Taylor-approximated guidance: predictor guidance with one gradient a step in place of L V evaluations.

    Args:
        reward, scale, value: as in `PredictorGuidance`; what judges must be differentiable (have `relaxed`).

    Source: Nisonoff et al. 2024, arXiv:2406.01572, eq. 5.
    """
    return PredictorGuidance(reward, scale, True, value)


def _noisy(value: Any, who: str) -> Objective:
    """A value of noisy states from what was given."""
    if not isinstance(value, Objective) and callable(value) and not isinstance(value, type):
        return Value(value)
    value = objective_of(value, who, "a value of noisy states")
    if value.on != "noisy":
        raise GuidanceError(f"{who} needs a value of noisy states; {value.name} looks at {value.on} ones: give reward=")
    return value
