"""Finite automata over tokens: exact draws, marginals and normalizers of independent tokens given a rule.

The law of tokens x_1 .. x_L that are independent with laws p_l, given that an automaton accepts them, is
    P(x) = p_1(x_1) ... p_L(x_L) [accepted] / Z.
It is a Markov chain of the automaton's states, so that messages from the right, one pass, give Z and exact draws. Rules
of neighbors (a map's cells, a graph's walks) and forbidden words are automata.

Source: forward filtering, backward sampling (here the other way round), Carter and Kohn 1994; automata as constraints,
Zhang et al. 2023, arXiv:2304.07438 (of autoregressive models).
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from guidekit.core.random import Draw, pick


@dataclasses.dataclass(frozen=True, eq=False)
class Automaton:
    """A deterministic finite automaton with Q states over V tokens; state 0 is the first.

    Args:
        moves: (Q, V) int64, the state after a token, -1 where the token is not allowed; or (K, Q, V), K such tables.
        final: (Q,) bool, states in which a sequence may end; None is all of them.
        tables: (L,) int64, the table of each place, where there are several.
        places: (L, V) bool, tokens that are allowed at each place at all; None allows all of them.

    Raises:
        ValueError: moves that lead to no state, or that have another shape.
    """

    moves: Tensor
    final: Tensor | None = None
    tables: Tensor | None = None
    places: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse tables that are none."""
        if self.moves.ndim not in (2, 3) or self.moves.dtype != torch.int64 or not self.moves.shape[-2]:
            raise ValueError(f"moves {tuple(self.moves.shape)} {self.moves.dtype}; a table (states, tokens) of int64")
        if self.moves.min() < -1 or self.moves.max() >= self.size:
            raise ValueError(f"moves lead to state {int(self.moves.max())}; there are {self.size}, and -1 for none")
        if self.final is not None and self.final.shape != (self.size,):
            raise ValueError(f"final has shape {tuple(self.final.shape)}; one bool a state ({self.size}) is expected")
        if (self.moves.ndim == 3) != (self.tables is not None):
            raise ValueError("moves (tables, states, tokens) come with tables=, the number of the table at each place")
        if self.tables is not None and not (self.tables.min() >= 0 and self.tables.max() < len(self.moves)):
            raise ValueError(f"there is no table {int(self.tables.max())}; moves have {len(self.moves)}")
        if self.tables is not None and self.places is not None and len(self.tables) != len(self.places):
            raise ValueError(f"tables are of {len(self.tables)} places, and places of {len(self.places)}")

    @property
    def size(self) -> int:
        """Q."""
        return self.moves.shape[-2]

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.moves.shape[-1]

    @property
    def length(self) -> int | None:
        """L where something depends on the place, or None."""
        of_places = self.tables if self.tables is not None else self.places
        return None if of_places is None else len(of_places)

    @property
    def ends(self) -> Tensor:
        """(Q,) bool, states in which a sequence may end."""
        return torch.ones(self.size, dtype=torch.bool) if self.final is None else self.final

    def at(self, place: int) -> Tensor:
        """The table (Q, V) of a place."""
        return self.moves if self.tables is None else self.moves[self.tables[place]]

    def law(self, log_probs: Tensor) -> Tensor:
        """log_probs (B, L, V) with -inf where a place does not allow a token.

        Raises:
            ValueError: another number of places or tokens than the automaton has.
        """
        if log_probs.shape[-1] != self.vocab_size or self.length not in (None, log_probs.shape[1]):
            raise ValueError(
                f"laws of {log_probs.shape[1]} places over {log_probs.shape[-1]} tokens; the automaton is of "
                f"{self.length or 'any number of'} places over {self.vocab_size}"
            )
        return (
            log_probs if self.places is None else log_probs.masked_fill(~self.places.to(log_probs.device), -torch.inf)
        )

    @classmethod
    def of_pairs(cls, allowed: Tensor) -> Automaton:
        """Accepts sequences in which every token follows the one before it: allowed (V, V) bool; any may be first."""
        size = len(allowed)
        after = torch.arange(1, size + 1)  # state 1 + v follows token v
        return cls(torch.cat([after[None], torch.where(allowed, after, -1)]))

    @classmethod
    def avoiding(cls, words: Sequence[Sequence[int | Collection[int]]], vocab_size: int) -> Automaton:
        """Accepts sequences without any of the words, each a sequence of ids or of collections of ids.

        States are the sets of words in progress (Aho and Corasick 1975).

        Raises:
            ValueError: an empty word.
        """
        sets = [[frozenset([ids] if isinstance(ids, int) else ids) for ids in word] for word in words]
        if not all(sets):
            raise ValueError("a forbidden word is empty; words have at least one token")
        begun: frozenset[tuple[int, int]] = frozenset()
        number, rows, todo = {begun: 0}, [], deque([begun])
        while todo:
            progress, row = todo.popleft(), []
            for token in range(vocab_size):
                tried = [*progress, *((i, 0) for i in range(len(sets)))]
                after = frozenset((i, k + 1) for i, k in tried if token in sets[i][k])
                if any(k == len(sets[i]) for i, k in after):
                    row.append(-1)
                    continue
                if after not in number:
                    number[after] = len(number)
                    todo.append(after)
                row.append(number[after])
            rows.append(row)
        return cls(torch.tensor(rows))

    def without(self, tokens: Collection[int]) -> Automaton:
        """The automaton that accepts what this one does and holds none of the tokens."""
        moves = self.moves.clone()
        moves[..., list(tokens)] = -1
        return dataclasses.replace(self, moves=moves)

    def accepts(self, tokens: Tensor) -> Tensor:
        """Which of the sequences (B, L) are accepted, (B,) bool."""
        state = torch.zeros_like(tokens[:, 0])
        for place, token in enumerate(tokens.unbind(1)):
            state = torch.where(state < 0, -1, self.at(place).to(tokens.device)[state.clamp_min(0), token])
        good = (state >= 0) & self.ends.to(tokens.device)[state.clamp_min(0)]
        if self.places is None:
            return good
        return good & self.places.to(tokens.device).gather(1, tokens.T).all(0)

    def lengths(self, most: int, pad_id: int | None) -> Tensor:
        """Which numbers of tokens 0 .. L in front of padding some accepted sequence of L places has, (L + 1,) bool."""
        free = torch.ones(self.vocab_size, dtype=torch.bool)
        reached = torch.zeros(self.size, dtype=torch.bool)
        reached[0] = True
        found = torch.zeros(most + 1, dtype=torch.bool)
        after = [self.ends]  # from which padding alone leads to the end, from place l on
        if pad_id is not None:
            free[pad_id] = False
            for place in range(most - 1, -1, -1):
                then = self.at(place)[:, pad_id]
                open_here = True if self.places is None else bool(self.places[place, pad_id])
                after.append((then >= 0) & after[-1][then.clamp_min(0)] & open_here)
            after.reverse()
        steps = self._steps(self.at(0), free) if self.length is None and most else None
        for count in range(most + 1):
            if pad_id is not None or count == most:
                found[count] = (reached & after[count if pad_id is not None else 0]).any()
            if count < most:
                if steps is None:
                    allowed = free if self.places is None else free & self.places[count]
                    begin, end = self._steps(self.at(count), allowed)
                else:
                    begin, end = steps
                then = end[reached[begin]]
                reached = torch.zeros_like(reached)
                reached[then] = True
        return found

    def _steps(self, moves: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs of states, before and after, with a move between them by an allowed token."""
        state, token = ((moves >= 0) & allowed).nonzero(as_tuple=True)
        pairs = torch.unique(state * self.size + moves[state, token])
        return pairs // self.size, pairs % self.size


def messages(automaton: Automaton, log_probs: Tensor) -> Tensor:
    """log-probability that what is left, l .. L, is accepted from every state, (B, L + 1, Q); [:, 0, 0] is log Z.

    Args:
        automaton: over V tokens.
        log_probs: (B, L, V) of independent tokens, nats, need not be normalized.
    """
    device, laws = log_probs.device, automaton.law(log_probs).double()
    last = torch.zeros(len(laws), automaton.size, dtype=torch.float64, device=device)
    found = [last.masked_fill(~automaton.ends.to(device), -torch.inf)]
    for place in range(laws.shape[1] - 1, -1, -1):
        moves = automaton.at(place).to(device)
        weights = laws[:, place, None] + found[-1][:, moves.clamp_min(0)]
        found.append(torch.logsumexp(weights.masked_fill(moves < 0, -torch.inf), -1))
    return torch.stack(found[::-1], 1)


def log_normalizer(automaton: Automaton, log_probs: Tensor) -> Tensor:
    """log Z, the logarithm of the probability (B,) that independent tokens (B, L, V) are accepted."""
    return messages(automaton, log_probs)[:, 0, 0]


def draw_accepted(automaton: Automaton, log_probs: Tensor, draw: Draw) -> Tensor:
    """Tokens (B, L) from the law of the module's first lines, exactly; rows without such sequences are drawn freely."""
    return draw_by_logs(automaton, log_probs, draw.uniform(*log_probs.shape[:2]))


def draw_by_logs(automaton: Automaton, log_probs: Tensor, u: Tensor) -> Tensor:
    """As `draw_accepted`, given numbers u (B, L) uniform on [0, 1); slow, and right however small probabilities are."""
    device, laws = log_probs.device, automaton.law(log_probs).double()
    left = messages(automaton, log_probs)
    possible = left[:, 0, 0] > -torch.inf
    state, drawn = torch.zeros_like(u[:, 0], dtype=torch.int64), []
    for place in range(laws.shape[1]):
        moves = automaton.at(place).to(device)
        options = moves[state]
        ahead = left[:, place + 1].gather(1, options.clamp_min(0)).masked_fill(options < 0, -torch.inf)
        weights = torch.where(possible[:, None], laws[:, place] + ahead, log_probs[:, place].double())
        token = pick(torch.log_softmax(weights, -1), u[:, place])
        drawn.append(token)
        state = moves[state, token].clamp_min(0)
    return torch.stack(drawn, 1)


def marginals(automaton: Automaton, log_probs: Tensor) -> Tensor:
    """log P(x_l = v | accepted), (B, L, V) float64; rows without any such sequence keep their laws."""
    device, laws = log_probs.device, automaton.law(log_probs).double()
    left = messages(automaton, log_probs)
    here = torch.full_like(left[:, 0], -torch.inf)  # of being in a state before place l, up to a constant a row
    here[:, 0] = 0.0
    found = []
    for place in range(laws.shape[1]):
        moves = automaton.at(place).to(device)
        closed, after = moves < 0, moves.clamp_min(0)
        ahead = left[:, place + 1][:, after].masked_fill(closed, -torch.inf)
        steps = here[..., None] + laws[:, place, None] + ahead  # (B, Q, V)
        found.append(torch.logsumexp(steps, 1))
        mass = (here[..., None] + laws[:, place, None]).masked_fill(closed, -torch.inf).flatten(1)
        most = mass.amax(1, keepdim=True).clamp_min(-1e300)
        reached = torch.zeros_like(here).index_add_(1, after.flatten(), (mass - most).exp())
        here = reached.log()
    law = torch.stack(found, 1)
    possible = (left[:, 0, 0] > -torch.inf)[:, None, None]
    return torch.where(possible, torch.log_softmax(law, -1), log_probs.double())
