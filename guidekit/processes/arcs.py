"""An automaton by its arcs: pairs of states with a move between them, and the sets of tokens that make it.

Many tokens move between the same two states, and many pairs of states have the same set of tokens. The law of a place
is summed once over every set, and messages go over arcs, whatever the number of tokens.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from guidekit.processes.automata import Automaton


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """The arcs of one table of moves, by the states that they leave.

    Args:
        begin, end: (P,) states before and after.
        kind: (P,) number of the set of tokens.
        leaving: (Q, D) arcs that leave every state; P stands for none.
    """

    begin: Tensor
    end: Tensor
    kind: Tensor
    leaving: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Arcs:
    """All tables of an automaton.

    Args:
        size: Q.
        tables: of moves.
        single: (S,) tokens that are sets of one, kinds 0 .. S - 1.
        member: (V, M) float64, 1 where a token is in a set of several, kinds S .. S + M - 1.
    """

    size: int
    tables: tuple[Table, ...]
    single: Tensor
    member: Tensor

    @property
    def kinds(self) -> int:
        """S + M."""
        return len(self.single) + self.member.shape[1]

    def sums(self, law: Tensor) -> Tensor:
        """Numbers of tokens (..., V), summed over the tokens of every kind, (..., S + M) float64."""
        return torch.cat([law.index_select(-1, self.single), law @ self.member.to(law.dtype)], -1).double()

    def of_tokens(self, tokens: Tensor) -> Tensor:
        """Which kinds (N, S + M) tokens (N,) belong to, 1 or 0 in float64."""
        return torch.cat([(tokens[:, None] == self.single).double(), self.member[tokens]], 1)

    def to(self, device: torch.device) -> Arcs:
        """The same on another device."""
        if self.single.device == device:
            return self
        tables = tuple(
            Table(*(getattr(table, field.name).to(device) for field in dataclasses.fields(Table)))
            for table in self.tables
        )
        return Arcs(self.size, tables, self.single.to(device), self.member.to(device))


def arcs_of(automaton: Automaton) -> Arcs:
    """The arcs of an automaton."""
    size, vocab = automaton.size, automaton.vocab_size
    found, packed = [], []
    for moves in automaton.moves.reshape(-1, size, vocab).numpy():
        state, token = np.nonzero(moves >= 0)
        pair, arc = np.unique(state * size + moves[state, token], return_inverse=True)
        sets = np.zeros((len(pair), vocab), dtype=bool)
        sets[arc.reshape(-1), token] = True
        found.append((pair // size, pair % size))
        packed.append(np.packbits(sets, axis=1))
    distinct, kind = np.unique(np.concatenate(packed), axis=0, return_inverse=True)
    sets = np.unpackbits(distinct, axis=1, count=vocab).astype(bool)
    alone = sets.sum(1) == 1
    number = np.where(alone, alone.cumsum() - 1, alone.sum() + (~alone).cumsum() - 1)
    kinds = np.split(number[kind.reshape(-1)], np.cumsum([len(one) for one in packed])[:-1])
    tables = tuple(
        Table(*map(torch.from_numpy, (begin, end, kind, _leaving(begin, size))))
        for (begin, end), kind in zip(found, kinds, strict=True)
    )
    single = torch.from_numpy(sets[alone].argmax(1).astype(np.int64))
    return Arcs(size, tables, single, torch.from_numpy(sets[~alone].T.astype(np.float64)))


def _leaving(begin: np.ndarray, size: int) -> np.ndarray:
    """Arcs (Q, D) that leave every state, given where arcs begin, in order; behind them their number, for none."""
    counts = np.bincount(begin, minlength=size)
    column = np.arange(len(begin)) - (counts.cumsum() - counts)[begin]
    found = np.full((size, max(1, counts.max(initial=0))), len(begin))
    found[begin, column] = np.arange(len(begin))
    return found


__all__ = ["Arcs", "Table", "arcs_of"]
