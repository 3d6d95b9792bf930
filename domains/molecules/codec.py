"""Molecules as states: rdkit molecules or SMILES <-> tokens (B, L), padding id 0."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

from rdkit import Chem
from torch import Tensor
from torch.nn import functional as F

from .data import ASSETS
from .files import parse
from .pieces import PieceTokenizer
from .tokenizer import SmilesTokenizer


@dataclasses.dataclass(frozen=True)
class MoleculeCodec:
    """The codec of a prior of molecules.

    Args:
        tokenizer: of SMILES or SELFIES; that of a language model from elsewhere is a `PieceTokenizer`.
        length: L of the prior's states; None is that of the longest molecule.
    """

    tokenizer: SmilesTokenizer | PieceTokenizer
    length: int | None = None

    @functools.cached_property
    def language(self) -> str:
        """Notation and vocabulary."""
        return f"{self.tokenizer.format} {hashlib.sha256(self.tokenizer.dumps().encode()).hexdigest()[:16]}"

    def encode(self, objects: Sequence[str | Chem.Mol]) -> Tensor:
        """SMILES or molecules to tokens (B, L), wider where one has more tokens.

        Raises:
            ValueError: a molecule that cannot be spelled in the vocabulary.
        """
        tokens = self.tokenizer.encode([o if isinstance(o, str) else Chem.MolToSmiles(o) for o in objects])
        return F.pad(tokens, (0, max(0, (self.length or 0) - tokens.shape[1])), value=self.tokenizer.pad_id)

    def decode(self, states: Tensor) -> list[Chem.Mol | None]:
        """Tokens (B, L) to molecules, None where the SMILES is not valid."""
        return [parse(text)[0] if text else None for text in self.texts(states)]

    def texts(self, states: Tensor) -> list[str]:
        """Tokens (B, L) to SMILES, valid or not."""
        return self.tokenizer.decode(states)


@functools.cache
def shipped() -> MoleculeCodec:
    """That of the default prior: SMILES with the byte pairs of MOSES."""
    return MoleculeCodec(SmilesTokenizer.load(ASSETS / "codec.json"))
