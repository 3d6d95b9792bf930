"""Molecules to token ids and back: symbols of a line notation, then learned byte-pair merges.

Each symbol (see notation.py) becomes one private-use character; the byte-pair model of the `tokenizers` library merges
frequent neighbours. Every token is a whole number of symbols; no atom is ever split. Without merges every token is one
symbol. Source: byte-pair merges for subwords, Sennrich et al. 2016, arXiv:1508.07909.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from tokenizers import Tokenizer, models, trainers
from torch import Tensor

from guidekit.io.files import write_atomic

from .notation import SMILES, SelfiesNotation, SmilesNotation

FIRST = 0xE000  # first private-use code point: no clash with any character of a notation
ROOM = 0xF8FF - FIRST + 1
CHUNK = 50_000
split_symbols = SMILES.split


class SmilesTokenizer:
    """SMILES <-> ids. Id 0 is padding; ids 1 to V - 1 are tokens, id = (id in the byte-pair model) + 1.

    A subclass that spells molecules in another notation sets `notation` and `format`, its mark in saved files.

    Args:
        symbols: atom-level symbols; symbol i is stored as chr(0xE000 + i).
        pairs: byte-pair model over those characters.

    Raises:
        ValueError: the model's tokens are not made of `symbols`, or its ids leave gaps.
    """

    pad_id = 0
    notation: ClassVar[SmilesNotation | SelfiesNotation] = SMILES
    format = "guidekit smiles codec 1"

    def __init__(self, symbols: Sequence[str], pairs: Tokenizer) -> None:
        self.symbols = tuple(symbols)
        self.pairs = pairs
        self._character = {symbol: chr(FIRST + i) for i, symbol in enumerate(self.symbols)}
        plain = {ord(character): symbol for symbol, character in self._character.items()}
        vocabulary = pairs.get_vocab()
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise ValueError("token ids leave gaps; expected 0 to the number of tokens - 1")
        if len(plain) != len(symbols) or any(ord(c) not in plain for token in vocabulary for c in token):
            raise ValueError("symbols and byte-pair model do not belong together; load both from one saved codec")
        by_id = sorted(vocabulary, key=vocabulary.__getitem__)
        self.pieces = ("", *(token.translate(plain) for token in by_id))  # id -> text, "" for padding

    @classmethod
    def train(cls, smiles: Iterable[str], merges: int = 1024, min_frequency: int = 20) -> "SmilesTokenizer":
        """Learn symbols and up to `merges` merges of pairs that occur at least `min_frequency` times; 0: symbols only.

        Raises:
            ValueError: there is no SMILES, one the notation cannot express, or more than 6,400 different symbols.
        """
        return cls.learn(map(cls.notation.write, smiles), merges, min_frequency)

    @classmethod
    def learn(cls, texts: Iterable[str], merges: int = 1024, min_frequency: int = 20) -> "SmilesTokenizer":
        """`train` on texts in the codec's notation."""
        split = [cls.notation.split(text) for text in texts]
        symbols = sorted(set().union(*split))
        if not 0 < len(symbols) <= ROOM:
            raise ValueError(f"found {len(symbols)} different symbols; expected 1 to {ROOM}: check the input SMILES")
        character = {symbol: chr(FIRST + i) for i, symbol in enumerate(symbols)}
        tokenizer = Tokenizer(models.BPE())
        size = len(symbols) + merges
        trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=min_frequency, show_progress=False)
        tokenizer.train_from_iterator(("".join(map(character.__getitem__, part)) for part in split), trainer)
        return cls(symbols, tokenizer)

    def dumps(self) -> str:
        """Symbols and merges as one JSON text; equal codecs have equal texts."""
        content = {"format": self.format, "symbols": self.symbols, "tokenizer": json.loads(self.pairs.to_str())}
        return json.dumps(content, separators=(",", ":"))

    @classmethod
    def loads(cls, text: str) -> "SmilesTokenizer":
        """The codec of a text written by `dumps`.

        Raises:
            ValueError: the text is damaged or something else.
        """
        try:
            content = json.loads(text)
            if content["format"] != cls.format:
                raise ValueError(f"format {content['format']!r}, expected {cls.format!r}")
            return cls(content["symbols"], Tokenizer.from_str(json.dumps(content["tokenizer"])))
        except Exception as error:  # tokenizers raises plain Exception
            raise ValueError(f"no readable tokenizer ({error}); write one with {cls.__name__}.save") from error

    def save(self, path: str | Path) -> None:
        """Write the codec to one JSON file, atomically."""
        write_atomic(path, self.dumps().encode())

    @classmethod
    def load(cls, path: str | Path) -> "SmilesTokenizer":
        """Read a file written by `save`.

        Raises:
            ValueError: the file is damaged or something else.
        """
        try:
            return cls.loads(Path(path).read_text())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @property
    def vocab_size(self) -> int:
        """V, the number of ids including padding; V itself is free for a mask id."""
        return len(self.pieces)

    def encode(self, smiles: Sequence[str], length: int | None = None) -> Tensor:
        """Token ids (B, L) int64, padded with 0 on the right; L = `length`, or the longest of the batch.

        Raises:
            ValueError: an unknown symbol, or more than `length` tokens (nothing is ever cut off).
        """
        rows = list(self._ids([self.notation.write(one) for one in smiles]))
        width = max(map(len, rows), default=0) if length is None else length
        tokens = torch.full((len(rows), width), self.pad_id, dtype=torch.int64)
        for i, row in enumerate(rows):
            if len(row) > width:
                raise ValueError(
                    f"SMILES {i} has {len(row)} tokens, the limit is {width}: {smiles[i]!r}; "
                    "raise length or leave it out"
                )
            tokens[i, : len(row)] = torch.tensor(row, dtype=torch.int64) + 1
        return tokens

    def decode(self, tokens: Tensor) -> list[str]:
        """SMILES texts of ids (B, L); padding is dropped wherever it stands. The text need not be a valid molecule.

        Raises:
            ValueError: tokens are not integers of shape (B, L), or an id lies outside 0 to V - 1 (such as a mask id).
        """
        if tokens.ndim != 2 or tokens.is_floating_point():
            raise ValueError(
                f"tokens have shape {tuple(tokens.shape)} and type {tokens.dtype}; expected integers of shape (B, L)"
            )
        outside = ((tokens < 0) | (tokens >= self.vocab_size)).nonzero()
        if len(outside):
            i, j = outside[0].tolist()
            raise ValueError(
                f"id {int(tokens[i, j])} at row {i}, column {j} is outside 0 to {self.vocab_size - 1}; "
                "a mask id must be replaced by a token before decoding"
            )
        return [self.notation.read("".join(map(self.pieces.__getitem__, row))) for row in tokens.tolist()]

    def ragged(self, smiles: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """All ids end to end: tokens (T,) uint16, offsets (n + 1,) int64; row i is tokens[offsets[i]:offsets[i + 1]].

        Raises:
            ValueError: an unknown symbol, or V above 65,536.
        """
        return self.ragged_texts([self.notation.write(one) for one in smiles])

    def ragged_texts(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """`ragged` of texts in the codec's notation."""
        if self.vocab_size > 1 << 16:
            raise ValueError(f"vocabulary of {self.vocab_size} does not fit uint16; train with fewer merges")
        parts, lengths = [], [0]
        for row in self._ids(texts):
            parts.append(np.array(row, np.uint16) + np.uint16(1))  # lists would need 10 times the memory
            lengths.append(len(row))
        return np.concatenate(parts) if parts else np.zeros(0, np.uint16), np.cumsum(lengths, dtype=np.int64)

    def _ids(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Byte-pair ids (from 0) of each text, in chunks that keep the memory small."""
        for start in range(0, len(texts), CHUNK):
            coded = [self._characters(text) for text in texts[start : start + CHUNK]]
            for encoding in self.pairs.encode_batch_fast(coded, add_special_tokens=False):
                yield encoding.ids

    def _characters(self, text: str) -> str:
        """Private-use characters of a text; raises ValueError with the place of an unknown symbol."""
        column = 1
        characters = []
        for symbol in self.notation.split(text):
            if symbol not in self._character:
                raise ValueError(
                    f"symbol {symbol!r} at column {column} of {text!r} is not in the vocabulary "
                    f"({' '.join(self.symbols)}); leave the molecule out or train a codec on such data"
                )
            characters.append(self._character[symbol])
            column += len(symbol)
        return "".join(characters)
