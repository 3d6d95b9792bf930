"""What is known of the rows of a network's call."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor

from guidekit.interventions.sites import Site, SiteError


@dataclasses.dataclass(frozen=True)
class Rows:
    """What is known of the rows of a call; None is nothing.

    Args:
        code: (B,) int64, which operators a row gets, 0 for none.
        seed: (B,) int64, of a row's random numbers.
        time: (B,), that the states of the rows have, in [0, 1].
        number: (B,) int64, of a row before rows were left out.
    """

    code: Tensor | None = None
    seed: Tensor | None = None
    time: Tensor | None = None
    number: Tensor | None = None

    def cut(self, rows: Tensor | slice) -> Rows:
        """The same of some rows: a mask (B,), numbers (b,) or `slice(None)`."""
        if isinstance(rows, slice):
            return self
        known = [value for value in (self.number, self.code, self.seed, self.time) if value is not None]
        if self.number is not None:
            every = self.number
        elif known or rows.dtype == torch.bool:
            every = torch.arange(len(known[0]) if known else len(rows))
        else:
            return Rows(number=rows)
        parts = (self.code, self.seed, self.time, every)
        return Rows(*(None if value is None else value[rows.to(value.device)] for value in parts))

    def of(self, batch: int, site: Site, nodes: Tensor | None) -> Seen:
        """The rows of a tensor with `batch` of them that a site sees.

        Args:
            batch: how many there should be.
            site: for messages.
            nodes: the graph of every node (N,) where a tensor has a row for every node, otherwise None.

        Raises:
            SiteError: another number of rows than the call has.
        """
        code = torch.ones(batch, dtype=torch.int64) if self.code is None else self.code
        number = torch.arange(len(code)) if self.number is None else self.number
        seen = Seen(code, number if self.seed is None else self.seed, number, self.time)
        if nodes is not None:
            seen = seen.take(nodes)
        if len(seen.code) != batch:
            raise SiteError(
                f"site {site.name} sees a batch of {batch} where the call has {len(seen.code)}: it mixes rows, or has "
                "its batch elsewhere than first, and rows cannot be told apart there"
            )
        return seen


class Seen(NamedTuple):
    """The rows that a site sees; see `Rows`."""

    code: Tensor
    seed: Tensor
    number: Tensor
    time: Tensor | None

    def take(self, rows: Tensor) -> Seen:
        """Those of the given numbers, (b,) int64."""
        code, seed, number = (value[rows.to(value.device)] for value in self[:3])
        return Seen(code, seed, number, None if self.time is None else self.time[rows.to(self.time.device)])

    def of_code(self, code: int) -> Tensor:
        """Numbers of the rows with a code, (b,) int64."""
        return torch.eq(self.code, code).nonzero()[:, 0]
