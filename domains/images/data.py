"""Shipped pictures: Fashion-MNIST and emoji, as xz-compressed npz files; see assets/DATA.md."""

from __future__ import annotations

import dataclasses
import functools
import json
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from guidekit.errors import UnknownNameError
from guidekit.io.files import write_packed
from guidekit.io.reading import packed
from guidekit.io.splits import split_of

ASSETS = Path(__file__).parent / "assets"
SHIPPED_TRAINING = 20_000
"""Training images of Fashion-MNIST in the package: the first ones of 60,000."""
SPLITS = ("train", "test", "variants")


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """A shipped set.

    Args:
        title: for people.
        shape: of a state, (C, H, W).
        classes: names in the order of their numbers.
    """

    title: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]


SETS = {
    "fashion_mnist": ImageSet(
        "Fashion-MNIST",
        (1, 28, 28),
        ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot"),
    ),
    "emoji": ImageSet(
        "Twemoji, 32 x 32",
        (3, 32, 32),
        (
            "activities", "animals", "component", "flags", "food", "objects", "people", "smileys", "symbols", "travel",
        ),
    ),
}  # fmt: skip


class Pictures(NamedTuple):
    """Images (n, H, W) or (n, H, W, 3) uint8, their class numbers (n,) int64, and captions, where there are some."""

    images: np.ndarray
    labels: np.ndarray
    captions: tuple[str, ...] = ()


def split_name(name: str) -> tuple[str, str] | None:
    """Of "emoji" or "emoji:test", see `split_of`."""
    return split_of(name, SETS, SPLITS)


@functools.lru_cache(maxsize=4)
def pictures(name: str = "fashion_mnist", split: str = "train") -> Pictures:
    """A part of a shipped set.

    Args:
        name: "fashion_mnist" (20,000 and 10,000 images) or "emoji" (1,738 and 173).
        split: "train", "test" or, of emoji, "variants": the training part with all skin tones. A test emoji is one
            whose number has a CRC-32 that is divisible by 10, so that all its skin tones are on one side.

    Raises:
        UnknownNameError: no such set or split.
        ValueError: the file is damaged.
    """
    if name not in SETS:
        raise UnknownNameError("set of images", str(name), SETS)
    if split not in SPLITS or (split == "variants" and name != "emoji"):
        raise UnknownNameError(f"split of {name}", str(split), SPLITS[: 2 + (name == "emoji")])
    if name == "fashion_mnist":
        file = packed(ASSETS / f"fashion_mnist_{split}.npz.xz")
        return Pictures(file["images"], file["labels"].astype(np.int64))
    file = packed(ASSETS / "emoji.npz.xz")
    held = np.array([zlib.crc32(str(base).encode()) % 10 == 0 for base in file["base"]])
    keep = held if split == "test" else ~held
    if split != "variants":
        keep = keep & ~file["skin_tone"]
    captions = np.array(file["captions"].tobytes().decode().split("\n"))
    return Pictures(file["images"][keep], file["category"][keep].astype(np.int64), tuple(captions[keep].tolist()))


def build_assets(source: str | Path, folder: str | Path = ASSETS) -> None:
    """Make the data files of the assets folder again from the sources named in DATA.md; takes about a minute.

    Args:
        source: folder with fashion_mnist/train.npz and test.npz (arrays images, labels), emoji/emoji32.npz (images,
            category, base, skin_tone) and emoji/names.json (categories, names, one an image).
        folder: where to write.
    """
    source, folder = Path(source), Path(folder)
    for split, most in (("train", SHIPPED_TRAINING), ("test", None)):
        with np.load(source / "fashion_mnist" / f"{split}.npz") as file:
            images, labels = file["images"][:most], file["labels"][:most].astype(np.uint8)
        write_packed(folder / f"fashion_mnist_{split}.npz.xz", {"images": images, "labels": labels})
    with np.load(source / "emoji" / "emoji32.npz") as file:
        arrays = {key: file[key] for key in ("images", "category", "base", "skin_tone")}
    names = json.loads((source / "emoji" / "names.json").read_text())["names"]
    if len(names) != len(arrays["images"]):
        raise ValueError(f"{len(names)} names for {len(arrays['images'])} emoji; they belong to different versions")
    captions = np.frombuffer("\n".join(name.lower() for name in names).encode(), np.uint8)
    write_packed(folder / "emoji.npz.xz", {**arrays, "captions": captions})
