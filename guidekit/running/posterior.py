"""What samples of one measurement say together: their mean, their spread, and how far the mean is from the truth."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidekit.io.files import write_npz
from guidekit.objectives.fidelity import peak_signal_to_noise, signal_to_noise
from guidekit.reporting.posterior import picture
from guidekit.running.tasks import Given
from guidekit.sampling import Result


@dataclasses.dataclass(frozen=True)
class Posterior:
    """Of n objects, in their own unit.

    Attributes:
        mean, std: over the samples of each, weighted where they have weights, (n, *S); std is NaN of one sample.
    """

    mean: Tensor
    std: Tensor


def posterior(given: Given, result: Result) -> Posterior:
    """Mean and standard deviation of values over the samples of every object; of the last one there may be fewer."""
    counts = given.inputs(result).bincount().tolist()
    values = given.prior.units.values(result.samples).double().split(counts)
    weights = result.log_weights.double().flatten().split(counts)
    found = [_moments(*one) for one in zip(values, weights, strict=True)]
    return Posterior(*(torch.stack(parts) for parts in zip(*found, strict=True)))


def _moments(values: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation (*S) of values (R, *S), the latter NaN of one sample."""
    weights = torch.softmax(log_weights, 0)
    column = weights.reshape(-1, *[1] * (values.ndim - 1))
    mean = (column * values).sum(0)
    spread = (column * (values - mean).square()).sum(0)
    share = weights.square().sum()  # 1 / effective number of samples
    return mean, torch.where(share < 1 - 1e-9, spread / (1 - share).clamp_min(1e-9), torch.nan).sqrt()


def figures_of(given: Given, found: Posterior) -> dict[str, float]:
    """For the closing table: mean spread, and how near the mean is to the truth."""
    told = {"spread": float(found.std.square().flatten(1).mean(1).sqrt().nanmean())}
    if given.truth is not None:
        truth, size = given.truth.double(), given.prior.units.range
        told["snr of the mean"] = float(signal_to_noise(found.mean, truth, blank=given.task.blank).nanmean())
        if size is not None:
            told["psnr of the mean"] = float(peak_signal_to_noise(found.mean, truth, size).mean())
    return told


def write_posterior(folder: Path, given: Given, found: Posterior, upward: bool = False) -> list[str]:
    """posterior.npz (measurement, mean, std, truth where it is known) and posterior.png; returns the file names.

    Args:
        folder: existing one.
        given: the task.
        found: of the samples.
        upward: row 0 of pictures is at the bottom.
    """
    arrays: dict[str, Any] = {"y": given.y.numpy()}
    arrays |= {"mean": found.mean.float().numpy(), "std": found.std.float().numpy()}
    if given.truth is not None:
        arrays["truth"] = given.truth.numpy()
    write_npz(
        folder / "posterior.npz", {**arrays, "unit": given.prior.units.name, "noise_std": given.noise.squeeze().numpy()}
    )
    columns: dict[str, Tensor] = {} if given.truth is None else {"truth": given.truth}
    columns |= {"measurement": seen(given), "mean": found.mean}
    if bool(found.std.isfinite().all()):
        columns["standard deviation"] = found.std
    if given.truth is not None:
        columns["error of the mean"] = (found.mean - given.truth).abs()
    ends = (given.prior.units.low, given.prior.units.high)
    drawn = picture(columns, folder / "posterior.png", ends, given.prior.units.name, upward)
    return ["posterior.npz", *([drawn] if drawn else [])]


def seen(given: Given) -> Tensor:
    """A measurement as something to look at: itself where it is a picture or as large as a state, or else A^T y."""
    y, operator = given.y, given.task.operator
    if y.shape[1:] == given.prior.event_shape:
        return given.task.shown(y)
    if y.ndim == len(given.prior.event_shape) + 1 and y.shape[1] == given.prior.event_shape[0]:
        return y
    adjoint = getattr(operator, "adjoint", None)
    return adjoint(y) if operator.linear and adjoint is not None else y
