"""DNA and proteins as token sequences: shipped genomes, motifs and proteins, rewards, metrics, pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.errors import UnknownNameError
from guidekit.examples import Example
from guidekit.guidance.transition.grammar import Grammar
from guidekit.processes.languages import RuleError
from guidekit.processes.rules import gathered
from guidekit.samples import Dataset, Reading

from .alphabet import DNA, PROTEIN, Alphabet, AlphabetError
from .codec import SequenceCodec
from .data import (
    ASSETS,
    SPLIT_AT,
    antimicrobial_peptides,
    protein_sequences,
    refuse_missing,
    strings,
    training_blocks,
    windows,
)
from .domain import SequenceDomain
from .keeping import texts
from .metrics import evaluate, gc_content
from .motifs import Motif, hit_counts, load_motif
from .onehot import OneHotModel
from .preparation import prepare_dna, prepare_proteins
from .protein_rewards import PROPERTIES, PROTEIN_REWARDS
from .relaxed import GC, CpG, MotifCount, MotifPair, SoftMotif, TokenReward
from .rewards import IUPAC, REWARDS, longest_run, recognition_sequence, site, strands, strands_of

REFERENCE = 5_000
"""Most real sequences that `evaluate` and `figure` compare with."""


@dataclasses.dataclass(frozen=True)
class Dna(SequenceDomain):
    """DNA windows as tokens (B, L): A 0, C 1, G 2, T 3, mask id 4; no padding.

    Args:
        length: L in base pairs where there is no prior; every prior has its own.
        species: whose genome is the reference, "human" or "ecoli"; None is both in equal parts.
    """

    species: str | None = None
    name = "dna"
    objects = "sequences"
    assets = ASSETS
    kinds = REWARDS
    alphabet = DNA
    real = "windows of the human and of a bacterial genome"
    properties = {"gc": gc_content, "longest_run": longest_run}
    codes = IUPAC

    def __post_init__(self) -> None:
        """Refuse a species that is not shipped."""
        super().__post_init__()
        if self.species is not None and self.species not in SPLIT_AT:
            raise UnknownNameError("species", self.species, SPLIT_AT)

    def examples(self) -> Sequence[Example]:
        """See `Domain.examples`."""
        from .examples import EXAMPLES

        return EXAMPLES

    def words(self, name: str) -> list[str]:
        """Both strands of a restriction enzyme's site (EcoRI) or of a word of IUPAC letters (GATC, GGNCC).

        Raises:
            UnknownNameError: it is neither.
        """
        return strands(recognition_sequence(name, shortest=1))

    def keep(  # type: ignore[override]
        self,
        prior: Prior,
        *,
        at: Mapping[int, str] | None = None,
        letters: str | Mapping[str, str] | None = None,
        contains: str | Sequence[str] | None = None,
        avoid: str | Sequence[str] | None = None,
        both_strands: bool = True,
        orf: Mapping[str, Any] | None = None,
        encodes: str | Mapping[str, Any] | None = None,
        gc: Sequence[float] | None = None,
        count: Mapping[str, Any] | None = None,
    ) -> Grammar:
        """A guidance under which every sample keeps all rules; see `keeping` for how words are written.

        Args:
            prior: that is sampled.
            at: words at positions, from 1, negative ones from the end: {1: ATG, -6: GAATTC}.
            letters: that may occur, everywhere or at positions: {"10-20": AT}.
            contains: words or names of enzymes that occur on the strand that is written.
            avoid: words or names of enzymes that do not occur.
            both_strands: avoid them on the other strand, too.
            orf: an open reading frame: {start: 1, codons: 30}.
            encodes: a peptide, or {peptide: MKV*, start: 10}, by any synonymous codons.
            gc: least and largest share of G and C.
            count: how often letters occur: {CG: [10, 20]}.

        Raises:
            RuleError: a rule that cannot be read, or rules that no sequence keeps together.
        """
        if not isinstance(both_strands, bool):
            raise RuleError(f"both_strands={both_strands!r}; true or false is needed")
        rules = self.rules(prior)

        def spellings(text: str) -> list[str]:
            rules.word(site(text), "avoid")  # refuses what is none, before it is turned around
            return strands_of(site(text)) if both_strands else [site(text)]

        readers = {
            "at": rules.at,
            "letters": rules.allowed,
            "contains": lambda given: rules.contains([site(text) for text in texts(given, "contains")]),
            "avoid": lambda given: rules.avoids(given, spellings),
            "orf": rules.frame,
            "encodes": rules.encodes,
            "gc": lambda given: rules.share("GC", given, "gc"),
            "count": rules.counts,
        }
        given: dict[str, Any] = {"at": at, "letters": letters, "contains": contains, "avoid": avoid}
        given |= {"orf": orf, "encodes": encodes, "gc": gc, "count": count}
        return self.compiled(prior, gathered(given, readers))

    def shown_motifs(self, objective: Objective | None) -> list[Motif]:
        """Those that rewards look for, each once."""
        members = () if objective is None else objective.members
        found = [load_motif(one.motif) for one in members if isinstance(one, SoftMotif | MotifCount)]
        found += [load_motif(motif) for one in members if isinstance(one, MotifPair) for motif in one.motifs]
        return list({motif.matrix_id: motif for motif in found}.values())

    def reference(
        self, most: int = REFERENCE, *, split: str = "test", prior: Prior | None = None, species: str | None = None
    ) -> list[str]:
        """At most `most` windows of the held-out part of the genome (or of all for training), evenly spread over it."""
        return self._windows(split, None if split == "train" else most, self.length_of(prior), species)

    def compared_with(self, prior: Prior | None, condition: Any) -> list[str]:
        """Held-out windows, of one species where the samples are of one."""
        return self.reference(prior=prior, species=self._named(condition))

    def _named(self, condition: Any) -> str | None:
        """The species that a condition names."""
        named = condition.get("species") if isinstance(condition, Mapping) else condition
        return named if isinstance(named, str) and named in SPLIT_AT else None

    def _windows(self, split: str, most: int | None, length: int, species: str | None = None) -> list[str]:
        """Windows of one species, or of every one the same number; at most `most`, evenly spread over the genome."""
        species = species or self.species
        found = [windows(name, split, length) for name in ([species] if species else SPLIT_AT)]
        if most is not None:
            share = min([most // len(found), *map(len, found)])
            found = [part[np.linspace(0, len(part) - 1, share).round().astype(int)] for part in found]
        return strings(np.concatenate(found))

    def read_reference(self, path: str | Path, on_error: str = "raise", prior: Prior | None = None) -> Dataset:
        """Sequences of a file, or held-out windows of "human" or "ecoli"; "human:train" names the training part."""
        name, _, split = str(path).partition(":")
        if name in SPLIT_AT:
            most = None if split == "train" else REFERENCE
            return Dataset(self._windows(split or "test", most, self.length_of(prior), name))
        refuse_missing(path)
        return super().read_reference(path, on_error)

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> Reading:
        """See `preparation.prepare_dna`."""
        return prepare_dna(path, data, trainer)

    def evaluate(
        self,
        objects: Sequence[str | None],
        reference: Sequence[str] | None = None,
        *,
        training: Sequence[str] | None = None,
        prior: Prior | None = None,
        condition: Any = None,
        labels: Sequence[int] | None = None,
        **options: Any,
    ) -> dict[str, float | int | str]:
        """k-mers, GC, motif sites, diversity and memorisation against real windows; see `metrics.evaluate`.

        Samples that were made for one species are compared with its genome alone.
        """
        if training is None:
            training = self._windows("train", None, self.length_of(prior), self._named(condition))
        reference = self.compared_with(prior, condition) if reference is None else reference
        return evaluate(objects, reference, training=training or None, **options)


@dataclasses.dataclass(frozen=True)
class Proteins(SequenceDomain):
    """Proteins of up to L residues as tokens (B, L): padding 0 behind, the 20 amino acids 1 to 20, mask id 21.

    Args:
        length: L in residues where there is no prior; every prior has its own.
    """

    name = "proteins"
    objects = "proteins"
    assets = ASSETS / "proteins"
    kinds = PROTEIN_REWARDS
    alphabet = PROTEIN
    real = "of UniProt"
    properties = PROPERTIES
    codes = {**{letter: letter for letter in PROTEIN.letters}, PROTEIN.unknown: PROTEIN.letters}

    def examples(self) -> Sequence[Example]:
        """See `Domain.examples`."""
        from .examples import PROTEINS

        return PROTEINS

    def words(self, name: str) -> list[str]:
        """A word of amino acids, X for any of them (NXS).

        Raises:
            AlphabetError: another letter, or nothing at all.
        """
        word = name.upper()
        self.alphabet.check(word.replace(PROTEIN.unknown, "A"), f"forbidden word {name!r}")
        return [word]

    def keep(  # type: ignore[override]
        self,
        prior: Prior,
        *,
        at: Mapping[int, str] | None = None,
        letters: str | Mapping[str, str] | None = None,
        contains: str | Sequence[str] | None = None,
        avoid: str | Sequence[str] | None = None,
        count: Mapping[str, Any] | None = None,
    ) -> Grammar:
        """A guidance under which every sample keeps all rules; see `keeping` for how words are written.

        Args:
            prior: that is sampled.
            at: words at positions, from 1, negative ones from the end: {1: M, -4: KDEL}.
            letters: that may occur, everywhere or at positions: {"2-20": ACDEFGHIKL}.
            contains: words that occur: C-X(2,4)-C.
            avoid: words that do not occur: NXS.
            count: how often letters occur: {C: 2, KR: [3, 8]}.

        Raises:
            RuleError: a rule that cannot be read, or rules that no sequence keeps together.
        """
        rules = self.rules(prior)
        readers = {
            "at": rules.at,
            "letters": rules.allowed,
            "contains": rules.contains,
            "avoid": lambda given: rules.avoids(given, lambda text: [text]),
            "count": rules.counts,
        }
        given = {"at": at, "letters": letters, "contains": contains, "avoid": avoid, "count": count}
        return self.compiled(prior, gathered(given, readers))

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> Reading:
        """See `preparation.prepare_proteins`."""
        return prepare_proteins(path, data, trainer)

    def reference(self, *, split: str = "test", prior: Prior | None = None) -> list[str]:
        """Held-out UniProt sequences of at most L residues (705 for L = 256); for training all of them."""
        found = list(protein_sequences(split))
        return found if split == "train" else [s for s in found if len(s) <= self.length_of(prior)]

    def compared_with(self, prior: Prior | None, condition: Any) -> list[str]:
        """Held-out proteins, or antimicrobial peptides where the samples are to be some."""
        named = condition.get("kind") if isinstance(condition, Mapping) else condition
        if named != "antimicrobial":
            return self.reference(prior=prior)
        peptides, active = antimicrobial_peptides()
        return [one for one, is_active in zip(peptides, active, strict=True) if is_active]

    def evaluate(
        self,
        objects: Sequence[str | None],
        reference: Sequence[str] | None = None,
        *,
        training: Sequence[str] | None = None,
        prior: Prior | None = None,
        condition: Any = None,
        labels: Sequence[int] | None = None,
        **options: Any,
    ) -> dict[str, float | int | str]:
        """Composition, lengths, properties, diversity and memorisation against UniProt; see `metrics.evaluate`."""
        options = {"kmers": (1, 2), "properties": {"length": len, **PROPERTIES}, "alphabet": PROTEIN, **options}
        training = self.reference(split="train") if training is None else training
        reference = self.reference(prior=prior) if reference is None else reference
        return evaluate(objects, reference, training=training or None, **options)
