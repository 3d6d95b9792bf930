"""Files for `guidekit examples`: molecules in a table and in a list, and a reward."""

from __future__ import annotations

from pathlib import Path

from guidekit.examples import MADE, Example

from .data import reference_smiles

MOSES = "MOSES, MIT"
RINGS = """def few_rings(molecule):
    return -abs(molecule.GetRingInfo().NumRings() - 2)
"""
JUDGE = """import sys

for line in sys.stdin:
    print(-abs(len(line.strip()) - 30))
"""


def family(most: int = 200) -> list[str]:
    """Sulfonamides of the MOSES test set: SMILES that hold the group as it is mostly written."""
    return [smiles for smiles in reference_smiles() if "NS(=O)(=O)" in smiles][:most]


def actives(path: Path) -> None:
    """A table of molecules with an activity, which is made up: the number of aromatic atoms decides."""
    rows = [f"{smiles},{4 + 0.2 * sum(map(smiles.count, 'cnos')):.1f}" for smiles in family()]
    path.write_text("\n".join(["smiles,activity", *rows]) + "\n")


def decoys(path: Path) -> None:
    """A table of molecules that are none of the family."""
    others = [smiles for smiles in reference_smiles() if "S(=O)" not in smiles][:200]
    path.write_text("\n".join(["smiles", *others]) + "\n")


def listed(path: Path) -> None:
    """SMILES with names, one a line."""
    path.write_text("".join(f"{smiles} molecule-{i}\n" for i, smiles in enumerate(reference_smiles()[::50])))


EXAMPLES = (
    Example(
        "actives.csv",
        "200 sulfonamides, columns smiles and activity; the activity is made up",
        "guidekit train domain=molecules init=default data=actives.csv column=smiles output=family.safetensors "
        "trainer.steps=300 trainer.batch_size=64 trainer.learning_rate=0.0003 trainer.warmup=20 "
        "trainer.validate_every=100",
        MOSES,
        actives,
    ),
    Example(
        "decoys.csv",
        "200 molecules without that group, column smiles",
        "guidekit train domain=molecules 'data=\"active=actives.csv,inactive=decoys.csv\"' column=smiles "
        "output=classes.safetensors",
        MOSES,
        decoys,
    ),
    Example(
        "molecules.smi",
        "300 molecules, one a line",
        "guidekit train domain=molecules data=molecules.smi trainer.validation=30 output=mine.safetensors",
        MOSES,
        listed,
    ),
    Example(
        "rings.py",
        "a reward: a function of a molecule",
        "guidekit sample domain=molecules reward=rings:few_rings guidance=svdd num_samples=8",
        MADE,
        lambda path: path.write_text(RINGS),
    ),
    Example(
        "judge.py",
        "a program that judges molecules: a SMILES a line in, a number a line out",
        "guidekit sample domain=molecules reward=command 'reward.command=\"python judge.py\"' guidance=svdd "
        "num_samples=4 steps=16 output=judged",
        MADE,
        lambda path: path.write_text(JUDGE),
    ),
)
