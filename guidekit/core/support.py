"""Where the rows of a part have something: what means, norms and products see."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from guidekit.core.state import column


@dataclass(frozen=True)
class Support:
    """Where the rows of a part have something, and freedom to move: everywhere.

    A rule that takes a mean, a norm or a product over a row takes it here, and so never sees padding.
    """

    centered = False

    def keep(self, x: Tensor) -> Tensor:
        """x (B, ...) with zeros where a row has nothing."""
        return x

    def project(self, x: Tensor) -> Tensor:
        """The nearest direction in which there is freedom to move; x (B, *S)."""
        return x

    def place(self, x: Tensor) -> Tensor:
        """The nearest point of the support; x (B, *S)."""
        return self.project(x)

    def dimensions(self, x: Tensor) -> int | Tensor:
        """Degrees of freedom of every row, a number or (B,)."""
        return x[0].numel()

    def dot(self, x: Tensor, y: Tensor) -> Tensor:
        """Inner product of every row of x and y (B, *S), (B,)."""
        return (self.project(x) * self.project(y)).flatten(1).sum(1)

    def norm(self, x: Tensor) -> Tensor:
        """Euclidean norm of every row, (B,)."""
        return self.dot(x, x).sqrt()

    def mean(self, x: Tensor) -> Tensor:
        """Mean of the entries of every row, (B,)."""
        return self.project(x).flatten(1).sum(1) / self.dimensions(x)

    def std(self, x: Tensor) -> Tensor:
        """Standard deviation of the entries of every row, (B,): the root mean square about their mean."""
        return self.norm(x - column(self.mean(x), x)) / torch.as_tensor(self.dimensions(x), dtype=x.dtype).sqrt()

    def quantile(self, x: Tensor, share: float) -> Tensor:
        """Quantile of the entries of every row of x (B, *S), (B,) float32."""
        return torch.quantile(x.float().flatten(1), share, dim=1)


EVERYWHERE = Support()


@dataclass(frozen=True)
class Places(Support):
    """The part of (B, N, ...) in which data of different sizes live, with or without a center of mass.

    Args:
        mask: (B, N) bool.
        centered: whether the mean over the places of a row is zero.
    """

    mask: Tensor
    centered: bool = True

    def keep(self, x: Tensor) -> Tensor:
        """See `Support.keep`; what is no number is forgotten too."""
        return x.masked_fill(~self.mask.reshape(self.mask.shape + (1,) * (x.ndim - 2)), 0)

    def project(self, x: Tensor) -> Tensor:
        """See `Support.project`."""
        x = self.keep(x)
        return self.keep(x - x.sum(1, keepdim=True) / column(self.mask.sum(1), x)) if self.centered else x

    def dimensions(self, x: Tensor) -> Tensor:
        """See `Support.dimensions`."""
        return (self.mask.sum(1) - int(self.centered)) * x[0, 0].numel()

    def quantile(self, x: Tensor, share: float) -> Tensor:
        """See `Support.quantile`."""
        outside = ~self.mask.reshape(self.mask.shape + (1,) * (x.ndim - 2))
        return torch.nanquantile(x.float().masked_fill(outside, torch.nan).flatten(1), share, dim=1)


@dataclass(frozen=True)
class Given(Support):
    """All but some entries, whose values are given: nothing moves them.

    Args:
        known: bool, broadcasts against states (B, *S); True is given.
        values: (B, *S), where they are known; what stands elsewhere does not matter.
    """

    known: Tensor
    values: Tensor

    def project(self, x: Tensor) -> Tensor:
        """See `Support.project`."""
        return x.masked_fill(self.known, 0)

    def place(self, x: Tensor) -> Tensor:
        """See `Support.place`."""
        return torch.where(self.known, self.values.to(x), x)

    def dimensions(self, x: Tensor) -> Tensor:
        """See `Support.dimensions`."""
        return (~self.known.expand(x.shape)).flatten(1).sum(1)

    def quantile(self, x: Tensor, share: float) -> Tensor:
        """See `Support.quantile`."""
        return torch.nanquantile(x.float().masked_fill(self.known, torch.nan).flatten(1), share, dim=1)
