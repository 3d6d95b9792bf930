"""Radio interferometry: closure quantities of an array of telescopes, which no error of a single station changes."""

from __future__ import annotations

import dataclasses
import itertools
import math
from functools import cached_property

import torch
from torch import Tensor

from guidekit.objectives.operators.base import Operator
from guidekit.objectives.operators.shapes import fits, space


@dataclasses.dataclass(frozen=True, eq=False)
class ClosureQuantities(Operator):
    """Closure phases, log closure amplitudes and the total flux of an image (1, N, N) of brightness >= 0.

    V_ab = sum_p x_p exp(-2 pi i (u_ab . p)) of station pairs while the Earth turns; (B, m) are, in this order: of all
    triangles with station 0 the cosine and the sine of the phase of V_ab V_bc V_ca, which has no jump where a phase
    goes around; of quadrangles log |V_ab| + log |V_cd| - log |V_ac| - log |V_bd|; and `flux_weight` times the mean
    brightness. An image that is shifted looks the same.

    Args:
        shape: (1, N, N).
        stations: 4 or more, at places drawn from `seed`.
        times: moments of the turn.
        reach: longest baseline in units of the highest frequency of the grid, up to 1.
        flux_weight: 0 leaves the brightness open.
        seed: of the array.

    Raises:
        ValueError: another shape, or too few stations.

    Source: Chael et al. 2018, arXiv:1803.07088, eqs. 13-16; the array is made up.
    """

    shape: tuple[int, ...]
    stations: int = 8
    times: int = 8
    reach: float = 0.8
    flux_weight: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check shape and array."""
        height, width = space(self.shape, (2,), "interferometry")
        if self.shape[0] != 1 or height != width:
            raise ValueError(f"interferometry is of square states (1, N, N); these are {tuple(self.shape)}")
        if self.stations < 4 or self.times < 1 or not 0 < self.reach <= 1:
            raise ValueError(
                f"stations={self.stations}, times={self.times}, reach={self.reach}: 4 stations, one moment and a reach "
                "up to 1 are needed"
            )

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """Station pairs a < b, in the order of visibilities."""
        return list(itertools.combinations(range(self.stations), 2))

    @cached_property
    def frequencies(self) -> Tensor:
        """u, v of every moment and pair, in cycles a pixel, float64 (times, pairs, 2)."""
        source = torch.Generator().manual_seed(self.seed)
        angle = 2 * math.pi * torch.rand(self.stations, generator=source, dtype=torch.float64)
        radius = torch.rand(self.stations, generator=source, dtype=torch.float64).sqrt()
        turn = math.pi * torch.arange(self.times).double()[:, None] / self.times
        east, north = radius * (angle + turn).cos(), 0.6 * radius * (angle + turn).sin()  # seen from the side
        places = torch.stack([east, north], -1)
        a, b = torch.tensor(self.pairs).T
        baselines = places[:, a] - places[:, b]
        return baselines * (0.5 * self.reach / baselines.square().sum(-1).sqrt().max())

    def visibilities(self, x: Tensor) -> Tensor:
        """V of images (B, 1, N, N), complex (B, times, pairs)."""
        fits(x, self.shape, "interferometry")
        n, uv = self.shape[-1], self.frequencies.to(x)
        places = torch.arange(n, device=x.device, dtype=x.dtype) - (n - 1) / 2
        kind = torch.complex128 if x.dtype == torch.float64 else torch.complex64
        columns, rows = ((-2j * math.pi * uv[..., axis, None] * places).to(kind) for axis in (0, 1))
        return torch.einsum("bij,tpi,tpj->btp", x[:, 0].to(kind), rows.exp(), columns.exp())

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        seen, number = self.visibilities(x), {pair: i for i, pair in enumerate(self.pairs)}
        least = torch.finfo(x.dtype).tiny ** 0.25
        size = seen.abs().clamp_min(least)
        triangles = [
            (number[0, b], number[b, c], number[0, c]) for b, c in itertools.combinations(range(1, self.stations), 2)
        ]
        ab, bc, ac = torch.tensor(triangles, device=x.device).T
        product = (seen / size)[..., ab] * (seen / size)[..., bc] * (seen / size)[..., ac].conj()
        quadrangles = [
            (number[a, b], number[c, d], number[a, c], number[b, d])
            for a, b, c, d in itertools.combinations(range(self.stations), 4)
        ]
        one, two, three, four = torch.tensor(quadrangles, device=x.device).T
        log = size.log()
        amplitudes = log[..., one] + log[..., two] - log[..., three] - log[..., four]
        flux = self.flux_weight * x.flatten(1).mean(1, keepdim=True)
        parts = [product.real.flatten(1), product.imag.flatten(1), amplitudes.flatten(1)]
        return torch.cat([*parts, flux] if self.flux_weight else parts, 1)
