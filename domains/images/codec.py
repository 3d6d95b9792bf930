"""Pictures as states: uint8 arrays (H, W) or (H, W, 3) <-> float32 tensors (B, C, H, W) in [-1, 1]."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from guidekit.core.units import Units

KINDS = {1: "grey", 3: "RGB"}


class ImageError(ValueError):
    """An array is no image of the expected kind; the message says what it is and what was expected."""


def array_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """(H, W) or (H, W, 3) of an image whose state is (C, H, W)."""
    channels, height, width = shape
    return (height, width) if channels == 1 else (height, width, channels)


def state_shape(image: np.ndarray) -> tuple[int, int, int]:
    """(C, H, W) of an image (H, W) or (H, W, C)."""
    return (image.shape[2] if image.ndim == 3 else 1, *image.shape[:2])


def check(image: Any, shape: Sequence[int] | None = None, what: str = "image") -> np.ndarray:
    """The image as (H, W) or (H, W, 3) uint8.

    Args:
        image: uint8 array, or a PIL image; grey ones may be (H, W, 1).
        shape: (C, H, W) it must have; None takes any.
        what: how messages call it.

    Raises:
        ImageError: other numbers than uint8, other channels, or another size.
    """
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise ImageError(
            f"{what} has numbers of type {array.dtype}; uint8 is expected: np.round(255 * image).astype(np.uint8) for "
            "numbers from 0 to 1"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or array.size == 0:
        raise ImageError(f"{what} has shape {array.shape}; (H, W) or (H, W, 3) is expected")
    channels, *size = state_shape(array)
    if channels not in KINDS:
        alpha = "; if the last one is alpha, lay the image on a background first" if channels in (2, 4) else ""
        raise ImageError(f"{what} has {channels} channels; 1 (grey) or 3 (RGB) are accepted{alpha}")
    if shape is None:
        return array
    if channels != shape[0]:
        mode = "L" if shape[0] == 1 else "RGB"
        raise ImageError(
            f"{what} is {KINDS[channels]}, {KINDS[shape[0]]} is expected; convert it, with Pillow "
            f"image.convert({mode!r})"
        )
    if tuple(size) != tuple(shape[1:]):
        wanted = " x ".join(map(str, shape[1:]))
        raise ImageError(f"{what} is {size[0]} x {size[1]} pixels, {wanted} are expected; resize it")
    return array


def encode(images: Sequence[Any], shape: Sequence[int] | None = None) -> Tensor:
    """Images to states (B, C, H, W) float32 in [-1, 1]: v / 127.5 - 1.

    Args:
        images: of one shape, see `check`; None is refused.
        shape: (C, H, W) they must have; None is that of the first.

    Raises:
        ImageError: an image that does not fit, or none at all.
    """
    if not len(images):
        raise ImageError("there are no images; pass at least one")
    arrays = []
    for i, image in enumerate(images):
        arrays.append(check(image, shape, f"image {i}"))
        shape = shape or state_shape(arrays[0])
    stacked = torch.from_numpy(np.stack(arrays))
    states = stacked[:, None] if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2)
    return (states.float() / 127.5 - 1).contiguous()


def decode(states: Tensor, shape: Sequence[int] | None = None) -> list[np.ndarray | None]:
    """States (B, C, H, W) to images, numbers outside [-1, 1] clipped; None where one is not finite.

    Raises:
        ImageError: states of another shape, or of whole numbers.
    """
    check_states(states, shape)
    finite = states.flatten(1).isfinite().all(1).tolist()
    levels = ((states.detach().float().clamp(-1, 1).nan_to_num() + 1) * 127.5).round().to(torch.uint8).cpu()
    arrays = (levels[:, 0] if states.shape[1] == 1 else levels.permute(0, 2, 3, 1)).numpy()
    return [np.ascontiguousarray(array) if good else None for array, good in zip(arrays, finite, strict=True)]


def check_states(states: Tensor, shape: Sequence[int] | None = None) -> None:
    """Raise ImageError where states are not (B, C, H, W) real numbers, of the given (C, H, W) where there is one."""
    wanted = "B, " + ", ".join(map(str, shape)) if shape is not None else "B, 1 or 3, H, W"
    fits = states.ndim == 4 and states.shape[1] in KINDS and (shape is None or tuple(states.shape[1:]) == tuple(shape))
    if not fits or not states.is_floating_point():
        raise ImageError(
            f"states have shape {tuple(states.shape)} and type {states.dtype}; ({wanted}) of real numbers in [-1, 1] "
            "is expected"
        )


@dataclasses.dataclass(frozen=True)
class ImageCodec:
    """The codec of a prior of pictures.

    Args:
        shape: (C, H, W) of its states.
    """

    shape: tuple[int, int, int]
    units: ClassVar[Units] = Units(0.5, 0.5, "", 0.0, 1.0)
    """Pixels, black 0 to white 1."""

    @property
    def language(self) -> str:
        """What a state's numbers are."""
        return f"images {'x'.join(map(str, self.shape))} of 8 bits, in [-1, 1]"

    def encode(self, objects: Sequence[np.ndarray]) -> Tensor:
        """See `encode`."""
        return encode(objects, self.shape)

    def decode(self, states: Tensor) -> list[np.ndarray | None]:
        """See `decode`."""
        return decode(states, self.shape)
