"""A small convolutional classifier of pictures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

ACTIVATIONS = {"silu": nn.SiLU, "relu": nn.ReLU}
POOLS: dict[str, type[nn.AvgPool2d] | type[nn.MaxPool2d]] = {"mean": nn.AvgPool2d, "max": nn.MaxPool2d}


class ImageClassifier(nn.Module):
    """Blocks of convolution, group normalisation, activation and pooling by 2, then a hidden layer and class scores.

    Args:
        channels: C of the pictures.
        classes: number of classes.
        size: (H, W).
        widths: channels of the blocks, multiples of 8.
        kernel: side of the convolutions, odd.
        features: width of the hidden layer.
        activation: "silu" or "relu".
        pool: "mean" or "max".
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        size: Sequence[int],
        widths: Sequence[int] = (32, 64, 96),
        kernel: int = 3,
        features: int = 64,
        activation: str = "silu",
        pool: str = "mean",
    ) -> None:
        super().__init__()
        blocks, height, width = [], *size
        for before, after in itertools.pairwise([channels, *widths]):
            blocks += [
                nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False),
                nn.GroupNorm(8, after),
                ACTIVATIONS[activation](),
                POOLS[pool](2, ceil_mode=True),
            ]
            height, width = -(-height // 2), -(-width // 2)
        self.blocks = nn.Sequential(*blocks)
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * height * width, features))
        self.act = ACTIVATIONS[activation]()
        self.head = nn.Linear(features, classes)

    def features(self, states: Tensor) -> Tensor:
        """The hidden layer (B, F) of states (B, C, H, W) in [-1, 1]."""
        return self.act(self.hidden(self.blocks(states)))

    def forward(self, states: Tensor) -> Tensor:
        """Class scores (B, K), unnormalised."""
        return self.head(self.features(states))
