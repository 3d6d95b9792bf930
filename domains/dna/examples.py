"""Files for `guidekit examples`: promoters of two strengths, real windows, and a family of proteins."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from guidekit.examples import MADE, Example

from .data import strings, windows
from .files import write_fasta

ANCESTOR = "MKVLAEGSWTIEELKKRAEELGLDPEEVARLVAEGRWPELLKKLGIPYTE"
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def promoters(seed: int, changes: int, count: int = 60, length: int = 240) -> list[str]:
    """Random DNA with the two boxes of a bacterial promoter, TTGACA and TATAAT 17 bases apart.

    Args:
        seed: of everything.
        changes: places of the boxes that are drawn anew.
        count: of the sequences.
        length: of each.
    """
    generator = np.random.default_rng(seed)
    letters = np.array(list("ACGT"))
    found = letters[generator.integers(4, size=(count, length))]
    for row in found:
        boxes = np.array(list("TTGACATATAAT"))
        boxes[generator.choice(12, changes, replace=False)] = letters[generator.integers(4, size=changes)]
        start = generator.integers(60, length - 90)
        row[start : start + 6], row[start + 23 : start + 29] = boxes[:6], boxes[6:]
    return ["".join(row) for row in found]


def relatives(count: int = 60, seed: int = 0) -> list[str]:
    """Proteins that share a made-up ancestor: a sixth of the residues drawn anew, up to five of the last left out."""
    generator = np.random.default_rng(seed)
    letters = np.array(list(RESIDUES))
    ancestor = np.array(list(ANCESTOR))
    found = []
    for _ in range(count):
        anew = generator.random(len(ancestor)) < 1 / 6
        anew[0] = False
        one = np.where(anew, letters[generator.integers(20, size=len(ancestor))], ancestor)
        found.append("".join(one[: len(one) - generator.integers(6)]))
    return found


def fasta(path: Path, sequences: list[str]) -> None:
    """Write sequences under the name of the file and their number."""
    write_fasta(path, sequences, [f"{path.stem}-{i}" for i in range(len(sequences))])


def held_out(path: Path) -> None:
    """Windows of E. coli that no prior has seen."""
    fasta(path, strings(windows("ecoli", "test")[::58]))


EXAMPLES = (
    Example(
        "promoters.fasta",
        "120 bacterial promoters of 240 bases, made up",
        "guidekit train domain=dna data=promoters.fasta trainer.window=200 trainer.validation=20 "
        "output=promoters.safetensors",
        MADE,
        lambda path: fasta(path, promoters(0, 0) + promoters(1, 6)),
    ),
    Example(
        "strong.fasta",
        "60 of them with both boxes whole",
        "guidekit train domain=dna data=strong=strong.fasta,weak=weak.fasta trainer.window=200 trainer.validation=20 "
        "output=strengths.safetensors",
        MADE,
        lambda path: fasta(path, promoters(0, 0)),
    ),
    Example(
        "weak.fasta",
        "60 of them with half of the boxes changed",
        "guidekit train domain=dna data=strong=strong.fasta,weak=weak.fasta trainer.window=200 trainer.validation=20 "
        "output=strengths.safetensors",
        MADE,
        lambda path: fasta(path, promoters(1, 6)),
    ),
    Example(
        "held_out.fasta",
        "30 windows of E. coli that no shipped prior was trained on",
        "guidekit evaluate domain=dna samples=held_out.fasta prior=default draws=32",
        "GenBank U00096, public",
        held_out,
    ),
)

PROTEINS = (
    Example(
        "proteins.fasta",
        "60 proteins of up to 50 residues with a common ancestor, made up",
        "guidekit train domain=proteins data=proteins.fasta trainer.validation=6 output=relatives.safetensors",
        MADE,
        lambda path: fasta(path, relatives()),
    ),
)
