"""Energies of small systems of particles, in units of their own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from guidekit.core.support import EVERYWHERE, Places, Support


@dataclasses.dataclass(frozen=True, eq=False)
class System:
    """N particles in D dimensions at a temperature T: states (B, N, D) have the density exp(-energy / T) / Z.

    Args:
        name: as users write it.
        particles, dimensions: N and D.
        energy: (B, N, D) -> (B,).
        centered: whether the center of mass is held at zero, as the energy does not depend on it.
        hot: temperature of the draws that its prior is trained on.
        cold: temperatures it is annealed to.
        spread: between neighbors where a Monte Carlo run starts.
        source: of the energy.
    """

    name: str
    particles: int
    dimensions: int
    energy: Callable[[Tensor], Tensor]
    centered: bool
    hot: float
    cold: tuple[float, ...]
    spread: float
    source: str

    @property
    def shape(self) -> tuple[int, int]:
        """S of the states."""
        return self.particles, self.dimensions

    @property
    def freedom(self) -> int:
        """Degrees of freedom: N D, or D fewer without a center of mass."""
        return (self.particles - self.centered) * self.dimensions

    def support(self, rows: int, device: torch.device | str = "cpu") -> Support:
        """Where states of so many rows have freedom to move."""
        if not self.centered:
            return EVERYWHERE
        return Places(torch.ones(rows, self.particles, dtype=torch.bool, device=device), True)


def pairs(x: Tensor) -> Tensor:
    """Squared distances of all unordered pairs of particles, (B, N (N - 1) / 2), of x (B, N, D)."""
    i, j = torch.triu_indices(x.shape[1], x.shape[1], 1, device=x.device)
    return (x[:, i] - x[:, j]).square().sum(-1)


def lennard_jones(x: Tensor) -> Tensor:
    """Sum over unordered pairs of r^-12 - 2 r^-6, (B,): every pair has its minimum of -1 at r = 1."""
    inverse = 1 / pairs(x).clamp_min(0.1)  # what is nearer never happens, and its forces would overflow
    near = inverse * inverse * inverse
    return (near * near - 2 * near).sum(1)


def lennard_jones_in_a_trap(x: Tensor) -> Tensor:
    """Twice `lennard_jones` (ordered pairs) and half the squared distances from the center of mass, (B,)."""
    return 2 * lennard_jones(x) + 0.5 * (x - x.mean(1, keepdim=True)).square().flatten(1).sum(1)


def double_wells(x: Tensor) -> Tensor:
    """Sum over unordered pairs of -4 (d - 4)^2 + .9 (d - 4)^4, (B,)."""
    gap = (pairs(x).clamp_min(1e-12).sqrt() - 4).square()
    return (-4 * gap + 0.9 * gap * gap).sum(1)


def double_well(x: Tensor) -> Tensor:
    """x^4 - 6 x^2 - x / 2 of one number, (B,): two wells, 1.7 apart in energy, with a barrier of 9 between them."""
    y = x.flatten(1)[:, 0]
    return y**4 - 6 * y**2 - 0.5 * y


def log_normalizer(temperature: float, points: int = 200_001, reach: float = 6.0) -> float:
    """log of the integral of exp(-double_well / T), by the trapezoidal rule on [-reach, reach]: exact to rounding."""
    x = torch.linspace(-reach, reach, points, dtype=torch.float64)
    values = -double_well(x[:, None, None]) / temperature
    return float(torch.logsumexp(values, 0)) + math.log(2 * reach / (points - 1))


SYSTEMS: Mapping[str, System] = {
    system.name: system
    for system in (
        System("double-well", 1, 1, double_well, False, 3.0, (1.0,), 1.5, "Noe et al. 2019, arXiv:1812.01729"),
        System("dw4", 4, 2, double_wells, True, 3.0, (1.0,), 3.0, "Koehler et al. 2020, arXiv:2006.02425"),
        System(
            "lj13",
            13,
            3,
            lennard_jones_in_a_trap,
            True,
            2.0,
            (1.5, 0.8),
            1.5,
            "Akhound-Sadegh et al. 2024, arXiv:2402.06121",
        ),
    )
}
"""By name."""
