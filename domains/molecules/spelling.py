"""The automaton of the SMILES that spell a fragment, over the symbols of a vocabulary.

What is read besides the fragment is not looked at, except for what would change it: a gap inside is closed by the
bracket that belongs to it and leaves the ring numbers of the fragment alone, what hangs on an aromatic atom of it does
so by a single bond, and the fragment begins where its ring numbers are free.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from guidekit.processes.automata import Automaton
from guidekit.processes.languages import RuleError, smallest

from .fragments import Fragment, Gap, Spelling

DEPTH = 3
"""Branches within branches of a gap, its own counted."""
RINGS = ("1", "2", "3")
"""Ring numbers that what is not of the fragment may use."""
OPEN = frozenset(map(frozenset, ("", "1", "2", "12", "13", "123")))
"""Those that may be open at once: the lowest that is free is used first, as canonical SMILES do."""
SPELLINGS = 24
"""Spellings of a fragment that are looked for, the most frequent ones."""
TRIED = 60_000
"""States before those that are alike are joined."""
SINGLE = frozenset("-/\\")
MULTIPLE = frozenset("=#$:~")
BONDS = SINGLE | MULTIPLE


@dataclass(frozen=True)
class Before:
    """In front of the fragment: its ring numbers that are open, and whether it may begin here, alone or bonded."""

    rings: frozenset[str]
    alone: bool = True
    bonded: bool = False


@dataclass(frozen=True)
class Within:
    """In the fragment, before its element `rest[0]`."""

    rest: Spelling


@dataclass(frozen=True)
class Between:
    """In a gap, whose end `rest` begins with: brackets that are open, ring numbers the fragment needs that are open."""

    rest: Spelling
    part: str
    depth: int = 0
    rings: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Behind:
    """Behind the fragment; `part` is "closed" where nothing may hang on its last atom."""

    part: str


ENDS = (Behind("free"), Behind("closed"))
State = Before | Within | Between | Behind


def is_ring(symbol: str) -> bool:
    """Whether a symbol is the number of a ring."""
    return symbol.isdigit() or symbol[0] == "%"


def is_atom(symbol: str) -> bool:
    """Whether a symbol is an atom."""
    return symbol[0] == "[" or symbol[0].isalpha()


def aromatic(symbol: str) -> bool:
    """Whether a symbol is an aromatic atom."""
    return symbol.strip("[]").lstrip("0123456789")[0].islower()


def holding(fragment: Fragment, symbols: Sequence[str]) -> Automaton:
    """Accepts texts of symbols that spell the fragment somewhere; symbol i has number i + 1, 0 is padding and closed.

    Raises:
        RuleError: a symbol that the vocabulary lacks, or too many states.
    """
    known = set(symbols)
    spellings = [one for one in fragment.spellings if all(isinstance(e, Gap) or e in known for e in one)]
    if not spellings:
        lacking = sorted({e for one in fragment.spellings for e in one if isinstance(e, str)} - known)
        raise RuleError(f"contains: {fragment.text!r} needs {' '.join(lacking)}, which this prior's vocabulary lacks")
    begun = spellings[:SPELLINGS]

    @cache
    def after(state: State, symbol: str) -> frozenset[State]:
        return frozenset(_closure(_after(state, symbol), begun))

    start = frozenset(_closure([Before(frozenset())], begun))
    number, todo, rows = {start: 0}, deque([start]), []
    while todo:
        states = todo.popleft()
        row = [-1]
        for symbol in symbols:
            then = frozenset().union(*(after(state, symbol) for state in states))
            then = _settled(then)
            if not then:
                row.append(-1)
                continue
            if then not in number:
                number[then] = len(number)
                todo.append(then)
                if len(number) > TRIED:
                    raise RuleError(f"contains: {fragment.text!r} has too many spellings; name fewer attachment points")
            row.append(number[then])
        rows.append(row)
    final = torch.tensor([any(one in ENDS for one in states) for states in number])
    return smallest(Automaton(torch.tensor(rows), final))


@cache
def _numbered(one: Spelling, rings: frozenset[str]) -> Spelling:
    """A spelling with the lowest ring numbers that are not open."""
    own = sorted(used(one), key=_number)
    free = [ring for ring in map(_ring, range(1, 100)) if ring not in rings]
    new = dict(zip(own, free, strict=False))
    return tuple(new.get(e, e) if isinstance(e, str) else e for e in one)


def _number(ring: str) -> int:
    return int(ring.strip("%()"))


def _ring(number: int) -> str:
    return str(number) if number < 10 else f"%{number}"


def used(rest: Spelling) -> frozenset[str]:
    """Ring numbers in a part of a spelling."""
    return frozenset(e for e in rest if isinstance(e, str) and is_ring(e))


@cache
def rings_of(rest: Spelling) -> tuple[frozenset[str], frozenset[str]]:
    """Ring numbers that are open before a part of a spelling, and those that are not and are used in it."""
    open_ones = frozenset(e for e in used(rest) if rest.count(e) % 2)
    return open_ones, used(rest) - open_ones


def _settled(states: frozenset[State]) -> frozenset[State]:
    """Where everything is accepted from here on, nothing else is looked at; a gap that is begun is gone on with."""
    free = Behind("free")
    if free in states:
        return frozenset([free])
    if any(isinstance(state, Between) and state.part == "in" for state in states):
        return frozenset(state for state in states if not isinstance(state, Before | Within))
    return states


def _closure(states: Iterable[State], begun: Sequence[Spelling]) -> set[State]:
    """The states and those that are reached without a symbol: a fragment begins, a gap that is not needed is empty."""
    found, todo = set(), list(states)
    while todo:
        state = todo.pop()
        if state in found:
            continue
        found.add(state)
        if isinstance(state, Before):
            for one in begun:
                if _begins(state, one):
                    rest = _numbered(one, state.rings)
                    todo.append(Within(rest[1:] if isinstance(rest[0], Gap) else rest))
        elif isinstance(state, Within):
            todo += _skipped(state.rest)
    return found


def _begins(state: Before, one: Spelling) -> bool:
    if not isinstance(one[0], Gap):
        return state.alone
    return state.bonded or (state.alone and not one[0].needed)


def _skipped(rest: Spelling) -> list[State]:
    if not rest:
        return [Behind("closed")]
    first = rest[0]
    if isinstance(first, Gap):
        part = "bond" if first.bonded else "first"
        own = "aromatic " + part if first.aromatic and not first.bonded else part
        begun: State = Between(rest[1:], own) if len(rest) > 1 else Behind(own)
        return [begun] if first.needed else [begun, Within(rest[1:])]
    if first == "(" and isinstance(rest[1], Gap) and not rest[1].needed:
        return [Within(rest[3:])]
    return []


def _after(state: State, symbol: str) -> list[State]:
    """States after a symbol."""
    match state:
        case Before(rings):
            if is_ring(symbol):
                if symbol not in RINGS:
                    return []
                rings = rings ^ {symbol}
                if rings not in OPEN:
                    return []
            return [Before(rings, symbol == ".", symbol not in MULTIPLE and symbol != ".")]
        case Within(rest):
            return [Within(rest[1:])] if rest and rest[0] == symbol else []
        case Between(rest, part, depth, rings):
            if part != "in":
                entered = _entered(part, symbol)
                return [Between(rest, entered)] if entered else []
            if symbol == ")" and depth == 0:
                return [Within(rest[1:])] if not rings else []
            if symbol == "(" and depth + 1 >= DEPTH:
                return []
            open_ones, others = rings_of(rest)
            if symbol in open_ones or symbol == "." or (is_ring(symbol) and symbol not in RINGS):
                return []
            depth += {"(": 1, ")": -1}.get(symbol, 0)
            return [Between(rest, part, depth, rings ^ {symbol} if symbol in others else rings)]
        case Behind(part):
            if part == "free":
                return [state]
            if part == "closed":
                return [Behind("free")] if symbol in ")." else []
            entered = _entered(part, symbol)
            return [Behind("free" if entered == "in" else entered)] if entered else []


def _entered(part: str, symbol: str) -> str:
    """What a gap is after its first symbols, "" where they may not come: one single bond at most, then an atom."""
    if is_atom(symbol):
        return "" if part == "aromatic first" and aromatic(symbol) else "in"
    return "bond" if symbol in SINGLE and part.endswith("first") else ""


def grammar(symbols: Sequence[str]) -> Automaton:
    """Accepts texts whose brackets, at most `DEPTH` in each other, and ring numbers up to 3 are closed.

    Bonds are followed by an atom or a ring, branches are not empty; symbol i has number i + 1, 0 is closed.
    """
    start = ("start", 0, frozenset[str]())
    number, todo, rows = {start: 0}, deque([start]), []
    while todo:
        state, row = todo.popleft(), [-1]
        for symbol in symbols:
            then = _read(*state, symbol)
            if then is None:
                row.append(-1)
                continue
            if then not in number:
                number[then] = len(number)
                todo.append(then)
            row.append(number[then])
        rows.append(row)
    final = [part == "atom" and not depth and not rings for part, depth, rings in number]
    return smallest(Automaton(torch.tensor(rows), torch.tensor(final)))


def _read(part: str, depth: int, rings: frozenset[str], symbol: str) -> tuple[str, int, frozenset[str]] | None:
    """What was read last, open brackets and open rings after a symbol, None where it may not come."""
    if is_atom(symbol):
        return "atom", depth, rings
    if is_ring(symbol):
        rings = rings ^ ({symbol} & set(RINGS))
        return ("atom", depth, rings) if part in ("atom", "bond") and rings in OPEN else None
    if symbol in BONDS:
        return ("bond", depth, rings) if part in ("atom", "open") else None
    if part != "atom":
        return None
    if symbol == "(":
        return ("open", depth + 1, rings) if depth < DEPTH else None
    if symbol == ")":
        return ("atom", depth - 1, rings) if depth else None
    return ("start", depth, rings) if symbol == "." else None
