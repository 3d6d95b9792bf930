"""A network of the user's own as a reward of DNA tokens."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .relaxed import TokenReward


@dataclasses.dataclass(frozen=True, eq=False)
class OneHotModel(TokenReward):
    """A network of your own on one-hot DNA, such as a predictor of expression; differentiable.

    Args:
        model: torch module, or a file: TorchScript (torch.jit.save) or an exported program (.pt2, torch.export.save).
        channels_first: the network takes (B, 4, L) instead of (B, L, 4); letters in the order A C G T.
        output: which column of the network's outputs (B, K) is the reward.
        batch: sequences a call.

    Raises:
        ValueError: no such file, or one of another kind.
    """

    model: str | Path | nn.Module
    channels_first: bool = False
    output: int = 0
    batch: int = 512
    name: ClassVar[str] = "onehot_model"

    def __post_init__(self) -> None:
        self._module  # noqa: B018  fail here, not at the first sequence

    @functools.cached_property
    def _module(self) -> Any:
        if isinstance(self.model, nn.Module):
            return self.model.eval()
        path = Path(self.model)
        if not path.is_file():
            raise ValueError(f"there is no file {path}; save your network by torch.jit.save or torch.export.save")
        try:
            if path.suffix == ".pt2":
                return torch.export.load(path).module()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
                return torch.jit.load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError, OSError) as error:
            raise ValueError(f"{path} is neither TorchScript nor an exported program (.pt2): {error}") from error

    def _values(self, tokens: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.relaxed(F.one_hot(part, 4).float()) for part in tokens.split(self.batch)])

    def relaxed(self, probabilities: Tensor) -> Tensor:
        """The network's output (B,) for letter probabilities."""
        x = probabilities.transpose(1, 2) if self.channels_first else probabilities
        y = self._module.to(x.device)(x)
        if y.shape not in ((len(x),), (len(x), *y.shape[1:2])) or (y.ndim == 2 and self.output >= y.shape[1]):
            raise ValueError(
                f"the network gave {tuple(y.shape)} for {tuple(x.shape)}; "
                f"expected ({len(x)},) or ({len(x)}, K) with K above output={self.output}"
            )
        return y if y.ndim == 1 else y[:, self.output]
