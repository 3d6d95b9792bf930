"""A small network that judges a whole noisy state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from guidekit.networks.conditioning import real_positions
from guidekit.networks.dilated_convolution import DilatedConvolution
from guidekit.networks.image_encoder import ImageEncoder
from guidekit.networks.perceptron import Perceptron
from guidekit.networks.sequence_transformer import SequenceTransformer

TRUNKS = {
    "dilated_convolution": DilatedConvolution,
    "sequence_transformer": SequenceTransformer,
    "image_encoder": ImageEncoder,
    "perceptron": Perceptron,
}


class Judge(nn.Module):
    """Features of a state to numbers: their mean and maximum over its positions, and a hidden layer.

    Args:
        width: of the features.
        outputs: numbers a state.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * width, width)
        self.head = nn.Linear(width, outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, h: Tensor, real: Tensor) -> Tensor:
        """(B, outputs) for features (B, L, width), of which positions real (B, L) bool are looked at."""
        real = real[..., None]
        mean = (h * real).sum(1) / real.sum(1).clamp_min(1)
        most = h.masked_fill(~real, -torch.inf).amax(1).where(real.any(1), 0.0)
        return self.head(nn.functional.gelu(self.hidden(torch.cat([mean, most], -1))))


class ValueNetwork(nn.Module):
    """A trunk that sees the noisy state, and a `Judge` of its features: (B, outputs).

    Args:
        trunk: {name, options} of a network with `features`, see `TRUNKS`; unless its options say otherwise it is told
            the noise level. Or a network, which is kept as it is but for its head.
        outputs: numbers a state.
    """

    def __init__(self, trunk: Mapping[str, Any] | nn.Module, outputs: int) -> None:
        super().__init__()
        network: Any = trunk
        if not isinstance(trunk, nn.Module):
            if trunk["name"] not in TRUNKS:
                raise ValueError(f"no trunk {trunk['name']!r}; there are {', '.join(TRUNKS)}")
            network = TRUNKS[trunk["name"]](**{"timed": True, **trunk["options"]})
        network.head = None  # of its own outputs
        self.trunk: Any = network
        self.judge = Judge(network.width, outputs)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """(B, outputs) for tokens (B, L), laws of tokens (B, L, C) or real states (B, *S), at noise levels (B,)."""
        return self.read(self.trunk.features(x, None, level), x)

    def read(self, h: Tensor, x: Tensor) -> Tensor:
        """(B, outputs) for the trunk's features h (B, L, width) of states x."""
        pad_id = getattr(self.trunk, "pad_id", None)
        real = torch.ones_like(h[..., 0], dtype=torch.bool) if pad_id is None else real_positions(x, pad_id)
        return self.judge(self.trunk.norm(h), real)
