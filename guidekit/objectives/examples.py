"""Examples as a reward: near to some, far from others, in any embedding."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from guidekit.core.objective import Number, Objective
from guidekit.errors import UnknownNameError
from guidekit.objectives.similarity import Encoder, embedded


@dataclasses.dataclass(frozen=True, eq=False)
class Examples(Objective[None]):
    """log mean_i exp(-|z - z_i+| / h) - log mean_j exp(-|z - z_j-| / h), z the embedding of a state, |.| Euclidean.

    The nearest examples count most: with a small bandwidth only the nearest one, with a large one all alike. Without
    negative ones the second term is 0. An encoder of what a plan leads to (a model of dynamics) steers by outcomes.

    Args:
        encoder: states (B, *S) -> (B, F), or for noisy states (x, t) -> (B, F); differentiable.
        positive: embeddings of what is wanted, (n, F).
        negative: of what is not, (m, F); None is none.
        bandwidth: h, in the unit of the embedding, above 0; about the distance between examples.
        on: "clean" or "noisy".

    Raises:
        ValueError: examples that are no embeddings, or a bandwidth that is not above 0.

    Source: Du & Song 2025, arXiv:2506.13922 (DynaGuide), which has sums where means are here: a constant.
    """

    encoder: Encoder
    positive: Tensor
    negative: Tensor | None = None
    bandwidth: float = 1.0
    on: str = "clean"
    differentiable = True
    floor = None
    unit = "nats"
    temperature = 1.0

    def __post_init__(self) -> None:
        """Refuse examples that are none."""
        if self.on not in ("clean", "noisy"):
            raise UnknownNameError("states to look at", str(self.on), ("clean", "noisy"))
        if not 0 < self.bandwidth < math.inf:
            raise ValueError(f"bandwidth={self.bandwidth}; a finite number above 0 is expected")
        width = self.positive.shape[-1]
        for name, given in (("positive", self.positive), ("negative", self.negative)):
            if given is not None and (given.ndim != 2 or not len(given) or given.shape[1] != width):
                raise ValueError(f"{name} examples are embeddings (n, {width}), n >= 1, got {tuple(given.shape)}")

    def scores(self, states: Tensor, t: Number, rows: None) -> Tensor:
        """See the class, (B,)."""
        z = embedded(self.encoder, states, t, self.on)
        if z.shape[1] != self.positive.shape[1]:
            raise ValueError(f"the encoder gives {z.shape[1]} numbers a state, examples have {self.positive.shape[1]}")
        near = self._kernel(z, self.positive)
        return near if self.negative is None else near - self._kernel(z, self.negative)

    def _kernel(self, z: Tensor, examples: Tensor) -> Tensor:
        """log of the mean kernel (B,)."""
        gap = z[:, None] - examples.to(z)
        return torch.logsumexp(-torch.linalg.vector_norm(gap, dim=2) / self.bandwidth, 1) - math.log(len(examples))
