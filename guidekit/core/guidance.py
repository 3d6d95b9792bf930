"""The five places where a guidance may act on the sampling loop, and how guidances combine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from guidekit.core.kernels import Kernel
from guidekit.core.population import Population, Time
from guidekit.core.predictions import Prediction
from guidekit.core.state import Coded, State, tree_batch, tree_cat, tree_index, tree_leaves, tree_map

if TYPE_CHECKING:
    from guidekit.core.run import Run
    from guidekit.samplers.base import Sampler


class GuidanceError(ValueError):
    """A guidance cannot work with the prior, sampler or objective it was given; the message says why."""


class Ask(NamedTuple):
    """One question to a denoiser.

    Attributes:
        x: states (B, *S).
        t: number or (B,).
        condition: pytree with leading B; None is the null condition.
        code: of the perturbation the network is asked under, 0 for none; see `Run.code_of`.
        seed: (B,) int64, of its random numbers; None where it draws none.
    """

    x: State
    t: Time
    condition: State | None = None
    code: int = 0
    seed: Tensor | None = None


class Denoiser:
    """A callable (x, t, condition) -> Prediction, as seen by the guidance that wraps it."""

    def __init__(self, run: Run, call: Callable[..., Prediction]) -> None:
        self.run, self.call = run, call

    def __call__(self, x: State, t: Time, condition: State | None = None) -> Prediction:
        """Belief about the clean state of x (B, *S) at time t (number or (B,)); condition None is unconditional."""
        return self.call(x, t, condition)

    def branches(self, x: State, t: Time, conditions: Sequence[State | None]) -> list[Prediction]:
        """One prediction per condition, all from a single joined call; None stands for the null condition."""
        return self.joined([Ask(x, t, condition) for condition in conditions])

    def joined(self, asks: Sequence[Ask]) -> list[Prediction]:
        """One prediction per question, all from a single call with their rows in order; states of one shape."""
        if len(asks) == 1 and not asks[0].code:
            return [self(*asks[0][:3])]
        sizes = [tree_batch(ask.x) for ask in asks]
        condition = self._conditions([ask.condition for ask in asks], sizes)
        if any(ask.code for ask in asks):
            pairs = list(zip(asks, sizes, strict=True))
            codes = torch.cat([torch.full((size,), ask.code, device=self.run.device) for ask, size in pairs])
            none = partial(torch.zeros, dtype=torch.int64, device=self.run.device)
            condition = Coded(condition, codes, torch.cat([none(n) if a.seed is None else a.seed for a, n in pairs]))
        joined = self(tree_cat([ask.x for ask in asks]), self._times(asks, sizes), condition)
        ends = torch.tensor(sizes).cumsum(0).tolist()
        return [tree_index(joined, slice(end - size, end)) for end, size in zip(ends, sizes, strict=True)]

    def _times(self, asks: Sequence[Ask], sizes: Sequence[int]) -> Time:
        times = [ask.t for ask in asks]
        if not any(isinstance(t, Tensor) for t in times) and len(set(times)) == 1:
            return times[0]
        leaf = tree_leaves(asks[0].x)[0]
        kind = leaf.dtype if leaf.is_floating_point() else torch.float64
        rows = [torch.as_tensor(t, device=leaf.device) for t in times]
        return torch.cat([t.to(kind).expand(size) if t.ndim == 0 else t for t, size in zip(rows, sizes, strict=True)])

    def _conditions(self, conditions: Sequence[State | None], sizes: Sequence[int]) -> State | None:
        if all(c is None for c in conditions):
            return None
        null = self.run.asked.null_condition

        def rows(size: int) -> State:
            return tree_map(lambda leaf: leaf.to(self.run.device).expand(size, *leaf.shape), null)

        given = zip(conditions, sizes, strict=True)
        return tree_cat([rows(size) if c is None else c for c, size in given])


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

    contrasts: bool = False
    """Whether `denoise` asks what is inside it about several branches at once."""

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
