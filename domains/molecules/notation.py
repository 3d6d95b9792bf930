"""Line notations of molecules a codec can spell: SMILES and SELFIES.

A notation splits a text into symbols that are never taken apart, and turns SMILES into its own text and back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from guidekit.extras import require

SMILES_SYMBOL = re.compile(r"\[[^\]]+\]|Br|Cl|%\d\d|.", re.DOTALL)
SELFIES_SYMBOL = re.compile(r"\[[^\]]*\]|.", re.DOTALL)


@dataclass(frozen=True)
class SmilesNotation:
    """SMILES as they are; symbols are bracket atoms, Cl, Br, %nn and single characters."""

    name: str = "smiles"
    title: str = "SMILES"

    def split(self, text: str) -> list[str]:
        """Symbols of a text; joined they give it again."""
        return SMILES_SYMBOL.findall(text)

    def write(self, smiles: str) -> str:
        """The text of a SMILES."""
        return smiles

    def read(self, text: str) -> str:
        """The SMILES of a text, which need not be a valid molecule."""
        return text


@dataclass(frozen=True)
class SelfiesNotation:
    """SELFIES, of which every sequence of symbols is a molecule; symbols are [...] and the dot between fragments.

    Source: Krenn et al. 2020, doi:10.1088/2632-2153/aba947; spelled and read by the package `selfies`.
    """

    name: str = "selfies"
    title: str = "SELFIES"

    def split(self, text: str) -> list[str]:
        """Symbols of a text; joined they give it again."""
        return SELFIES_SYMBOL.findall(text)

    def write(self, smiles: str) -> str:
        """The SELFIES of a SMILES.

        Raises:
            ValueError: SELFIES cannot express it (no valid SMILES, wildcards, more bonds than its rules allow).
        """
        selfies = require("molecules", "selfies")
        try:
            return selfies.encoder(smiles)
        except selfies.EncoderError as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"SELFIES cannot express {smiles!r} ({reason}); leave the molecule out") from error

    def read(self, text: str) -> str:
        """The SMILES of a text; "" where the symbols make no atom.

        Raises:
            ValueError: a symbol that is no SELFIES symbol.
        """
        selfies = require("molecules", "selfies")
        try:
            return selfies.decoder(text)
        except selfies.DecoderError as error:
            raise ValueError(f"{text!r} is no SELFIES ({' '.join(str(error).split())})") from error


SMILES, SELFIES = SmilesNotation(), SelfiesNotation()


def expressible(smiles: Sequence[str], notation: SmilesNotation | SelfiesNotation) -> tuple[list[str], list[int]]:
    """Texts of all SMILES a notation can express, and the indices of the others."""
    texts, refused = [], []
    for i, one in enumerate(smiles):
        try:
            texts.append(notation.write(one))
        except ValueError:
            refused.append(i)
    return texts, refused
