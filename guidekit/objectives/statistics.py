"""Style: second moments of features, which say what there is and not where."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from guidekit.core.objective import Number, Objective
from guidekit.core.prior import Prior
from guidekit.core.requirements import GuidanceError
from guidekit.objectives.gaussian import per_sample

Features = Callable[[Tensor], Tensor | Sequence[Tensor]]
"""States (B, *S) -> feature maps (B, C, *space), of one layer or of several."""

Rows = tuple[Tensor, ...] | None


def gram(maps: Tensor) -> Tensor:
    """F F^T / n of feature maps (B, C, *space), (B, C, C), n the number of places; each state by itself."""
    flat = maps.flatten(2)
    return flat @ flat.mT / flat.shape[2]


def grams(features: Features, states: Tensor) -> tuple[Tensor, ...]:
    """The Gram matrices (B, C, C) of every layer."""
    found = features(states)
    return tuple(gram(maps) for maps in ((found,) if isinstance(found, Tensor) else found))


def _each(target: Tensor, samples: int) -> Tensor:
    """Targets (P, C, C) of P samples; raises `ScoreError` for another number."""
    found = per_sample("the target", target, samples)
    assert found is not None
    return found


@dataclasses.dataclass(frozen=True, eq=False)
class Style(Objective[Rows]):
    """-mean_l ||G_l(x_0) - target_l||_F^2 / ||target_l||_F^2, G_l the Gram matrix of layer l: 0 at the wanted style.

    Places do not matter: features that are shuffled over them have the same style. Its negative moves away from a
    style.

    Args:
        features: see `Features`; differentiable, frozen.
        target: a matrix (C, C) for every layer, or (P, C, C) for the P samples of a run.
        shape: *S of the reference; other states are refused. None takes any.

    Raises:
        ValueError: targets that are no Gram matrices.

    Source: Gatys et al. 2015, arXiv:1508.06576; as guidance, "Arbitrary Style Guidance for Enhanced Diffusion-Based
    Text-to-Image Generation" (WACV 2023).
    """

    features: Features
    target: tuple[Tensor, ...]
    shape: tuple[int, ...] | None = None
    differentiable = True
    floor = None
    unit = "share of the wanted"
    temperature = 0.1

    def __post_init__(self) -> None:
        """Refuse what is no Gram matrix."""
        if not self.target or any(one.ndim not in (2, 3) or one.shape[-1] != one.shape[-2] for one in self.target):
            raise ValueError(f"targets are Gram matrices (C, C), got {[tuple(one.shape) for one in self.target]}")
        if not all(bool(one.isfinite().all()) and float(one.flatten(-2).norm(dim=-1).min()) > 0 for one in self.target):
            raise ValueError("targets are finite and not all 0: a reference without features has no style")

    @classmethod
    def of(cls, features: Features, reference: Tensor, each: bool = False) -> Style:
        """The mean style of reference states (n, *S), or with `each` that of one of them for each sample."""
        with torch.no_grad():
            target = tuple(one if each else one.mean(0) for one in grams(features, reference))
        return cls(features, target, tuple(reference.shape[1:]))

    def rows(self, samples: int) -> Rows:
        """See `Objective.rows`: targets where they are one per sample."""
        if self.target[0].ndim == 2:
            return None
        return tuple(one.expand(samples, -1, -1) if len(one) == 1 else _each(one, samples) for one in self.target)

    def check(self, prior: Prior) -> None:
        """See `Objective.check`: states as the reference."""
        if self.shape is not None and tuple(prior.event_shape) != self.shape:
            raise GuidanceError(
                f"{self.name} is of a reference {self.shape}, and states of this prior ({prior.name}) are "
                f"{tuple(prior.event_shape)}"
            )

    def scores(self, states: Tensor, t: Number, rows: Rows) -> Tensor:
        """See the class, (B,)."""
        total = states.new_zeros(len(states))
        for found, wanted in zip(grams(self.features, states), rows or self.target, strict=True):
            wanted = wanted.to(found)
            total = total + (found - wanted).square().sum((1, 2)) / wanted.square().sum((-2, -1))
        return -total / len(self.target)
