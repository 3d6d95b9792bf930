"""Pictures that scan: the modules of a QR code as a reward with gradients, drawing and reading of codes."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from guidekit.core.prior import Prior
from guidekit.core.requirements import GuidanceError
from guidekit.extras import require
from guidekit.objectives.margins import shortfall
from guidekit.objectives.of_states import StateReward

QUIET = 4
"""Modules of white around a code that readers expect."""
DARK, LIGHT = 0.45, 0.65
"""A module is read as dark below, as light above, of brightness 0 to 1."""


@functools.lru_cache(maxsize=32)
def modules(text: str, error: str = "h", version: int | None = None) -> Tensor:
    """The modules of a code with its quiet zone, (n, n) of 0 (dark) and 1 (light).

    Args:
        text: what a reader is to find.
        error: correction level "l", "m", "q" or "h"; the last restores 30 %.
        version: 1 to 40, its size; None is the smallest that holds the text.

    Raises:
        MissingExtraError: segno is not installed.
        ValueError: a text that does not fit.
    """
    made = require("qr", "segno").make_qr(text, error=error, version=version, boost_error=False)
    return torch.tensor([[1.0 - (module & 1) for module in row] for row in made.matrix_iter(border=QUIET)])


def scanned(image: np.ndarray, enlarge: int = 4) -> str:
    """What OpenCV's reader finds in a picture (H, W) or (H, W, 3) uint8; empty where nothing.

    The picture is made black and white at Otsu's threshold first, as readers do.

    Args:
        image: brightness 0 to 255.
        enlarge: how many times, as the reader expects several pixels a module.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    cv2 = require("qr", "cv2")
    grey = image if image.ndim == 2 else image.mean(2).astype(np.uint8)
    large = np.kron(grey, np.ones((enlarge, enlarge), np.uint8))
    _, plain = cv2.threshold(large, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    try:
        return str(cv2.QRCodeDetector().detectAndDecode(plain)[0])
    except cv2.error:  # it stumbles over corners that span no area
        return ""


@dataclasses.dataclass(frozen=True, eq=False)
class Scannable(StateReward):
    """Minus what modules of a QR code lack to be read with a margin, per module; 0 once all are read.

    A picture of k x modules pixels a side. Brightness should be below .45 where a module is dark and above .65 where it
    is light; pixels are weighed by a Gaussian about the middle of their module. A module whose middle is read correctly
    counts nothing, whatever its corners, so it has no gradient.

    Args:
        text: what a reader is to find.
        error: correction level, "l", "m", "q" or "h".
        pixels: sides of a module.
        margin: the middle of a module must be beyond .45 or .65 by it, brightness.

    Raises:
        MissingExtraError: segno is not installed (extra "qr").
        ValueError: a text that makes no code.

    Source: Liao et al. 2024, arXiv:2409.06355 (DiffQRCoder), the scanning robust loss, without its perceptual term.
    """

    text: str
    error: str = "h"
    pixels: int = 3
    margin: float = 0.0
    name: ClassVar[str] = "scannable"
    temperature = 0.01

    def __post_init__(self) -> None:
        if not isinstance(self.pixels, int) or self.pixels < 1:
            raise ValueError(f"pixels={self.pixels}; a module has a whole number of them from 1")
        try:
            self.code  # noqa: B018
        except ValueError as error:
            if type(error).__module__.startswith("segno"):
                raise ValueError(f"no QR code of {self.text!r} with error={self.error}: {error}") from error
            raise

    @property
    def code(self) -> Tensor:
        """The modules, (n, n)."""
        return modules(self.text, self.error)

    @property
    def side(self) -> int:
        """Pixels of a picture."""
        return self.pixels * len(self.code)

    def check(self, prior: Prior) -> None:
        """See `Objective.check`: pictures of the size of the code."""
        if len(prior.event_shape) != 3 or tuple(prior.event_shape[1:]) != (self.side, self.side):
            raise GuidanceError(
                f"reward {self.name} of {self.text!r} is of pictures {self.side} x {self.side}, {len(self.code)} "
                f"modules of {self.pixels} pixels, and states of this prior ({prior.name}) are "
                f"{tuple(prior.event_shape)}"
            )

    def values(self, states: Tensor) -> Tensor:
        """See the class."""
        grey = (states.mean(1) + 1) / 2
        k, n = self.pixels, len(self.code)
        cells = grey.reshape(len(grey), n, k, n, k).permute(0, 1, 3, 2, 4).flatten(3)  # (B, n, n, k * k)
        weights, middle = pixel_weights(k)
        code = self.code.to(states)[..., None]
        threshold = torch.where(code > 0, LIGHT, DARK)
        lack = shortfall(cells - threshold, code, 0.0) @ weights.to(cells)
        read = (cells * middle.to(cells)).sum(3)
        wrong = shortfall(read - threshold[..., 0], code[..., 0], self.margin) > 0
        return -2 * (lack * wrong).mean((1, 2))


@functools.lru_cache(maxsize=8)
def pixel_weights(side: int) -> tuple[Tensor, Tensor]:
    """Weights of a module's pixels (k * k,), a Gaussian without its tail, and the mean over its middle (k * k,)."""
    d = torch.arange(side).double() - (side - 1) / 2
    square = d[:, None] ** 2 + d[None] ** 2
    weights = (square / (-2 * 1.5**2)).exp()
    span = float(weights.max() - weights.min())
    weights = (weights - weights.min()) / span if span > 1e-9 else torch.ones_like(weights)
    weights = torch.where(weights < 0.1, 0.0, weights)
    reach = math.ceil(side / 6)
    middle = ((d.abs()[:, None] < reach) & (d.abs()[None] < reach)).double()
    return (weights / weights.sum()).flatten(), (middle / middle.sum()).flatten()
