"""Guidance by another model: a weaker one, the one before fine-tuning, one trained on synthetic data."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from guidekit.core.guidance import GuidanceError
from guidekit.core.run import Run
from guidekit.guidance.contrast.branches import CONDITIONAL, UNCONDITIONAL, Branch, check_prior, null
from guidekit.guidance.contrast.engine import Contrast
from guidekit.guidance.contrast.linear import linear
from guidekit.guidance.contrast.rules import Function, Linear, Rule
from guidekit.guidance.contrast.schedules import Schedule, Steps
from guidekit.core.prior import Prior, Time


@dataclasses.dataclass(frozen=True)
class Autoguidance(Contrast):
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

    weak: Prior
    weight: float | Callable[[Time], Time] = 2.0
    share: float = 1.0
    schedule: Schedule | Sequence[float] | None = None
    rescale: float = 0.0
    needs = ("second, weaker prior",)

    @property
    def needs_condition(self) -> bool:
        """Where the null condition is part of the base."""
        return self.share != 1

    def branches(self, run: Run) -> Sequence[Branch]:
        """The weak prior, the prior, and where it takes part the null condition."""
        return (Branch(prior=self.weak), CONDITIONAL, *((UNCONDITIONAL,) if self.share != 1 else ()))

    def rule(self, run: Run) -> Rule:
        """Linear from a mixed base."""
        if self.share == 1:
            return Linear()
        return Function(lambda v, w: linear(self.share * v[0] + (1 - self.share) * v[2], v[1], w))


def RLG(  # noqa: N802 - a preset
    reference: Prior, weight: float = 1.6, first_steps: int = 0, schedule: Schedule | None = None
) -> Autoguidance:
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
    return Autoguidance(reference, weight, schedule=Steps(first_steps) if first_steps else schedule)


def SIMS(synthetic: Prior, omega: float = 1.0, schedule: Schedule | None = None) -> Autoguidance:  # noqa: N802
    """Away from a copy of the prior that was trained on its samples: (1 + omega) D - omega D_synthetic.

    Args:
        synthetic: the prior after some training on its own samples.
        omega: 0 is the prior alone.
        schedule: see `CFG`.

    Source: Alemohammad et al. 2024, arXiv:2408.16333.
    """
    return Autoguidance(synthetic, 1 + omega, schedule=schedule)


@dataclasses.dataclass(frozen=True)
class PersonalizationSteering(Contrast):
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

    pretrained: Prior
    weight: float | Callable[[Time], Time] = 2.0
    omega: float = 0.5
    schedule: Schedule | Sequence[float] | None = None
    rescale: float = 0.0
    needs = ("prior before fine-tuning", "conditional prior and condition=")

    def branches(self, run: Run) -> Sequence[Branch]:
        """The null condition of the interpolated prior, and the condition of the tuned one."""
        make = lambda: interpolate(self.pretrained, run.prior, self.omega)  # noqa: E731
        return (Branch(null, run.kept(("interpolated", id(self)), make)), CONDITIONAL)

    def check(self, run: Run) -> None:
        """Both priors need a network."""
        check_prior(type(self).__name__, run, self.pretrained)
        super().check(run)


def interpolate(pretrained: Prior, tuned: Prior, omega: float) -> Prior:
    """A prior with weights pretrained + omega (tuned - pretrained); at 0 and 1 one of the two, bit for bit.

    Buffers, whole numbers and weights that were not tuned stay those of the tuned network.

    Raises:
        GuidanceError: a prior without a network, or networks that differ.
    """
    ends = {0.0: pretrained, 1.0: tuned}
    for prior in (tuned, pretrained):
        if not isinstance(getattr(prior, "network", None), nn.Module):
            raise GuidanceError(f"weights are interpolated between networks, and {prior.name} has none")
    old, new = (dict(prior.network.named_parameters()) for prior in (pretrained, tuned))
    if {name: value.shape for name, value in old.items()} != {name: value.shape for name, value in new.items()}:
        raise GuidanceError(f"the networks of {pretrained.name} and {tuned.name} differ, so that nothing lies between")
    if omega in ends:
        return ends[omega]
    between = copy.copy(tuned)
    between.network = copy.deepcopy(tuned.network)
    with torch.no_grad():
        for name, weight in between.network.named_parameters():
            weight.copy_(mixed(old[name].to(weight), new[name], omega))
    return between


def mixed(old: Tensor, new: Tensor, omega: float) -> Tensor:
    """Weights between two; whole numbers are the new ones."""
    return torch.lerp(old, new, omega) if new.is_floating_point() else new
