"""Training data of molecule priors: token arrays, labels, and the description of the future checkpoint."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from guidekit.errors import UnknownNameError
from guidekit.samples import Reading

from .data import is_shipped, shuffled_training_smiles
from .files import read
from .fitting import fitted
from .labels import LABELS, label_of, label_table
from .notation import expressible
from .selfies_tokenizer import TOKENIZERS
from .tokenizer import SmilesTokenizer

SAMPLE = 300_000  # molecules that merges are learned from
LEAST = 10  # molecules to train on from a prior
MOST_LEFT_OUT = 0.1  # share of the molecules


def prepare(path: Path, data: str | None, trainer: Mapping[str, Any], shipped: SmilesTokenizer) -> Reading:
    """Write the token arrays and the description that `guidekit.training.token_job` trains from.

    Args:
        path: npz file to write.
        data: "moses" (None), "qm9", molecules in any format `read` accepts, or several files of them as
            "name=file,name=file" for a prior with the label "class".
        trainer: settings of configs/trainer/molecules.yaml; `column` of a table; `init`, where training starts from a
            prior: then molecules are spelled as it does, see `fitting.fitted`.
        shipped: codec, of that prior, used where `trainer.merges` is null, for SMILES other than QM9.

    Returns:
        What is to be said of the data, and what was left out.

    Raises:
        UnknownNameError: no notation or label of that name.
        ValueError: unreadable data, more than a tenth of it too long or not expressible in the notation, or fewer than
            ten times as many molecules as are to be held out.
    """
    from guidekit.training.token_job import save_prepared  # Lightning takes seconds to import

    kind = TOKENIZERS.get(trainer.get("notation", "smiles"))
    if kind is None:
        raise UnknownNameError("notation", str(trainer["notation"]), TOKENIZERS)
    labels = [trainer["labels"]] if isinstance(trainer.get("labels"), str) else list(trainer.get("labels") or [])
    for name in labels:
        if name not in LABELS:
            raise UnknownNameError("label of molecules", str(name), LABELS)
    shipped_data = is_shipped(data) or str(data).endswith(".front.xz")
    smiles, held, told = shuffled_training_smiles(data) if shipped_data else [], trainer["validation"], Reading()
    sources, classes = named_files(data), np.zeros(0, np.int8)
    if sources and labels:
        raise ValueError(f"data={data} gives classes; leave trainer.labels out")
    if sources:
        smiles, classes, told = of_classes(sources, trainer, shipped)
        held = min(held, len(smiles) // 10)
    elif not shipped_data:
        smiles, told = of_file(str(data), trainer.get("column"))
        if trainer.get("init"):
            smiles, fit = fitted(smiles, shipped, trainer["max_tokens"], trainer["unfit"])
            if len(smiles) < LEAST:
                raise ValueError(f"{Path(str(data)).name}: {fit.notes}; at least {LEAST} are needed")
            random.Random(0).shuffle(smiles)
            held = min(held, len(smiles) // 10)
            notes = "; ".join(filter(None, (told.notes, fit.notes)))
            told = Reading(notes, [*told.rejected, *fit.rejected])
    texts, refused = expressible(smiles, kind.notation)
    merges = trainer["merges"]
    if merges is None and (data == "qm9" or kind is not type(shipped)):
        merges = 0  # the shipped codec has no charges and no SELFIES
    codec = shipped if merges is None else kind.learn(texts[:SAMPLE], merges)
    tokens, offsets = codec.ragged_texts(texts)
    fits = np.diff(offsets) <= trainer["max_tokens"]
    left_out = {f"longer than {trainer['max_tokens']} tokens": int((~fits).sum())}
    left_out |= {f"not expressible as {kind.notation.title}": len(refused)} if refused else {}
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
    if sum(left_out.values()) > MOST_LEFT_OUT * len(smiles):
        raise ValueError(f"of {len(smiles):,} molecules {reasons}; raise trainer.max_tokens or prepare other data")
    if fits.sum() < 10 * held:
        raise ValueError(f"{fits.sum()} molecules are too few to hold out trainer.validation={held} of them")
    tokens, offsets = shorter(tokens, offsets, trainer["max_tokens"])
    cut = len(offsets) - 1 - held
    end = offsets[cut]
    train: tuple[Any, ...]
    validation: tuple[Any, ...]
    train, validation = (tokens[:end], offsets[: cut + 1]), (tokens[end:], offsets[cut:] - end)
    title = {"moses": "MOSES", "qm9": "QM9"}.get(str(data or "moses")) or Path(str(data)).name
    title = ", ".join(f"{name} ({int((classes == i).sum()):,})" for i, name in enumerate(sources)) or title
    description = {
        "domain": "molecules",
        "dataset": (data or "moses") if is_shipped(data) else title,
        "vocab_size": codec.vocab_size,
        "pad_id": codec.pad_id,
        "length_counts": np.bincount(np.diff(offsets), minlength=trainer["max_tokens"] + 1).tolist(),
        "codec": codec.dumps(),
        "card": {"data": f"{title}, {cut:,} molecules", "left out": reasons, "notation": kind.notation.title},
    }
    if labels:
        gone = set(refused)
        kept = [s for i, s in enumerate(smiles) if i not in gone]
        kept = [s for s, fit in zip(kept, fits, strict=True) if fit]
        numbers, description["labels"] = label_table(kept[:cut], labels)
        rest = [label_of(s, description["labels"]) for s in kept[cut:]]
        train, validation = (*train, numbers), (*validation, np.array(rest, np.int8).reshape(held, -1))
    if sources:
        numbers = np.delete(classes, refused)[fits][:, None]
        description["labels"] = [{"name": "class", "values": list(sources)}]
        train, validation = (*train, numbers[:cut]), (*validation, numbers[cut:])
    save_prepared(path, train, validation, description)
    return told


def named_files(data: str | None) -> dict[str, str]:
    """Name of each class and its file; empty where data are no classes.

    Raises:
        ValueError: a class without a name or file, or two of one name.
    """
    if data is None or "=" not in str(data):
        return {}
    entries = [entry.strip() for entry in str(data).split(",")]
    named = dict(entry.partition("=")[::2] for entry in entries)
    if "" in named or "" in named.values() or not 1 < len(entries) == len(named):
        raise ValueError(f"data={data}: write one file, or different names as name=file,name=file")
    return named


def of_classes(
    sources: Mapping[str, str], trainer: Mapping[str, Any], shipped: SmilesTokenizer
) -> tuple[list[str], np.ndarray, Reading]:
    """SMILES of the files of several classes in one fixed shuffled order, their classes, and what is to be said.

    Where the codec is that of a prior, molecules are spelled as it does, see `fitting.fitted`.

    Raises:
        ValueError: see `of_file`; fewer than `LEAST` molecules of a class.
    """
    found: list[tuple[str, int]] = []
    notes: list[str] = []
    rejected: list[Any] = []
    for number, (name, source) in enumerate(sources.items()):
        smiles, told = of_file(source, trainer.get("column"))
        notes, rejected = [*notes, *filter(None, [told.notes])], [*rejected, *told.rejected]
        if trainer["merges"] is None and trainer.get("notation", "smiles") == "smiles":
            smiles, told = fitted(smiles, shipped, trainer["max_tokens"], trainer.get("unfit", "skip"))
            notes, rejected = [*notes, f"{name}: {told.notes}"], [*rejected, *told.rejected]
        if len(smiles) < LEAST:
            raise ValueError(f"class {name} has {len(smiles)} molecules; at least {LEAST} are needed")
        found += [(one, number) for one in smiles]
    random.Random(0).shuffle(found)
    return (
        [one for one, _ in found],
        np.array([number for _, number in found], np.int8),
        Reading("; ".join(notes), rejected),
    )


def of_file(data: str, column: str | None) -> tuple[list[str], Reading]:
    """SMILES of a user's file as they are written there, and what is to be said of it.

    Raises:
        ValueError: more than a tenth of its molecules cannot be read, or see `files.read`.
    """
    result = read(data, column, on_error="skip")
    gone = result.rejected
    if len(gone) > MOST_LEFT_OUT * (len(gone) + len(result.smiles)):
        read(data, column)  # says what is wrong with the first of them
    told = [f"{len(gone)} lines cannot be read; the first: {gone[0].place}, {gone[0].reason}"] if gone else []
    return result.smiles, Reading("; ".join([*result.notes, *told]), gone)


def shorter(tokens: np.ndarray, offsets: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Ragged sequences without those of more than `limit` tokens."""
    lengths = np.diff(offsets)
    keep = lengths <= limit
    return tokens[np.repeat(keep, lengths)], np.concatenate([[0], lengths[keep].cumsum()])
