"""The five places where a guidance may act on the sampling loop, and how guidances combine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guidekit.core.kernels import Kernel
from guidekit.core.population import Population, Time
from guidekit.core.predictions import Prediction
from guidekit.core.state import State, tree_batch, tree_cat, tree_index, tree_map

if TYPE_CHECKING:
    from guidekit.core.run import Run
    from guidekit.samplers.base import Sampler


class GuidanceError(ValueError):
    """A guidance cannot work with the prior, sampler or objective it was given; the message says why."""


class Denoiser:
    """A callable (x, t, condition) -> Prediction, as seen by the guidance that wraps it."""

    def __init__(self, run: Run, call: Callable[..., Prediction]) -> None:
        self.run, self.call = run, call

    def __call__(self, x: State, t: Time, condition: State | None = None) -> Prediction:
        """Belief about the clean state of x (B, *S) at time t (number or (B,)); condition None is unconditional."""
        return self.call(x, t, condition)

    def branches(self, x: State, t: Time, conditions: Sequence[State | None]) -> list[Prediction]:
        """One prediction per condition, all from a single joined call; None stands for the null condition."""
        if len(conditions) == 1:
            return [self(x, t, conditions[0])]
        n, size = len(conditions), tree_batch(x)
        joined = self(
            tree_cat([x] * n), torch.cat([t] * n) if isinstance(t, Tensor) else t, self._join(conditions, size)
        )
        return [tree_index(joined, slice(i * size, (i + 1) * size)) for i in range(n)]

    def _join(self, conditions: Sequence[State | None], size: int) -> State | None:
        if all(c is None for c in conditions):
            return None
        null = self.run.prior.null_condition

        def row(leaf: Tensor) -> Tensor:
            return leaf.to(self.run.device).expand(size, *leaf.shape)

        return tree_cat([tree_map(row, null) if c is None else c for c in conditions])


class Guidance:
    """Base of all guidance plugs: override the hooks you need, the others pass through.

    Plugs are frozen dataclasses. What changes while sampling travels in the population's memory; diagnostics go to
    `run.record`. A hook's `inner` is the same hook of everything inside this plug.
    """

    particles: int = 1
    """Particles per group the plug wants when the caller names none."""

    default_sampler: Sampler | None = None
    """Sampler the plug wants when the caller names none; None is the prior's own."""

    time_independent: bool = False
    """Whether an overridden `denoise` ignores the time, so that unchanged states may keep their answer."""

    reorders: bool = False
    """Whether particles of a group may change places in `move` or `finish`."""

    def check(self, run: Run) -> None:
        """Raise `GuidanceError` where this plug cannot work with the run's prior, sampler or particle count."""

    def start(self, population: Population, run: Run) -> Population:
        """Where do we begin?"""
        return population

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """What is the clean state, as far as we know?"""
        return inner(x, t, condition)

    def propose(
        self, inner: Callable[[Population, float, float], Kernel], population: Population, t: float, u: float
    ) -> Kernel:
        """How may we get from t to the cleaner time u?"""
        return inner(population, t, u)

    def move(
        self, inner: Callable[[Population, float, float], Population], population: Population, t: float, u: float
    ) -> Population:
        """What happens to the population between t and u?"""
        return inner(population, t, u)

    def finish(self, population: Population, run: Run) -> Population:
        """What do we hand back?"""
        return population


HOOKS = ("start", "denoise", "propose", "move", "finish")


def overrides(plug: Guidance, hook: str) -> bool:
    """True when a plug has its own version of a hook."""
    return getattr(type(plug), hook) is not getattr(Guidance, hook)


class Chain(Guidance):
    """Plugs composed as an onion: later ones wrap earlier ones. Made by `chain`."""

    def __init__(self, plugs: Sequence[Guidance]) -> None:
        self.plugs = tuple(plugs)


def chain(*plugs: Guidance | None) -> Guidance:
    """Compose guidances; `chain(a, b)` means b wraps a.

    Inside to outside: a denoise rule (CFG) before the gradient that looks through it (DPS), candidate search (SVDD)
    before the particle filter that weighs its outcome (FK steering), best-of-N last.
    """
    return Chain(flatten([plug for plug in plugs if plug is not None]))


def flatten(plugs: Sequence[Guidance]) -> list[Guidance]:
    """Plugs with nested chains opened, inside first."""
    flat: list[Guidance] = []
    for plug in plugs:
        flat.extend(flatten(plug.plugs) if isinstance(plug, Chain) else [plug])
    return flat


def wrap(hook: str, plugs: Sequence[Guidance], base: Callable) -> Callable:
    """The hook of all plugs around its innermost version; plugs that do not override it cost nothing."""
    for plug in plugs:
        if overrides(plug, hook):
            base = partial(getattr(plug, hook), base)
    return base
