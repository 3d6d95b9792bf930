"""Image files: npz, folders of pictures and single pictures; a bad one is named, a written one is whole."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from guidekit.io.archives import npz, reason
from guidekit.io.contents import ordinary
from guidekit.io.files import write_each
from guidekit.io.reading import files_below, folder_classes, npz_classes, source

from .codec import ImageError, check, state_shape

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "WEBP")  # whatever a file is called, no other reader of Pillow is started
MOST_PIXELS = 1 << 26
MOST_IN_GRID = 1024


class ReadResult(NamedTuple):
    """What a file or folder held.

    Attributes:
        images: (H, W) or (H, W, 3) uint8, all of one shape.
        labels: class numbers (n,) int64, -1 where unknown; None where there are none.
        classes: their names, where the files have some (sub-folders, the array `classes`); else empty.
        skipped: (name, reason) of what could not be read.
        notes: what is to be said of what was read.
    """

    images: list[np.ndarray]
    labels: np.ndarray | None
    classes: tuple[str, ...]
    skipped: list[tuple[str, str]]
    notes: list[str] = []  # noqa: RUF012 - of a tuple, never changed


def read(path: str | Path, shape: Sequence[int] | None = None, on_error: str = "raise") -> ReadResult:
    """Read an npz (arrays images, labels, classes), a folder of pictures (sub-folders are classes) or one picture.

    Args:
        path: file or folder.
        shape: (C, H, W) of every image; None is that of the first.
        on_error: "raise" stops at the first bad image, "skip" lists it in `skipped`.

    Raises:
        ValueError: nothing there, another kind of file, a damaged one, no image in it, or a bad image (see on_error).
    """
    path = source(path, PICTURES, "pictures", on_error)
    if path.is_dir():
        return _folder(path, shape, on_error)
    if path.suffix.lower() == ".npz":
        return _npz(path, shape)
    image, deep = picture(path)
    return ReadResult([check(image, shape, path.name)], None, (), [], told_of(deep))


def told_of(deep: int) -> list[str]:
    """The note on pictures of 16 bits; none without one."""
    many = f"{int(deep)} picture{'s' * (deep > 1)}"
    return [f"{many} of 16 bits, 0 to 65,535, read as 8 bits, 0 to 255"] if deep else []


def picture(path: str | Path, name: str = "") -> tuple[np.ndarray, bool]:
    """One picture file as (H, W) or (H, W, 3) uint8, and whether it had 16 bits, of which the upper 8 are kept.

    Palettes become RGB, an alpha channel must be opaque, and a picture is turned as its EXIF tag says.

    Args:
        path: of the file.
        name: for messages; that of the file where empty.

    Raises:
        ImageError: a damaged file, one of another kind, or a transparent picture.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    name = name or Path(path).name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, on damaged tags
        try:
            with Image.open(ordinary(path), formats=FORMATS) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    raise ImageError(
                        f"{name} is {opened.width:,} x {opened.height:,} pixels; at most {MOST_PIXELS:,} are read"
                    )
                opened.load()
                image = ImageOps.exif_transpose(opened)
                if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA"):
                    image = image.convert("LA" if image.mode == "LA" else "RGBA")
                    if np.asarray(image.getchannel("A")).min() < 255:
                        raise ImageError(f"{name} is transparent in places; lay it on a background first")
                    image = image.convert("L" if image.mode == "LA" else "RGB")
                if image.mode == "I" or image.mode.startswith("I;16"):
                    return np.rint(np.asarray(image, np.float64).clip(0, 65535) / 257).astype(np.uint8), True
                if image.mode == "F" or image.mode.startswith("I;"):
                    raise ImageError(f"{name} has more than 16 bits a channel ({image.mode}); 8 or 16 are expected")
                return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB")), False
        except ImageError:
            raise
        except UnidentifiedImageError as error:  # whose text is the whole path
            raise ImageError(f"{name} is damaged or no picture ({', '.join(FORMATS)} are read)") from error
        except Exception as error:  # Pillow says by many kinds that it cannot go on
            raise ImageError(f"{name} is damaged or no picture ({reason(error)})") from error


def _folder(path: Path, shape: Sequence[int] | None, on_error: str) -> ReadResult:
    """All pictures below a folder, in the order of their paths."""
    found = files_below(path, PICTURES, "pictures")
    images, kept, skipped, deep = [], [], [], 0
    for i, file in enumerate(found):
        name = file.relative_to(path).as_posix()
        try:
            image, whether = picture(file, name)
            images.append(check(image, shape, name))
            deep += whether
        except ImageError as error:
            if on_error == "raise":
                raise ImageError(f"{path.name}: {error}") from error
            skipped.append((name, str(error)))
            continue
        shape = shape or state_shape(images[0])
        kept.append(i)
    labels, classes = folder_classes(path, found)
    return ReadResult(images, None if labels is None else labels[kept], classes, skipped, told_of(deep))


def _npz(path: Path, shape: Sequence[int] | None) -> ReadResult:
    """The images of an npz; arr_0 stands for images where there is none (the reference batches of guided-diffusion)."""
    arrays, held = npz(path, ("images", "arr_0", "labels", "classes"))
    images = arrays.get("images", arrays.get("arr_0"))
    if images is None:
        raise ValueError(f"{path.name} has the arrays {held}; images (n, H, W) or (n, H, W, 3) are needed")
    if images.ndim not in (3, 4) or not len(images):
        raise ImageError(f"{path.name}: images have shape {images.shape}; (n, H, W) or (n, H, W, 3) is expected")
    check(images[0], shape, f"{path.name}: every image")
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    return ReadResult(list(images), *npz_classes(arrays, len(images), path.name), [])


def write_folder(folder: str | Path, images: Sequence[np.ndarray], names: Sequence[str] | None = None) -> list[str]:
    """Write every image as a PNG into a folder, made where it is missing; returns the file names.

    Args:
        folder: where to.
        images: uint8 (H, W) or (H, W, 3).
        names: of the files, without suffix; None is image-00000 and so on.

    Raises:
        ValueError: another number of names.
    """
    return write_each(folder, images, png, "image-{:05d}.png", names)


def png(image: np.ndarray) -> bytes:
    """A PNG file's bytes."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def tiled(images: Sequence[np.ndarray], columns: int | None = None, gap: int = 1, paper: int = 255) -> np.ndarray:
    """Images row by row in one picture, `gap` pixels of grey level `paper` between them; about square by default.

    Raises:
        ValueError: no image.
    """
    if not len(images):
        raise ValueError("there are no images to lay out; pass at least one")
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = -(-len(images) // columns)
    height, width, *channels = images[0].shape
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, *channels), paper, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet
