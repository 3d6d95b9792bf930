"""Molecules as SMILES or SELFIES: codecs, a masked diffusion prior trained on MOSES, rewards, metrics, pictures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from rdkit import Chem
from torch import nn

from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.domain import Domain
from guidekit.examples import Example
from guidekit.io.contents import brief
from guidekit.priors.adapters.masked_language import masked_prior
from guidekit.priors.adapters.vocabulary import Vocabulary
from guidekit.reporting.summary import means, ranked, summarised
from guidekit.samples import Dataset, Reading, Samples

from . import ranges
from .codec import MoleculeCodec, shipped
from .data import ASSETS, SETS, is_shipped, reference_smiles, training_smiles
from .figures import grid
from .files import ReadResult, parse, read, write_sdf, write_smi
from .keeping import Kept, Rules
from .metrics import PROPERTIES, evaluate
from .pieces import tokenizer_of
from .preparation import prepare
from .rewards import REWARDS
from .selfies_tokenizer import SelfiesTokenizer, tokenizer_from_text
from .tokenizer import SmilesTokenizer
from .verifier import SmilesVerifier

__all__ = ["MoleculeCodec", "Molecules", "SelfiesTokenizer", "SmilesTokenizer"]

SPELLED = 200
"""Spellings of a lead that are tried until one keeps the rules."""


NO_REFERENCE = "fcd and snn need real molecules: reference=FILE"
NO_TRAINING = "novelty needs the molecules trained on: training=FILE"
"""What is said where these are not given, and none are shipped for the prior."""


@dataclasses.dataclass(frozen=True)
class Molecules(Domain):
    """SMILES or SELFIES as token sequences (B, L), padding id 0, mask id V; objects are rdkit molecules."""

    name = "molecules"
    objects = "molecules"
    suffix = ".smi"
    assets = ASSETS
    kinds = REWARDS
    tables = True

    def examples(self) -> Sequence[Example]:
        """See `Domain.examples`."""
        from .examples import EXAMPLES

        return EXAMPLES

    @property
    def codec(self) -> MoleculeCodec:
        """That of the default prior."""
        return shipped()

    def load_prior(self, name: str = "default") -> Prior:
        """See `Domain.load_prior`; a prior that names no data was made from MOSES."""
        prior = super().load_prior(name)
        prior.dataset = prior.dataset or "moses"
        return prior

    def codec_for(self, prior: Prior, description: Mapping[str, Any]) -> MoleculeCodec:
        """See `Domain.codec_for`: every prior has a vocabulary of its own."""
        return MoleculeCodec(tokenizer_from_text(description["codec"]), prior.event_shape[0])

    def language_prior(self, model: nn.Module, vocabulary: Vocabulary, name: str) -> Prior:
        """See `Domain.language_prior`; the numbers of tokens are those of shipped molecules."""
        tokenizer, kept = tokenizer_of(vocabulary)
        counts = np.bincount(tokenizer.lengths(self.reference(1000)))
        if not len(counts):
            raise ValueError(
                f"the tokenizer of {name} can spell none of 1,000 shipped molecules: none of its tokens fit"
            )
        prior = masked_prior(model, vocabulary, kept, counts.tolist(), 0, name)
        prior.codec = MoleculeCodec(tokenizer, prior.event_shape[0])
        return prior

    def reference(self, most: int | None = None, *, split: str = "test", prior: Prior | None = None) -> list[str]:
        """SMILES that samples of a prior are compared with, or that it was trained on; none for other data."""
        dataset = "moses" if prior is None else prior.dataset
        if dataset not in SETS:
            return []
        return training_smiles(dataset)[:most] if split == "train" else reference_smiles(most, dataset)

    def verifier(self, forbidden: Sequence[str] = (), prior: Prior | None = None) -> SmilesVerifier:
        """What finds the first place where a SMILES is not valid or holds a forbidden substructure.

        Args:
            forbidden: SMARTS, such as "[N+](=O)[O-]".
            prior: of the states; None is any with the shipped codec.

        Raises:
            ValueError: an unreadable SMARTS, or a prior of SELFIES.
        """
        codec: Any = self.codec if prior is None else prior.codec
        return SmilesVerifier(codec.tokenizer, (forbidden,) if isinstance(forbidden, str) else tuple(forbidden))

    def spellings(self, text: str) -> list[str]:
        """See `Domain.spellings`: the canonical SMILES, then others."""
        molecule, reason = parse(text)
        if molecule is None:
            raise ValueError(f"lead={text} is no molecule ({reason})")
        return [Chem.MolToSmiles(molecule), *dict.fromkeys(Chem.MolToRandomSmilesVect(molecule, SPELLED, 0))]

    def keep(  # type: ignore[override]
        self,
        prior: Prior,
        *,
        contains: str | Sequence[str] | None = None,
        elements: str | Sequence[str] | None = None,
        avoid: str | Sequence[str] | None = None,
        heavy_atoms: int | str | Sequence[int] | None = None,
        single: bool | None = None,
        neutral: bool | None = None,
        closed_shell: bool | None = None,
    ) -> Kept:
        """A guidance under which every valid sample keeps all rules; see `spelling` for how fragments are kept.

        Args:
            prior: that is sampled, of SMILES.
            contains: fragments that are held, SMILES: with attachment points, c1ccccc1[*], other atoms come there and
                nowhere else; without any they may come in place of hydrogens.
            elements: that may occur: CNO, [C, Cl].
            avoid: elements that do not occur.
            heavy_atoms: number of atoms besides hydrogen: 12, 10..20.
            single: one component.
            neutral: no charges.
            closed_shell: no atoms in brackets but aromatic ones with hydrogen, hence no radicals.

        Raises:
            RuleError: a rule that cannot be read, or rules that no sample keeps together.
        """
        given = {"contains": contains, "elements": elements, "avoid": avoid, "heavy_atoms": heavy_atoms}
        given |= {"single": single, "neutral": neutral, "closed_shell": closed_shell}
        return Rules(cast(MoleculeCodec, prior.codec), prior.event_shape[0]).compiled(given, prior)

    def read_samples(self, path: str | Path, column: str | None = None, prior: Prior | None = None) -> Dataset:
        """Generated molecules of a .smi, .csv or .sdf file, None for lines that are no molecule.

        What was written in a .smi or .csv is kept as `raw`, for the raw-string metrics.
        """
        result = read(path, column=column, on_error="skip")
        gone = [None] * len(result.skipped)
        raw = None if ".sdf" in Path(path).suffixes else [*result.smiles, *[""] * len(gone)]
        molecules = [parse(text)[0] for text in result.smiles]
        notes = told(path, result, "count as invalid")
        return Dataset([*molecules, *gone], raw=raw, notes=notes, rejected=result.rejected)

    def read_reference(self, path: str | Path, on_error: str = "raise", prior: Prior | None = None) -> Dataset:
        """SMILES to compare with: of a file, or the held-out part of "moses" or "qm9"; see `reference_smiles`."""
        if is_shipped(path):
            return Dataset(reference_smiles(data=str(path)))
        result = read(path, on_error=on_error)
        return Dataset(result.smiles, notes=told(path, result, "are left out"), rejected=result.rejected)

    def read_training(self, data: str, on_error: str = "raise", prior: Prior | None = None) -> Dataset:
        """See `Domain.read_training`: SMILES of "moses", "qm9" or of files, `.front.xz` ones among them."""
        parts = []
        for name in map(str.strip, str(data).split(",")):
            packed = is_shipped(name) or name.endswith(".front.xz")
            parts.append(Dataset(training_smiles(name)) if packed else self.read_reference(name, on_error))
        notes = "; ".join(part.notes for part in parts if part.notes)
        gone = [one for part in parts for one in part.rejected]
        return Dataset([one for part in parts for one in part], notes=notes, rejected=gone)

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> Reading:
        """Write what `guidekit.training.token_job` trains from; see `preparation.prepare`."""
        first: Any = self.codec if trainer.get("init") is None else self.load_prior(trainer["init"]).codec
        return prepare(path, data, trainer, cast(SmilesTokenizer, first.tokenizer))

    def shipped(self, prior: Prior | None = None) -> str:
        """See `Domain.shipped`: the data that the prior was made from."""
        dataset = "moses" if prior is None else prior.dataset
        return f"molecules of {dataset}" if dataset in SETS else ""

    def evaluate(
        self,
        objects: Sequence[Chem.Mol | None],
        reference: Sequence[str] | None = None,
        *,
        training: Collection[str] | None = None,
        prior: Prior | None = None,
        condition: Any = None,
        labels: Sequence[int] | None = None,
        **options: Any,
    ) -> dict[str, float | int | str]:
        """Validity, uniqueness, novelty, diversity, SNN, FCD and property means; see `metrics.evaluate`.

        Args:
            objects: molecules, None = invalid; the `raw` strings of a `Dataset` are judged, too.
            reference: SMILES to compare with; None is the held-out part of the data that the prior was made from
                (MOSES without a prior), nothing for a prior of other data.
            training: canonical SMILES for novelty; None likewise is the whole set, and an empty one nothing.
            prior, condition, labels: see `Domain.evaluate`; conditions are not judged.
            options: of `metrics.evaluate`.
        """
        dataset = "moses" if prior is None else prior.dataset
        if dataset in SETS:
            reference = reference_smiles(data=dataset) if reference is None else reference
            training = training_smiles(dataset) if training is None else training
        if isinstance(objects, Dataset):
            options.setdefault("raw", objects.raw)
        found = evaluate(objects, reference, training or None, **options)
        lacking = [text for given, text in ((reference, NO_REFERENCE), (training, NO_TRAINING)) if given is None]
        note = "; ".join([*([str(found["note"])] if "note" in found else []), *lacking])
        return {**found, "note": note} if note else found

    def write(self, folder: Path, samples: Samples, columns: Mapping[str, Sequence[float]]) -> list[str]:
        """Write samples.smi and samples.sdf (valid molecules only) into a folder, with the columns.

        They are properties in the .sdf, and stand behind the names in the .smi, as in `sample-00000 reward=0.92`.
        """
        molecules = samples.objects
        valid = [i for i, molecule in enumerate(molecules) if molecule is not None]
        kept = [molecules[i] for i in valid]
        names = [f"sample-{i:05d}" for i in valid]
        numbers = {key: [column[i] for i in valid] for key, column in columns.items()}
        write_smi(folder / "samples.smi", [Chem.MolToSmiles(m) for m in kept], names, numbers)
        write_sdf(folder / "samples.sdf", kept, {"_Name": names, **numbers})
        return ["samples.smi", "samples.sdf"]

    def line(self, one: Chem.Mol) -> str:
        """See `Domain.line`: the canonical SMILES."""
        return Chem.MolToSmiles(one)

    def mark(self, one: Chem.Mol) -> str:
        """See `Domain.mark`: the canonical SMILES."""
        return Chem.MolToSmiles(one)

    def table(self, samples: Samples) -> list[dict[str, Any]]:
        """One row a sample for samples.csv: SMILES, validity, the reason where invalid, and properties."""
        rows = []
        codec: Any = samples.prior.codec
        for text in codec.texts(samples.states):
            molecule, reason = parse(text) if text else (None, "empty")
            valid = molecule is not None
            row = {
                "smiles": text,
                "canonical": Chem.MolToSmiles(molecule) if valid else "",
                "valid": valid,
                "reason": reason,
            }
            row.update(
                {name: math.nan if molecule is None else compute(molecule) for name, compute in PROPERTIES.items()}
            )
            rows.append(row)
        return rows

    def summary(
        self, rows: Sequence[Mapping[str, Any]], values: Sequence[float], samples: Samples | None = None
    ) -> dict[str, float]:
        """Figures for the closing table, from the rows of `table` and the rewards; means over distinct valid ones."""
        figures, kept = summarised(rows, values, "canonical")
        return figures | means(kept, PROPERTIES)

    def remark(self, samples: Samples) -> str:
        """See `Domain.remark`: sizes, rings and properties outside of those of real molecules."""
        valid = [one for one in samples.objects if one is not None]
        return ranges.remark(valid, self.reference(prior=samples.prior)) if valid else ""

    def figure(
        self,
        samples: Samples,
        values: Sequence[float],
        label: str,
        path: Path,
        most: int = 16,
        *,
        unguided: tuple[Samples, Sequence[float]] | None = None,
        objective: Objective | None = None,
    ) -> str | None:
        """A grid of the best distinct valid molecules with their rewards; returns the file name, None without any.

        Values that are NaN (there was no reward) are not shown.
        """
        chosen = ranked(samples.objects, values, lambda one: None if one is None else Chem.MolToSmiles(one))[:most]
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
