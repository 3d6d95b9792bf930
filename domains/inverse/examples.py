"""Files for `guidekit examples`: fields of relief, and a measurement of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from guidekit.examples import Example
from guidekit.io.files import write_npz

from .data import fields

RELIEF = "ETOPO5 (NOAA), public domain"
NOISE = 20.0
"""m, of the measurement."""


def tiles(path: Path) -> None:
    """Tiles of the training part, every fifteenth."""
    write_npz(path, {"fields": fields("relief")[::15].astype(np.int16)})


def measured(path: Path) -> None:
    """Means of 4 x 4 pixels of a held-out tile, with noise."""
    truth = fields("relief", "test")[3]
    y = truth.reshape(16, 4, 16, 4).mean((1, 3))[None]
    write_npz(path, {"y": (y + NOISE * np.random.default_rng(0).standard_normal(y.shape)).astype(np.float32)})


EXAMPLES = (
    Example(
        "fields.npz",
        "50 tiles of relief, 64 x 64, metres",
        "guidekit train domain=inverse domain.kind=relief data=fields.npz trainer=gaussian_field trainer.validation=5 "
        "output=my_field.safetensors",
        RELIEF,
        tiles,
    ),
    Example(
        "measurement.npz",
        "means of 4 x 4 pixels of another tile, with noise of 20 m",
        "guidekit sample domain=inverse task=superresolution task.damaged=true task.input=measurement.npz "
        "task.noise_std=20 guidance=mmps num_samples=4",
        RELIEF,
        measured,
    ),
)
