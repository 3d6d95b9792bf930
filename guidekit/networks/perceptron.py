"""A residual network over real-valued vectors."""

from __future__ import annotations

from torch import Tensor, nn

from guidekit.interventions.sites import Site, Sited
from guidekit.networks.conditioning import Conditioning


class Perceptron(nn.Module, Sited):
    """Features of states (B, *S) as one position (B, 1, width); nothing is normalized, so sizes keep their meaning.

    Args:
        size: numbers in a state.
        width, depth: of the residual layers.
        timed: see `Conditioning`.
    """

    def __init__(self, size: int, width: int = 128, depth: int = 3, timed: bool = False) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Linear(size, width)
        self.conditioning = Conditioning(width, (), timed)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in range(depth)
        )
        self.norm = nn.Identity()

    def features(self, x: Tensor, labels: Tensor | None = None, level: Tensor | None = None) -> Tensor:
        """Last hidden layer (B, 1, width)."""
        h = self.embed(x.flatten(1))[:, None]
        h = h + self.conditioning(len(x), None, level, h)
        for layer in self.layers:
            h = h + layer(h)
        return h

    def sites(self) -> list[Site]:
        """See `Sited.sites`: the layers, whose outputs are added to the residual stream."""
        return [Site(f"layers.{i}", {"block": layer}, rest="zero") for i, layer in enumerate(self.layers)]
