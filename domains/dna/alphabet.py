"""Letters and token ids: DNA of fixed length, proteins with padding behind."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

AMBIGUOUS = re.compile("[RYSWKMBDHV]")
"""Letters for one of several bases (IUPAC), which cut a sequence as N does."""
MOST_AMBIGUOUS = 0.1  # share of a sequence; more of them are no DNA


class AlphabetError(ValueError):
    """A letter or a length that does not fit; the message names the record and the position (from 1)."""


@dataclasses.dataclass(frozen=True)
class Alphabet:
    """A set of letters with consecutive ids.

    Args:
        name: "DNA" or "protein", for messages.
        letters: one character an id.
        unknown: the field's letter for "any of them"; files may hold it, states may not.
        complement: the complement of each letter, in the same order; None where there is none.
        pad_id: id of padding behind a sequence, 0; the letters then have ids from 1. None: fixed length, ids from 0.
    """

    name: str
    letters: str
    unknown: str
    complement: str | None = None
    pad_id: int | None = None

    @property
    def first(self) -> int:
        """Id of the first letter."""
        return 0 if self.pad_id is None else 1

    @property
    def vocab_size(self) -> int:
        """V, padding included; the mask of an absorbing process is id V."""
        return len(self.letters) + self.first

    @functools.cached_property
    def _ids(self) -> np.ndarray:
        ids = np.full(256, -1, np.int64)
        ids[np.frombuffer(self.letters.encode(), np.uint8)] = np.arange(len(self.letters)) + self.first
        return ids

    @functools.cached_property
    def _foreign(self) -> re.Pattern:
        return re.compile(f"[^{self.letters}]")

    def check(self, sequence: str, record: str) -> str:
        """The sequence in upper case.

        Raises:
            AlphabetError: it is empty or holds a letter that is not in the alphabet.
        """
        sequence = sequence.upper()
        if not sequence:
            raise AlphabetError(f"{record} is empty; expected {self.name} letters {self.letters}")
        wrong = self._foreign.search(sequence)
        if wrong:
            position = wrong.start() + 1
            raise AlphabetError(f"{record} holds {wrong[0]!r} at position {position}; {self._advice(sequence)}")
        return sequence

    def _advice(self, sequence: str) -> str:
        """What a sequence with foreign letters probably is, and what to do."""
        held = set(sequence)
        if self.complement and "U" in held and held <= set("ACGUN"):
            return "this is RNA: replace U by T"
        several = AMBIGUOUS.findall(sequence)
        bases = not AMBIGUOUS.sub("", sequence).strip("ACGTN")
        if self.complement and several and bases and len(several) <= MOST_AMBIGUOUS * len(sequence):
            return f"{several[0]} stands for one of several bases: cut the sequence there"
        if self.complement and held <= set(PROTEIN.letters + "X*") and len(held - set("ACGTN")) > 1:
            return "this looks like a protein: use domain=proteins"
        if self.unknown in held:
            return f"{self.unknown} stands for an unknown letter: see n_policy"
        if "-" in held:
            return "gaps of an alignment are no letters: take them out"
        return f"{self.name} letters are {self.letters}"

    def encode(self, sequences: Sequence[str], length: int | None = None, names: Sequence[str] | None = None) -> Tensor:
        """Sequences to tokens (B, L) int64; lower case is read as upper case.

        Args:
            length: L; None is that of the longest sequence.
            names: of the records, for messages.

        Raises:
            AlphabetError: a foreign letter, an empty sequence, or a length that does not fit L.
        """
        if not len(sequences):
            raise AlphabetError("there are no sequences to encode; pass at least one")
        names = names if names is not None else [f"sequence {i + 1}" for i in range(len(sequences))]
        texts = [self.check(text, name) for text, name in zip(sequences, names, strict=True)]
        window = length if length is not None else max(map(len, texts))
        tokens = np.full((len(texts), window), self.pad_id or 0, np.int64)
        for i, text in enumerate(texts):
            if len(text) > window or (len(text) < window and self.pad_id is None):
                kind = "longer" if len(text) > window else "shorter"
                raise AlphabetError(
                    f"{names[i]} has {len(text)} letters, {kind} than the window of {window}; cut windows of {window}"
                )
            tokens[i, : len(text)] = self._ids[np.frombuffer(text.encode(), np.uint8)]
        return torch.from_numpy(tokens)

    def decode(self, tokens: Tensor) -> list[str]:
        """Tokens (B, L) to strings without the padding behind; "-" is padding further inside, "?" a mask."""
        pad = "" if self.pad_id is None else "-"
        table = np.frombuffer((pad + self.letters + "?").encode(), np.uint8)
        ids = tokens.detach().cpu().numpy()
        ids = np.where((ids < 0) | (ids > self.vocab_size), self.vocab_size, ids)
        rows = table[ids]
        return [row.tobytes().decode().rstrip("-") for row in rows]

    def valid(self, text: str) -> bool:
        """Whether a decoded string is a sequence: not empty, nothing but letters."""
        return bool(text) and not self._foreign.search(text)

    def reverse_complement(self, sequence: str | Tensor) -> str | Tensor:
        """The other strand, read in its own direction: of a string, or of tokens (..., L), whose masks stay masks.

        Raises:
            AlphabetError: the alphabet has no complement.
        """
        if self.complement is None:
            raise AlphabetError(f"{self.name} letters have no complement; only DNA has two strands")
        if isinstance(sequence, str):
            return sequence.upper().translate(str.maketrans(self.letters, self.complement))[::-1]
        order = torch.tensor([self.letters.index(c) + self.first for c in self.complement], device=sequence.device)
        order = torch.cat([torch.arange(self.first, device=sequence.device), order])
        inside = sequence < self.vocab_size
        return torch.where(inside, order[sequence.masked_fill(~inside, 0)], sequence).flip(-1)


DNA = Alphabet("DNA", "ACGT", "N", complement="TGCA")
PROTEIN = Alphabet("protein", "ACDEFGHIKLMNPQRSTVWY", "X", pad_id=0)
