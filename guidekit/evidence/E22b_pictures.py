"""Row E22: restoring held-out pictures, beside interpolation, replacement and the best linear estimate."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from scipy.interpolate import griddata
from torch import Tensor

import guidekit as gk
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.core.sampler import Sampler
from guidekit.evidence.claim import Check, Claim
from guidekit.objectives.operators.base import Linear
from guidekit.objectives.operators.masks import Keep
from guidekit.objectives.operators.resampling import BlockMean

COUNT, NOISE, CALLS = 40, 0.02, (18, 50)
HOLE = slice(9, 19)


@functools.cache
def prior() -> Prior:
    """The shipped prior of Fashion-MNIST, used without a class."""
    return gk.load_domain("images").load_prior()


@functools.cache
def field() -> gk.priors.GaussianField:
    """The Gaussian field of 6,000 training pictures, with all of their covariance."""
    domain = gk.load_domain("images")
    states = prior().encode(list(domain.reference(split="train", prior=prior()))[:6000])
    return gk.priors.GaussianField.fit(states.double(), "dense")


def pictures(seed: int) -> Tensor:
    """Held-out pictures (COUNT, 1, 28, 28), others for every seed."""
    found = list(gk.load_domain("images").reference(prior=prior()))
    return prior().encode(found[seed * COUNT : (seed + 1) * COUNT])


def tasks(seed: int) -> dict[str, Linear]:
    """4x super-resolution by means, 70 % of the pixels missing, a hole of 10 x 10."""
    generator = torch.Generator().manual_seed(1000 + seed)
    hole = torch.ones(1, 28, 28, dtype=torch.bool)
    hole[:, HOLE, HOLE] = False
    return {
        "super-resolution": BlockMean((1, 28, 28), 4),
        "random": Keep(torch.rand(1, 28, 28, generator=generator) < 0.3),
        "hole": Keep(hole),
    }


def interpolated(task: str, operator: Linear, y: Tensor) -> Tensor:
    """Bicubic super-resolution, or linear interpolation between known pixels, nearest beyond them."""
    if task == "super-resolution":
        return torch.nn.functional.interpolate(y, scale_factor=4, mode="bicubic", align_corners=False)
    known = operator.mask[0].numpy()  # type: ignore[attr-defined]
    places, everywhere = np.argwhere(known), np.argwhere(np.ones_like(known))
    values = y[:, 0][:, torch.from_numpy(known)].double().numpy().T
    linear = griddata(places, values, everywhere, "linear")
    nearest = griddata(places, values, everywhere, "nearest")
    filled = np.where(np.isfinite(linear), linear, nearest)
    return torch.from_numpy(filled.T.reshape(len(y), 1, 28, 28))


def psnr(found: Tensor, truth: Tensor) -> float:
    """Mean over pictures, dB, for pixels in [-1, 1]."""
    error = (found.double().clamp(-1, 1) - truth.double()).square().flatten(1).mean(1)
    return float((10 * (4 / error).log10()).mean())


Solver = Callable[[Objective], gk.Guidance]


def solved(seed: int, solver: Solver, calls: int, sampler: Sampler | None = None) -> dict[str, float]:
    """PSNR of one draw a picture, by task."""
    truth, found = pictures(seed), {}
    for name, operator in tasks(seed).items():
        likelihood = gk.objectives.GaussianLikelihood(operator, operator.forward(truth), NOISE)
        result = gk.sample(prior(), solver(likelihood), COUNT, calls, seed, sampler)
        found[name] = psnr(result.samples, truth)
    return found


def references(seed: int) -> dict[str, dict[str, float]]:
    """PSNR of interpolation and of the posterior mean of the field, by task."""
    truth = pictures(seed)
    found: dict[str, dict[str, float]] = {"interpolation": {}, "field": {}}
    for name, operator in tasks(seed).items():
        y = operator.forward(truth)
        found["interpolation"][name] = psnr(interpolated(name, operator, y), truth)
        exact = field().posterior(gk.objectives.GaussianLikelihood(operator, y.double(), NOISE))
        found["field"][name] = psnr(exact.mean(), truth)
    return found


def measure(seed: int) -> dict[str, float]:
    """DDNM and replacement in 18 and 50 calls on the same levels of noise, interpolation and the field."""
    beside = references(seed)
    figures: dict[str, float] = {}
    for name, each in beside.items():
        figures |= {f"{task}, {name}": value for task, value in each.items()}
    for calls in CALLS:
        grid = gk.guidance.DDNM.default_sampler
        ddnm = solved(seed, gk.guidance.DDNM, calls)
        plain = solved(seed, gk.guidance.Replacement, calls, grid)
        for task, value in ddnm.items():
            figures[f"{task}, {calls} calls"] = value
            figures[f"{task}, replacement, {calls} calls"] = plain[task]
            figures[f"{task} over replacement, {calls} calls"] = value - plain[task]
            figures[f"{task} over interpolation, {calls} calls"] = value - beside["interpolation"][task]
            figures[f"{task} over the field, {calls} calls"] = value - beside["field"][task]
    return figures


def over(task: str, what: str, least: float) -> tuple[Check, ...]:
    """A gain in dB at either number of calls."""
    return tuple(
        Check(f"{task} over {what}, {calls} calls, dB", f"{task} over {what}, {calls} calls", least=least)
        for calls in CALLS
    )


CLAIM = Claim(
    row="E22",
    method="DDNM (2212.00490)",
    provides=("guidance.DDNM", "guidance.Replacement"),
    tier="",
    says="Fashion-MNIST, the shipped prior without a class, 40 held-out pictures a seed, 18 and 50 calls, one draw: 4x "
    "super-resolution is 3 dB above bicubic, 1.5 dB above replacement and 1 dB above the posterior mean of a Gaussian "
    "field; with 70 % of the pixels missing, or a hole of 10 x 10, it is 3 dB above linear interpolation and "
    "replacement.",
    domains=("images",),
    checks=(
        *over("super-resolution", "interpolation", 3.0),
        *over("super-resolution", "replacement", 1.5),
        *over("super-resolution", "the field", 1.0),
        *over("random", "interpolation", 3.0),
        *over("random", "replacement", 3.0),
        *over("hole", "interpolation", 3.0),
        *over("hole", "replacement", 3.0),
    ),
    measure=measure,
    oracles=("tests/oracles/test_inverse_moments.py::test_ddnm_steps_have_the_noise_of_the_level_in_every_number",),
    longer="the other tasks and priors of 64 x 64 pixels, hours",
)
