"""Tasks on fields: the generic ones, and the flow of which the end is seen."""

from __future__ import annotations

from collections.abc import Callable

from guidekit.objectives.operators.navier_stokes import Flow, NavierStokes
from guidekit.objectives.restoration import RESTORATION
from guidekit.objectives.tasks import Task

from .data import KINDS


def flow(shape: tuple[int, ...], time: float = 1.0, every: int = 2, dt: float = 0.005, black_box: bool = False) -> Task:
    """Every `every`-th grid point of the vorticity is known `time` seconds later, and what it was is sought."""
    if tuple(shape) != KINDS["vorticity"].shape:
        raise ValueError(f"task flow is for domain.kind=vorticity, not for states {tuple(shape)}")
    return Task("flow", NavierStokes(Flow(shape[-1]), time, every, dt, black_box))


TASKS: dict[str, Callable[..., Task]] = RESTORATION | {"flow": flow}
