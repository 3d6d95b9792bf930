"""Transition laws from a state at t to one at u: they know neither their origin nor their use."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from guidekit.core.random import Draw
from guidekit.core.state import Composite, State, altered, column
from guidekit.core.support import EVERYWHERE, Support

Number = float | Tensor


class Kernel:
    """A law of the next state given the present one."""

    @property
    def deterministic(self) -> bool:
        """True where every draw is the same."""
        return False

    def sample(self, draw: Draw) -> State:
        """One next state a row, (B, *S)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement sample(draw)")

    def log_prob(self, state: State) -> Tensor:
        """(B,) float64, nats; a part without noise counts 0 at its only value and minus infinity elsewhere."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement log_prob(state)")

    def shift(self, delta: State | None, scale: Number = 1.0, *, reversible: bool = False) -> Kernel:
        """The law of the next state plus scale * delta (B, *S); None is no shift.

        Args:
            delta: real-valued.
            scale: of delta, a number or (B,).
            reversible: leave what has no noise where it is, because no weight could make up for its shift.
        """
        if delta is not None:
            raise TypeError("tokens have no mean to shift: tilt their law instead")
        return self

    def tilt(self, direction: State | None) -> Kernel:
        """The law times exp(<direction, next state>), normalized; tokens count as one-hot vectors, jumps as rates."""
        raise NotImplementedError(f"{type(self).__name__} cannot be tilted")

    def power(self, exponent: float) -> Kernel:
        """The law to a power above 0, normalized again."""
        raise NotImplementedError(f"{type(self).__name__} cannot be raised to a power")


@dataclass(frozen=True)
class GaussianKernel(Kernel):
    """N(mean, std^2) on the support; std = 0 is a deterministic step.

    Args:
        mean: (B, *S), in the unit of the data.
        std: a number or (B,).
        support: where x has freedom to move.
    """

    mean: Tensor
    std: Number = 0.0
    support: Support = EVERYWHERE

    @property
    def deterministic(self) -> bool:
        """See `Kernel.deterministic`."""
        return not isinstance(self.std, Tensor) and self.std == 0

    def sample(self, draw: Draw) -> Tensor:
        """See `Kernel.sample`."""
        if self.deterministic:
            return self.mean
        noise = self.support.project(draw.normal(self.mean))
        if isinstance(self.std, Tensor):
            return torch.addcmul(self.mean, column(self.std.to(noise.dtype), noise), noise)
        return torch.add(self.mean, noise, alpha=self.std)

    def log_prob(self, state: Tensor) -> Tensor:
        """See `Kernel.log_prob`."""
        gap = (state.double() - self.mean.double()).flatten(1).square().sum(1)
        if self.deterministic:
            return torch.where(gap == 0, 0.0, -math.inf)
        variance = torch.as_tensor(self.std, dtype=torch.float64) ** 2
        return -0.5 * (gap / variance + self.support.dimensions(state) * (2 * math.pi * variance).log())

    def shift(self, delta: Tensor | None, scale: Number = 1.0, *, reversible: bool = False) -> GaussianKernel:
        """See `Kernel.shift`."""
        if delta is None or (reversible and self.deterministic):
            return self
        delta = self.support.project(delta)
        if isinstance(scale, Tensor):
            return altered(self, mean=torch.addcmul(self.mean, column(scale.to(delta.dtype), delta), delta))
        return altered(self, mean=torch.add(self.mean, delta, alpha=scale))

    def tilt(self, direction: Tensor | None) -> GaussianKernel:
        """See `Kernel.tilt`: the mean moves by variance * direction."""
        if direction is None or self.deterministic:
            return self
        return self.shift(direction, self.std**2)

    def power(self, exponent: float) -> GaussianKernel:
        """See `Kernel.power`."""
        return replace(self, std=self.std / math.sqrt(exponent))


@dataclass(frozen=True)
class CompositeKernel(Kernel):
    """One independent kernel a part."""

    parts: Mapping[str, Any]
    mask: Tensor | None = None

    @property
    def deterministic(self) -> bool:
        """True where all parts are."""
        return all(part.deterministic for part in self.parts.values())

    def sample(self, draw: Draw) -> Composite:
        """See `Kernel.sample`."""
        return Composite({name: part.sample(draw.named(name)) for name, part in self.parts.items()}, self.mask)

    def log_prob(self, state: Composite) -> Tensor:
        """See `Kernel.log_prob`."""
        return torch.stack([part.log_prob(state.parts[name]) for name, part in self.parts.items()]).sum(0)

    def shift(self, delta: Composite | None, scale: Number = 1.0, *, reversible: bool = False) -> Kernel:
        """See `Kernel.shift`."""
        return self._each(delta, lambda part, value: part.shift(value, scale, reversible=reversible))

    def tilt(self, direction: Composite | None) -> Kernel:
        """See `Kernel.tilt`."""
        return self._each(direction, lambda part, value: part.tilt(value))

    def power(self, exponent: float) -> Kernel:
        """See `Kernel.power`."""
        return replace(self, parts={name: part.power(exponent) for name, part in self.parts.items()})

    def _each(self, change: Composite | None, function: Callable[..., Kernel]) -> Kernel:
        given = {} if change is None else change.parts
        return replace(self, parts={name: function(part, given.get(name)) for name, part in self.parts.items()})
