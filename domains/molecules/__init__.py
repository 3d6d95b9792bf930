"""Molecules as SMILES: learned token merges, a masked diffusion prior trained on MOSES, rewards, metrics, pictures."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem
from torch import Tensor

from guidekit.domain import Domain, UnknownNameError
from guidekit.objectives import ObjectReward
from guidekit.priors.checkpoints import load_token_prior, read_description
from guidekit.priors.tokens import TokenPrior

from .codec import SmilesCodec
from .data import ASSETS, reference_smiles, training_smiles
from .figures import grid
from .files import parse, read, write_sdf, write_smi
from .metrics import PROPERTIES, evaluate
from .rewards import REWARDS


class Molecules(Domain):
    """SMILES strings as token sequences (B, L), padding id 0, mask id V.

    Args:
        codec: SMILES <-> tokens; None is the shipped one. `load_prior` takes over the codec of its checkpoint.
    """

    name = "molecules"
    objects = "molecules"
    suffix = ".smi"

    def __init__(self, codec: SmilesCodec | None = None) -> None:
        self.codec = codec or SmilesCodec.load(ASSETS / "codec.json")

    def load_prior(self, name: str = "default") -> TokenPrior:
        """The shipped prior ("default") or one in a checkpoint file.

        Raises:
            CheckpointError: missing, truncated, or of another domain.
            UnknownNameError: neither a shipped prior nor a file.
        """
        shipped = {path.stem: path for path in ASSETS.glob("*.safetensors")}
        path = shipped.get(name, Path(name))
        if path.suffix != ".safetensors":
            raise UnknownNameError("prior", name, [*shipped, "a path ending in .safetensors"])
        prior = load_token_prior(path, self.name)
        self.codec = SmilesCodec.loads(read_description(path)["codec"])
        return prior

    def encode(self, objects: Sequence[str | Chem.Mol]) -> Tensor:
        """SMILES or molecules to tokens (B, L); raises ValueError for what the codec cannot spell."""
        return self.codec.encode([o if isinstance(o, str) else Chem.MolToSmiles(o) for o in objects])

    def decode(self, states: Tensor) -> list[Chem.Mol | None]:
        """Tokens (B, L) to molecules, None where the SMILES is not valid."""
        return [parse(text)[0] if text else None for text in self.codec.decode(states)]

    @property
    def rewards(self) -> Mapping[str, Callable]:
        """Rewards of states by name; `rewards.make("similarity", reference="CCO")` gives one its options."""
        return _Rewards(self)

    def bind(self, function: Callable[[Chem.Mol], float], name: str | None = None) -> ObjectReward:
        """A reward of states from any function of a molecule."""
        title = name or getattr(function, "name", None) or getattr(function, "__name__", type(function).__name__)
        return ObjectReward(function, self.decode, title)

    def read_samples(self, path: str | Path, column: str | None = None) -> tuple[list[Chem.Mol | None], str]:
        """Generated molecules of a .smi, .csv or .sdf file, None for lines that are no molecule, and a note on them."""
        result = read(path, column=column, on_error="skip")
        molecules = [parse(text)[0] for text in result.smiles] + [None] * len(result.skipped)
        return molecules, unreadable(path, result.skipped, "count as invalid")

    def read_reference(self, path: str | Path, on_error: str = "raise") -> tuple[list[str], str]:
        """SMILES to compare with or that were trained on; on_error "skip" leaves unreadable lines out, with a note."""
        result = read(path, on_error=on_error)
        return result.smiles, unreadable(path, result.skipped, "are left out")

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> None:
        """Write the token arrays and the description that `guidekit.training.token_job` trains from.

        Args:
            path: npz file to write.
            data: training molecules in any format `read` accepts; None is the shipped MOSES set.
            trainer: settings of configs/trainer/molecules.yaml.

        Raises:
            ValueError: unreadable data, or fewer than ten times as many molecules as are to be held out.
        """
        from guidekit.training.token_job import save_prepared  # Lightning takes seconds to import

        smiles = training_smiles(data)
        if data is None:
            random.Random(0).shuffle(smiles)  # the shipped set is sorted
        held = trainer["validation"]
        if len(smiles) < 10 * held:
            raise ValueError(f"{len(smiles)} molecules are too few to hold out trainer.validation={held} of them")
        codec = SmilesCodec.train(smiles[:300_000], trainer["merges"]) if trainer["merges"] else self.codec
        tokens, offsets = shorter(*codec.ragged(smiles), trainer["max_tokens"])
        cut = len(offsets) - 1 - held
        end = offsets[cut]
        description = {
            "domain": self.name,
            "vocab_size": codec.vocab_size,
            "pad_id": codec.pad_id,
            "length_counts": np.bincount(np.diff(offsets), minlength=trainer["max_tokens"] + 1).tolist(),
            "codec": codec.dumps(),
            "card": {"data": f"{'MOSES' if data is None else Path(data).name}, {cut:,} molecules"},
        }
        save_prepared(path, (tokens[:end], offsets[: cut + 1]), (tokens[end:], offsets[cut:] - end), description)

    def priors(self) -> dict[str, str]:
        """Shipped priors and what they were made from."""
        cards = {path.stem: read_description(path)["card"] for path in sorted(ASSETS.glob("*.safetensors"))}
        return {name: f"{card.get('data', '')}; {card.get('summary', '')}" for name, card in cards.items()}

    def evaluate(
        self, objects: Sequence[Chem.Mol | None], reference: Sequence[str] | None = None, **options: Any
    ) -> dict[str, float | int]:
        """Validity, uniqueness, novelty, diversity, SNN, FCD and property means; see `metrics.evaluate`."""
        reference = reference if reference is not None else reference_smiles()
        if "training" not in options:
            options["training"] = training_smiles()
        return evaluate(objects, reference, **options)

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
        distinct = {row["canonical"]: (value, row) for row, value in zip(rows, values, strict=True) if row["valid"]}
        scored = [value for value, _ in distinct.values() if math.isfinite(value)]
        valid = sum(row["valid"] for row in rows)
        figures = {"valid": valid / len(rows), "unique": len(distinct) / valid if valid else math.nan}
        figures["reward"] = statistics.fmean(scored) if scored else math.nan
        figures["reward sd"] = statistics.stdev(scored) if len(scored) > 1 else math.nan
        figures["best"] = max(scored, default=math.nan)
        for name in PROPERTIES:
            column = [row[name] for _, row in distinct.values()]
            figures[name] = statistics.fmean(column) if column else math.nan
        return figures

    def figure(self, states: Tensor, values: Sequence[float], label: str, path: Path, most: int = 16) -> str | None:
        """A grid of the best distinct valid molecules with their rewards; returns the file name, None without any.

        Values that are NaN (there was no reward) are not shown.
        """
        best: dict[str, tuple[float, Chem.Mol]] = {}
        for molecule, value in zip(self.decode(states), values, strict=True):
            if molecule is not None:
                best.setdefault(Chem.MolToSmiles(molecule), (value, molecule))
        chosen = sorted(best.values(), key=lambda pair: -pair[0])[:most]
        if not chosen:
            return None
        captions = ["" if math.isnan(value) else f"{label} {value:.3f}" for value, _ in chosen]
        grid([molecule for _, molecule in chosen], captions, path=path)
        return path.name


def unreadable(path: str | Path, skipped: Sequence[tuple[int, str, str]], fate: str) -> str:
    """A sentence on lines that could not be read, empty when there are none."""
    if not skipped:
        return ""
    line, text, reason = skipped[0]
    return f"{path}: {len(skipped)} unreadable lines {fate}; the first is line {line}, {text!r} ({reason})"


def shorter(tokens: np.ndarray, offsets: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Ragged sequences without those of more than `limit` tokens."""
    lengths = np.diff(offsets)
    keep = lengths <= limit
    return tokens[np.repeat(keep, lengths)], np.concatenate([[0], lengths[keep].cumsum()])


class _Rewards(Mapping):
    """The reward registry bound to one domain object: mapping access makes rewards with default options."""

    kinds = REWARDS

    def __init__(self, domain: Molecules) -> None:
        self.domain = domain

    def __getitem__(self, name: str) -> ObjectReward:
        return self.make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(REWARDS)

    def __len__(self) -> int:
        return len(REWARDS)

    def function(self, name: str, **options: Any) -> Callable[[Chem.Mol], float]:
        """The reward as a function of a molecule."""
        if name not in REWARDS:
            raise UnknownNameError("reward", name, REWARDS)
        return REWARDS[name](**options)

    def make(self, name: str, **options: Any) -> ObjectReward:
        """The reward as a function of states, with options."""
        return self.domain.bind(self.function(name, **options), name)
