"""Rewards of pictures, most of them of states and with a gradient; higher is better.

Those on states are callable on (B, C, H, W), giving (B,), and on one uint8 image, giving a float. They see numbers
outside [-1, 1] clipped, as `decode` does, so there is no gradient there. `of_states` tells the domain to hand them
states as they are. `name` is the key in `REWARDS`; `temperature` is what searches take where they are given none.
"""

from __future__ import annotations

import dataclasses
import functools
import io
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from guidekit.names import UnknownNameError
from guidekit.objectives import Negation, Product, Sum
from guidekit.objectives.torch_model import column, load_module
from guidekit.objectives.window import outside, refuse_empty

from .codec import encode
from .data import SETS
from .judging import Classifier, class_number, load, shipped


class StateReward:
    """Base: a reward of states that also takes one image; subclasses have `values`."""

    of_states = True
    differentiable = True
    floor: ClassVar[float | None] = None
    name: ClassVar[str]

    def __call__(self, states: Tensor | np.ndarray) -> Tensor | float:
        """Rewards (B,) of states (B, C, H, W); a float for one uint8 image (H, W) or (H, W, 3)."""
        if isinstance(states, Tensor):
            return self.values(states.clamp(-1, 1))
        with torch.no_grad():
            return float(self.values(encode([states]))[0])

    def values(self, states: Tensor) -> Tensor:
        """Rewards (B,) of states in [-1, 1]."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement values")


@dataclasses.dataclass(frozen=True)
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
    temperature: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        self._number  # noqa: B018  fail here, not at the first state

    @functools.cached_property
    def classifier(self) -> Classifier:
        """The network with its classes."""
        return load(Path(self.model) if self.model is not None else shipped(self._set, "reward"))

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
        return choices[names[class_number(self.label, tuple(names), "the shipped sets")]]

    @functools.cached_property
    def _number(self) -> int:
        return self.classifier.number(self.label)

    def values(self, states: Tensor) -> Tensor:
        """See the class."""
        return self.classifier.log_probabilities(states)[:, self._number]


@dataclasses.dataclass(frozen=True)
class Brightness(StateReward):
    """Mean brightness (0 black, 1 white, over all channels) in a window: minus the distance to [low, high]."""

    low: float = 0.4
    high: float = 0.6
    name: ClassVar[str] = "brightness"

    def __post_init__(self) -> None:
        refuse_empty(self.low, self.high)

    def values(self, states: Tensor) -> Tensor:
        """See the class."""
        return outside((states.flatten(1).mean(1) + 1) / 2, self.low, self.high)


@dataclasses.dataclass(frozen=True)
class Symmetry(StateReward):
    """Minus the mean squared difference to the mirror image (left and right), of brightness 0 to 1; at most 0."""

    name: ClassVar[str] = "symmetry"
    temperature: ClassVar[float] = 0.01

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

    Raises:
        ValueError: no such file, or one of another kind.
    """

    model: str | Path | nn.Module
    unit: bool = False
    output: int = 0
    name: ClassVar[str] = "image_model"

    def __post_init__(self) -> None:
        self._module  # noqa: B018  fail here, not at the first state

    @functools.cached_property
    def _module(self) -> Any:
        return load_module(self.model)

    def values(self, states: Tensor) -> Tensor:
        """The network's output (B,)."""
        x = (states + 1) / 2 if self.unit else states
        return column(self._module.to(x.device)(x), x, self.output)


@dataclasses.dataclass(frozen=True)
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


class Combined(StateReward):
    """A sum, product or negation of rewards of states, itself one.

    Args:
        function: the combination.
    """

    def __init__(self, function: Sum | Product | Negation) -> None:
        self.function, self.floor = function, function.floor
        self.name = type(function).__name__.lower()
        terms = [function.term] if isinstance(function, Negation) else function.terms
        self.differentiable = all(term.differentiable for term in terms)

    def values(self, states: Tensor) -> Tensor:
        """The combination (B,)."""
        return self.function(states)


def state_reward(function: Any) -> StateReward | None:
    """The reward of states behind a function of images, where there is one; combinations may be nested."""
    if getattr(function, "of_states", False):
        return function
    if isinstance(function, nn.Module):
        return ImageModel(function)
    if isinstance(function, Negation):
        term = state_reward(function.term)
        return None if term is None else Combined(Negation(term))
    if isinstance(function, Sum | Product):
        terms = [state_reward(term) for term in function.terms]
        return None if None in terms else Combined(dataclasses.replace(function, terms=terms))
    return None


REWARDS: dict[str, type] = {
    reward.name: reward for reward in (ClassLogProbability, Brightness, Symmetry, Compressibility, ImageModel)
}
