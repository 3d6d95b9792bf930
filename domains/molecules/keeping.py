"""Rules that every valid molecule keeps, as users write them, and the automaton of all of them together."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from rdkit import Chem
from torch import Tensor

from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.guidance.transition.grammar import Grammar, shares_of_lengths
from guidekit.priors.tokens import lengths_of
from guidekit.processes.automata import Automaton
from guidekit.processes.languages import RuleError, counting, padded, spelled, together
from guidekit.processes.rules import compiled, gathered

from .codec import MoleculeCodec
from .fragments import Fragment
from .notation import SMILES
from .spelling import BONDS, grammar, holding, is_atom, is_ring

Check = Callable[[Chem.Mol], bool]
ORGANIC = frozenset(["B", "C", "N", "O", "P", "S", "F", "Cl", "Br", "I", "b", "c", "n", "o", "p", "s"])
TABLE = Chem.GetPeriodicTable()
KNOWN = frozenset(TABLE.GetElementSymbol(number) for number in range(1, 119))
RANGE = re.compile(r"(\d+)(?:\.\.(\d+))?")
ELEMENT = re.compile(r"[A-Z][a-z]?")
BRACKET = re.compile(r"\[\d*(?P<element>[A-Z][a-z]?|[a-z]{1,2})[^\]]*\]")


@dataclasses.dataclass(frozen=True, eq=False)
class Kept(Grammar):
    """A grammar of which no finished sample is a molecule that breaks a rule, as RDKit judges: such a one is emptied.

    Args:
        automaton: see `Grammar`.
        checks: what every molecule fulfils.
    """

    checks: Sequence[Check] = ()

    def finish(self, population: Population) -> Population:
        """See `Guidance.finish`."""
        population = super().finish(population)
        codec: Any = population.setup.prior.codec
        broken = [
            molecule is not None and not all(check(molecule) for check in self.checks)
            for molecule in codec.decode(population.state)
        ]
        state: Tensor = population.state
        gone = state.new_tensor(broken)[:, None] > 0
        return population.at(state.masked_fill(gone, codec.tokenizer.pad_id)) if any(broken) else population


@dataclasses.dataclass(frozen=True)
class Rules:
    """What reads rules on molecules of a prior.

    Args:
        codec: of its states.
        length: L, the most tokens that a sample has.

    Raises:
        RuleError: it does not spell SMILES.
    """

    codec: MoleculeCodec
    length: int

    def __post_init__(self) -> None:
        """Refuse another notation."""
        if self.codec.tokenizer.notation != SMILES:
            raise RuleError(f"rules are of SMILES, and this prior spells {self.codec.tokenizer.notation.title}")

    @functools.cached_property
    def tokens(self) -> list[list[str] | None]:
        """The symbols of every token; None for padding, and for tokens with a part of an atom."""
        found = [SMILES.split(piece) for piece in self.codec.tokenizer.pieces]
        return [one if one and all(map(is_symbol, one)) else None for one in found]

    @functools.cached_property
    def symbols(self) -> list[str]:
        """All of them; symbol i has number i + 1, 0 is none."""
        return sorted({symbol for one in self.tokens for symbol in one or ()})

    def numbers(self, symbols: Sequence[str]) -> list[int]:
        """Numbers of symbols."""
        return [self.symbols.index(symbol) + 1 for symbol in symbols]

    def only(self, symbols: Sequence[str]) -> list[Automaton]:
        """Texts of some symbols."""
        return [counting([], 0, 0, len(self.symbols) + 1, self.numbers(symbols))]

    def contains(self, given: Any) -> list[Automaton]:
        """Fragments that are held."""
        return [holding(one, self.symbols) for one in fragments(given)]

    def elements(self, given: Any) -> list[Automaton]:
        """Elements that may occur."""
        allowed = elements(given, "elements")
        return self.only([s for s in self.symbols if not is_atom(s) or element(s) in allowed])

    def avoid(self, given: Any) -> list[Automaton]:
        """Elements that do not occur."""
        gone = elements(given, "avoid")
        return self.only([s for s in self.symbols if not is_atom(s) or element(s) not in gone])

    def heavy_atoms(self, given: Any) -> list[Automaton]:
        """How many atoms there are besides hydrogen."""
        low, high = limits(given)
        heavy = [s for s in self.symbols if is_atom(s) and element(s) != "H"]
        most = self.length * max(sum(s in heavy for s in one or ()) for one in self.tokens)
        if low > most:
            raise RuleError(f"heavy_atoms={given!r}; samples of this prior have at most {most}")
        size, counted = len(self.symbols) + 1, self.numbers(heavy)
        if high < most:
            return [counting(counted, low, high, size, range(1, size))]
        states = torch.arange(low + 1)[:, None]
        moves = (states + torch.isin(torch.arange(size), torch.tensor(counted))).clamp_max(low)
        return [Automaton(torch.where(torch.arange(size) == 0, -1, moves), states[:, 0] == low)]

    def single(self, given: Any) -> list[Automaton]:
        """One component."""
        return self.only([s for s in self.symbols if s != "."]) if true(given, "single") else []

    def neutral(self, given: Any) -> list[Automaton]:
        """No charges."""
        wanted = true(given, "neutral")
        return self.only([s for s in self.symbols if not charged(s)]) if wanted else []

    def closed_shell(self, given: Any) -> list[Automaton]:
        """No radicals: no atoms in brackets that may be some."""
        wanted = true(given, "closed_shell")
        return self.only([s for s in self.symbols if s[0] != "[" or lone(s)]) if wanted else []

    def compiled(self, given: Mapping[str, Any], prior: Prior) -> Kept:
        """The guidance of all rules.

        Raises:
            RuleError: a rule that cannot be read, or rules that no sample of the prior keeps together.
        """
        readers = {name: getattr(self, name) for name in CHECKS}
        parts = {name: found for name, found in gathered(given, readers).items() if found}
        lengths, pad = lengths_of(prior), self.codec.tokenizer.pad_id
        number = {symbol: i for i, symbol in enumerate(self.symbols, 1)}
        tokens = [None if one is None else [number[symbol] for symbol in one] for one in self.tokens]

        balanced = grammar(self.symbols)

        def finished(made: Automaton) -> Automaton:
            return padded(spelled(beside(made, balanced), tokens), pad)

        checks = [check for name, make in CHECKS.items() if name in parts for check in make(given[name])]
        automaton = compiled(parts, finished, lengths, pad, "tokens")
        anything = padded(spelled(balanced, tokens), pad)
        return Kept(automaton, shares_of_lengths(prior, automaton, anything), checks)


def beside(made: Automaton, balanced: Automaton) -> Automaton:
    """Both, or the first alone where both together have too many states."""
    try:
        return together(made, balanced)
    except RuleError:
        return made


def fragments(given: Any) -> list[Fragment]:
    """Fragments, one or several."""
    found = [given] if isinstance(given, str) else given
    if not isinstance(found, Sequence) or not found or not all(isinstance(one, str) and one for one in found):
        raise RuleError(f"contains={given!r}; a SMILES or a list of SMILES is needed, such as c1ccccc1[*]")
    return [Fragment(one) for one in found]


def elements(given: Any, rule: str) -> frozenset[str]:
    """Elements of a text such as CNOCl, or of a list."""
    listed = ELEMENT.findall(given) if isinstance(given, str) else given
    whole = not isinstance(given, str) or "".join(listed) == given
    if not whole or not isinstance(listed, Sequence) or not listed or not set(listed) <= KNOWN:
        raise RuleError(f"{rule}={given!r}; elements are needed, such as CNOCl or [C, N, O, Cl]")
    return frozenset(listed)


def limits(given: Any) -> tuple[int, int]:
    """Least and most, of a number, a text such as 10..20 or a list of two."""
    match = RANGE.fullmatch(str(given))
    found = [int(match[1]), int(match[2] or match[1])] if match and not isinstance(given, bool) else given
    if not isinstance(found, Sequence) or len(found) != 2 or not all(type(one) is int for one in found):
        raise RuleError(f"heavy_atoms={given!r}; a number is needed, or a range such as 10..20")
    if not 1 <= found[0] <= found[1]:
        raise RuleError(f"heavy_atoms={given!r}; numbers from 1 on are needed, the least one first")
    return found[0], found[1]


def true(given: Any, rule: str) -> bool:
    """Whether a rule is asked for."""
    if not isinstance(given, bool):
        raise RuleError(f"{rule}={given!r}; true or false is needed")
    return given


def is_symbol(text: str) -> bool:
    """Whether a text is a whole symbol of a SMILES."""
    atom = BRACKET.fullmatch(text) or text in ORGANIC
    return bool(atom) or is_ring(text) or text in BONDS or text in ("(", ")", ".")


def element(symbol: str) -> str:
    """The element of an atom."""
    match = BRACKET.fullmatch(symbol)
    return (match["element"] if match else symbol).capitalize()


def charged(symbol: str) -> bool:
    """Whether a symbol is an atom with a charge."""
    return symbol[0] == "[" and bool(re.search(r"[+-]", symbol))


def lone(symbol: str) -> bool:
    """Whether an atom in brackets is an aromatic one with hydrogen, which is never a radical."""
    return bool(re.fullmatch(r"\[[a-z]H\]", symbol))


def _heavy(given: Any) -> list[Check]:
    low, high = limits(given)
    return [lambda molecule: low <= molecule.GetNumHeavyAtoms() <= high]


CHECKS: Mapping[str, Callable[[Any], list[Check]]] = {
    "contains": lambda given: [one.held_by for one in fragments(given)],
    "elements": lambda given: [lambda molecule: symbols_in(molecule) <= elements(given, "elements") | {"H"}],
    "avoid": lambda given: [lambda molecule: not symbols_in(molecule) & elements(given, "avoid")],
    "heavy_atoms": _heavy,
    "single": lambda given: [lambda molecule: len(Chem.GetMolFrags(molecule)) == 1],
    "neutral": lambda given: [lambda molecule: not any(atom.GetFormalCharge() for atom in molecule.GetAtoms())],
    "closed_shell": lambda given: [
        lambda molecule: not any(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())
    ],
}
"""Rules by name, and what RDKit looks at in a molecule that keeps them."""


def symbols_in(molecule: Chem.Mol) -> set[str]:
    """Elements of a molecule's atoms."""
    return {atom.GetSymbol() for atom in molecule.GetAtoms()}


__all__ = ["CHECKS", "Kept", "Rules"]
