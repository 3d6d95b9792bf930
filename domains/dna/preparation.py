"""Training data of DNA and protein priors: token arrays, labels, and the description of the future checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guidekit.samples import Reading

from .alphabet import DNA, PROTEIN
from .data import SPLIT_AT, antimicrobial_peptides, protein_sequences, refuse_missing, training_blocks
from .files import ReadResult, read_most

HELD = 0.05
"""Share of the letters of user data that is held out: the end of every file."""
MOST_HELD = 0.25  # of few letters a whole window is held out, up to this share


def prepare_dna(path: Path, data: str | None, trainer: Mapping[str, Any]) -> Reading:
    """Write what `guidekit.training.token_job` trains a DNA prior from.

    Args:
        path: npz file to write.
        data: "human", "ecoli", a file `read` accepts, or several as "name=file,name=file" for a prior with the label
            "class"; None is both shipped genomes with the label "species". Records are cut at N.
        trainer: settings of configs/trainer/dna.yaml, and the `column` of a table.

    Returns:
        What is odd about the data, and the records that were left out.

    Raises:
        ValueError: unreadable data (see `read_most`), or no piece as long as the window.
    """
    from guidekit.training.token_job import save_prepared  # Lightning takes seconds to import

    window = trainer["window"]
    refuse_length("window", trainer)
    sources = _sources(data)
    read_ones = {name: None if source in SPLIT_AT else _read(source, trainer) for name, source in sources.items()}
    parts = [_pieces(name, sources[name], found, window) for name, found in read_ones.items()]
    counts = [sum(map(len, train)) for train, _ in parts]
    description: dict[str, Any] = {
        "domain": "dna",
        "vocab_size": len(DNA.letters),
        "pad_id": None,
        "length_counts": [0] * window + [1],
        "window": window,
        "complement": [3, 2, 1, 0] if trainer["both_strands"] else None,
        "card": {"data": ", ".join(f"{n} ({c:,} bp)" for n, c in zip(sources, counts, strict=True))},
    }
    if len(sources) > 1:
        kind = "species" if data is None else "class"
        description["labels"] = [{"name": kind, "values": list(sources)}]
    train, held = (_ragged([part[side] for part in parts], len(sources) > 1) for side in (0, 1))
    save_prepared(path, train, held, description)
    return reading([found for found in read_ones.values() if found is not None])


def _read(source: str, trainer: Mapping[str, Any]) -> ReadResult:
    """Records of a file of the user."""
    refuse_missing(source)
    return read_most(source, DNA, trainer.get("column"))


def reading(results: Sequence[ReadResult]) -> Reading:
    """What is to be said of files that were read."""
    gone = [one for result in results for one in result.rejected]
    told = [note for result in results for note in result.notes]
    told += [f"{len(gone)} records are left out; the first: {gone[0].reason}"] if gone else []
    return Reading("; ".join(told), gone)


def refuse_length(name: str, trainer: Mapping[str, Any]) -> None:
    """Raise ValueError where trainer.<name>, the longest sequence, is none or more than the network takes."""
    longest = trainer["network"]["options"].get("max_length")
    if not 1 <= trainer[name] <= (longest or trainer[name]):
        raise ValueError(
            f"trainer.{name}={trainer[name]}; 1 to trainer.network.options.max_length={longest} letters are accepted"
        )


def _sources(data: str | None) -> dict[str, str]:
    """Name of each class and where its sequences are."""
    if data is None:
        return {name: name for name in sorted(SPLIT_AT)}
    entries = [entry.strip() for entry in str(data).split(",")]
    if len(entries) == 1 and "=" not in entries[0]:
        return {Path(entries[0]).name: entries[0]}
    named = dict(entry.partition("=")[::2] for entry in entries)
    if "" in named or "" in named.values() or len(named) != len(entries):
        raise ValueError(f"data={data!r}: write one file, or different names as name=file,name=file")
    return named


def _pieces(name: str, source: str, found: ReadResult | None, window: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Stretches to train on and to hold out, as ids, each at least as long as the window."""
    if found is None:
        blocks, limit = training_blocks(source), SPLIT_AT[source]
        cuts = [(b.codes[: max(0, limit - b.start)], b.codes[max(0, limit - b.start) :]) for b in blocks]
    else:
        codes = [DNA.encode([record])[0].numpy().astype(np.uint8) for record in found.sequences]
        total = sum(map(len, codes))
        kept_back = max(HELD * total, window if window <= MOST_HELD * total else 0)
        most, done, cuts = total - kept_back, 0, []
        for part in codes:
            cut = int(np.clip(most - done, 0, len(part)))
            cuts.append((part[:cut], part[cut:]))
            done += len(part)
    train, held = ([part for part in side if len(part) >= window] for side in zip(*cuts, strict=True))
    if not train or not held:
        longest = max((len(part) for pair in cuts for part in pair), default=0)
        raise ValueError(
            f"{name}: no stretch of trainer.window={window} letters to train on and another to hold out (the last "
            f"{HELD:.0%} of the letters, or one window); the longest has {longest}: give more or longer sequences, or "
            "a smaller window"
        )
    return train, held


