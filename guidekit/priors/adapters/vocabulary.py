"""The tokens of a tokenizer of transformers: their texts, which of them are special, and how a text is spelled."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from guidekit.core.requirements import GuidanceError

MARKS = ("##", "\u2581", "\u0120")
"""What subwords of WordPiece, SentencePiece and byte-pair tokenizers begin with."""


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """What a prior needs to know of a tokenizer.

    Args:
        texts: of the tokens by their ids; None for special ones.
        mask, pad: ids of these tokens.
        before, after: ids of the tokens that stand around a sequence, such as CLS and EOS.
        spell: a text to the ids of its tokens, without these.
    """

    texts: Sequence[str | None]
    mask: int
    pad: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    spell: Callable[[str], list[int]]

    def letters(self, letters: str) -> list[int] | None:
        """The ids of single letters, in lower case where there is no other; None where one is no token."""
        known = {text: number for number, text in reversed(list(enumerate(self.texts))) if text is not None}
        found = [known.get(letter, known.get(letter.lower())) for letter in letters]
        return None if None in found else found  # type: ignore[return-value]

    def spelled(self, fits: Callable[[str], Any]) -> list[int]:
        """The ids of tokens, special ones aside, whose texts are fit."""
        return [number for number, text in enumerate(self.texts) if text and fits(text)]


def vocabulary_of(tokenizer: Any, mask_id: int | None = None) -> Vocabulary:
    """The vocabulary of a tokenizer of transformers.

    Args:
        tokenizer: as `AutoTokenizer.from_pretrained` gives it.
        mask_id: of the mask, for tokenizers that have none.

    Raises:
        GuidanceError: the tokenizer has no mask token, and no id is given.
    """
    mask = getattr(tokenizer, "mask_token_id", None) if mask_id is None else mask_id
    if mask is None:
        raise GuidanceError(
            f"the tokenizer ({type(tokenizer).__name__}) has no mask token, and masks are the noise of this kind of "
            "prior; give mask_id= where the network was trained with one"
        )
    special = {*tokenizer.all_special_ids, mask}
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    texts = [None if number in special or token is None else plain(token) for number, token in enumerate(tokens)]
    first = next((text for text in texts if text), "")
    inside = list(tokenizer(first, add_special_tokens=False)["input_ids"])
    whole = list(tokenizer(first)["input_ids"])
    at = next((i for i in range(len(whole)) if whole[i : i + len(inside)] == inside), 0)

    def spell(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    pad = getattr(tokenizer, "pad_token_id", None)
    around = tuple(whole[:at]), tuple(whole[at + len(inside) :])
    return Vocabulary(texts, mask, mask if pad is None else pad, *around, spell)


def plain(token: str) -> str:
    """The text of a token without the marks of subwords."""
    for mark in MARKS:
        token = token.removeprefix(mark)
    return token.removesuffix("</w>")


@dataclasses.dataclass(frozen=True, eq=False)
class TokenCodec:
    """Between texts and states (B, L): tokens are written one behind the other.

    Args:
        pieces: texts of the ids of states; "" is padding.
        kept: the tokenizer's ids of these, for what it spells.
        spell: see `Vocabulary`.
        length: L.
        pad_id: id of padding, or None where every state has L tokens.
    """

    pieces: Sequence[str]
    kept: Sequence[int]
    spell: Callable[[str], list[int]]
    length: int
    pad_id: int | None = 0

    @property
    def language(self) -> str:
        """The tokens in their order."""
        return f"tokens {hashlib.sha256(json.dumps(list(self.pieces)).encode()).hexdigest()[:16]}"

    def ids(self, text: str) -> list[int]:
        """The ids of a text, of any length.

        Raises:
            ValueError: it cannot be spelled in the tokens that are kept.
        """
        place = {number: i for i, number in enumerate(self.kept) if i != self.pad_id}
        found = [place.get(number, -1) for number in self.spell(text)]
        if min(found, default=-1) < 0 or "".join(self.pieces[i] for i in found) != text:
            raise ValueError(f"{text[:60]!r} cannot be spelled in the {len(self.pieces)} tokens of this prior")
        return found

    def encode(self, objects: Sequence[str]) -> Tensor:
        """Texts to tokens (B, L); ValueError where one has more tokens, or cannot be spelled."""
        rows = [self.ids(text) for text in objects]
        for text, row in zip(objects, rows, strict=True):
            if len(row) > self.length or (self.pad_id is None and len(row) < self.length):
                raise ValueError(f"{text[:60]!r} has {len(row)} tokens; states of this prior have {self.length}")
        return torch.tensor([row + [self.pad_id or 0] * (self.length - len(row)) for row in rows])

    def texts(self, states: Tensor) -> list[str]:
        """Tokens (B, L) to texts, valid or not; a mask is "?"."""
        size = len(self.pieces)
        return ["".join(self.pieces[i] if 0 <= i < size else "?" for i in row) for row in states.tolist()]

    def decode(self, states: Tensor) -> list[str | None]:
        """Tokens (B, L) to texts, None where a mask is left or nothing but padding."""
        whole = ((states >= 0) & (states < len(self.pieces))).all(1).tolist()
        return [text if fine and text else None for text, fine in zip(self.texts(states), whole, strict=True)]
