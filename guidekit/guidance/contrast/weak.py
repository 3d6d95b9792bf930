"""Guidance by another model: a weaker one, the one before fine-tuning, one trained on synthetic data."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.prior import Prior
from guidekit.core.question import Question
from guidekit.core.state import altered
from guidekit.core.support import Support
from guidekit.guidance.contrast import (
    CONDITIONS,
    LINEAR,
    NULL,
    Branch,
    Contrast,
    Number,
    Schedules,
    Weight,
    check_finite,
    check_range,
    contrast,
    formal,
    rules,
)
from guidekit.guidance.contrast.schedules import Steps
from guidekit.registry import register


@register("guidance", "autoguidance")
def Autoguidance(  # noqa: N802 - a preset
    weak: Prior, weight: Weight = 2.0, share: float = 1.0, schedule: Schedules = None, rescale: float = 0.0
) -> Contrast:
    """Autoguidance D = D_weak + w (D - D_weak): away from a weaker version of the prior, under the same condition.

    Works with and without conditions. The weak model should be worse in the way the prior is imperfect: fewer weights,
    an earlier checkpoint. Guidance inside, `chain(CFG, Autoguidance)`, acts on both models.

    Args:
        weak: the weaker prior, of the same process and states.
        weight: w; 1 is the prior alone.
        share: of the weak model in the base; the rest is the null condition of the prior, so that 0 is `CFG`.
        schedule, rescale: see `CFG`.

    Source: Karras et al. 2024, arXiv:2406.02507; the share as in their code (secondary source).
    """
    check_finite("Autoguidance", share=share)
    if share == 1:
        return contrast("Autoguidance", (Other(prior=weak),), LINEAR, weight, schedule, rescale)

    def formula(support: Support, w: Number, worse: Tensor, own: Tensor, null: Tensor) -> Tensor:
        return rules.linear(share * worse + (1 - share) * null, own, w)

    return contrast("Autoguidance", (Other(prior=weak), NULL), formal(formula), weight, schedule, rescale)


@dataclasses.dataclass(frozen=True)
class Other(Branch):
    """The same question to another prior, which must be given."""

    def check(self, name: str, prior: Prior) -> None:
        """See `Branch.check`."""
        if self.prior is None:
            raise GuidanceError(f"{name} needs a second prior beside this one ({prior.name})")
        super().check(name, prior)


@register("guidance", "rlg")
def RLG(  # noqa: N802
    reference: Prior, weight: Weight = 1.6, first_steps: int = 0, schedule: Schedules = None
) -> Contrast:
    """Alignment control D_r + w (D - D_r), with D_r the model before alignment and D the prior, its result.

    Where the aligned model is p exp(r / beta), w acts as a KL coefficient of beta / w: below 1 it weakens the
    alignment, above 1 it goes on.

    Args:
        reference: the prior before it was aligned.
        weight: w.
        first_steps: steps at the start with the aligned prior alone.
        schedule: in place of first_steps, see `CFG`.

    Source: Jin et al. 2025, arXiv:2508.21016.
    """
    schedule = Steps(first_steps) if first_steps else schedule
    return contrast("RLG", (Other(prior=reference),), LINEAR, weight, schedule)


@register("guidance", "sims")
def SIMS(synthetic: Prior, omega: float = 1.0, schedule: Schedules = None) -> Contrast:  # noqa: N802
    """Away from a copy of the prior that was trained on its samples: (1 + omega) D - omega D_synthetic.

    Args:
        synthetic: the prior after some training on its own samples.
        omega: 0 is the prior alone.
        schedule: see `CFG`.

    Source: Alemohammad et al. 2024, arXiv:2408.16333.
    """
    check_finite("SIMS", omega=omega)
    return contrast("SIMS", (Other(prior=synthetic),), LINEAR, 1 + omega, schedule)


@register("guidance", "personalization")
def PersonalizationSteering(  # noqa: N802
    pretrained: Prior,
    weight: Weight = 2.0,
    omega: float = 0.5,
    schedule: Schedules = None,
    rescale: float = 0.0,
) -> Contrast:
    """Away from the null condition of a network part of the way back to the pretrained one: D_i + w (D_c - D_i).

    D_i has the weights pretrained + omega (tuned - pretrained). omega = 1 is `CFG` of the tuned prior, omega = 0 has
    the pretrained prior's null condition for its base.

    Args:
        pretrained: the prior before it was fine-tuned, with the network of the tuned one.
        weight: w.
        omega: in [0, 1]; the direction of the source's parameter is not verified.
        schedule, rescale: see `CFG`.

    Source: reconstructed from Park et al. 2025, arXiv:2508.00319.
    """
    check_range("PersonalizationSteering", high=1.0, omega=omega)
    branch = Between(omega, prior=pretrained)
    return contrast("PersonalizationSteering", (branch,), LINEAR, weight, schedule, rescale)


@dataclasses.dataclass(frozen=True)
class Between(Other):
    """Without condition, of a network between another prior's and the own one's.

    Args:
        omega: see `interpolate`.
        made: interpolated priors, by the tuned one, each made once.
    """

    omega: float
    made: dict[int, tuple[Prior, Prior]] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    requires = CONDITIONS

    def __call__(self, question: Question, owner: Guidance) -> Question:
        """See `Branch`."""
        tuned = question.prior
        if id(tuned) not in self.made:
            self.made[id(tuned)] = (tuned, interpolate(self.prior, tuned, self.omega))
        return altered(question, prior=self.made[id(tuned)][1]).of_nobody()

    def check(self, name: str, prior: Prior) -> None:
        """See `Branch.check`; both priors need a network of one kind."""
        super().check(name, prior)
        try:
            interpolate(self.prior, prior, self.omega)
        except GuidanceError as error:
            raise GuidanceError(f"{name}: {error}") from None


@register("tool", "interpolate")
def interpolate(pretrained: Any, tuned: Any, omega: float) -> Prior:
    """A prior with weights pretrained + omega (tuned - pretrained); at 0 and 1 one of the two, bit for bit.

    Buffers, whole numbers and weights that were not tuned stay those of the tuned network.

    Raises:
        GuidanceError: a prior without a network, or networks that differ.
    """
    networks: list[Any] = [getattr(prior, "network", None) for prior in (pretrained, tuned)]
    for prior, network in zip((pretrained, tuned), networks, strict=True):
        if not isinstance(network, nn.Module):
            name = getattr(prior, "name", repr(prior))
            raise GuidanceError(f"weights are interpolated between networks, and {name} has none")
    old, new = (dict(network.named_parameters()) for network in networks)
    if {name: value.shape for name, value in old.items()} != {name: value.shape for name, value in new.items()}:
        raise GuidanceError(f"the networks of {pretrained.name} and {tuned.name} differ, so that nothing lies between")
    if omega in (0, 1):
        return tuned if omega else pretrained
    between = copy.copy(tuned)
    between.network = copy.deepcopy(tuned.network)
    with torch.no_grad():
        for name, weight in between.network.named_parameters():
            weight.copy_(mixed(old[name].to(weight), new[name], omega))
    return between


def mixed(old: Tensor, new: Tensor, omega: float) -> Tensor:
    """Weights between two; whole numbers are the new ones."""
    return torch.lerp(old, new, omega) if new.is_floating_point() else new
