"""What the domains of DNA and of proteins have in common."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import nn

from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.domain import Domain
from guidekit.extras import require
from guidekit.guidance.transition.grammar import Grammar
from guidekit.io.reading import note
from guidekit.objectives import ForbiddenWords, ObjectReward
from guidekit.priors.adapters.masked_language import masked_prior
from guidekit.priors.adapters.vocabulary import Vocabulary
from guidekit.priors.tokens import lengths_of
from guidekit.processes.automata import Automaton
from guidekit.reporting.ranges import leaving
from guidekit.reporting.summary import STATISTICS, means, ranked, summarised
from guidekit.samples import Dataset, Samples

from .alphabet import Alphabet
from .codec import PieceCodec, SequenceCodec
from .complexity import longest_run, word_entropy
from .figures import sheet
from .files import read, write_fasta
from .keeping import Rules
from .relaxed import OfLetters, TokenReward

COMPARED = 500
"""Real sequences that samples are compared with for remarks."""


@dataclasses.dataclass(frozen=True)
class SequenceDomain(Domain):
    """Base: strings of an alphabet as token sequences (B, L).

    Args:
        length: L of states where there is no prior; every prior has its own.

    Raises:
        MissingExtraError: a library of the extra is not installed.
    """

    length: int = 256
    suffix = ".fasta"
    tables = True
    alphabet: ClassVar[Alphabet]
    real: ClassVar[str]
    properties: ClassVar[Mapping[str, Callable[[str], float]]]
    """Numbers of a sequence for tables, by name; the first one is drawn as a histogram."""
    codes: ClassVar[Mapping[str, str]]
    """Letters that a letter of a forbidden word stands for."""

    def __post_init__(self) -> None:
        """Refuse a length that is none, and a lack of libraries."""
        if self.length < 1:
            raise ValueError(f"length={self.length}; a sequence has at least 1 letter")
        for module in ("Bio", "matplotlib", "rapidfuzz"):  # say so now, not after an hour of sampling
            require(self.name, module)

    @property
    def codec(self) -> SequenceCodec:
        """Of states with `length` tokens."""
        return SequenceCodec(self.alphabet, self.length)

    def codec_for(self, prior: Prior, description: Mapping[str, Any]) -> SequenceCodec:
        """See `Domain.codec_for`."""
        return SequenceCodec(self.alphabet, prior.event_shape[0])

    def language_prior(self, model: nn.Module, vocabulary: Vocabulary, name: str) -> Prior:
        """See `Domain.language_prior`: of `length` letters.

        Where tokens are single letters, states are as those of shipped priors. Where there are longer ones, all that
        spell letters of the alphabet are kept, behind padding 0, and the numbers of tokens are those of shipped
        sequences of this length.
        """
        alphabet, letters = self.alphabet, vocabulary.letters(self.alphabet.letters)
        kept = vocabulary.spelled(lambda text: set(text.upper()) <= set(alphabet.letters))
        padding = [] if alphabet.pad_id is None else [vocabulary.pad]
        if letters is not None and all(len(str(vocabulary.texts[number])) == 1 for number in kept):
            prior = masked_prior(
                model, vocabulary, [*padding, *letters], [0] * self.length + [1], alphabet.pad_id, name
            )
            prior.codec = SequenceCodec(alphabet, self.length)
            return prior
        if not kept:
            raise ValueError(f"{name} has no tokens of {alphabet.name} letters {alphabet.letters}")
        pieces = ["", *(str(vocabulary.texts[number]).upper() for number in kept)]
        codec = PieceCodec(pieces, [vocabulary.pad, *kept], vocabulary.spell, 1 << 20, alphabet=alphabet)
        counts = np.bincount([len(codec.ids(one)) for one in self.reference()[:1000]])
        prior = masked_prior(model, vocabulary, [vocabulary.pad, *kept], counts.tolist(), 0, name)
        prior.codec = dataclasses.replace(codec, length=prior.event_shape[0])
        return prior

    def suited(self, objective: Objective, prior: Prior) -> Objective:
        """See `Domain.suited`: a reward of letters judges sequences where tokens are longer; without a gradient."""
        if not isinstance(prior.codec, PieceCodec) or not isinstance(objective, TokenReward):
            return objective
        return ObjectReward(OfLetters(objective, self.alphabet), objective.name)

    def length_of(self, prior: Prior | None) -> int:
        """L of the states of a prior, or of those without one."""
        return self.length if prior is None or isinstance(prior.codec, PieceCodec) else prior.event_shape[0]

    def verifier(self, forbidden: Sequence[str] = (), prior: Prior | None = None) -> ForbiddenWords:
        """What finds the first forbidden word of a sequence; see `words` for how one is written.

        Raises:
            ValueError: there is no word, or one cannot be read.
        """
        if prior is not None and isinstance(prior.codec, PieceCodec):
            raise ValueError(f"forbidden words are looked for in letters, and tokens of {prior.name} are longer")
        names = [forbidden] if isinstance(forbidden, str) else forbidden
        words = [word for name in names for word in self.words(str(name).strip())]
        if not words:
            raise ValueError(f"say what {self.objects} must not hold: guidance.forbidden=[...], a list of words")
        ids = {code: self.alphabet.encode([letters])[0].tolist() for code, letters in self.codes.items()}
        return ForbiddenWords([[ids[code] for code in word] for word in words])

    def rules(self, prior: Prior) -> Rules:
        """What reads rules on samples of a prior.

        Raises:
            ValueError: its tokens are other pieces than single letters.
        """
        if not isinstance(prior.codec, SequenceCodec):
            raise ValueError(
                f"rules are of single letters, and the tokens of this prior ({prior.name}) are other pieces"
            )
        return Rules(self.alphabet, self.codes, self.length_of(prior))

    def compiled(self, prior: Prior, parts: Mapping[str, Sequence[Automaton]]) -> Grammar:
        """The guidance of several rules; raises `RuleError` where no sample of the prior could keep them."""
        return Grammar(self.rules(prior).compiled(parts, lengths_of(prior)))

    def words(self, name: str) -> list[str]:
        """What a forbidden word is spelled like, in letters of `codes`.

        Raises:
            ValueError: it is none.
        """
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement words")

    def shipped(self, prior: Prior | None = None) -> str:
        """See `Domain.shipped`."""
        return f"{self.objects} ({self.real})"

    def read_samples(self, path: str | Path, column: str | None = None, prior: Prior | None = None) -> Dataset:
        """Generated sequences of a file, None for records that are none."""
        result = read(path, self.alphabet, column, n_policy="refuse", on_error="skip")
        sequences = [*result.sequences, *[None] * len(result.skipped)]
        if not sequences:
            raise ValueError(f"{path} is empty; expected {self.alphabet.name} sequences")
        if not result.sequences:
            reason = result.skipped[0][1]
            raise ValueError(f"{path}: none of {len(sequences)} records is a {self.alphabet.name} sequence: {reason}")
        told = note(path, result.skipped, "count as invalid", "records", result.notes)
        return Dataset(sequences, notes=told, rejected=result.rejected)

    def read_reference(self, path: str | Path, on_error: str = "raise", prior: Prior | None = None) -> Dataset:
        """Real sequences to compare with or trained on; on_error "skip" leaves bad records out, with a note."""
        result = read(path, self.alphabet, on_error=on_error)
        told = note(path, result.skipped, "are left out", "records", result.notes)
        return Dataset(result.sequences, notes=told, rejected=result.rejected)

    def write(self, folder: Path, samples: Samples, columns: Mapping[str, Sequence[float]]) -> list[str]:
        """Write samples.fasta (valid sequences only) into a folder; columns are written into the headers."""
        sequences = samples.objects
        valid = [i for i, sequence in enumerate(sequences) if sequence is not None]
        names = [f"sample-{i:05d}" for i in valid]
        kept = {key: [column[i] for i in valid] for key, column in columns.items()}
        write_fasta(folder / "samples.fasta", [sequences[i] for i in valid], names, kept)
        return ["samples.fasta"]

    def table(self, samples: Samples) -> list[dict[str, Any]]:
        """One row a sample for samples.csv: sequence, length, properties, validity and the reason where invalid."""
        rows = []
        codec: Any = samples.prior.codec
        for text in codec.texts(samples.states):
            valid = self.alphabet.valid(text)
            row: dict[str, Any] = {"sequence": text, "length": len(text)}
            row |= {name: measure(text) if valid else math.nan for name, measure in self.properties.items()}
            rows.append(row | {"valid": valid, "reason": "" if valid else "masked" if text else "empty"})
        return rows

    def summary(
        self, rows: Sequence[Mapping[str, Any]], values: Sequence[float], samples: Samples | None = None
    ) -> dict[str, float]:
        """Figures for the closing table, from the rows of `table` and the rewards; means over distinct valid ones."""
        figures, kept = summarised(rows, values, "sequence", tuple(STATISTICS))
        return figures | means(kept, ("length", *self.properties))

    def complexities(self, sequences: Sequence[str]) -> dict[str, list[float]]:
        """Numbers of sequences by which samples are compared with real ones."""
        found = {"longest run": [float(longest_run(one)) for one in sequences]}
        found["entropy of words"] = [word_entropy(one, self.alphabet) for one in sequences]
        found["length"] = [float(len(one)) for one in sequences]
        return found | {name: [measure(one) for one in sequences] for name, measure in self.properties.items()}

    def remark(self, samples: Samples) -> str:
        """See `Domain.remark`: lengths, runs, words and properties outside of those of real sequences."""
        real = self.compared_with(samples.prior, samples.condition)
        real = real[:: -(-len(real) // COMPARED)] if real else []
        valid = [one for one in samples.objects if one]
        if not real or not valid or isinstance(samples.prior.codec, PieceCodec):
            return ""
        return leaving(self.complexities(valid), self.complexities(real), self.objects)

    def figure(
        self,
        samples: Samples,
        values: Sequence[float],
        label: str,
        path: Path,
        most: int = 12,
        *,
        unguided: tuple[Samples, Sequence[float]] | None = None,
        objective: Objective | None = None,
    ) -> str | None:
        """The best distinct valid sequences as coloured strips above comparisons with real ones; returns the file name.

        None without any valid sequence. Values that are NaN (there was no reward) are not shown; motifs that the
        objective looks for are marked.
        """
        sequences = samples.objects
        chosen = ranked(sequences, values, lambda sequence: sequence)
        if not chosen:
            return None
        numbers, shown = zip(*chosen[:most], strict=True)
        valid = [sequence for sequence in sequences if sequence is not None]
        measure, real = next(iter(self.properties.items())), self.compared_with(samples.prior, samples.condition)
        sheet(shown, numbers, label, path, valid, real, measure, self.shown_motifs(objective), self.alphabet)
        return path.name

    def compared_with(self, prior: Prior | None, condition: Any) -> list[str]:
        """Real sequences to compare samples with that were made for a condition."""
        return list(self.reference(prior=prior))

    def shown_motifs(self, objective: Objective | None) -> list[Any]:
        """Motifs to mark in pictures."""
        return []
