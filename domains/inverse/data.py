"""Shipped fields: relief, sea surface air temperature, slices of brains, vorticity of flows; see assets/DATA.md."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np

from guidekit.core.units import Units
from guidekit.errors import UnknownNameError
from guidekit.io.files import write_packed
from guidekit.io.reading import packed
from guidekit.io.splits import split_of

ASSETS = Path(__file__).parent / "assets"
SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of fields.

    Args:
        title: for people.
        quantity: that numbers are of.
        unit: of numbers.
        size: H and W of a field.
        shift, scale: a state is (number - shift) / scale.
        colors: matplotlib's colormap.
        limits: of the colors, in the unit.
        basis: in which a Gaussian field of it is fitted: "fourier" where it has a period, else "cosine".
    """

    title: str
    quantity: str
    unit: str
    size: tuple[int, int]
    shift: float
    scale: float
    colors: str
    limits: tuple[float, float]
    basis: str = "cosine"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a state, (C, H, W)."""
        return (1, *self.size)

    @property
    def units(self) -> Units:
        """Of states."""
        return Units(self.scale, self.shift, self.unit, *self.limits)


KINDS = {
    "relief": Kind("ETOPO5 relief", "height", "m", (64, 64), -2500.0, 4000.0, "terrain", (-6000.0, 6000.0)),
    "climate": Kind("COADS air temperature", "air temperature", "°C", (16, 16), 20.0, 16.0, "inferno", (-10.0, 32.0)),
    "mri": Kind("T1 slices of brains", "signal", "grey levels", (80, 80), 127.5, 127.5, "gray", (0.0, 255.0)),
    "vorticity": Kind("forced turbulence", "vorticity", "1/s", (64, 64), 0.0, 7.0, "RdBu_r", (-12.0, 12.0), "fourier"),
}
MOST_NORTHERN = 72.0
"""Degrees: tiles of relief further north are stretched east-west."""
HELD_COLUMNS = range(50, 57)
"""Of 67 columns of tiles of relief, those that are held out: 62.7 to 31.7 degrees west and all latitudes."""
HELD_LONGITUDES = (295.0, 360.0)
"""Degrees east: windows of air temperature that lie in it (the Atlantic) are held out, those that touch it left out."""
STEP = 0.005
"""1/s, of stored vorticity."""


def split_name(name: str) -> tuple[str, str] | None:
    """Of "relief" or "relief:test", see `split_of`."""
    return split_of(name, KINDS, SPLITS)


@functools.lru_cache(maxsize=8)
def fields(kind: str, split: str = "train") -> np.ndarray:
    """Shipped fields (n, H, W) float32 in the unit of their kind.

    Args:
        kind: of `KINDS`.
        split: "train" or "test". Held out are a stretch of longitudes of relief, the Atlantic of air temperature,
            every third block of 24 mm of slices, and other runs of the flow.

    Raises:
        UnknownNameError: no such kind or split.
        ValueError: the file is damaged.
    """
    for what, name, known in (("kind of fields", kind, tuple(KINDS)), (f"split of {kind}", split, SPLITS)):
        if name not in known:
            raise UnknownNameError(what, str(name), known)
    return {"relief": _relief, "climate": _climate, "mri": _mri, "vorticity": _vorticity}[kind](split == "test")


def _relief(test: bool) -> np.ndarray:
    file = packed(ASSETS / "relief.npz.xz")
    held = np.isin(file["number"] % 67, HELD_COLUMNS)
    return file["tiles"][held == test].astype(np.float32)


def _climate(test: bool) -> np.ndarray:
    """Windows of 16 x 16 cells of 2 degrees without land, every fourth place, all months."""
    file = packed(ASSETS / "climate.npz.xz")
    values, longitude, size = file["air_temperature"], file["longitude"], KINDS["climate"].size[0]
    windows = []
    for row in range(0, values.shape[1] - size + 1, 4):
        for column in range(0, values.shape[2] - size + 1, 4):
            west, east = longitude[column], longitude[column + size - 1]
            inside = HELD_LONGITUDES[0] <= west and east <= HELD_LONGITUDES[1]
            touches = east >= HELD_LONGITUDES[0] and west <= HELD_LONGITUDES[1]
            if inside if test else not touches:
                windows.append(values[:, row : row + size, column : column + size])
    found = np.concatenate(windows)
    return found[(found != MISSING).all((1, 2))].astype(np.float32) / 100


MISSING = -32768
"""Stands for no number in whole hundredths of a degree."""


def _mri(test: bool) -> np.ndarray:
    file = packed(ASSETS / "mri.npz.xz")
    block = file["position"].astype(int) // 24 % 3
    edge = file["position"].astype(int) % 24
    # Slices of the other blocks that lie within 6 mm of a held-out one are left out of training.
    near = ((block == 0) & (edge >= 18)) | ((block == 2) & (edge < 6))
    return file["images"][(block == 1) if test else (block != 1) & ~near].astype(np.float32)


def _vorticity(test: bool) -> np.ndarray:
    file = packed(ASSETS / "vorticity.npz.xz")
    return file["vorticity"][file["held_out"] == test].astype(np.float32) * np.float32(STEP)


def simulated(runs: int, each: int, seed: int = 0, spin_up: float = 4.0, apart: float = 1.0) -> np.ndarray:
    """Vorticity (runs * each, 64, 64) of the default flow, from random fields; `each` pictures a run, in 1/s.

    Args:
        runs: members, that depend on the seed and their number only.
        each: pictures a run.
        seed: of the initial fields.
        spin_up: seconds before the first picture.
        apart: seconds between two.
    """
    import torch

    from guidekit.objectives.operators.navier_stokes import Flow, random_vorticity

    flow, found = Flow(), []
    with torch.no_grad():
        for part in random_vorticity(runs, seed=seed).split(16):
            w, kept = flow.evolve(part, spin_up, 0.004), []
            for number in range(each):
                w = flow.evolve(w, apart, 0.004) if number else w
                kept.append(w)
            found.append(torch.stack(kept, 1).flatten(0, 1))
    return torch.cat(found).numpy()


def build_assets(source: str | Path, folder: str | Path = ASSETS) -> None:
    """Make the data files of the assets folder again from the sources named in DATA.md; about five minutes.

    Args:
        source: folder with etopo5_tiles.npz, coads_climatology.npz and brain_mri.npz.
        folder: where to write.
    """
    source, folder = Path(source), Path(folder)
    with np.load(source / "etopo5_tiles.npz") as file:
        number = np.flatnonzero(file["lat_north"] < MOST_NORTHERN)
        write_packed(folder / "relief.npz.xz", {"tiles": file["tiles"][number], "number": number.astype(np.int16)})
    with np.load(source / "coads_climatology.npz") as file:
        found = file["air_temperature"]
        stored = np.where(np.isfinite(found), np.round(100 * np.nan_to_num(found)), MISSING).astype(np.int16)
        write_packed(folder / "climate.npz.xz", {"air_temperature": stored, "longitude": file["lon"]})
    with np.load(source / "brain_mri.npz") as file:
        images = file["images"].reshape(-1, 80, 2, 80, 2).mean((2, 4)).round().astype(np.uint8)
        _, first = np.unique(images.reshape(len(images), -1), axis=0, return_index=True)
        first.sort()  # one of the heads is symmetric: slices of its other side are left out
        write_packed(folder / "mri.npz.xz", {"images": images[first], "position": file["position_mm"][first]})
    train, test = simulated(48, 8), simulated(8, 5, seed=1)
    stored = np.round(np.concatenate([train, test]) / STEP).astype(np.int16)
    held = np.arange(len(stored)) >= len(train)
    write_packed(folder / "vorticity.npz.xz", {"vorticity": stored, "held_out": held})
