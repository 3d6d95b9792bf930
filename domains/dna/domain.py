"""What the domains of DNA and of proteins have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from guidekit.domain import Domain, require
from guidekit.evaluation.summary import STATISTICS, means, ranked, summarised
from guidekit.objectives import ForbiddenWords
from guidekit.priors.checkpoints import load_token_prior
from guidekit.priors.tokens import TokenPrior
from guidekit.reading import note

from .alphabet import Alphabet
from .figures import sheet
from .files import read, write_fasta


class SequenceDomain(Domain):
    """Base: strings of an alphabet as token sequences (B, L).

    Args:
        length: L; `load_prior` takes over that of its checkpoint.

    Raises:
        MissingExtraError: a library of the extra is not installed.
    """

    suffix = ".fasta"
    alphabet: Alphabet
    properties: Mapping[str, Callable[[str], float]]
    """Numbers of a sequence for tables, by name; the first one is drawn as a histogram."""
    codes: Mapping[str, str]
    """Letters that a letter of a forbidden word stands for."""

    def __init__(self, length: int = 256) -> None:
        if length < 1:
            raise ValueError(f"length={length}; a sequence has at least 1 letter")
        for module in ("Bio", "matplotlib", "rapidfuzz"):  # say so now, not after an hour of sampling
            require(self.name, module)
        self.length = length

    def load_prior(self, name: str = "default") -> TokenPrior:
        """A shipped prior ("default" first of all) or one in a checkpoint file.

        Raises:
            CheckpointError: missing, truncated, or of another domain.
            UnknownNameError: neither a shipped prior nor a file.
        """
        prior = load_token_prior(self.checkpoint(name), self.name)
        self.length = prior.event_shape[0]
        return prior

    def encode(self, objects: Sequence[str]) -> Tensor:
        """Sequences to tokens (B, L) int64; AlphabetError for foreign letters or a length that does not fit."""
        return self.alphabet.encode(objects, self.length)

    def decode(self, states: Tensor) -> list[str | None]:
        """Tokens (B, L) to sequences, None where a mask is left or nothing but padding."""
        return [text if self.alphabet.valid(text) else None for text in self.alphabet.decode(states)]

    def verifier(self, forbidden: Sequence[str] = ()) -> ForbiddenWords:
        """What finds the first forbidden word of a sequence; see `words` for how one is written.

        Raises:
            ValueError: there is no word, or one cannot be read.
        """
        names = [forbidden] if isinstance(forbidden, str) else forbidden
        words = [word for name in names for word in self.words(str(name).strip())]
        if not words:
            raise ValueError(f"say what {self.objects} must not hold: guidance.forbidden=[...], a list of words")
        ids = {code: self.alphabet.encode([letters])[0].tolist() for code, letters in self.codes.items()}
        return ForbiddenWords([[ids[code] for code in word] for word in words])

    def words(self, name: str) -> list[str]:
        """What a forbidden word is spelled like, in letters of `codes`.

        Raises:
            ValueError: it is none.
        """
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement words")

    def read_samples(self, path: str | Path, column: str | None = None) -> tuple[list[str | None], str]:
        """Generated sequences of a file, None for records that are none, and a note on them."""
        result = read(path, self.alphabet, column, n_policy="refuse", on_error="skip")
        sequences = [*result.sequences, *[None] * len(result.skipped)]
        if not sequences:
            raise ValueError(f"{path} is empty; expected {self.alphabet.name} sequences")
        if not result.sequences:
            reason = result.skipped[0][1]
            raise ValueError(f"{path}: none of {len(sequences)} records is a {self.alphabet.name} sequence: {reason}")
        return sequences, note(path, result.skipped, "count as invalid", "records", result.notes)

    def read_reference(self, path: str | Path, on_error: str = "raise") -> tuple[list[str], str]:
        """Real sequences to compare with or trained on; on_error "skip" leaves bad records out, with a note."""
        result = read(path, self.alphabet, on_error=on_error)
        return result.sequences, note(path, result.skipped, "are left out", "records", result.notes)

    def write(self, folder: Path, states: Tensor, columns: Mapping[str, Sequence[float]]) -> list[str]:
        """Write samples.fasta (valid sequences only) into a folder; returns the file names.

        Args:
            folder: existing folder.
            states: tokens (B, L).
            columns: numbers per sample, written into the headers.
        """
        sequences = self.decode(states)
        valid = [i for i, sequence in enumerate(sequences) if sequence is not None]
        names = [f"sample-{i:05d}" for i in valid]
        kept = {key: [column[i] for i in valid] for key, column in columns.items()}
        write_fasta(folder / "samples.fasta", [sequences[i] for i in valid], names, kept)
        return ["samples.fasta"]

    def table(self, states: Tensor) -> list[dict[str, Any]]:
        """One row a sample for samples.csv: sequence, length, properties, validity and the reason where invalid."""
        rows = []
        for text in self.alphabet.decode(states):
            valid = self.alphabet.valid(text)
            row: dict[str, Any] = {"sequence": text, "length": len(text)}
            row |= {name: measure(text) if valid else math.nan for name, measure in self.properties.items()}
            rows.append(row | {"valid": valid, "reason": "" if valid else "masked" if text else "empty"})
        return rows

    def summary(self, rows: Sequence[Mapping[str, Any]], values: Sequence[float]) -> dict[str, float]:
        """Figures for the closing table, from the rows of `table` and the rewards; means over distinct valid ones."""
        figures, kept = summarised(rows, values, "sequence", tuple(STATISTICS))
        return figures | means(kept, ("length", *self.properties))

    def reference(self) -> list[str]:
        """Held-out real sequences, shipped with the domain."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement reference")

    def figure(self, states: Tensor, values: Sequence[float], label: str, path: Path, most: int = 12) -> str | None:
        """The best distinct valid sequences as coloured strips above comparisons with real ones; returns the file name.

        None without any valid sequence. Values that are NaN (there was no reward) are not shown.
        """
        sequences = self.decode(states)
        chosen = ranked(sequences, values, lambda sequence: sequence)
        if not chosen:
            return None
        numbers, shown = zip(*chosen[:most], strict=True)
        valid = [sequence for sequence in sequences if sequence is not None]
        measure = next(iter(self.properties.items()))
        sheet(shown, numbers, label, path, valid, self.reference(), measure, self.shown_motifs(), self.alphabet)
        return path.name

    def shown_motifs(self) -> list[Any]:
        """Motifs to mark in pictures."""
        return []
