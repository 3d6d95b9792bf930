"""States of several parts: every part by its own sampler."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from guidekit import registry
from guidekit.core.kernel import CompositeKernel
from guidekit.core.prediction import Prediction
from guidekit.core.prior import Prior
from guidekit.core.process import Process
from guidekit.core.requirements import GuidanceError
from guidekit.core.state import Composite, altered
from guidekit.registry import register
from guidekit.samplers.ancestral import Ancestral
from guidekit.samplers.base import Fact, Here, Sampler, TimedSampler
from guidekit.samplers.first_hitting import FirstHitting


@register("sampler", "each")
@dataclasses.dataclass(frozen=True, eq=False)
class Each(TimedSampler[dict[str, Any]]):
    """Every part of a composite state by its own sampler, all on one time grid.

    A part that asks for a prediction elsewhere in the step (Heun) does so with the other parts as they are. Tokens that
    are revealed at times of their own (first hitting) run ahead of the other parts. The memory is one a part.

    Args:
        parts: sampler or its name, by the name of the part; `Ancestral` for parts that are not named.
        times: see `TimedSampler`; that of a part is the process' own.

    Raises:
        ValueError: a sampler with a time grid of its own, or none.
    """

    parts: Mapping[str, Sampler | str] = dataclasses.field(default_factory=dict)
    requires = frozenset({Fact.PARTS})
    takes_parts = True

    def __post_init__(self) -> None:
        """Make samplers of names, and check their grids."""
        super().__post_init__()
        made: dict[str, Sampler] = {}
        for name, sampler in self.parts.items():
            sampler = registry.get("sampler", sampler)() if isinstance(sampler, str) else sampler
            if not isinstance(sampler, Sampler):
                raise ValueError(f"part {name}: {sampler!r} is no sampler; give one such as Heun(), or its name")
            if type(sampler).grid not in (Sampler.grid, TimedSampler.grid, FirstHitting.grid):
                raise ValueError(f"part {name}: {sampler.name} needs a time grid of its own; parts share one")
            if getattr(sampler, "times", None) is not None:
                raise ValueError(f"part {name}: give times= to Each, as all parts share them")
            made[name] = sampler
        object.__setattr__(self, "parts", made)
        object.__setattr__(self, "_rest", Ancestral())

    def _of(self, name: str) -> Any:
        return self.parts.get(name, vars(self)["_rest"])

    @property
    def _samplers(self) -> tuple[Any, ...]:
        return tuple(self.parts.values()) or (vars(self)["_rest"],)

    @property
    def provides(self) -> frozenset[Fact]:  # type: ignore[override]
        """What the kernels of any part offer; noise where all draw it, one estimate where all go towards it."""
        offered = [sampler.provides for sampler in self._samplers]
        whole = frozenset({Fact.NOISE, Fact.ESTIMATE})
        return frozenset[Fact]().union(*offered) - (whole - frozenset.intersection(*offered))

    def draws(self, parts: frozenset[str] | None) -> bool:
        """See `Sampler.draws`."""
        return all(self._of(name).draws(None) for name in (self.parts if parts is None else parts))

    def check(self, prior: Prior) -> None:
        """See `Sampler.check`: the prior has these parts, and they are what their samplers need."""
        there: Mapping[str, Process] = prior.process.parts  # type: ignore[attr-defined]
        unknown = [name for name in self.parts if name not in there]
        if unknown:
            raise GuidanceError(f"there is no part {unknown[0]!r}; states of this prior have {', '.join(there)}")
        for name, process in there.items():
            missing = [fact for fact in Fact if fact in self._of(name).requires and fact not in process.provides]
            if missing:
                needed = missing[0].value[0]
                raise GuidanceError(f"{self._of(name).name} needs {needed}, which part {name} has not")

    def step(self, here: Here, memory: dict[str, Any] | None) -> tuple[CompositeKernel, dict[str, Any] | None]:
        """See `Sampler.step`."""
        kernels, memories = {}, {}
        for name, process in here.process.parts.items():
            part = altered(
                here,
                process=process,
                prediction=here.prediction.parts[name],
                draw=here.draw.named(name),
                ask=partial(_ask, here, name),
            )
            kernels[name], memories[name] = self._of(name).step(part, None if memory is None else memory[name])
        kept = None if all(held is None for held in memories.values()) else memories
        return CompositeKernel(kernels, here.prediction.mask), kept


def _ask(here: Here, name: str, x: Tensor, t: float) -> Prediction:
    """The prediction of a part at another state (B, *S) of it and time t, the other parts as they are."""
    whole = here.prediction.state
    return here.ask(Composite({**whole.parts, name: x}, whole.mask), t).parts[name]


__all__ = ["Each"]
