"""Molecules as SMILES: learned token merges, a masked diffusion prior trained on MOSES, rewards, metrics, pictures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rdkit import Chem
from rdkit.Chem import Crippen, Descriptors
from torch import Tensor

from guidekit.domain import Domain, UnknownNameError
from guidekit.objectives import ObjectReward
from guidekit.priors.checkpoints import load_token_prior, read_description
from guidekit.priors.tokens import TokenPrior

from .codec import SmilesCodec
from .data import ASSETS, reference_smiles, training_smiles
from .figures import grid
from .files import parse, read, write_sdf, write_smi
from .metrics import evaluate
from .rewards import QED, REWARDS, sa_score

PROPERTIES: dict[str, Callable[[Chem.Mol], float]] = {
    "qed": QED(),
    "logp": Crippen.MolLogP,
    "sa score": sa_score,
    "mol weight": Descriptors.MolWt,
}
"""Numbers given for every molecule: QED 0..1, Crippen logP, synthetic accessibility 1 (easy)..10, weight in Da."""


class Molecules(Domain):
    """SMILES strings as token sequences (B, L), padding id 0, mask id V.

    Args:
        codec: SMILES <-> tokens; None is the codec of the prior loaded first, or the shipped one.
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
        codec = read_description(path)["codec"]
        if codec != self.codec.dumps():
            self.codec = SmilesCodec.loads(codec)
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
        return ObjectReward(function, self.decode, title, getattr(function, "floor", None))

    def read(self, path: str | Path, **options: Any):
        """Molecules of a .smi, .csv or .sdf file; see `files.read`."""
        return read(path, **options)

    def evaluate(
        self, objects: Sequence[Chem.Mol | None], reference: Sequence[str] | None = None, **options: Any
    ) -> dict[str, float | int]:
        """Validity, uniqueness, novelty, diversity, SNN, FCD and property means; see `metrics.evaluate`."""
        reference = reference if reference is not None else reference_smiles()
        options.setdefault("training", training_smiles())
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
        write_sdf(folder / "samples.sdf", kept, {k: [v[i] for i in valid] for k, v in columns.items()}, names)
        return ["samples.smi", "samples.sdf"]

    def table(self, states: Tensor) -> list[dict[str, Any]]:
        """One row a sample for samples.csv: SMILES, validity, the reason where invalid, and properties."""
        rows = []
        for text in self.codec.decode(states):
            molecule, reason = parse(text) if text else (None, "empty")
            valid = molecule is not None
            row = {"smiles": text, "canonical": Chem.MolToSmiles(molecule) if valid else "", "valid": valid, "reason": reason}
            row.update({name: compute(molecule) if valid else math.nan for name, compute in PROPERTIES.items()})
            rows.append(row)
        return rows

    def summary(self, rows: Sequence[Mapping[str, Any]], values: Sequence[float]) -> dict[str, float]:
        """Figures for the closing table, from the rows of `table` and the rewards: invalid and repeated ones left out."""
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
        """A grid of the best distinct valid molecules with their rewards; returns the file name, None without any."""
        best: dict[str, tuple[float, Chem.Mol]] = {}
        for molecule, value in zip(self.decode(states), values, strict=True):
            if molecule is not None:
                best.setdefault(Chem.MolToSmiles(molecule), (value, molecule))
        chosen = sorted(best.values(), key=lambda pair: -pair[0])[:most]
        if not chosen:
            return None
        grid([m for _, m in chosen], [f"{label} {value:.3f}" for value, _ in chosen], path=path)
        return path.name


class _Rewards(Mapping):
    """The reward registry bound to one domain object: mapping access makes rewards with default options."""

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
