"""A network of the user's own as a reward of DNA tokens."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from guidekit.objectives.torch_model import asked, load_module

from .relaxed import TokenReward


@dataclasses.dataclass(frozen=True, eq=False)
class OneHotModel(TokenReward):
    """A network of your own on one-hot DNA, such as a predictor of expression; differentiable.

    Args:
        model: torch module, or a file: TorchScript (torch.jit.save) or an exported program (.pt2, torch.export.save).
        channels_first: the network takes (B, 4, L) instead of (B, L, 4); letters in the order A C G T.
        output: which column of the network's outputs (B, K) is the reward.
        batch: sequences a call.
        trust: whoever made the file may run code here, see `load_module`.

    Raises:
        ValueError: no such file, one without trust, or one of another kind.
    """

    model: str | Path | nn.Module
    channels_first: bool = False
    output: int = 0
    batch: int = 512
    trust: bool = False
    name: ClassVar[str] = "onehot_model"

    def __post_init__(self) -> None:
        self._module  # noqa: B018  fail here, not at the first sequence

    @functools.cached_property
    def _module(self) -> Any:
        return load_module(self.model, self.trust)

    def _values(self, tokens: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.relaxed(F.one_hot(part, 4).float()) for part in tokens.split(self.batch)])

    def relaxed(self, probabilities: Tensor) -> Tensor:
        """The network's output (B,) for letter probabilities."""
        x = probabilities.transpose(1, 2) if self.channels_first else probabilities
        return asked(self._module, x, self.output)
