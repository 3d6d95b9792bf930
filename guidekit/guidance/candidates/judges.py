"""What candidates are judged by: whole states by estimates of their value, or states piece by piece."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from guidekit.core.guidance import Fact, GuidanceError
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.guidance.values import Estimate


@dataclasses.dataclass(frozen=True)
class Whole:
    """Estimates of the value of whole states, one or an ensemble.

    Args:
        estimates: R of them.
        signs: -1 where less of an estimate is better; none is 1 each.
    """

    estimates: tuple[Estimate, ...]
    signs: tuple[int, ...] = ()

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What they look at."""
        return tuple(dict.fromkeys(objective for one in self.estimates for objective in one.objectives))

    @property
    def requires(self) -> frozenset[Fact]:
        """What they need of a run."""
        return frozenset[Fact]().union(*(one.requires for one in self.estimates))

    def check(self, prior: Prior, who: str) -> None:
        """Any states will do."""

    def __call__(self, crowd: Population) -> Tensor:
        """(R, B, 1) float64."""
        signs: Sequence[int] = self.signs or (1,) * len(self.estimates)
        values = [one.value(crowd) for one in self.estimates]
        both = zip(values, signs, strict=True)
        turned = [value if sign > 0 else value.where(value.isneginf(), -value) for value, sign in both]
        return torch.stack(turned)[..., None]


@dataclasses.dataclass(frozen=True)
class Pieces:
    """A reward of clean states, of each of S equal pieces by itself.

    Args:
        reward: takes states that are shorter along the axis.
        pieces: S.
        axis: of a state, counted from its end, -1 or less.
    """

    reward: Objective
    pieces: int
    axis: int = -1
    requires = frozenset({Fact.WHOLE})

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The reward."""
        return (self.reward,)

    def check(self, prior: Prior, who: str) -> None:
        """The axis must be there and divide; whole objects have no pieces."""
        if self.reward.on != "clean":
            raise GuidanceError(
                f"{who} judges pieces of states, and {self.reward.name} looks at {self.reward.on}: leave pieces= out"
            )
        shape = tuple(prior.event_shape)
        if not -len(shape) <= self.axis <= -1 or shape[self.axis] % self.pieces:
            raise GuidanceError(
                f"{who} cannot cut states {shape} of this prior ({prior.name}) into {self.pieces} equal pieces along "
                f"axis {self.axis}"
            )

    def __call__(self, crowd: Population) -> Tensor:
        """(1, B, S) float64."""
        clean = crowd.clean()
        cut = self.cut(clean)
        return crowd.score_of(self.reward, cut.flatten(0, 1), crowd.time).double().view(1, len(clean), self.pieces)

    def cut(self, states: Tensor) -> Tensor:
        """(B, *S) as (B, pieces, *S of a piece)."""
        parted = states.unflatten(self.axis, (self.pieces, states.shape[self.axis] // self.pieces))
        return parted.movedim(self.axis - 1, 1)

    def join(self, cut: Tensor) -> Tensor:
        """What `cut` made, as it was."""
        parted = cut.movedim(1, self.axis - 1)
        return parted.flatten(self.axis - 1, self.axis)


Judge = Whole | Pieces
