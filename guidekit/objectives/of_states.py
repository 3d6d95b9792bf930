"""Rewards of real-valued states: they see states as they are, and have a gradient."""

from __future__ import annotations

from torch import Tensor, nn

from guidekit.core.objective import Number, Objective
from guidekit.core.prior import Prior
from guidekit.core.requirements import GuidanceError
from guidekit.objectives.torch_model import asked


class StateReward(Objective[None]):
    """Base: a reward of clean states (B, *S) in [-1, 1]; a subclass has `values` and a `name`.

    Attributes:
        shapes: shapes *S it is made for; None is any.
    """

    differentiable = True
    floor: float | None = None
    shapes: tuple[tuple[int, ...], ...] | None = None

    def scores(self, states: Tensor, t: Number, rows: None) -> Tensor:
        """Rewards (B,), numbers outside [-1, 1] clipped as in decoding."""
        return self.values(states.clamp(-1, 1))

    def values(self, states: Tensor) -> Tensor:
        """Rewards (B,) of states in [-1, 1]."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement values")

    def check(self, prior: Prior) -> None:
        """See `Objective.check`: states must have a shape that it is made for."""
        if self.shapes is not None and tuple(prior.event_shape) not in self.shapes:
            made = " or ".join(map(str, self.shapes))
            raise GuidanceError(
                f"reward {self.name} is of states {made}, and those of this prior ({prior.name}) are "
                f"{tuple(prior.event_shape)}"
            )


class StateModel(StateReward):
    """A network of the user's own on states, (B, *S) to (B,) or (B, K).

    Args:
        module: torch module; asked in evaluation mode, and left in its own.
        output: which of K columns is the reward.
    """

    name = "model"

    def __init__(self, module: nn.Module, output: int = 0) -> None:
        self.module, self.output = module, output

    def values(self, states: Tensor) -> Tensor:
        """The network's output (B,)."""
        return asked(self.module, states, self.output)
