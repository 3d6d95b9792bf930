"""Shipped data: two genomes in two bits a letter, JASPAR motifs, proteins, peptides; see assets/DATA.md."""

from __future__ import annotations

import csv
import functools
import gzip
import io
import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from guidekit.errors import UnknownNameError
from guidekit.io.files import write_atomic, write_packed
from guidekit.io.reading import packed

from .alphabet import DNA

ASSETS = Path(__file__).parent / "assets"
SPLIT_AT = {"human": 40_000_000, "ecoli": 4_200_000}
"""Position (0-based, GRCh37 chr22 or MG1655) from which on the genome is held out."""
CHROMOSOME = {"human": "chr22", "ecoli": "MG1655"}
LEAST_BLOCK = 256


class Block(NamedTuple):
    """A stretch of a genome without gaps: chromosome, first position (0-based, forward strand), ids 0-3 (n,) uint8."""

    name: str
    start: int
    codes: np.ndarray


def pack(codes: np.ndarray) -> np.ndarray:
    """Ids 0 to 3 (n,) in two bits each, first letter in the highest bits; (ceil(n / 4),) uint8."""
    quads = np.pad(codes.astype(np.uint8), (0, -len(codes) % 4)).reshape(-1, 4)
    return quads[:, 0] << 6 | quads[:, 1] << 4 | quads[:, 2] << 2 | quads[:, 3]


def unpack(packed: np.ndarray, count: int) -> np.ndarray:
    """The first `count` ids of `pack`ed letters, (count,) uint8."""
    return (packed[:, None] >> np.array([6, 4, 2, 0], np.uint8) & 3).reshape(-1)[:count]


def write_genome(path: str | Path, blocks: Sequence[Block]) -> None:
    """Write blocks as an xz-compressed npz: `letters` (packed end to end), `starts` and `lengths`, int32."""
    arrays = {
        "letters": pack(np.concatenate([block.codes for block in blocks])),
        "starts": np.array([block.start for block in blocks], np.int32),
        "lengths": np.array([len(block.codes) for block in blocks], np.int32),
    }
    write_packed(path, arrays)


@functools.lru_cache(maxsize=2)
def training_blocks(species: str = "human") -> list[Block]:
    """All blocks of a shipped genome: "human" (chr22 pieces of at least 256 letters) or "ecoli" (the whole genome).

    Raises:
        UnknownNameError: another species.
        ValueError: the file is damaged.
    """
    if species not in SPLIT_AT:
        raise UnknownNameError("species", species, SPLIT_AT)
    file = packed(ASSETS / f"{species}.npz.xz")
    starts, ends = file["starts"].tolist(), file["lengths"].cumsum().tolist()
    codes = unpack(file["letters"], ends[-1])
    pieces = zip(starts, [0, *ends], ends, strict=False)
    return [Block(CHROMOSOME[species], start, codes[first:last]) for start, first, last in pieces]


def windows(species: str = "human", split: str = "train", length: int = 256) -> np.ndarray:
    """Windows side by side (stride = length) of the blocks, (n, length) uint8 ids, in the order of the genome.

    Args:
        species: "human" or "ecoli".
        split: "train" lies wholly before `SPLIT_AT[species]`, "test" wholly behind; never at random, as neighbours
            in a genome resemble each other.
        length: letters a window.

    Raises:
        ValueError: another split, or a length that no block has.
    """
    if split not in ("train", "test"):
        raise UnknownNameError("split", split, ("train", "test"))
    if length < 1:
        raise ValueError(f"length={length}; a window has at least 1 letter")
    found: list[np.ndarray] = []
    blocks = training_blocks(species)
    limit = SPLIT_AT[species]
    for block in blocks:
        n = len(block.codes) // length
        starts = block.start + length * np.arange(n)
        keep = starts + length <= limit if split == "train" else starts >= limit
        found.append(block.codes[: n * length].reshape(n, length)[keep])
    result = np.concatenate(found)
    if not len(result):
        raise ValueError(f"length={length} is longer than every {split} block of {species}; take shorter windows")
    return result


def refuse_missing(source: str | Path) -> None:
    """Raise UnknownNameError where `source` is neither a file nor a shipped genome."""
    if source not in SPLIT_AT and not Path(source).exists():
        raise UnknownNameError("file or shipped genome", str(source), [*SPLIT_AT, "a path such as mine.fasta"])


def strings(codes: np.ndarray) -> list[str]:
    """Ids 0-3 (n, L) as strings."""
    rows = np.frombuffer(DNA.letters.encode(), np.uint8)[codes]
    return [row.tobytes().decode() for row in rows]


@functools.cache
def protein_sequences(split: str | None = None) -> tuple[str, ...]:
    """Distinct shipped UniProt sequences of at most 256 residues, in file order.

    Args:
        split: "test" is the tenth whose CRC-32 is divisible by 10, "train" the others, None all. Homologous proteins
            may lie on both sides.
    """
    if split not in (None, "train", "test"):
        raise UnknownNameError("split", split, ("train", "test"))
    text = gzip.decompress((ASSETS / "uniprot.fasta.gz").read_bytes()).decode()
    found = dict.fromkeys("".join(record.split("\n")[1:]) for record in text.split("\n>"))
    return tuple(s for s in found if split is None or (split == "test") == (zlib.crc32(s.encode()) % 10 == 0))


def antimicrobial_peptides() -> tuple[list[str], np.ndarray]:
    """Peptides and labels (n,) bool: 2,600 antimicrobial ones and 2,600 of UniProt."""
    text = gzip.decompress((ASSETS / "amp.csv.gz").read_bytes()).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    return [row["sequence"] for row in rows], np.array([row["is_amp"] == "1" for row in rows])


def build_assets(source: str | Path, folder: str | Path = ASSETS) -> None:
    """Make the data files of the assets folder again from the sources named in DATA.md; takes about 20 s.

    Args:
        source: folder with dna/ecoli_mg1655.fasta.gz, dna/human_chr22_blocks.fasta.gz (headers chr22:START-END),
            jaspar/core_vertebrates.json, proteins/uniprot_le256.fasta.gz and proteins/amp_vs_uniprot.csv.gz.
        folder: where to write.
    """
    from .files import read

    source, folder = Path(source), Path(folder)
    for species, name in (("ecoli", "ecoli_mg1655"), ("human", "human_chr22_blocks")):
        blocks = []
        for record in read(source / "dna" / f"{name}.fasta.gz", n_policy="split").records:
            numbers = [int(n) for n in re.findall(r"(\d+)-\d+", record.name)] if species == "human" else [0]
            if len(record.sequence) >= LEAST_BLOCK:  # a piece of a split record counts from the start of its record
                codes = DNA.encode([record.sequence])[0].numpy().astype(np.uint8)
                blocks.append(Block(CHROMOSOME[species], sum(numbers), codes))
        write_genome(folder / f"{species}.npz.xz", blocks)
    motifs = json.loads((source / "jaspar" / "core_vertebrates.json").read_text())["motifs"]
    kept = [{key: motif[key] for key in ("matrix_id", "name", "family", "species", "counts")} for motif in motifs]
    text = json.dumps(kept, separators=(",", ":"))
    write_atomic(folder / "jaspar.json.gz", gzip.compress(text.encode(), 9, mtime=0))
    for old, new in (("uniprot_le256.fasta.gz", "uniprot.fasta.gz"), ("amp_vs_uniprot.csv.gz", "amp.csv.gz")):
        data = gzip.decompress((source / "proteins" / old).read_bytes())
        write_atomic(folder / new, gzip.compress(data, 9, mtime=0))
