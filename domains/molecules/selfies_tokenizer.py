"""Codec over SELFIES symbols, and the choice of codec by notation."""

import json

from .notation import SELFIES
from .tokenizer import SmilesTokenizer


class SelfiesTokenizer(SmilesTokenizer):
    """SMILES <-> ids by way of SELFIES symbols: every sequence of tokens decodes to a molecule (or to nothing, "").

    The decoded SMILES are kekulised. `encode` raises ValueError for a SMILES that SELFIES cannot express.
    """

    notation = SELFIES
    format = "guidekit selfies codec 1"


TOKENIZERS = {codec.notation.name: codec for codec in (SmilesTokenizer, SelfiesTokenizer)}


def tokenizer_from_text(text: str) -> SmilesTokenizer:
    """The codec of a text written by `dumps`, in the notation that the text names.

    Raises:
        ValueError: the text is damaged or something else.
    """
    try:
        found = json.loads(text)["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"no readable tokenizer ({error}); write one with SmilesTokenizer.save") from error
    for codec in TOKENIZERS.values():
        if codec.format == found:
            return codec.loads(text)
    raise ValueError(f"codec format {found!r}; readable are {', '.join(c.format for c in TOKENIZERS.values())}")
