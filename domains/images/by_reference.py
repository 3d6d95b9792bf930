"""Rewards by reference pictures: their spectrum, their style, what they show; with gradients.

References are a picture, a folder, an npz, or a part of a shipped set such as "emoji" or "fashion_mnist:test".
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from guidekit.errors import UnknownNameError
from guidekit.objectives.examples import Examples
from guidekit.objectives.of_states import StateReward
from guidekit.objectives.similarity import MEASURES, Similarity
from guidekit.objectives.spectra import LogSpectrum
from guidekit.objectives.statistics import Style

from .codec import encode, state_shape
from .data import SETS, pictures, split_name
from .files import read
from .judging import Classifier, load, shipped

MOST = 2_000
"""References of a larger set that are looked at: every so many."""


@functools.lru_cache(maxsize=8)
def references(source: str | Path) -> Tensor:
    """States (n, C, H, W) of reference pictures.

    Raises:
        ValueError: nothing to be read there.
        UnknownNameError: a shipped set with another part.
    """
    known = split_name(str(source))
    images = list(pictures(*known).images) if known is not None else read(source).images
    images = images[:: -(-len(images) // MOST)]
    return encode(images, state_shape(images[0]))


def seen_by(encoder: str | Path | None, shape: tuple[int, ...]) -> Classifier:
    """The classifier whose features are looked at: of a shipped set, of a file, or the one for states of a shape.

    Raises:
        UnknownNameError: no such set.
        ValueError: no shipped classifier is for such states, or the given one is for others.
    """
    if encoder is None:
        fits = [name for name, one in SETS.items() if one.shape == shape]
        if not fits:
            raise ValueError(f"no shipped encoder is for pictures {shape}: give encoder=, the file of a classifier")
        return load(shipped(fits[0], "reward"))
    if str(encoder) not in SETS and not Path(encoder).is_file():
        raise UnknownNameError("encoder of images (or file of a classifier)", str(encoder), SETS)
    found = load(shipped(str(encoder), "reward") if str(encoder) in SETS else Path(encoder))
    if found.shape != shape:
        raise ValueError(f"encoder {found.name} is for pictures {found.shape}, the reference is {shape}")
    return found


def hidden(classifier: Classifier) -> Callable[[Tensor], Tensor]:
    """Its hidden layer, (B, C, H, W) -> (B, F)."""
    return lambda states: classifier.on(states).features(states.float())


def maps(classifier: Classifier, layers: int) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Feature maps after each of its first blocks."""

    def features(states: Tensor) -> tuple[Tensor, ...]:
        found, x = [], states.float()
        blocks = classifier.on(states).blocks
        for number in range(layers):
            for module in blocks[4 * number : 4 * number + 3]:  # convolution, normalization, activation
                x = module(x)
            found.append(x)
            x = blocks[4 * number + 3](x)
        return tuple(found)

    return features


class ByReference(StateReward):
    """Base: a reward of states as the references are."""

    reference: str | Path

    @functools.cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:  # type: ignore[override]
        """Those of the references."""
        return (tuple(references(self.reference).shape[1:]),)


@dataclasses.dataclass(frozen=True, eq=False)
class Spectrum(ByReference):
    """Minus the mean squared difference of the log-spectrum (nats squared) to the mean one of references.

    Args:
        reference: pictures, see the module.
        bands: of frequencies.
    """

    reference: str | Path = "fashion_mnist"
    bands: int = 12
    name: ClassVar[str] = "spectrum"
    temperature = 0.1

    def __post_init__(self) -> None:
        self._objective  # noqa: B018  fail here, not at the first state

    @functools.cached_property
    def _objective(self) -> LogSpectrum:
        return LogSpectrum.of(references(self.reference), self.bands)

    def values(self, states: Tensor) -> Tensor:
        """See the class."""
        return self._objective(states)


@dataclasses.dataclass(frozen=True, eq=False)
class StyleOf(ByReference):
    """Minus the squared distance of a classifier's Gram matrices to those of references, as a share of these.

    Args:
        reference: pictures, see the module.
        layers: of the classifier, from the first; more of them see larger patterns.
        encoder: the set, or file, of the classifier; None is the shipped one for such pictures.
    """

    reference: str | Path = "fashion_mnist"
    layers: int = 2
    encoder: str | Path | None = None
    name: ClassVar[str] = "style"
    temperature = 0.1

    def __post_init__(self) -> None:
        if not isinstance(self.layers, int) or not 1 <= self.layers <= 3:
            raise ValueError(f"layers={self.layers}; 1 to 3 of the classifier's blocks can be looked at")
        self._objective  # noqa: B018

    @functools.cached_property
    def _objective(self) -> Style:
        states = references(self.reference)
        return Style.of(maps(seen_by(self.encoder, tuple(states.shape[1:])), self.layers), states)

    def values(self, states: Tensor) -> Tensor:
        """See the class."""
        return self._objective(states)


@dataclasses.dataclass(frozen=True, eq=False)
class Likeness(ByReference):
    """Cosine (or another similarity) of a classifier's hidden layer to the mean one of references.

    Args:
        reference: pictures, see the module.
        measure: "cosine", "dot" or "distance".
        encoder: see `StyleOf`.
    """

    reference: str | Path = "fashion_mnist"
    measure: str = "cosine"
    encoder: str | Path | None = None
    name: ClassVar[str] = "likeness"
    temperature = 0.05

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise UnknownNameError("measure of similarity", str(self.measure), MEASURES)
        self._objective  # noqa: B018

    @functools.cached_property
    def _objective(self) -> Similarity:
        states = references(self.reference)
        encoder = hidden(seen_by(self.encoder, tuple(states.shape[1:])))
        with torch.no_grad():
            return Similarity(encoder, encoder(states).mean(0), self.measure)

    def values(self, states: Tensor) -> Tensor:
        """See the class."""
        return self._objective(states)


@dataclasses.dataclass(frozen=True, eq=False)
class ByExamples(ByReference):
    """Near to some pictures and far from others, by a classifier's hidden layer, in nats; see `objectives.Examples`.

    Args:
        reference: what is wanted, see the module; at most 2,000 of them count.
        negative: what is not; None is nothing.
        bandwidth: in standard deviations of the wanted ones.
        encoder: see `StyleOf`.
    """

    reference: str | Path = "fashion_mnist"
    negative: str | Path | None = None
    bandwidth: float = 0.5
    encoder: str | Path | None = None
    name: ClassVar[str] = "examples"
    temperature = 0.5

    def __post_init__(self) -> None:
        self._objective  # noqa: B018

    @functools.cached_property
    def _objective(self) -> Examples:
        states = references(self.reference)
        encoder = hidden(seen_by(self.encoder, tuple(states.shape[1:])))
        others = None if self.negative is None else references(self.negative)
        if others is not None and others.shape[1:] != states.shape[1:]:
            raise ValueError(
                f"negative={self.negative} has pictures {tuple(others.shape[1:])}, reference={self.reference} "
                f"{tuple(states.shape[1:])}; one size is needed"
            )
        with torch.no_grad():
            wanted = encoder(states)
            unwanted = None if others is None else encoder(others)
        spread = float((wanted - wanted.mean(0)).square().sum(1).mean().sqrt()) or 1.0
        return Examples(encoder, wanted, unwanted, self.bandwidth * spread)

    def values(self, states: Tensor) -> Tensor:
        """See the class."""
        return self._objective(states)


REFERENCE_REWARDS: dict[str, type] = {reward.name: reward for reward in (Spectrum, StyleOf, Likeness, ByExamples)}
