"""Molecules of users as a prior spells them: canonical, each once, and what its tokens cannot spell counted."""

from __future__ import annotations

from collections.abc import Sequence

from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize

from guidekit.samples import Reading, Rejected

from .tokenizer import SmilesTokenizer

UNFIT = ("skip", "flatten")


def fitted(smiles: Sequence[str], codec: SmilesTokenizer, longest: int, unfit: str) -> tuple[list[str], Reading]:
    """Distinct canonical SMILES that a codec can spell in so many tokens, and what became of the others.

    Args:
        smiles: valid ones.
        codec: of the prior that training starts from.
        longest: most tokens.
        unfit: "skip" leaves out what does not fit; "flatten" first takes the largest component, without
            stereochemistry, isotopes and charges.
    """
    kept: dict[str, None] = {}
    rejected: list[Rejected] = []
    changed = 0
    for number, text in enumerate(smiles, 1):
        molecule = Chem.MolFromSmiles(text)
        spelled = Chem.MolToSmiles(molecule)
        if unfit == "flatten":
            flat = flattened(molecule)
            changed += flat != spelled
            spelled = flat
        reason = misfit(spelled, codec, longest)
        if reason:
            rejected.append(Rejected(f"molecule {number}", text, reason))
        else:
            kept.setdefault(spelled)
    equal = len(smiles) - len(rejected) - len(kept)
    told = [f"{len(kept):,} of {len(smiles):,} molecules are trained on"]
    told += [f"{changed:,} were flattened"] if changed else []
    told += [f"{equal:,} are the same as others"] if equal else []
    told += [f"{len(rejected):,} do not fit; the first: {rejected[0].reason}"] if rejected else []
    return list(kept), Reading("; ".join(told), rejected)


def flattened(molecule: Chem.Mol) -> str:
    """Canonical SMILES of the largest component without stereochemistry, isotopes and, where that can be, charges."""
    with rdBase.BlockLogs():
        largest = rdMolStandardize.LargestFragmentChooser().choose(molecule)
        plain = rdMolStandardize.Uncharger().uncharge(largest)
    for atom in plain.GetAtoms():
        atom.SetIsotope(0)
    return Chem.MolToSmiles(plain, isomericSmiles=False)


def misfit(smiles: str, codec: SmilesTokenizer, longest: int) -> str:
    """Why a codec cannot spell a SMILES in so many tokens; empty where it can."""
    known = set(codec.symbols)
    strange = [symbol for symbol in codec.notation.split(codec.notation.write(smiles)) if symbol not in known]
    if strange:
        return f"the prior has no token for {strange[0]!r}"
    size = int(codec.ragged([smiles])[1][-1])
    return f"{size} tokens, at most {longest} are sampled" if size > longest else ""
