"""Rules on sequences as automata: words to be held or avoided, words at the end, counts, codons; and all at once.

A word is a sequence of elements (collection of token ids, fewest, most): that many tokens in a row out of the
collection. The automata are made by the subset construction (Rabin and Scott 1959) and are as small as can be (Moore
1956).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from guidekit.processes.automata import Automaton

Element = tuple[Collection[int], int, int]
Word = Sequence[Element]

MOST = 8192
"""States that an automaton may have."""
TRIED = 1 << 24
"""Entries of a table before states that no sequence reaches are left out."""


class RuleError(ValueError):
    """Rules that cannot be kept together, or that need too much memory."""


def holding(words: Sequence[Word], vocab_size: int, free: Collection[int]) -> Automaton:
    """Accepts sequences of the tokens `free` that hold one of the words somewhere.

    Raises:
        RuleError: more than `MOST` states.
    """
    return _searched(words, vocab_size, free, "stop")


def avoiding(words: Sequence[Word], vocab_size: int, free: Collection[int]) -> Automaton:
    """Accepts sequences of the tokens `free` that hold none of the words; raises as `holding`."""
    return _searched(words, vocab_size, free, "never")


def ending(word: Word, behind: int, vocab_size: int, free: Collection[int]) -> Automaton:
    """Accepts sequences of the tokens `free` that end with a word and `behind` more tokens; raises as `holding`."""
    return _searched([[*word, (free, behind, behind)]], vocab_size, free, "end")


def _searched(words: Sequence[Word], vocab_size: int, free: Collection[int], found: str) -> Automaton:
    """Automata that look for words: a state is the set of places in words that may have been reached."""
    steps = [[(frozenset(ids), i >= least) for ids, least, most in word for i in range(most)] for word in words]
    starts, goals, optional, takes = 0, 0, 0, [0] * vocab_size
    bit = 1
    for word in steps:
        starts |= bit
        for ids, may_skip in word:
            optional |= bit if may_skip else 0
            for token in ids:
                takes[token] |= bit
            bit <<= 1
        goals |= bit
        bit <<= 1

    def closed(places: int) -> int:
        while (more := places | ((places & optional) << 1)) != places:
            places = more
        return places

    first = closed(starts)
    number, todo, rows = {first: 0}, deque([first]), []
    allowed = frozenset(free)
    while todo:
        places, row = todo.popleft(), []
        for token in range(vocab_size):
            if token not in allowed:
                row.append(-1)
                continue
            if found == "stop" and places & goals:
                after = places
            else:
                after = closed(starts | ((places & takes[token]) << 1))
                if after & goals and found == "stop":
                    after = goals
            if after & goals and found == "never":
                row.append(-1)
                continue
            if after not in number:
                number[after] = len(number)
                todo.append(after)
                if len(number) > 4 * MOST:
                    raise RuleError(f"the words need more than {4 * MOST} states; take fewer or shorter gaps")
            row.append(number[after])
        rows.append(row)
    final = None if found == "never" else torch.tensor([bool(places & goals) for places in number])
    if found == "never" and first & goals:
        raise RuleError("a word that must not occur may be empty")
    return smallest(Automaton(torch.tensor(rows), final))


def counting(ids: Collection[int], least: int, most: int, vocab_size: int, free: Collection[int]) -> Automaton:
    """Accepts sequences of the tokens `free` with least .. most tokens out of ids."""
    states = torch.arange(most + 1)[:, None]
    counted = torch.tensor([int(token in set(ids)) for token in range(vocab_size)])
    moves = states + counted
    closed = (moves > most) | torch.tensor([token not in set(free) for token in range(vocab_size)])
    return Automaton(moves.masked_fill(closed, -1), states[:, 0] >= least)


def codons(sets: Sequence[Collection[tuple[int, int, int]]], first: int, length: int) -> Automaton:
    """Accepts DNA (four tokens, L places) whose codons from place `first` on are each out of a set of triplets."""
    distinct = list(dict.fromkeys(frozenset(one) for one in sets))
    outside, one, two = torch.full((3, 16, 4), -1).unbind()
    outside[0], one[0] = 0, torch.arange(4)
    two[:4] = torch.arange(16).reshape(4, 4)
    ends = torch.full((len(distinct), 16, 4), -1)
    for i, triplets in enumerate(distinct):
        for a, b, c in triplets:
            ends[i, 4 * a + b, c] = 0
    tables = torch.zeros(length, dtype=torch.int64)
    for i, one_of in enumerate(sets):
        place = first + 3 * i
        tables[place : place + 3] = torch.tensor([1, 2, 3 + distinct.index(frozenset(one_of))])
    return Automaton(torch.cat([torch.stack([outside, one, two]), ends]), None, tables)


def placed(places: Tensor) -> Automaton:
    """Accepts sequences whose tokens are allowed at their places, (L, V) bool."""
    return Automaton(torch.zeros(1, places.shape[1], dtype=torch.int64), None, None, places)


def padded(automaton: Automaton, pad_id: int) -> Automaton:
    """Accepts what the automaton does with any number of tokens pad_id behind."""
    moves = automaton.moves.clone()
    end = automaton.size
    moves[..., pad_id] = torch.where(automaton.ends, end, -1)
    last = torch.full((*moves.shape[:-2], 1, moves.shape[-1]), -1)
    last[..., pad_id] = end
    final = torch.cat([automaton.ends, torch.ones(1, dtype=torch.bool)])
    return Automaton(torch.cat([moves, last], -2), final, automaton.tables, automaton.places)


def spelled(automaton: Automaton, tokens: Sequence[Sequence[int] | None]) -> Automaton:
    """Accepts sequences of tokens whose symbols, one after the other, the automaton accepts.

    Args:
        automaton: over symbols, the same at all places.
        tokens: the symbols of every token; None is a token that does not occur.
    """
    dead = automaton.size
    table = torch.cat([automaton.moves, automaton.moves.new_full((1, automaton.vocab_size), -1)])
    table = torch.where(table < 0, dead, table)
    moves = torch.full((dead, len(tokens)), dead)
    for column, symbols in enumerate(tokens):
        if symbols is None:
            continue
        state = torch.arange(dead)
        for symbol in symbols:
            state = table[state, symbol]
        moves[:, column] = state
    moves = torch.where(moves == dead, -1, moves)
    useful = np.append(_reached(moves[None].numpy(), np.arange(dead) == 0), False)
    number = torch.from_numpy(np.where(useful, useful.cumsum() - 1, -1))
    kept = useful.nonzero()[0]
    return Automaton(number[moves[kept]], automaton.ends[kept])


def together(one: Automaton, other: Automaton) -> Automaton:
    """Accepts what both accept.

    Raises:
        RuleError: more than `MOST` states, or tables that are too large to be looked at.
    """
    places = one.places
    if other.places is not None:
        places = other.places if places is None else places & other.places
    a, b = (each.moves.reshape(-1, *each.moves.shape[-2:]) for each in (one, other))
    if one.size == 1 and bool((a == 0).all()):
        return Automaton(other.moves, other.final, other.tables, places)
    if other.size == 1 and bool((b == 0).all()):
        return Automaton(one.moves, one.final, one.tables, places)
    length = one.length or other.length or 1
    pairs = torch.stack(
        [torch.zeros(length, dtype=torch.int64) if e.tables is None else e.tables for e in (one, other)]
    )
    kinds, tables = torch.unique(pairs, dim=1, return_inverse=True)
    if kinds.shape[1] * one.size * other.size * one.vocab_size > TRIED:
        raise RuleError(f"rules of {one.size} and {other.size} states are too many to be kept together")
    left, right = a[kinds[0]][:, :, None], b[kinds[1]][:, None]
    moves = torch.where((left >= 0) & (right >= 0), left * other.size + right, -1).flatten(1, 2)
    final = (one.ends[:, None] & other.ends).flatten()
    many = kinds.shape[1] > 1
    found = Automaton(moves if many else moves[0], final, tables if many else None)
    found = smallest(found)
    if found.size > MOST:
        raise RuleError(f"the rules need {found.size} states together, and at most {MOST} can be looked at")
    return Automaton(found.moves, found.final, found.tables, places)


def smallest(automaton: Automaton) -> Automaton:
    """The automaton with the fewest states: none that no sequence passes, and none alike. Order of states is new."""
    moves = automaton.moves.reshape(-1, automaton.size, automaton.vocab_size).numpy()
    final = automaton.ends.numpy()
    reached = _reached(moves, np.arange(len(final)) == 0)
    useful = reached & _leading(moves, final)
    useful[0] = True  # where nothing is accepted, the first state is left, without moves
    kept = np.flatnonzero(useful)
    number = np.full(len(final) + 1, -1)
    number[kept] = np.arange(len(kept))
    moves, final = number[moves[:, kept]], final[kept]
    wide = moves.transpose(1, 0, 2).reshape(len(kept), -1)
    kind = np.unique(final, return_inverse=True)[1].reshape(-1)
    while True:
        seen = np.where(wide >= 0, kind[wide], -1)
        _, new = np.unique(np.concatenate([kind[:, None], seen], 1), axis=0, return_inverse=True)
        new = new.reshape(-1)
        if new.max() == kind.max():
            break
        kind = new
    order = np.unique(kind, return_index=True)[1]
    order = np.concatenate([[0], order[kind[order] != kind[0]]])  # the first state stays first
    place = np.full(kind.max() + 1, -1)
    place[kind[order]] = np.arange(len(order))
    small = np.where(moves[:, order] >= 0, place[kind[moves[:, order]]], -1)
    table = torch.from_numpy(small if automaton.tables is not None else small[0])
    return Automaton(table, torch.from_numpy(final[order]), automaton.tables, automaton.places)


def _reached(moves: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """States (Q,) bool that some tokens lead to."""
    reached, front = begin.copy(), np.flatnonzero(begin)
    while len(front):
        then = moves[:, front]
        then = np.unique(then[then >= 0])
        front = then[~reached[then]]
        reached[front] = True
    return reached


def _leading(moves: np.ndarray, final: np.ndarray) -> np.ndarray:
    """States (Q,) bool from which some tokens lead to the end."""
    leading = np.append(final, False)
    while True:
        more = leading.copy()
        more[:-1] |= leading[moves].any((0, 2))
        if (more == leading).all():
            return leading[:-1]
        leading = more


__all__ = [
    "RuleError",
    "avoiding",
    "codons",
    "counting",
    "ending",
    "holding",
    "padded",
    "placed",
    "smallest",
    "spelled",
    "together",
]
