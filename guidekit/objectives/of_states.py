"""Rewards of real-valued states: they see states as they are, and one decoded object by encoding it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from guidekit.objectives.combination import Negation, Product, Sum
from guidekit.objectives.torch_model import column


class StateReward:
    """Base: a reward of states (B, *S) that also takes one object; subclasses have `values` and `encoded`.

    Attributes:
        of_states: tells domains to hand over states as they are.
        differentiable: `values` has a gradient.
        shapes: shapes *S it is made for; None is any.
        floor: the least value; products take rewards with a floor of 0 or more.
    """

    of_states = True
    differentiable = True
    shapes: tuple[tuple[int, ...], ...] | None = None
    floor: ClassVar[float | None] = None
    name: ClassVar[str]

    def __call__(self, states: Any) -> Tensor | float:
        """Rewards (B,) of states, numbers outside [-1, 1] clipped as in decoding; a float for one object."""
        if isinstance(states, Tensor):
            return self.values(states.clamp(-1, 1))
        with torch.no_grad():
            return float(self.values(self.encoded(states))[0])

    def values(self, states: Tensor) -> Tensor:
        """Rewards (B,) of states in [-1, 1]."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement values")

    def encoded(self, thing: Any) -> Tensor:
        """The state (1, *S) of an object."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement encoded")

    def refuse_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError where it is not made for states of this shape."""
        if self.shapes is not None and tuple(shape) not in self.shapes:
            made = " or ".join(map(str, self.shapes))
            raise ValueError(f"reward {self.name} is of states {made}, and this domain's are {tuple(shape)}")


class Combined(StateReward):
    """A sum, product or negation of rewards of states, itself one.

    Args:
        function: the combination.
    """

    def __init__(self, function: Sum | Product | Negation) -> None:
        self.function, self.floor = function, function.floor
        self.name = type(function).__name__.lower()
        self.terms = [function.term] if isinstance(function, Negation) else list(function.terms)
        self.differentiable = all(term.differentiable for term in self.terms)

    def values(self, states: Tensor) -> Tensor:
        """The combination (B,)."""
        return self.function(states)

    def encoded(self, thing: Any) -> Tensor:
        """As its first term says."""
        return self.terms[0].encoded(thing)

    def refuse_shape(self, shape: tuple[int, ...]) -> None:
        """Each term must be made for the shape."""
        for term in self.terms:
            term.refuse_shape(shape)


class StateModel(StateReward):
    """A network of the user's own on states, (B, *S) to (B,) or (B, K).

    Args:
        module: torch module; put into evaluation mode.
        output: which of K columns is the reward.
    """

    name = "model"

    def __init__(self, module: nn.Module, output: int = 0) -> None:
        self.module, self.output = module.eval(), output

    def values(self, states: Tensor) -> Tensor:
        """The network's output (B,)."""
        return column(self.module.to(states.device)(states), states, self.output)


def state_reward(function: Callable, model: Callable[[nn.Module], StateReward] = StateModel) -> StateReward | None:
    """The reward of states behind a function of objects, where there is one; combinations may be nested.

    Args:
        function: of objects, or a reward of states, a torch module, or a combination of them.
        model: what a torch module becomes.
    """
    if getattr(function, "of_states", False):
        return function
    if isinstance(function, nn.Module):
        return model(function)
    if isinstance(function, Negation):
        term = state_reward(function.term, model)
        return None if term is None else Combined(Negation(term))
    if isinstance(function, Sum | Product):
        terms = [state_reward(term, model) for term in function.terms]
        return None if None in terms else Combined(dataclasses.replace(function, terms=terms))
    return None
