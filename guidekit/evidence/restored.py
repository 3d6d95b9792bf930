"""Held-out pictures and relief, restored from two linear measurements: what claims about filters share."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import guidekit as gk
from guidekit.core.objective import Objective
from guidekit.core.sampler import Sampler
from guidekit.objectives.operators.base import Linear
from guidekit.objectives.operators.masks import Keep
from guidekit.objectives.operators.resampling import BlockMean

COUNT = 12
KINDS, TASKS = ("pictures", "relief"), ("super-resolution", "pixels")


@dataclasses.dataclass(frozen=True)
class World:
    """A prior, its held-out states, and what is measured of them.

    Args:
        prior: of states.
        states: held out, (N, 1, H, W).
        noise: of measurements, in the unit of states.
        span: of values, for PSNR, in the unit of states.
    """

    prior: Any
    states: Tensor
    noise: float
    span: float


@functools.cache
def world(kind: str) -> World:
    """Fashion-MNIST and its shipped network without a class; relief (noise of 20 m) and its Gaussian field."""
    if kind == "pictures":
        images = gk.load_domain("images")
        prior: Any = images.load_prior()
        return World(prior, prior.encode(list(images.reference(prior=prior))[: 10 * COUNT]), 0.02, 2.0)
    inverse = gk.load_domain("inverse", kind="relief")
    prior = inverse.load_prior("relief_field")
    return World(prior, prior.encode(list(inverse.reference())), 20 / prior.units.scale, 12_000 / prior.units.scale)


def operators(shape: tuple[int, ...], seed: int) -> dict[str, Linear]:
    """Means of 4 x 4 pixels, and three pixels of ten."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return {
        "super-resolution": BlockMean(shape, 4),
        "pixels": Keep(torch.rand(shape, generator=generator) < 0.3),
    }


def restored(
    kind: str, seed: int, solver: Callable[[Objective], gk.Guidance], steps: int, sampler: Sampler | None = None
) -> dict[str, tuple[float, float]]:
    """PSNR in dB of one draw a field, mean over `COUNT` fields, others for every seed, and network rows of each."""
    at = world(kind)
    places = (torch.arange(COUNT) * (len(at.states) // COUNT) + seed) % len(at.states)
    truth, found = at.states[places], {}
    for task, operator in operators(tuple(truth.shape[1:]), seed).items():
        generator = torch.Generator().manual_seed(seed)
        y = operator.forward(truth)
        y = y + at.noise * torch.randn(y.shape, generator=generator, dtype=y.dtype)
        likelihood = gk.objectives.GaussianLikelihood(operator, y, at.noise)
        result = gk.sample(at.prior, solver(likelihood), COUNT, steps, seed, sampler)
        error = (result.samples.double() - truth.double()).square().flatten(1).mean(1)
        found[task] = (float((10 * (at.span**2 / error).log10()).mean()), result.ledger.network_rows / COUNT)
    return found


def table(seed: int, solvers: dict[str, tuple[Callable[[Objective], gk.Guidance], int]]) -> dict[str, float]:
    """PSNR and network rows by name, task and kind; solvers with their steps."""
    figures: dict[str, float] = {}
    for kind in KINDS:
        for name, (solver, steps) in solvers.items():
            for task, (value, rows) in restored(kind, seed, solver, steps).items():
                figures[f"{kind}, {task}: {name}, dB"] = value
                figures[f"{kind}, {task}: {name}, rows"] = rows
    return figures


def over(figures: dict[str, float], pairs: tuple[tuple[str, str], ...]) -> dict[str, float]:
    """Differences in dB, of the first of a pair over the second."""
    return {
        f"{kind}, {task}: {one} over {other}": figures[f"{kind}, {task}: {one}, dB"]
        - figures[f"{kind}, {task}: {other}, dB"]
        for kind in KINDS
        for task in TASKS
        for one, other in pairs
    }
