"""Where and for whom a perturbation acts: what it is told about the call of a site, and what it leaves behind."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor

from guidekit.interventions.numbers import keyed_uniform, stream_of
from guidekit.interventions.sites import Site


@dataclasses.dataclass(frozen=True)
class Call:
    """Arguments of a site's call, all rows."""

    args: tuple
    kwargs: dict

    @property
    def first(self) -> Tensor:
        """The tensor that goes through the site: its first argument."""
        return self.args[0] if self.args else next(iter(self.kwargs.values()))

    @property
    def device(self) -> torch.device:
        """Of that tensor."""
        return self.first.device

    @property
    def dims(self) -> tuple[int, ...] | None:
        """Height and width (or more) of a map (B, C, H, W), None for a sequence."""
        return tuple(self.first.shape[2:]) if self.first.ndim > 3 else None

    def replaced(self, x: Tensor) -> tuple[tuple, dict]:
        """The arguments with another first one."""
        if self.args:
            return (x, *self.args[1:]), self.kwargs
        return (), {**self.kwargs, next(iter(self.kwargs)): x}


@dataclasses.dataclass(frozen=True)
class Place:
    """Where and for whom an operator acts.

    Args:
        site: the site.
        index, count: its number among the sites of this operator, and how many there are.
        dims: extents of the tokens' grid behind the leading ones.
        movable: tokens that may be changed (b, N) bool, or None for all.
        rows: the perturbed rows' numbers in the call, (b,) int64.
        number: their numbers in the whole batch, of which the call may have a part, (b,) int64.
        seed: (b,) int64, of their random numbers.
        time: (b,), in [0, 1], or None where the caller did not say.
        call: the site was called with, all rows.
        probe: takes what is recorded.
    """

    site: Site
    index: int
    count: int
    dims: tuple[int, ...]
    movable: Tensor | None
    rows: Tensor
    number: Tensor
    seed: Tensor
    time: Tensor | None
    call: Call
    probe: Probe

    def uniform(self, numbers: int | Tensor, shared: bool = False) -> Tensor:
        """Uniform numbers in (0, 1), float64, a function of the row's seed, the site and the number alone.

        Args:
            numbers: how many a row, or their names (b, n) or (n,) int64.
            shared: the same at all sites.
        """
        if isinstance(numbers, int):
            numbers = torch.arange(numbers, device=self.seed.device)
        stream = 0 if shared else stream_of(self.site.name)
        return keyed_uniform(self.seed, stream, numbers)

    def record(self, value: Tensor) -> None:
        """Keep a tensor (b, ...), a row for each of the perturbed ones."""
        self.probe.records.setdefault(self.site.name, []).append(Recorded(self.number, value, self.dims))


class Recorded(NamedTuple):
    """What was kept at one call of a site.

    Attributes:
        rows: numbers of the rows in the whole batch, (b,) int64.
        value: (b, ...).
        dims: extents of the tokens' grid.
    """

    rows: Tensor
    value: Tensor
    dims: tuple[int, ...]


class Probe:
    """What perturbations did.

    Attributes:
        calls: times that each pair (operator's name, site's name) was reached.
        effects: relative change ||new - old|| / ||old|| of what flows there, over all perturbed rows so far.
        records: what was recorded, by site.
    """

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str], int] = {}
        self._sizes: dict[tuple[str, str], tuple[float, float]] = {}
        self.records: dict[str, list[Recorded]] = {}

    @property
    def effects(self) -> dict[tuple[str, str], float]:
        """See the class."""
        return {key: (d / max(o, 1e-300)) ** 0.5 for key, (d, o) in self._sizes.items()}

    def add(self, key: tuple[str, str], new: Tensor, old: Tensor) -> None:
        """Count a change."""
        d, o = self._sizes.get(key, (0.0, 0.0))
        difference = (new.detach() - old.detach()).double().square().sum()
        self._sizes[key] = (d + float(difference), o + float(old.detach().double().square().sum()))


__all__ = ["Call", "Place", "Probe", "Recorded"]
