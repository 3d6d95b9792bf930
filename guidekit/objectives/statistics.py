"""Style: second moments of features, which say what there is and not where."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from guidekit.core.objective import Number, Objective
from guidekit.core.prior import Prior
from guidekit.core.requirements import GuidanceError

Features = Callable[[Tensor], Tensor | Sequence[Tensor]]
"""States (B, *S) -> feature maps (B, C, *space), of one layer or of several."""


def gram(maps: Tensor) -> Tensor:
    """F F^T / n of feature maps (B, C, *space), (B, C, C), n the number of places; each state by itself."""
    flat = maps.flatten(2)
    return flat @ flat.mT / flat.shape[2]


def grams(features: Features, states: Tensor) -> tuple[Tensor, ...]:
    """The Gram matrices (B, C, C) of every layer."""
    found = features(states)
    return tuple(gram(maps) for maps in ((found,) if isinstance(found, Tensor) else found))


@dataclasses.dataclass(frozen=True, eq=False)
class Style(Objective[None]):
    """-mean_l ||G_l(x_0) - target_l||_F^2 / ||target_l||_F^2, G_l the Gram matrix of layer l: 0 at the wanted style.

    Places do not matter: features that are shuffled over them have the same style. Its negative moves away from a
    style: away from the mean style of data, samples take styles of their own.

    Args:
        features: see `Features`; differentiable, frozen.
        target: a matrix (C, C) for every layer.
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
        if not self.target or any(one.ndim != 2 or one.shape[0] != one.shape[1] for one in self.target):
            raise ValueError(f"targets are Gram matrices (C, C), got {[tuple(one.shape) for one in self.target]}")
        if not all(bool(one.isfinite().all()) and float(one.norm()) > 0 for one in self.target):
            raise ValueError("targets are finite and not all 0: a reference without features has no style")

    @classmethod
    def of(cls, features: Features, reference: Tensor) -> Style:
        """The mean style of reference states (n, *S)."""
        with torch.no_grad():
            target = tuple(one.mean(0) for one in grams(features, reference))
        return cls(features, target, tuple(reference.shape[1:]))

    def check(self, prior: Prior) -> None:
        """See `Objective.check`: states as the reference."""
        if self.shape is not None and tuple(prior.event_shape) != self.shape:
            raise GuidanceError(
                f"{self.name} is of a reference {self.shape}, and states of this prior ({prior.name}) are "
                f"{tuple(prior.event_shape)}"
            )

    def scores(self, states: Tensor, t: Number, rows: None) -> Tensor:
        """See the class, (B,)."""
        total = states.new_zeros(len(states))
        for found, wanted in zip(grams(self.features, states), self.target, strict=True):
            wanted = wanted.to(found)
            total = total + (found - wanted).square().sum((1, 2)) / wanted.square().sum()
        return -total / len(self.target)
