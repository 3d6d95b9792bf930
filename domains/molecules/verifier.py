"""Where a SMILES goes wrong or holds a forbidden substructure, as a span of tokens."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rdkit import Chem, rdBase
from torch import Tensor

from .files import chemistry_problems, parse
from .notation import SMILES
from .pieces import PieceTokenizer
from .rewards import read_smarts
from .tokenizer import SmilesTokenizer

SYMBOL = re.compile(r"\[[^\[\]]*\]|Br|Cl|%\(\d+\)|%\d\d|->|<-|.", re.DOTALL)
ORGANIC = {"B", "C", "N", "O", "P", "S", "F", "Cl", "Br", "I", "b", "c", "n", "o", "p", "s", "*"}
BONDS = set("-=#$:~/\\") | {"->", "<-"}
RING = re.compile(r"\d|%\d\d|%\(\d+\)")
Span = tuple[int, int]  # half-open, in characters


@dataclass(frozen=True)
class SmilesVerifier:
    """The first violation of each row of tokens, as a half-open span [start, stop) of token positions.

    Located are: the character at which the text stops being the beginning of any SMILES, an open bracket or ring label,
    a label that closes a ring onto its own atom or along a bond that exists, an atom with too many bonds, an aromatic
    atom outside rings, and, for aromatic systems without alternating bonds, the stretch between the first and the last
    atom of the system. With several, the one that starts first is reported. A row without any atom is a violation as a
    whole. In a valid SMILES a forbidden substructure is a violation, from its first to its last atom. Tokens
    made of merges are larger than the places; the span holds every token that overlaps.

    Args:
        tokenizer: of the tokens.
        forbidden: SMARTS of substructures.

    Raises:
        ValueError: an unreadable SMARTS, or a tokenizer of another notation: every sequence of SELFIES symbols is a
            molecule.
    """

    tokenizer: SmilesTokenizer | PieceTokenizer
    forbidden: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.tokenizer.notation != SMILES:
            title = self.tokenizer.notation.title
            raise ValueError(f"the verifier locates errors in SMILES, the prior spells {title}, which has none")
        self._patterns  # noqa: B018  fail here, not at the first molecule

    @functools.cached_property
    def _patterns(self) -> list[Chem.Mol]:
        return [read_smarts(smarts) for smarts in self.forbidden]

    def __call__(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, L) without masks to start and stop (B,) int64 each; both are -1 where the SMILES is valid."""
        spans = [
            self._span(row, text) for row, text in zip(tokens.tolist(), self.tokenizer.decode(tokens), strict=True)
        ]
        first, stop = torch.tensor(spans, dtype=torch.int64, device=tokens.device).reshape(-1, 2).unbind(1)
        return first, stop

    def _span(self, row: list[int], text: str) -> Span:
        molecule = parse(text)[0] if text else None
        if molecule is None:
            start, stop = violation(text) if text else (0, 0)
        elif (place := substructure(text, self._patterns)) is not None:
            start, stop = place
        else:
            return -1, -1
        inside, position = [], 0
        for j, token in enumerate(row):
            begin, position = position, position + len(self.tokenizer.pieces[token])
            if begin < stop and start < position:
                inside.append(j)
        return (inside[0], inside[-1] + 1) if inside else (0, len(row))


def violation(text: str) -> Span:
    """Characters of the first violation in a SMILES that rdkit refuses; all of it where the place cannot be told."""
    place, atoms = scan(text)
    if place is not None:
        return place
    with rdBase.BlockLogs():
        raw = Chem.MolFromSmiles(text, sanitize=False)
        problems = [] if raw is None else chemistry_problems(raw)
    found = []
    for problem in problems:
        indices = problem.GetAtomIndices() if hasattr(problem, "GetAtomIndices") else [problem.GetAtomIdx()]
        found.append((atoms[min(indices)][0], atoms[max(indices)][1]))
    return min(found, default=(0, len(text)))


def substructure(text: str, patterns: Sequence[Chem.Mol]) -> Span | None:
    """Characters of the first match of a pattern in a valid SMILES, from its first to its last atom."""
    if not patterns:
        return None
    molecule, atoms = Chem.MolFromSmiles(text, sanitize=False), scan(text)[1]  # sanitize would take [H] atoms out
    Chem.SanitizeMol(molecule)
    matches = [match for pattern in patterns for match in molecule.GetSubstructMatches(pattern)]
    return min(((atoms[min(match)][0], atoms[max(match)][1]) for match in matches), default=None)


def scan(text: str) -> tuple[Span | None, list[Span]]:
    """First violation of the grammar of SMILES or of its ring labels, and the places of the atoms.

    A symbol that cannot stand where it does is passed over, so that what is still open at the end is really never
    closed; a bracket or label that stays open counts where it stands.
    """
    atoms: list[Span] = []
    branches: list[tuple[Span, int]] = []  # place of "(", atom it hangs on
    rings: dict[int, tuple[Span, int]] = {}  # label -> place, atom
    bonds: set[frozenset[int]] = set()
    wrong: list[Span] = []
    current, before, place = -1, "start", (0, 0)
    for match in SYMBOL.finditer(text):
        symbol, place = match[0], match.span()
        kind = _kind(symbol)
        fits = kind in FOLLOWS[before] and (kind != "close" or bool(branches))
        if not fits:
            wrong.append(place)
        if kind == "atom":
            if current >= 0:
                bonds.add(frozenset((current, len(atoms))))
            current = len(atoms)
            atoms.append(place)
        elif kind == "open" and fits:
            branches.append((place, current))
        elif kind == "close" and branches:
            current = branches.pop()[1]
        elif kind == "dot" and fits:
            current = -1
        elif kind == "ring" and (label := int(symbol.strip("%()"))) in rings:
            pair = frozenset((rings.pop(label)[1], current))
            if len(pair) == 1 or pair in bonds:
                wrong.append(place)
            bonds.add(pair)
        elif kind == "ring" and fits:
            rings[label] = place, current
        if fits:
            before = "begun" if (before, kind) == ("open", "bond") else AFTER.get(kind, kind)
    if before != "atom":
        wrong.append(place)  # something has to follow a bond, a dot or an open bracket
    wrong += [where for where, _ in [*branches, *rings.values()]]
    return min(wrong, default=None), atoms


FOLLOWS = {
    "start": {"atom"},
    "atom": {"atom", "bond", "ring", "open", "close", "dot"},
    "bond": {"atom", "ring"},
    "open": {"atom", "bond"},
    "begun": {"atom"},  # a bond right behind an open bracket
    "dot": {"atom"},
}
AFTER = {"ring": "atom", "close": "atom"}  # what may follow these is what may follow an atom


def _kind(symbol: str) -> str:
    """What a symbol is: atom, bond, ring, open, close, dot, or nothing a SMILES can hold."""
    if symbol in ORGANIC or symbol[0] == "[" and _is_atom(symbol):
        return "atom"
    if symbol in BONDS:
        return "bond"
    if RING.fullmatch(symbol):
        return "ring"
    return {"(": "open", ")": "close", ".": "dot"}.get(symbol, "foreign")


@functools.lru_cache(maxsize=4096)
def _is_atom(symbol: str) -> bool:
    """Whether rdkit reads a bracket as an atom."""
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(symbol, sanitize=False) is not None
