"""Rewards of pictures, most of them of states and with a gradient; higher is better.

Those of states are objectives: (B, C, H, W) to (B,). They see numbers outside [-1, 1] clipped, as `decode` does, so
there is no gradient there. Black boxes are functions of one uint8 image. `name` is the key in `REWARDS`; `temperature`
is what searches take where they are given none.
"""

from __future__ import annotations

import dataclasses
import functools
import io
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from guidekit.classes import class_number
from guidekit.errors import UnknownNameError
from guidekit.objectives.of_states import StateReward
from guidekit.objectives.torch_model import asked, load_module
from guidekit.objectives.window import Windowed, outside, refuse_empty

from .by_reference import REFERENCE_REWARDS
from .data import SETS
from .judging import Classifier, load, shipped
from .qr import Scannable


@dataclasses.dataclass(frozen=True, eq=False)
class ClassLogProbability(StateReward):
    """Log-probability (nats) of a class by a classifier; samples are then judged by another one.

    Args:
        label: class by name, such as sneaker, or by number.
        set: shipped set of the classifier; None is the one that has the name, or Fashion-MNIST for a number.
        model: file of another classifier, see `classifier.train_classifier`.

    Raises:
        UnknownNameError: no such class or set.
        CheckpointError: an unreadable file.
    """

    label: str | int
    set: str | None = None
    model: str | Path | None = None
    name: ClassVar[str] = "classifier"
    temperature = 1.0

    def __post_init__(self) -> None:
        self._number  # noqa: B018  fail here, not at the first state

    @property
    def file(self) -> Path:
        """Where the network is."""
        return Path(self.model) if self.model is not None else shipped(self._set, "reward")

    @functools.cached_property
    def classifier(self) -> Classifier:
        """The network with its classes."""
        return load(self.file)

    @property
    def _set(self) -> str:
        if self.set is not None:
            if self.set not in SETS:
                raise UnknownNameError("set of images", str(self.set), SETS)
            return self.set
        if isinstance(self.label, int):
            return "fashion_mnist"
        choices = {name: kind for kind, one in SETS.items() for name in one.classes}
        names = list(choices)
        return choices[names[class_number(self.label, names, "class of the shipped sets")]]

    @functools.cached_property
    def _number(self) -> int:
        return self.classifier.number(self.label)

    def values(self, states: Tensor) -> Tensor:
        """See the class."""
        return self.classifier.log_probabilities(states)[:, self._number]


@dataclasses.dataclass(frozen=True, eq=False)
class Brightness(StateReward, Windowed):
    """Mean brightness (0 black, 1 white, over all channels) in a window: minus the distance to [low, high]."""

    low: float = 0.4
    high: float = 0.6
    name: ClassVar[str] = "brightness"

    def __post_init__(self) -> None:
        refuse_empty(self.low, self.high, (0.0, 1.0), "brightness")

    def values(self, states: Tensor) -> Tensor:
        """See the class."""
        return outside((states.flatten(1).mean(1) + 1) / 2, self.low, self.high)


@dataclasses.dataclass(frozen=True, eq=False)
class Symmetry(StateReward):
    """Minus the mean squared difference to the mirror image (left and right), of brightness 0 to 1; at most 0."""

    name: ClassVar[str] = "symmetry"
    temperature = 0.01

    def values(self, states: Tensor) -> Tensor:
        """See the class."""
        return -((states - states.flip(3)) / 2).square().flatten(1).mean(1)


@dataclasses.dataclass(frozen=True, eq=False)
class ImageModel(StateReward):
    """A network of your own on states (B, C, H, W); differentiable.

    Args:
        model: torch module, or a file: TorchScript (torch.jit.save) or an exported program (.pt2, torch.export.save).
        unit: it takes numbers from 0 to 1 instead of -1 to 1.
        output: which column of the network's outputs (B, K) is the reward.
        trust: whoever made the file may run code here, see `load_module`.

    Raises:
        ValueError: no such file, one without trust, or one of another kind.
    """

    model: str | Path | nn.Module
    unit: bool = False  # type: ignore[assignment]  # a setting of this name; its scores have no unit
    output: int = 0
    trust: bool = False
    name: ClassVar[str] = "image_model"

    def __post_init__(self) -> None:
        self._module  # noqa: B018  fail here, not at the first state

    @functools.cached_property
    def _module(self) -> Any:
        return load_module(self.model, self.trust)

    def values(self, states: Tensor) -> Tensor:
        """The network's output (B,)."""
        x = (states + 1) / 2 if self.unit else states
        return asked(self._module, x, self.output)


@dataclasses.dataclass(frozen=True, eq=False)
class Compressibility:
    """Minus the size of the picture as a JPEG file, bytes; a black box. Its negation asks for detail.

    Args:
        quality: of the JPEG, 1 to 95.
    """

    quality: int = 85
    name: ClassVar[str] = "compressibility"
    floor: ClassVar[float | None] = None
    temperature: ClassVar[float] = 10.0

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 95:
            raise ValueError(f"quality={self.quality}; JPEG takes 1 to 95")

    def __call__(self, image: np.ndarray) -> float:
        """Minus the bytes of one uint8 image."""
        return -float(jpeg_bytes(image, self.quality))


def jpeg_bytes(image: np.ndarray, quality: int = 85) -> int:
    """Size of an image (H, W) or (H, W, 3) uint8 as a JPEG file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return stream.tell()


REWARDS: dict[str, type] = {
    reward.name: reward
    for reward in (ClassLogProbability, Brightness, Symmetry, Compressibility, ImageModel, Scannable)
} | REFERENCE_REWARDS
