"""Classifiers of pictures in use: log-probabilities for rewards, features and classes for judging."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidekit.classes import class_number
from guidekit.priors.checkpoints import CheckpointError, read_description
from guidekit.priors.weights import made_for, read_weights

from .codec import check_states
from .data import ASSETS
from .network import ImageClassifier

BATCH = 512
"""States in one network call."""


class Classifier:
    """A trained network with the names of its classes.

    Args:
        network: see `ImageClassifier`; frozen here.
        shape: of its states, (C, H, W).
        classes: names.
        card: how it was made.
        name: for messages.
    """

    def __init__(
        self, network: nn.Module, shape: tuple[int, int, int], classes: tuple[str, ...], card: dict, name: str
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.shape, self.classes, self.card, self.name = shape, classes, card, name

    def log_probabilities(self, states: Tensor) -> Tensor:
        """log p(class | state), (B, K) nats, of states (B, C, H, W); has a gradient in the states.

        Raises:
            ImageError: states of another shape.
        """
        self._check(states)
        return torch.log_softmax(self.on(states)(states.float()), 1)

    def judged(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden layer (B, F) and p(class | state) (B, K), float64, in calls of `BATCH`, without a gradient."""
        self._check(states)
        network = self.on(states)
        with torch.no_grad():
            features = torch.cat([network.features(part.float()) for part in states.split(BATCH)])
            return features.double(), torch.softmax(network.head(features).double(), 1)

    def probabilities(self, states: Tensor) -> Tensor:
        """p(class | state), (B, K) float64, see `judged`."""
        return self.judged(states)[1]

    def number(self, label: str | int) -> int:
        """The number of a class given by name or number.

        Raises:
            UnknownNameError: no class of that name.
            ValueError: a number out of range.
        """
        return class_number(label, self.classes, f"class of {self.name}")

    def _check(self, states: Tensor) -> None:
        try:
            check_states(states, self.shape)
        except ValueError as error:
            raise type(error)(f"classifier {self.name}: {error}") from error

    def on(self, states: Tensor) -> Any:
        """The network, where the states are."""
        if next(self.network.parameters()).device != states.device:
            self.network.to(states.device)
        return self.network


def shipped(kind: str, role: str) -> Path:
    """The file of a shipped classifier; role "reward" or "judge"."""
    return ASSETS / "classifiers" / f"{kind}_{role}.safetensors"


def load(path: Path) -> Classifier:
    """A classifier from a file made by `train_classifier`.

    Raises:
        CheckpointError: missing, damaged, or no classifier of images.
    """
    return _load(path, path.stat().st_mtime_ns if path.is_file() else 0)


@functools.lru_cache(maxsize=8)
def _load(path: Path, written: int) -> Classifier:
    """See `load`; `written` is when the file was, so that a file made anew is read anew."""
    description = read_description(path, "images")
    if description.get("kind") != "classifier":
        raise CheckpointError(f"{path} holds a {description.get('kind', 'prior')}, not a classifier")
    for key in ("event_shape", "classes", "card"):
        if key not in description:
            raise CheckpointError(f"{path}: its description has no {key!r}; a classifier has one")
    network = made_for(path, ImageClassifier, description["network"]["options"], read_weights(path))
    shape, classes = tuple(description["event_shape"]), tuple(description["classes"])
    return Classifier(network, shape, classes, description["card"], path.stem)
