"""Rules that every sample keeps, as users write them, and the automaton of all of them together.

A word is written in the letters of the field (IUPAC codes in DNA, X for any amino acid), with [LIV] for one of several
and {P} for any other, each maybe followed by (3) or (16,18) repeats: TTGACA-N(16,18)-TATAAT, C-X(2,4)-C. Hyphens are
only for the eye. Source of the notation: PROSITE, Sigrist et al. 2002, doi:10.1093/bib/3.3.265.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from guidekit.processes.automata import Automaton
from guidekit.processes.languages import (
    Element,
    RuleError,
    avoiding,
    codons,
    counting,
    ending,
    holding,
    padded,
    placed,
)
from guidekit.processes.rules import compiled

from .alphabet import Alphabet

ELEMENT = re.compile(r"(\[[^\]]+\]|\{[^}]+\}|[A-Z*])(?:\((\d+)(?:,(\d+))?\))?")
BASES = "TCAG"
AMINO = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
"""Of the 64 codons in the order of `BASES`, the standard code (NCBI table 1)."""
STOPS = ("TAA", "TAG", "TGA")


@dataclasses.dataclass(frozen=True)
class Rules:
    """What reads rules on sequences of an alphabet.

    Args:
        alphabet: of the letters.
        codes: letters that a letter of a word stands for.
        length: L, the most letters a sequence has.
    """

    alphabet: Alphabet
    codes: Mapping[str, str]
    length: int

    @property
    def size(self) -> int:
        """V."""
        return self.alphabet.vocab_size

    @property
    def letters(self) -> list[int]:
        """Ids of all letters."""
        return list(range(self.alphabet.first, self.size))

    def ids(self, letters: str, rule: str) -> list[int]:
        """Ids of letters or codes.

        Raises:
            RuleError: one that is neither.
        """
        found = set()
        for letter in letters:
            if letter not in self.codes:
                raise RuleError(
                    f"{rule} holds {letter!r}; {self.alphabet.name} letters are {self.alphabet.letters}, and "
                    f"{''.join(sorted(set(self.codes) - set(self.alphabet.letters)))} for several of them"
                )
            found |= set(self.alphabet.encode([self.codes[letter]])[0].tolist())
        return sorted(found)

    def word(self, text: Any, rule: str) -> list[Element]:
        """Elements of a word.

        Raises:
            RuleError: it is none, or one that no sequence has room for.
        """
        if not isinstance(text, str):
            raise RuleError(f"{rule}: {text!r} is no word; write letters such as {self.alphabet.letters[:4]}")
        written = re.sub(r"[-\s]", "", text.upper())
        elements: list[Element] = []
        place = 0
        while place < len(written):
            match = ELEMENT.match(written, place)
            if match is None:
                raise RuleError(
                    f"{rule}: {text!r} cannot be read from {written[place:]!r} on; write letters, [LIV], {{P}}, N(3,5)"
                )
            symbol, least, most = match.groups()
            ids = self.ids(symbol.strip("[]{}"), f"{rule}: {text!r}")
            if symbol[0] == "{":
                ids = [one for one in self.letters if one not in ids]
            low = 1 if least is None else int(least)
            high = low if most is None else int(most)
            if not ids or high < max(low, 1):
                raise RuleError(f"{rule}: {match[0]!r} of {text!r} stands for nothing")
            elements.append((ids, low, high))
            place = match.end()
        shortest = sum(low for _, low, _ in elements)
        if not elements or shortest > self.length:
            what = "is empty" if not elements else f"needs {shortest} letters; sequences have at most {self.length}"
            raise RuleError(f"{rule}: {text!r} {what}")
        return elements

    def at(self, given: Any) -> list[Automaton]:
        """Words that begin at positions, from 1; negative ones count from the end, where -1 is the last letter."""
        if not isinstance(given, Mapping):
            raise RuleError(f"at={given!r}; positions and words are needed, such as {{1: ATG, -3: TAA}}")
        places = torch.ones(self.length, self.size, dtype=torch.bool)
        behind: list[Automaton] = []
        for position, text in given.items():
            rule = f"at {position}"
            word = self.word(text, rule)
            if any(low != high for _, low, high in word):
                raise RuleError(f"{rule}: {text!r} has gaps of several lengths; use contains= for those")
            spelled = [ids for ids, low, _ in word for _ in range(low)]
            first = self._place(position, len(spelled), rule)
            if first < 0:
                behind.append(ending(word, -int(position) - len(spelled), self.size, self.letters))
                continue
            for i, ids in enumerate(spelled, first):
                allowed = torch.zeros(self.size, dtype=torch.bool)
                allowed[list(ids)] = True
                places[i] &= allowed
        return [placed(places), *behind]

    def _place(self, position: Any, size: int, rule: str) -> int:
        """The index of a position; below 0 where it counts from an end that is not known."""
        if not isinstance(position, int) or isinstance(position, bool) or position == 0:
            raise RuleError(f"{rule} is no position; the first letter is 1, the last one -1")
        fits = size <= -position <= self.length if position < 0 else position - 1 + size <= self.length
        if not fits:
            raise RuleError(f"{rule}: {size} letters from there do not end within the {self.length} of a sequence")
        if position > 0:
            return position - 1
        return self.length + position if self.alphabet.pad_id is None else -1

    def allowed(self, given: Any) -> list[Automaton]:
        """Letters that may occur: everywhere (a text), or at positions such as "10-20"."""
        ranges = {f"1-{self.length}": given} if isinstance(given, str) else given
        if not isinstance(ranges, Mapping):
            raise RuleError(f'letters={given!r}; letters are needed, or positions and letters such as {{"10-20": AT}}')
        places = torch.ones(self.length, self.size, dtype=torch.bool)
        for where, text in ranges.items():
            match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(where))
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
            if not 1 <= first <= last <= self.length:
                raise RuleError(f"letters at {where}; positions are 1 to {self.length}, such as 10 or 10-20")
            allowed = torch.zeros(self.size, dtype=torch.bool)
            allowed[self.ids(str(text).upper(), f"letters at {where}")] = True
            if self.alphabet.pad_id is not None:
                allowed[self.alphabet.pad_id] = True
            places[first - 1 : last] &= allowed
        return [placed(places)]

    def contains(self, given: Any) -> list[Automaton]:
        """Words that occur somewhere."""
        return [holding([self.word(text, "contains")], self.size, self.letters) for text in texts(given, "contains")]

    def avoids(self, given: Any, spell: Callable[[str], Sequence[str]]) -> list[Automaton]:
        """Words that do not occur; `spell` gives all spellings of one."""
        words = [spelled for text in texts(given, "avoid") for spelled in spell(text)]
        return [avoiding([self.word(text, "avoid") for text in words], self.size, self.letters)]

    def counts(self, given: Any) -> list[Automaton]:
        """How often letters occur in all: a number, or [least, most]."""
        if not isinstance(given, Mapping):
            raise RuleError(f"count={given!r}; letters and numbers are needed, such as {{C: 2, KR: [3, 8]}}")
        found = []
        for letters, value in given.items():
            limits = [value, value] if isinstance(value, int) else value
            found.append(self._counted(str(letters).upper(), limits, f"count {letters}"))
        return found

    def share(self, letters: str, given: Any, rule: str) -> list[Automaton]:
        """The share of letters, [low, high], in sequences of one length."""
        numeric = isinstance(given, Sequence) and all(isinstance(one, int | float) for one in given)
        if not numeric or len(given) != 2 or not 0 <= given[0] <= given[1] <= 1:
            raise RuleError(f"{rule}={given!r}; two shares from 0 to 1 are needed, such as [0.4, 0.6]")
        low, high = (round(self.length * one, 9) for one in given)
        return [self._counted(letters, [-int(-low // 1), int(high // 1)], rule)]

    def _counted(self, letters: str, limits: Any, rule: str) -> Automaton:
        right = isinstance(limits, Sequence) and len(limits) == 2 and all(type(one) is int for one in limits)
        if not right or not 0 <= limits[0] <= limits[1] or limits[0] > self.length:
            raise RuleError(f"{rule}: {limits!r} is no range of whole numbers from 0 to {self.length}")
        ids, most = self.ids(letters, rule), min(limits[1], self.length)
        if self.alphabet.pad_id is None and limits[0] + most > self.length:  # fewer states: count the others
            rest = [one for one in self.letters if one not in ids]
            return counting(rest, self.length - most, self.length - limits[0], self.size, self.letters)
        return counting(ids, limits[0], most, self.size, self.letters)

    def frame(self, given: Any) -> list[Automaton]:
        """An open reading frame: a start codon, no stop before the last codon, which is one."""
        told = given if isinstance(given, Mapping) else {}
        unknown = set(told) - {"start", "end", "codons", "starts", "stops"}
        if not told or unknown or ("end" in told) == ("codons" in told):
            raise RuleError(
                f"orf={given!r}; needed are codons (or end, the position of the last letter), and maybe start (1), "
                "starts ([ATG]) and stops ([TAA,TAG,TGA])"
            )
        start = told.get("start", 1)
        count = told.get("codons")
        if count is None and isinstance(told["end"], int) and isinstance(start, int):
            count, rest = divmod(told["end"] - start + 1, 3)
            if rest:
                raise RuleError(f"orf: positions {start} to {told['end']} are no whole number of codons")
        every = {"".join(one) for one in itertools.product(BASES, repeat=3)}
        inside = every - set(STOPS)
        first = self._codons(told.get("starts", ["ATG"]), "orf starts") or inside
        last = self._codons(told.get("stops", STOPS), "orf stops") or inside
        if not isinstance(count, int) or count < 2:
            raise RuleError(f"orf of {count} codons; at least 2 are needed, the start and the stop")
        return [self._frame([first, *[inside] * (count - 2), last], start, "orf")]

    def _codons(self, given: Any, rule: str) -> set[str]:
        found = {str(one).upper() for one in listed(given)}
        for one in found:
            if len(one) != 3 or not set(one) <= set(BASES):
                raise RuleError(f"{rule}: {one!r} is no codon")
        return found

    def encodes(self, given: Any) -> list[Automaton]:
        """DNA that encodes a peptide (* = stop) from a position on, by any synonymous codons."""
        told = {"peptide": given} if isinstance(given, str) else given
        if not isinstance(told, Mapping) or set(told) - {"peptide", "start"} or not told.get("peptide"):
            raise RuleError(f"encodes={given!r}; a peptide is needed, or {{peptide: MKV*, start: 10}}")
        triplets = ["".join(one) for one in itertools.product(BASES, repeat=3)]
        codes: dict[str, set[str]] = {}
        for triplet, residue in zip(triplets, AMINO, strict=True):
            codes.setdefault(residue, set()).add(triplet)
        peptide = str(told["peptide"]).upper()
        for residue in peptide:
            if residue not in codes:
                raise RuleError(f"encodes {peptide!r}: {residue!r} is no amino acid; they are {''.join(sorted(codes))}")
        return [self._frame([codes[residue] for residue in peptide], told.get("start", 1), "encodes")]

    def _frame(self, sets: Sequence[set[str]], start: Any, rule: str) -> Automaton:
        first = self._place(start, 3 * len(sets), f"{rule}: start {start}")
        spelled = [{tuple(self.alphabet.letters.index(base) for base in codon) for codon in one} for one in sets]
        return codons(spelled, first, self.length)  # type: ignore[arg-type]

    def compiled(self, parts: Mapping[str, Sequence[Automaton]], lengths: torch.Tensor) -> Automaton:
        """One automaton of all rules, see `guidekit.processes.rules.compiled`."""
        return compiled(parts, self._finished, lengths, self.alphabet.pad_id, "letters")

    def _finished(self, made: Automaton) -> Automaton:
        """With padding behind, where there is padding."""
        pad = self.alphabet.pad_id
        if pad is None:
            return made
        moves = made.moves.clone()
        moves[..., pad] = -1
        return padded(dataclasses.replace(made, moves=moves), pad)


def listed(given: Any) -> list[Any]:
    """One thing as a list of it."""
    return [given] if isinstance(given, str) or not isinstance(given, Sequence) else list(given)


def texts(given: Any, rule: str) -> list[str]:
    """Words, one or several.

    Raises:
        RuleError: something else.
    """
    found = listed(given)
    if not found or not all(isinstance(one, str) for one in found):
        raise RuleError(f"{rule}={given!r}; a word or a list of words is needed")
    return found


__all__ = ["Rules", "texts"]
