"""DNA and proteins as token sequences: shipped genomes, motifs and proteins, rewards, metrics, pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guidekit.names import UnknownNameError
from guidekit.objectives import ObjectReward

from .alphabet import DNA, PROTEIN, Alphabet, AlphabetError
from .combined import terms_of, token_reward
from .data import ASSETS, SPLIT_AT, protein_sequences, refuse_missing, strings, training_blocks, windows
from .domain import SequenceDomain
from .metrics import evaluate, gc_content
from .motifs import Motif, hit_counts, load_motif
from .onehot import OneHotModel
from .preparation import prepare_dna, prepare_proteins
from .protein_rewards import PROPERTIES, PROTEIN_REWARDS
from .relaxed import GC, CpG, MotifCount, SoftMotif, TokenReward
from .rewards import IUPAC, REWARDS, longest_run, recognition_sequence, strands

REFERENCE = 5_000
"""Most real sequences that `evaluate` and `figure` compare with."""


class Dna(SequenceDomain):
    """DNA windows as tokens (B, L): A 0, C 1, G 2, T 3, mask id 4; no padding.

    Args:
        length: L in base pairs; `load_prior` takes over that of its checkpoint.
        species: whose genome is the reference, "human" or "ecoli"; None is both in equal parts.
    """

    name = "dna"
    objects = "sequences"
    assets = ASSETS
    kinds = REWARDS
    alphabet = DNA
    properties = {"gc": gc_content, "longest_run": longest_run}
    codes = IUPAC

    def __init__(self, length: int = 256, species: str | None = None) -> None:
        super().__init__(length)
        if species is not None and species not in SPLIT_AT:
            raise UnknownNameError("species", species, SPLIT_AT)
        self.species = species
        self._motifs: dict[str, Motif] = {}

    def bind(
        self, function: Callable[[str], float], name: str | None = None, **options: Any
    ) -> TokenReward | ObjectReward:
        """A reward of states from a function of a sequence; rewards of tokens are taken as they are.

        The motifs of rewards bound here are marked in pictures.
        """
        for part in [function, *terms_of(function)]:
            if isinstance(part, SoftMotif | MotifCount):
                motif = load_motif(part.motif)
                self._motifs[motif.matrix_id] = motif
        title = name or getattr(function, "name", None) or getattr(function, "__name__", type(function).__name__)
        return token_reward(function, title) or super().bind(function, name, **options)

    def words(self, name: str) -> list[str]:
        """Both strands of a restriction enzyme's site (EcoRI) or of a word of IUPAC letters (GATC, GGNCC).

        Raises:
            UnknownNameError: it is neither.
        """
        return strands(recognition_sequence(name, shortest=1))

    def compare_with(self, condition: Any) -> None:
        """Samples of one species are compared with its genome alone."""
        named = condition.get("species") if isinstance(condition, Mapping) else condition
        if isinstance(named, str) and named in SPLIT_AT:
            self.species = named

    def shown_motifs(self) -> list[Motif]:
        """Motifs of the rewards bound so far."""
        return list(self._motifs.values())

    def reference(self, most: int = REFERENCE) -> list[str]:
        """At most `most` windows of the held-out part of the genome, evenly spread over it."""
        return self._windows("test", most)

    def _windows(self, split: str, most: int | None = None, species: str | None = None) -> list[str]:
        """Windows of one species, or of every one the same number; at most `most`, evenly spread over the genome."""
        species = species or self.species
        found = [windows(name, split, self.length) for name in ([species] if species else SPLIT_AT)]
        if most is not None:
            share = min([most // len(found), *map(len, found)])
            found = [part[np.linspace(0, len(part) - 1, share).round().astype(int)] for part in found]
        return strings(np.concatenate(found))

    def read_reference(self, path: str | Path, on_error: str = "raise") -> tuple[list[str], str]:
        """Sequences of a file, or held-out windows of "human" or "ecoli"; "human:train" names the training part."""
        name, _, split = str(path).partition(":")
        if name in SPLIT_AT:
            return self._windows(split or "test", None if split == "train" else REFERENCE, name), ""
        refuse_missing(path)
        return super().read_reference(path, on_error)

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> None:
        """See `preparation.prepare_dna`."""
        prepare_dna(path, data, trainer)

    def evaluate(
        self, objects: Sequence[str | None], reference: Sequence[str] | None = None, **options: Any
    ) -> dict[str, float | int | str]:
        """k-mers, GC, motif sites, diversity and memorisation against real windows; see `metrics.evaluate`."""
        if "training" not in options:
            options["training"] = self._windows("train")
        return evaluate(objects, self.reference() if reference is None else reference, **options)


class Proteins(SequenceDomain):
    """Proteins of up to L residues as tokens (B, L): padding 0 behind, the 20 amino acids 1 to 20, mask id 21.

    Args:
        length: L in residues; `load_prior` takes over that of its checkpoint.
    """

    name = "proteins"
    objects = "proteins"
    assets = ASSETS / "proteins"
    kinds = PROTEIN_REWARDS
    alphabet = PROTEIN
    properties = PROPERTIES
    codes = {**{letter: letter for letter in PROTEIN.letters}, PROTEIN.unknown: PROTEIN.letters}

    def words(self, name: str) -> list[str]:
        """A word of amino acids, X for any of them (NXS).

        Raises:
            AlphabetError: another letter, or nothing at all.
        """
        word = name.upper()
        self.alphabet.check(word.replace(PROTEIN.unknown, "A"), f"forbidden word {name!r}")
        return [word]

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> None:
        """See `preparation.prepare_proteins`."""
        prepare_proteins(path, data, trainer)

    def reference(self) -> list[str]:
        """Held-out UniProt sequences of at most L residues (705 for L = 256)."""
        return [s for s in protein_sequences("test") if len(s) <= self.length]

    def evaluate(
        self, objects: Sequence[str | None], reference: Sequence[str] | None = None, **options: Any
    ) -> dict[str, float | int | str]:
        """Composition, lengths, properties, diversity and memorisation against UniProt; see `metrics.evaluate`."""
        if "training" not in options:
            options["training"] = protein_sequences("train")
        options = {"kmers": (1, 2), "properties": {"length": len, **PROPERTIES}, "alphabet": PROTEIN, **options}
        return evaluate(objects, self.reference() if reference is None else reference, **options)
