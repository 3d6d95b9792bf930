"""The tokens of somebody else's language model of SMILES or SELFIES, used as a `SmilesTokenizer` is."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from guidekit.priors.adapters.vocabulary import TokenCodec, Vocabulary

from .notation import SELFIES, SMILES, SelfiesNotation, SmilesNotation

SPELLED = re.compile(r"[A-Za-z0-9@+\-\[\]()=#$%.:/\\*]+")
"""Texts that may be a part of a SMILES or SELFIES."""
OF_SELFIES = re.compile(r"\[(Branch|Ring)\d\]")


@dataclasses.dataclass(frozen=True, eq=False)
class PieceTokenizer:
    """SMILES <-> ids; id 0 is padding.

    Args:
        codec: between texts and ids.
        notation: of the texts.
    """

    codec: TokenCodec
    notation: SmilesNotation | SelfiesNotation = SMILES
    pad_id = 0
    format = "pieces"

    @property
    def pieces(self) -> Sequence[str]:
        """Texts by id."""
        return self.codec.pieces

    @property
    def vocab_size(self) -> int:
        """V, padding included."""
        return len(self.pieces)

    def dumps(self) -> str:
        """What tells two of them apart."""
        return f"{self.notation.name} {self.codec.language}"

    def encode(self, smiles: Sequence[str]) -> Tensor:
        """Token ids (B, L), padded to the longest; ValueError where one cannot be spelled."""
        rows = [self.codec.ids(self.notation.write(one)) for one in smiles]
        width = max(map(len, rows), default=0)
        return torch.tensor([row + [self.pad_id] * (width - len(row)) for row in rows], dtype=torch.int64)

    def decode(self, tokens: Tensor) -> list[str]:
        """SMILES texts of ids (B, L), valid or not."""
        return [self.notation.read(text) for text in self.codec.texts(tokens)]

    def lengths(self, smiles: Sequence[str]) -> list[int]:
        """Numbers of tokens of those that can be spelled."""
        found = []
        for one in smiles:
            try:
                found.append(len(self.codec.ids(self.notation.write(one))))
            except ValueError:
                continue
        return found


def tokenizer_of(vocabulary: Vocabulary) -> tuple[PieceTokenizer, list[int]]:
    """The tokenizer with all tokens of a vocabulary that may be a part of a molecule, and their ids there.

    Raises:
        ValueError: there is none.
    """
    kept = vocabulary.spelled(SPELLED.fullmatch)
    if not kept:
        raise ValueError("no token of the language model is a part of a SMILES or SELFIES")
    pieces = ["", *(str(vocabulary.texts[number]) for number in kept)]
    ids = [vocabulary.pad, *kept]
    notation = SELFIES if any(map(OF_SELFIES.fullmatch, pieces)) else SMILES
    return PieceTokenizer(TokenCodec(pieces, ids, vocabulary.spell, 0), notation), ids
