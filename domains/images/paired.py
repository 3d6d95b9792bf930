"""How near each image is to the one it should have been: results of restoration against the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from guidekit.extras import require

from .codec import encode

WINDOW = 11
"""Pixels of the window of SSIM, and of the smallest image it is defined for."""


def paired(images: Sequence[np.ndarray | None], truth: Sequence[np.ndarray]) -> dict[str, float | int]:
    """Figures of image i against truth i.

    Args:
        images: uint8, all of one shape; None, an invalid one, is left out with its truth.
        truth: as many, of the same shape.

    Returns:
        n_paired: pairs; n_identical: those without any difference, whose PSNR is infinite.
        psnr, psnr_sd: mean and deviation of 10 log10(255^2 / mean squared difference) over the other pairs, dB.
        ssim, ssim_sd: of the structural similarity over all pairs, at most 1; its window has 11 pixels a side with a
            Gaussian weight of deviation 1.5, its constants are .01 and .03. NaN for images of fewer pixels a side.

    Raises:
        ValueError: another number of images than of truths.
        ImageError: images of different shapes.

    Source: Wang et al. 2004, doi:10.1109/TIP.2003.819861, computed by torchmetrics.
    """
    if len(images) != len(truth):
        raise ValueError(
            f"{len(images)} samples and {len(truth)} reference images; paired ones are as many as each other"
        )
    kept = [i for i, image in enumerate(images) if image is not None]
    if not kept:
        return {"n_paired": 0}
    torchmetrics = require("images", "torchmetrics.functional.image")
    both = encode([image for some in (images, truth) for image in (some[i] for i in kept)])
    found, wanted = ((both + 1) / 2).double().chunk(2)
    ratios = torchmetrics.peak_signal_noise_ratio(found, wanted, 1.0, reduction="none", dim=(1, 2, 3))
    unlike = ratios[ratios.isfinite()]
    result = {"n_paired": len(kept), "n_identical": len(kept) - len(unlike), **_spread("psnr", unlike)}
    if min(found.shape[2:]) < WINDOW:
        return result | {"ssim": math.nan, "ssim_sd": math.nan}
    similar = torchmetrics.structural_similarity_index_measure(found, wanted, data_range=1.0, reduction="none")
    return result | _spread("ssim", similar)


def _spread(name: str, numbers: Tensor) -> dict[str, float]:
    """Mean and standard deviation; NaN of none, and of one."""
    deviation = float(numbers.std()) if len(numbers) > 1 else math.nan
    return {name: float(numbers.mean()) if len(numbers) else math.nan, f"{name}_sd": deviation}
