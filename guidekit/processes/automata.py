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
        moves: (Q, V) int64, the state after a token; -1 where the token is not allowed.
        final: (Q,) bool, states in which a sequence may end; None is all of them.

    Raises:
        ValueError: moves that lead to no state, or that have another shape.
    """

    moves: Tensor
    final: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse tables that are none."""
        if self.moves.ndim != 2 or self.moves.dtype != torch.int64 or not len(self.moves):
            raise ValueError(f"moves {tuple(self.moves.shape)} {self.moves.dtype}; a table (states, tokens) of int64")
        if self.moves.min() < -1 or self.moves.max() >= len(self.moves):
            raise ValueError(
                f"moves lead to state {int(self.moves.max())}; there are {len(self.moves)}, and -1 for none"
            )
        if self.final is not None and self.final.shape != self.moves.shape[:1]:
            raise ValueError(
                f"final has shape {tuple(self.final.shape)}; one bool a state ({len(self.moves)}) is expected"
            )

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.moves.shape[1]

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
        moves[:, list(tokens)] = -1
        return Automaton(moves, self.final)

    def accepts(self, tokens: Tensor) -> Tensor:
        """Which of the sequences (B, L) are accepted, (B,) bool."""
        moves = self.moves.to(tokens.device)
        state = torch.zeros_like(tokens[:, 0])
        for token in tokens.unbind(1):
            state = torch.where(state < 0, -1, moves[state.clamp_min(0), token])
        final = torch.ones(len(moves), dtype=torch.bool) if self.final is None else self.final
        return (state >= 0) & final.to(tokens.device)[state.clamp_min(0)]


def messages(automaton: Automaton, log_probs: Tensor) -> Tensor:
    """log-probability that what is left, l .. L, is accepted from every state, (B, L + 1, Q); [:, 0, 0] is log Z.

    Args:
        automaton: over V tokens.
        log_probs: (B, L, V) of independent tokens, nats, need not be normalized.
    """
    moves = automaton.moves.to(log_probs.device)
    closed, after = moves < 0, moves.clamp_min(0)
    last = torch.zeros(len(log_probs), len(moves), dtype=torch.float64, device=log_probs.device)
    if automaton.final is not None:
        last = last.masked_fill(~automaton.final.to(last.device), -torch.inf)
    found = [last]
    for law in log_probs.double().unbind(1)[::-1]:
        weights = (law[:, None] + found[-1][:, after]).masked_fill(closed, -torch.inf)
        found.append(torch.logsumexp(weights, -1))
    return torch.stack(found[::-1], 1)


def log_normalizer(automaton: Automaton, log_probs: Tensor) -> Tensor:
    """log Z, the logarithm of the probability (B,) that independent tokens (B, L, V) are accepted."""
    return messages(automaton, log_probs)[:, 0, 0]


def draw_accepted(automaton: Automaton, log_probs: Tensor, draw: Draw) -> Tensor:
    """Tokens (B, L) from the law of the module's first lines, exactly; rows without such sequences are drawn freely."""
    moves, left = automaton.moves.to(log_probs.device), messages(automaton, log_probs)
    possible = left[:, 0, 0] > -torch.inf
    u = draw.uniform(*log_probs.shape[:2])
    state, drawn = torch.zeros_like(u[:, 0], dtype=torch.int64), []
    for place, law in enumerate(log_probs.double().unbind(1)):
        options = moves[state]
        ahead = left[:, place + 1].gather(1, options.clamp_min(0)).masked_fill(options < 0, -torch.inf)
        weights = torch.where(possible[:, None], law + ahead, law)
        token = pick(torch.log_softmax(weights, -1), u[:, place])
        drawn.append(token)
        state = moves[state, token].clamp_min(0)
    return torch.stack(drawn, 1)


def marginals(automaton: Automaton, log_probs: Tensor) -> Tensor:
    """log P(x_l = v | accepted), (B, L, V) float64; rows without any such sequence keep their laws."""
    moves, left = automaton.moves.to(log_probs.device), messages(automaton, log_probs)
    closed, after = moves < 0, moves.clamp_min(0)
    here = torch.full_like(left[:, 0], -torch.inf)  # of being in a state before place l, up to a constant a row
    here[:, 0] = 0.0
    found = []
    for place, law in enumerate(log_probs.double().unbind(1)):
        ahead = left[:, place + 1][:, after].masked_fill(closed, -torch.inf)
        steps = here[..., None] + law[:, None] + ahead  # (B, Q, V)
        found.append(torch.logsumexp(steps, 1))
        mass = (here[..., None] + law[:, None]).masked_fill(closed, -torch.inf).flatten(1)
        most = mass.amax(1, keepdim=True).clamp_min(-1e300)
        reached = torch.zeros_like(here).index_add_(1, after.flatten(), (mass - most).exp())
        here = reached.log()
    law = torch.stack(found, 1)
    possible = (left[:, 0, 0] > -torch.inf)[:, None, None]
    return torch.where(possible, torch.log_softmax(law, -1), log_probs.double())
