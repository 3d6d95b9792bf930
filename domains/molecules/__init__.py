"""Molecules as SMILES or SELFIES: codecs, a masked diffusion prior trained on MOSES, rewards, metrics, pictures."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rdkit import Chem
from torch import Tensor

from guidekit.contents import brief
from guidekit.domain import Domain
from guidekit.evaluation.summary import means, ranked, summarised
from guidekit.priors.checkpoints import load_token_prior, read_description
from guidekit.priors.tokens import TokenPrior

from .codec import SmilesCodec
from .data import ASSETS, SETS, is_shipped, reference_smiles, training_smiles
from .figures import grid
from .files import ReadResult, parse, read, write_sdf, write_smi
from .metrics import PROPERTIES, evaluate
from .preparation import prepare
from .rewards import REWARDS
from .selfies_codec import SelfiesCodec, codec_from_text
from .verifier import SmilesVerifier

RAW = "guidekit_raw_smiles"


class Molecules(Domain):
    """SMILES strings as token sequences (B, L), padding id 0, mask id V.

    Args:
        codec: SMILES <-> tokens; None is the shipped one. `load_prior` takes over the codec of its checkpoint.
    """

    name = "molecules"
    objects = "molecules"
    suffix = ".smi"
    assets = ASSETS
    kinds = REWARDS

    def __init__(self, codec: SmilesCodec | None = None) -> None:
        self.codec = codec or SmilesCodec.load(ASSETS / "codec.json")
        self.dataset = "moses"

    def load_prior(self, name: str = "default") -> TokenPrior:
        """The shipped prior ("default") or one in a checkpoint file.

        Raises:
            CheckpointError: missing, truncated, or of another domain.
            UnknownNameError: neither a shipped prior nor a file.
        """
        path = self.checkpoint(name)
        prior, description = load_token_prior(path, self.name), read_description(path)
        self.codec = codec_from_text(description["codec"])
        self.dataset = description.get("dataset", "moses")
        return prior

    def encode(self, objects: Sequence[str | Chem.Mol]) -> Tensor:
        """SMILES or molecules to tokens (B, L); raises ValueError for what the codec cannot spell."""
        return self.codec.encode([o if isinstance(o, str) else Chem.MolToSmiles(o) for o in objects])

    def decode(self, states: Tensor) -> list[Chem.Mol | None]:
        """Tokens (B, L) to molecules, None where the SMILES is not valid."""
        return [parse(text)[0] if text else None for text in self.codec.decode(states)]

    def reference(self, most: int | None = None) -> list[str]:
        """SMILES that samples of the prior loaded last are compared with, at most `most`; none for other data."""
        return reference_smiles(most, self.dataset) if self.dataset in SETS else []

    def verifier(self, forbidden: Sequence[str] = ()) -> SmilesVerifier:
        """What finds the first place where a SMILES is not valid or holds a forbidden substructure.

        Args:
            forbidden: SMARTS, such as "[N+](=O)[O-]".

        Raises:
            ValueError: an unreadable SMARTS, or a prior of SELFIES.
        """
        return SmilesVerifier(self.codec, (forbidden,) if isinstance(forbidden, str) else tuple(forbidden))

    def read_samples(self, path: str | Path, column: str | None = None) -> tuple[list[Chem.Mol | None], str]:
        """Generated molecules of a .smi, .csv or .sdf file, None for lines that are no molecule, and a note on them.

        What was written in a .smi or .csv stays with the molecule, as its property `RAW`, for the raw-string metrics.
        """
        result = read(path, column=column, on_error="skip")
        molecules = [parse(text)[0] for text in result.smiles]
        if ".sdf" not in Path(path).suffixes:
            for molecule, text in zip(molecules, result.smiles, strict=True):
                molecule.SetProp(RAW, text)
        return molecules + [None] * len(result.skipped), told(path, result, "count as invalid")

    def read_reference(self, path: str | Path, on_error: str = "raise") -> tuple[list[str] | str, str]:
        """SMILES to compare with or that were trained on; on_error "skip" leaves unreadable lines out, with a note.

        The name of a shipped set, "moses" or "qm9", is handed through: `evaluate` knows which part of it is meant.
        """
        if is_shipped(path):
            return str(path), ""
        result = read(path, on_error=on_error)
        return result.smiles, told(path, result, "are left out")

    def read_training(self, data: str) -> list[str]:
        """See `Domain.read_training`: SMILES of "moses", "qm9" or of files."""
        return [one for name in data.split(",") for one in training_smiles(name.strip())]

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> None:
        """Write what `guidekit.training.token_job` trains from; see `preparation.prepare`."""
        prepare(path, data, trainer, self.codec)

    def evaluate(
        self,
        objects: Sequence[Chem.Mol | None],
        reference: Sequence[str] | str | None = None,
        training: Collection[str] | str | None = None,
        **options: Any,
    ) -> dict[str, float | int | str]:
        """Validity, uniqueness, novelty, diversity, SNN, FCD and property means; see `metrics.evaluate`.

        Args:
            objects: molecules, None = invalid.
            reference: SMILES to compare with, or "moses" or "qm9" for `reference_smiles`; None is that of the data of
                the prior loaded last (MOSES if none was), nothing for a prior trained on other data.
            training: canonical SMILES for novelty, or "moses" or "qm9" for the whole set; None likewise.
            options: of `metrics.evaluate`; `raw` is taken from molecules that `read_samples` read.
        """
        known = self.dataset in SETS
        reference = self.dataset if reference is None and known else reference
        training = self.dataset if training is None and known else training
        if "raw" not in options and all(m is None or m.HasProp(RAW) for m in objects):
            options["raw"] = ["" if m is None else m.GetProp(RAW) for m in objects]
        return evaluate(
            objects,
            reference_smiles(data=reference) if isinstance(reference, str) else reference,
            training_smiles(training) if isinstance(training, str) else training,
            **options,
        )

    def write(self, folder: Path, states: Tensor, columns: Mapping[str, Sequence[float]]) -> list[str]:
        """Write samples.smi and samples.sdf (valid molecules only) into a folder; returns the file names.

        Args:
            folder: existing folder.
            states: tokens (B, L).
            columns: numbers per sample, written as SDF properties.
        """
        molecules = self.decode(states)
        valid = [i for i, molecule in enumerate(molecules) if molecule is not None]
        kept = [molecules[i] for i in valid]
        names = [f"sample-{i:05d}" for i in valid]
        write_smi(folder / "samples.smi", [Chem.MolToSmiles(m) for m in kept], names)
        write_sdf(
            folder / "samples.sdf",
            kept,
            {"_Name": names, **{key: [column[i] for i in valid] for key, column in columns.items()}},
        )
        return ["samples.smi", "samples.sdf"]

    def table(self, states: Tensor) -> list[dict[str, Any]]:
        """One row a sample for samples.csv: SMILES, validity, the reason where invalid, and properties."""
        rows = []
        for text in self.codec.decode(states):
            molecule, reason = parse(text) if text else (None, "empty")
            valid = molecule is not None
            row = {
                "smiles": text,
                "canonical": Chem.MolToSmiles(molecule) if valid else "",
                "valid": valid,
                "reason": reason,
            }
            row.update({name: compute(molecule) if valid else math.nan for name, compute in PROPERTIES.items()})
            rows.append(row)
        return rows

    def summary(self, rows: Sequence[Mapping[str, Any]], values: Sequence[float]) -> dict[str, float]:
        """Figures for the closing table, from the rows of `table` and the rewards; means over distinct valid ones."""
        figures, kept = summarised(rows, values, "canonical")
        return figures | means(kept, PROPERTIES)

    def figure(self, states: Tensor, values: Sequence[float], label: str, path: Path, most: int = 16) -> str | None:
        """A grid of the best distinct valid molecules with their rewards; returns the file name, None without any.

        Values that are NaN (there was no reward) are not shown.
        """
        chosen = ranked(self.decode(states), values, lambda one: None if one is None else Chem.MolToSmiles(one))[:most]
        if not chosen:
            return None
        captions = ["" if math.isnan(value) else f"{label} {value:.3f}" for value, _ in chosen]
        grid([molecule for _, molecule in chosen], captions, path=path)
        return path.name


def told(path: str | Path, result: ReadResult, fate: str) -> str:
    """A sentence on lines that could not be read and on what is odd, empty when there is nothing to say."""
    if not result.skipped:
        return "; ".join(result.notes)
    line, text, reason = result.skipped[0]
    first = f"the first is line {line}, {brief(text)!r} ({reason})"
    return "; ".join([f"{path}: {len(result.skipped)} unreadable lines {fate}; {first}", *result.notes])