def _ragged(parts: Sequence[Sequence[np.ndarray]], labelled: bool) -> tuple[np.ndarray, ...]:
    """Tokens, offsets and, where wanted, labels (n, 1) of all stretches; parts has one list a class."""
    pieces = [piece for part in parts for piece in part]
    tokens, offsets = np.concatenate(pieces), np.cumsum([0, *map(len, pieces)])
    if not labelled:
        return tokens, offsets
    return tokens, offsets, np.repeat(np.arange(len(parts), dtype=np.int8), [len(part) for part in parts])[:, None]


def prepare_proteins(path: Path, data: str | None, trainer: Mapping[str, Any]) -> Reading:
    """Write what `guidekit.training.token_job` trains a protein prior from.

    Args:
        path: npz file to write.
        data: a file `read` accepts; None is UniProt up to 256 residues and antimicrobial peptides, with the label
            "kind".
        trainer: settings of configs/trainer/proteins.yaml, and the `column` of a table.

    Returns:
        What is odd about the data, and the records that were left out.

    Raises:
        ValueError: unreadable data (see `read_most`), or fewer than ten times as many proteins as are to be held out.
    """
    from guidekit.training.token_job import save_prepared

    longest, held, told = trainer["max_tokens"], trainer["validation"], Reading()
    refuse_length("max_tokens", trainer)
    if data is None:
        peptides, active = antimicrobial_peptides()
        known = set(protein_sequences())
        rows = [(s, 0) for s in protein_sequences()] + [
            (s, 1) for s, a in zip(peptides, active, strict=True) if a and s not in known
        ]
        title = "UniProt up to 256 residues, antimicrobial peptides"
    else:
        result = read_most(data, PROTEIN, trainer.get("column"))
        rows, title, told = [(s, 0) for s in result.sequences], Path(data).name, reading([result])
        over = [f"{len(s)} residues, trainer.max_tokens={longest}" for s in result.sequences if len(s) > longest]
        if over:
            notes = [told.notes] if told.notes else []
            told = told._replace(notes="; ".join([*notes, f"{len(over)} proteins are too long; the first: {over[0]}"]))
    rows = [row for row in rows if len(row[0]) <= longest]
    np.random.default_rng(0).shuffle(order := np.arange(len(rows)))
    rows = [rows[i] for i in order]
    if len(rows) < 10 * held:
        raise ValueError(f"{len(rows)} proteins are too few to hold out trainer.validation={held} of them")
    codes = [PROTEIN.encode([s])[0].numpy().astype(np.uint8) for s, _ in rows]
    kinds = np.array([[kind] for _, kind in rows], np.int8)

    def arrays(side: slice) -> tuple[np.ndarray, ...]:
        part = codes[side]
        ragged = (np.concatenate(part), np.cumsum([0, *map(len, part)]))
        return (*ragged, kinds[side]) if data is None else ragged

    description: dict[str, Any] = {
        "domain": "proteins",
        "vocab_size": len(PROTEIN.letters) + 1,
        "pad_id": 0,
        "length_counts": np.bincount([len(c) for c in codes], minlength=longest + 1).tolist(),
        "card": {"data": f"{title}, {len(rows) - held:,} proteins"},
    }
    if data is None:
        description["labels"] = [{"name": "kind", "values": ["uniprot", "antimicrobial"]}]
    save_prepared(path, arrays(slice(held, None)), arrays(slice(0, held)), description)
    return told
