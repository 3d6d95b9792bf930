"""Rules by name, as domains take them in `keep`, and the one automaton of all of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

from torch import Tensor

from guidekit.processes.automata import Automaton
from guidekit.processes.languages import RuleError, together

Parts = dict[str, list[Automaton]]


def gathered(given: Mapping[str, Any], readers: Mapping[str, Callable[[Any], list[Automaton]]]) -> Parts:
    """Automata of the rules that are given, by name; None is no rule."""
    return {name: read(given[name]) for name, read in readers.items() if given[name] is not None}


def compiled(
    parts: Mapping[str, Sequence[Automaton]],
    finished: Callable[[Automaton], Automaton],
    lengths: Tensor,
    pad_id: int | None,
    units: str,
) -> Automaton:
    """One automaton of all rules, over the tokens of a prior.

    Args:
        parts: automata of every rule.
        finished: makes an automaton of rules one over tokens, padding among them.
        lengths: (L + 1,) bool, numbers of tokens that samples may have.
        pad_id: of padding.
        units: what tokens are called.

    Raises:
        RuleError: there is no rule, or no sequence keeps all of them.
    """
    if not parts:
        raise RuleError("no rule is given")

    def joined(names: Sequence[str]) -> Automaton:
        automata = sorted((one for name in names for one in parts[name]), key=lambda one: one.size)
        return finished(reduce(together, automata))

    def fits(made: Automaton) -> bool:
        return bool((made.lengths(len(lengths) - 1, pad_id) & lengths).any())

    made = joined(list(parts))
    if fits(made):
        return made
    for few in (1, 2):
        for names in itertools.combinations(parts, few):
            if not fits(joined(names)):
                raise RuleError(f"no sequence of {_span(lengths)} {units} keeps {' and '.join(names)}")
    raise RuleError(f"no sequence of {_span(lengths)} {units} keeps {', '.join(parts)} together")


def _span(lengths: Tensor) -> str:
    found = lengths.nonzero()[:, 0].tolist()
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


__all__ = ["Parts", "compiled", "gathered"]
