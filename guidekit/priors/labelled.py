"""What priors share whose network is told labels: what a condition may name, and where their tensors are."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from guidekit.core.prior import Prior
from guidekit.core.state import State
from guidekit.priors.labels import Label, label_rows


class LabelledPrior(Prior):
    """Base of priors with a network that may be told labels.

    Attributes:
        network: a module.
        labels: what a condition may name, see `take_labels`; none for an unconditional network.
    """

    network: Any
    labels: tuple[Label, ...] = ()

    def take_labels(self, labels: Sequence[Label]) -> None:
        """Set what a condition may name while the prior is made; -1 stands for "not given", each value is as likely."""
        self.labels = tuple(labels)
        if self.labels:
            self.null_condition = torch.full((len(self.labels),), -1)
            self.choices = tuple(torch.ones(len(label.values)) for label in self.labels)

    def condition(self, value: Any) -> State | None:
        """A condition from what users write, see `label_rows`."""
        if value is None or isinstance(value, Tensor) and value.ndim == 2 or not self.labels:
            return super().condition(value)
        return label_rows(value, self.labels)

    def to(self, device: torch.device | str) -> Self:
        """The prior with its network and its tensors on another device."""
        new = copy.copy(self)
        if str(device) != str(next(self.network.parameters()).device):
            new.network = copy.deepcopy(self.network).to(device)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(new, name, value.to(device))
        return new


__all__ = ["LabelledPrior"]
