"""How like a wanted embedding that of a state is: of a clean estimate or, by a noise-aware encoder, a noisy state."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guidekit.core.objective import Number, Objective
from guidekit.core.prior import Prior
from guidekit.core.requirements import GuidanceError
from guidekit.errors import UnknownNameError
from guidekit.objectives.gaussian import per_sample

Encoder = Callable[..., Tensor]
"""States (B, *S) -> (B, F); of noisy ones (states, t) -> (B, F)."""


def cosine(one: Tensor, two: Tensor) -> Tensor:
    """Cosines (B,) of rows."""
    return torch.nn.functional.cosine_similarity(one, two, dim=1)


def dot(one: Tensor, two: Tensor) -> Tensor:
    """Inner products (B,) of rows."""
    return (one * two).sum(1)


def closeness(one: Tensor, two: Tensor) -> Tensor:
    """Minus the mean squared difference (B,) of rows."""
    return -(one - two).square().mean(1)


MEASURES = {"cosine": cosine, "dot": dot, "distance": closeness}
"""Similarities of embeddings by name; "distance" is minus the mean squared one."""


def embedded(encoder: Encoder, states: Tensor, t: Number, on: str) -> Tensor:
    """Embeddings (B, F); what an encoder gives of more axes is flattened."""
    found = encoder(states, t) if on == "noisy" else encoder(states)
    return found.flatten(1)


def noise_aware(encoder: Encoder, field: Prior) -> Encoder:
    """An encoder of noisy states without training: (x_t, t) -> encoder(E[x_0 | x_t]) under a prior that costs little.

    Args:
        encoder: clean states (B, *S) -> (B, F).
        field: of the same process as the prior that is guided, such as `GaussianField.fit(data)`; its estimate is
            blurred where noise has hidden detail, which is what the encoder then sees.
    """

    def embedding(x: Tensor, t: Number) -> Tensor:
        prediction: Any = field.predict(x, t)
        return encoder(prediction.mean.to(x))

    return embedding


def _known(measure: str, on: str) -> None:
    if measure not in MEASURES:
        raise UnknownNameError("measure of similarity", str(measure), MEASURES)
    if on not in ("clean", "noisy"):
        raise UnknownNameError("states to look at", str(on), ("clean", "noisy"))


@dataclasses.dataclass(frozen=True, eq=False)
class Similarity(Objective[Tensor | None]):
    """similarity(encoder(x), target): of the clean estimate, or of the noisy state where the encoder allows for noise.

    Of noisy states it is a value for `ClassifierGuidance`, which needs no gradient through the prior's network. Where
    the embedding is log p(class | x_t), the measure "dot" and the target one class, that is classifier guidance.

    Args:
        encoder: states (B, *S) -> (B, F), or for noisy states (x, t) -> (B, F); differentiable.
        target: embedding that is wanted, (F,), or (P, F) for the P samples of a run.
        measure: one of `MEASURES`.
        on: "clean" or "noisy".

    Raises:
        UnknownNameError: no such measure.
        ValueError: a target that is no embedding.

    Source: Liu et al. 2023, arXiv:2112.05744 (semantic diffusion guidance).
    """

    encoder: Encoder
    target: Tensor
    measure: str = "cosine"
    on: str = "clean"
    differentiable = True
    floor = None
    temperature = 0.1

    def __post_init__(self) -> None:
        """Refuse unknown measures and targets that are none."""
        _known(self.measure, self.on)
        if self.target.ndim not in (1, 2) or not bool(self.target.isfinite().all()):
            raise ValueError(f"a target is a finite embedding (F,) or (samples, F), got {tuple(self.target.shape)}")
        if self.measure == "cosine" and not bool(self.target.norm(dim=-1).min() > 0):
            raise ValueError("a target of length 0 has no direction, and no cosine")

    def rows(self, samples: int) -> Tensor | None:
        """See `Objective.rows`: targets where they are one per sample."""
        return None if self.target.ndim == 1 else per_sample("the target", self.target, samples)

    def scores(self, states: Tensor, t: Number, rows: Tensor | None) -> Tensor:
        """See the class, (B,)."""
        found = embedded(self.encoder, states, t, self.on)
        target = (self.target if rows is None else rows).to(found).reshape(-1, self.target.shape[-1])
        if target.shape[1] != found.shape[1]:
            raise ValueError(f"the encoder gives {found.shape[1]} numbers a state, the target has {target.shape[1]}")
        return MEASURES[self.measure](found, target.expand(len(found), -1))


@dataclasses.dataclass(frozen=True, eq=False)
class NoisedReference(Objective[Tensor | None]):
    """similarity(encoder(x_t, t), encoder(a_t x_ref + s_t n, t)): the reference is seen through as much noise.

    n is one draw, the same for all samples and at all times, so that a state that is the noised reference has no
    gradient.

    Args:
        encoder: (x (B, *S), t) -> embeddings or feature maps; differentiable.
        reference: clean states, (1, *S), or (P, *S) for the P samples of a run.
        process: of the prior, which says how much noise there is.
        measure: one of `MEASURES`; "distance" of feature maps is about structure, "cosine" about content.
        seed: of n.

    Source: Liu et al. 2023, arXiv:2112.05744, the image guidance.
    """

    encoder: Encoder
    reference: Tensor
    process: Any
    measure: str = "cosine"
    seed: int = 0
    on = "noisy"
    differentiable = True
    floor = None
    temperature = 0.1

    def __post_init__(self) -> None:
        """Refuse unknown measures."""
        _known(self.measure, self.on)

    def rows(self, samples: int) -> Tensor | None:
        """See `Objective.rows`: references where they are one per sample."""
        return per_sample("the reference", self.reference, samples)

    def check(self, prior: Prior) -> None:
        """See `Objective.check`: states as the reference."""
        if tuple(prior.event_shape) != tuple(self.reference.shape[1:]):
            raise GuidanceError(
                f"{self.name}: the reference is {tuple(self.reference.shape[1:])}, and states of this prior "
                f"({prior.name}) are {tuple(prior.event_shape)}"
            )

    def noised(self, t: Number, like: Tensor, rows: Tensor | None = None) -> Tensor:
        """The reference at time t, one row or one a sample."""
        clean = (self.reference if rows is None else rows).to(like)
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(1, *clean.shape[1:], generator=generator).to(clean).expand_as(clean)
        if isinstance(t, Tensor) and t.ndim:
            clean, noise = (part.expand(len(t), *part.shape[1:]) for part in (clean, noise))
        return self.process.noise(clean, t, noise)

    def scores(self, states: Tensor, t: Number, rows: Tensor | None) -> Tensor:
        """See the class, (B,)."""
        mine = embedded(self.encoder, states, t, "noisy")
        with torch.no_grad():
            wanted = embedded(self.encoder, self.noised(t, states.detach(), rows), t, "noisy")
        return MEASURES[self.measure](mine, wanted.expand(len(mine), -1))
