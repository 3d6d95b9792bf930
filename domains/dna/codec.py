"""Sequences as states: strings of an alphabet <-> tokens (B, L)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor

from guidekit.priors.adapters.vocabulary import TokenCodec

from .alphabet import Alphabet


@dataclasses.dataclass(frozen=True)
class SequenceCodec:
    """The codec of a prior of sequences.

    Args:
        alphabet: letters and their ids.
        length: L.
    """

    alphabet: Alphabet
    length: int

    @property
    def language(self) -> str:
        """Letters in the order of their ids."""
        return f"{self.alphabet.name} {self.alphabet.letters} from {self.alphabet.first}"

    def encode(self, objects: Sequence[str]) -> Tensor:
        """Sequences to tokens (B, L) int64; AlphabetError for foreign letters or a length that does not fit."""
        return self.alphabet.encode(objects, self.length)

    def decode(self, states: Tensor) -> list[str | None]:
        """Tokens (B, L) to sequences, None where a mask is left or nothing but padding."""
        return [text if self.alphabet.valid(text) else None for text in self.texts(states)]

    def texts(self, states: Tensor) -> list[str]:
        """Tokens (B, L) to strings, valid or not; see `Alphabet.decode`."""
        return self.alphabet.decode(states)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class PieceCodec(TokenCodec):
    """The codec of a prior whose tokens are words of an alphabet, such as 6-mers or byte pairs; see `TokenCodec`.

    Args:
        alphabet: of the sequences.
    """

    alphabet: Alphabet

    def ids(self, text: str) -> list[int]:
        """See `TokenCodec.ids`; lower case is read as upper case."""
        return super().ids(self.alphabet.check(text, "the sequence"))
