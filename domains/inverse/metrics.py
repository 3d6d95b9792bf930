"""How far fields are from real ones, and how near each is to the one it should have been."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from guidekit.evaluation.checks import check_sets
from guidekit.objectives.fidelity import peak_signal_to_noise, structural_similarity

from .data import Kind


def evaluate(
    objects: Sequence[np.ndarray | None],
    reference: Sequence[np.ndarray],
    kind: Kind,
    *,
    training: Sequence[np.ndarray] | None = None,
    paired: bool = False,
) -> dict[str, float | int | str]:
    """Figures of fields against real ones.

    Args:
        objects: fields (H, W), None = invalid.
        reference: real fields.
        kind: of all of them.
        training: fields trained on.
        paired: field i of the reference is what field i should have been.

    Returns:
        n, n_valid, validity, uniqueness.
        mean, deviation, roughness (root-mean-square difference of neighbors), in the unit; each with _reference.
        spectrum_distance: root-mean-square difference, in decibels, of the mean power at each whole wave number from 1
            to half the grid; spectrum_floor: of one half of the reference from the other.
        distribution_distance: Wasserstein-1 distance of all numbers, in the unit, with distribution_floor.
        nearest_mean, nearest_least: relative L2 distance (of fields without their means) to the nearest training field,
            mirrored ones left out; nearest_reference: the mean of the reference; copied: share of samples nearer than
            all but 1 % of these.
        with `paired` those of `pairs`.
        Figures without enough fields are NaN.

    Raises:
        ValueError: no fields, or an empty reference or training set.
    """
    check_sets("fields", objects, reference=reference, training_set=training)
    valid = [one for one in objects if one is not None]
    result: dict[str, float | int | str] = {
        "n": len(objects),
        "n_valid": len(valid),
        "validity": len(valid) / len(objects),
        "uniqueness": len({one.tobytes() for one in valid}) / len(valid) if valid else math.nan,
    }
    if paired:
        result |= pairs(objects, reference, kind)
    if not valid:
        return result
    found, real = _stack(valid), _stack(reference)
    for end, these in (("", found), ("_reference", real)):
        steps = torch.cat([these.diff(dim=axis).flatten() for axis in (1, 2)])
        result |= {f"mean{end}": float(these.mean()), f"deviation{end}": float(these.std())}
        result[f"roughness{end}"] = float(steps.square().mean().sqrt())
    one, other = real[::2], real[1::2]
    result["spectrum_distance"] = spectrum_distance(found, real)
    result["spectrum_floor"] = spectrum_distance(one, other) if len(real) > 1 else math.nan
    result["distribution_distance"] = wasserstein(found, real)
    result["distribution_floor"] = wasserstein(one, other) if len(real) > 1 else math.nan
    if training is not None:
        learned = _stack(training)
        distances, usual = nearest(found, learned), nearest(real, learned)
        result |= {"nearest_mean": float(distances.mean()), "nearest_least": float(distances.min())}
        result["nearest_reference"] = float(usual.mean())
        result["copied"] = float((distances < torch.quantile(usual, 0.01)).double().mean())
    return result


def pairs(objects: Sequence[np.ndarray | None], truth: Sequence[np.ndarray], kind: Kind) -> dict[str, float | int]:
    """Figures of field i against truth i, invalid ones left out.

    Returns:
        n_paired; psnr: mean of 10 log10(range^2 / mean squared difference) in dB, range that of the kind's colors;
        ssim: mean structural similarity for the same range; relative_l2: mean of |x - truth| / |truth| of states (after
        the kind's shift).

    Raises:
        ValueError: another number of fields than of truths.
    """
    if len(objects) != len(truth):
        raise ValueError(f"{len(objects)} samples and {len(truth)} reference fields; paired ones are as many")
    kept = [i for i, one in enumerate(objects) if one is not None]
    if not kept:
        return {"n_paired": 0}
    x, y = (_stack([np.asarray(some[i]) for i in kept]) for some in (objects, truth))
    span = kind.limits[1] - kind.limits[0]
    return {
        "n_paired": len(kept),
        "psnr": float(peak_signal_to_noise(x, y, span).mean()),
        "ssim": float(structural_similarity(x[:, None], y[:, None], span).mean()),
        "relative_l2": float(relative_l2(x - kind.shift, y - kind.shift).mean()),
    }


def relative_l2(x: Tensor, y: Tensor) -> Tensor:
    """|x - y| / |y|, (n,), of fields (n, H, W)."""
    return (x - y).flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1)


def data_misfit(residual: Tensor, noise: float, measured: int | None = None) -> Tensor:
    """Root-mean-square residual (n,) in units of the noise, 1 where a field is the truth.

    Args:
        residual: y - A x, (n, *M), 0 where nothing is measured.
        noise: standard deviation.
        measured: how many numbers are; None is all.
    """
    count = measured or residual[0].numel()
    return (residual.flatten(1).square().sum(1) / count).sqrt() / noise


def radial_power(x: Tensor) -> Tensor:
    """Mean power of fields (n, H, W) at whole wave numbers 1 to half the grid; edges are faded by a Hann window."""
    height, width = x.shape[1:]
    fade = torch.outer(*(torch.hann_window(size, dtype=x.dtype) for size in (height, width)))
    power = torch.fft.fft2((x - x.mean((1, 2), keepdim=True)) * fade).abs().square().mean(0)
    ky, kx = torch.meshgrid(torch.fft.fftfreq(height) * height, torch.fft.fftfreq(width) * width, indexing="ij")
    ring = (ky**2 + kx**2).sqrt().round().long()
    return torch.stack([power[ring == k].mean() for k in range(1, min(height, width) // 2 + 1)])


def spectrum_distance(x: Tensor, y: Tensor) -> float:
    """Root-mean-square difference of `radial_power` in decibels."""
    return float((10 * (radial_power(x) / radial_power(y)).log10()).square().mean().sqrt())


def wasserstein(x: Tensor, y: Tensor, points: int = 1000) -> float:
    """Wasserstein-1 distance of all numbers of two sets, by quantiles."""
    levels = (np.arange(points) + 0.5) / points
    return float(np.abs(np.quantile(x.numpy(), levels) - np.quantile(y.numpy(), levels)).mean())


def nearest(x: Tensor, known: Tensor) -> Tensor:
    """Relative L2 distance (n,) of fields, without their means, to the nearest of others, by the size of x."""
    flat, others = (one.flatten(1) - one.flatten(1).mean(1, keepdim=True) for one in (x, known))
    return torch.cdist(flat, others).amin(1) / flat.norm(dim=1).clamp_min(1e-12)


def _stack(fields: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(list(fields))).double()
