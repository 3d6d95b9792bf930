"""Reference draws of a system by Hamiltonian Monte Carlo, many chains at once; the same for the same seed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from guidekit.bench.physics.systems import System

LEAPS, TARGET = 8, 0.8
"""Steps of a trajectory, and the share of accepted ones that the length of steps is fitted to."""


def forces(system: System, x: Tensor) -> tuple[Tensor, Tensor]:
    """Energies (B,) and their gradients (B, N, D)."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        energy = system.energy(leaf)
        (gradient,) = torch.autograd.grad(energy.sum(), leaf)
    return energy.detach(), gradient


def draws(
    system: System, temperature: float, count: int, seed: int = 0, chains: int = 500, burn: int = 300, thin: int = 25
) -> Tensor:
    """States (count, N, D) float64 with the density exp(-energy / T), without a center of mass where it is held.

    One number alone is drawn exactly, by its distribution function on a fine grid. Otherwise all chains start apart,
    are cooled from five times the temperature while they burn in, and then hand out one state every `thin`
    trajectories. The length of steps is fitted in the first two thirds of the burn-in and fixed after it.

    Args:
        system: of what.
        temperature: T.
        count: how many.
        seed: of all randomness.
        chains: at once.
        burn, thin: trajectories before the first state, and between two of one chain.
    """
    generator = torch.Generator().manual_seed(seed)
    if system.freedom == 1:
        return exact(system, temperature, count, generator)
    support = system.support(chains)
    x = support.project(apart(system, chains, generator))
    step, found = 0.05, []
    rounds = -(-count // chains)
    for number in range(burn + rounds * thin):
        heat = temperature * max(1.0, 5.0 * (1 - 2 * number / burn))
        x, accepted = trajectory(system, x, heat, step, generator)
        if number < 2 * burn // 3:
            step *= 1.05 if accepted > TARGET else 0.93
        if number >= burn and (number - burn) % thin == thin - 1:
            found.append(x)
    return torch.cat(found)[:count]


def exact(system: System, temperature: float, count: int, generator: torch.Generator) -> Tensor:
    """States (count, 1, 1) of a system of one number."""
    x = torch.linspace(-6, 6, 120_001, dtype=torch.float64)
    edges = torch.softmax(-system.energy(x[:, None, None]) / temperature, 0).cumsum(0)
    u = torch.rand(count, generator=generator, dtype=torch.float64) * edges[-1]
    return x[torch.searchsorted(edges, u).clamp_max(len(x) - 1)].view(-1, 1, 1)


def apart(system: System, rows: int, generator: torch.Generator) -> Tensor:
    """States (rows, N, D) whose particles are at different places of a grid, with some noise."""
    side = math.ceil(system.particles ** (1 / system.dimensions) - 1e-9) + 1
    places = torch.cartesian_prod(*[torch.arange(side, dtype=torch.float64)] * system.dimensions).view(
        -1, system.dimensions
    )
    chosen = torch.rand(rows, len(places), generator=generator).argsort(1)[:, : system.particles]
    return system.spread * (places[chosen] - (side - 1) / 2 + 0.1 * _normal(system, rows, generator))


def trajectory(
    system: System, x: Tensor, temperature: float, step: float, generator: torch.Generator
) -> tuple[Tensor, float]:
    """States after one trajectory of `LEAPS` leapfrog steps each, and the share of those that were accepted."""
    support = system.support(len(x))
    momentum = support.project(_normal(system, len(x), generator))
    length = step * (0.8 + 0.4 * float(torch.rand((), generator=generator)))
    energy, slope = forces(system, x)
    at, speed, before = x, momentum, energy / temperature + 0.5 * momentum.square().flatten(1).sum(1)
    speed = speed - 0.5 * length * slope / temperature
    for leap in range(LEAPS):
        at = at + length * speed
        energy, slope = forces(system, at)
        speed = speed - (length if leap < LEAPS - 1 else 0.5 * length) * slope / temperature
    after = energy / temperature + 0.5 * speed.square().flatten(1).sum(1)
    uniform = torch.rand(len(x), generator=generator, dtype=torch.float64)
    yes = uniform.log() < (before - after).nan_to_num(-torch.inf)
    return support.project(torch.where(yes[:, None, None], at, x)), float(yes.double().mean())


def _normal(system: System, rows: int, generator: torch.Generator) -> Tensor:
    return torch.randn(rows, *system.shape, generator=generator, dtype=torch.float64)
