"""Sequence files: readers that name the bad record and the position, writers that never leave half a file."""

from __future__ import annotations

import collections
import gzip
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from guidekit.io import contents
from guidekit.io.archives import reason
from guidekit.io.columns import column as table_column
from guidekit.io.contents import brief, ordinary
from guidekit.io.files import write_atomic
from guidekit.samples import Rejected

from .alphabet import AMBIGUOUS, DNA, MOST_AMBIGUOUS, Alphabet, AlphabetError

FASTA, TABLES = (".fasta", ".fa", ".fna", ".faa", ".fas", ".ffn", ".frn"), (".csv", ".tsv")
GENBANK = (".gb", ".gbk", ".gbff")
SUFFIXES = (*FASTA, *GENBANK, *TABLES, ".txt")
N_POLICIES = ("split", "skip", "refuse")
MOST_LEFT_OUT = 0.1  # share of the records of training data
LEAST_SEQUENCE = 8  # letters of a field in capitals (proteins) from which on it is no name of a column
LEAST_DNA = 30  # letters in a file from which on nothing but ACGTUN is no protein


class Record(NamedTuple):
    """A sequence and its name in the file; a piece of a split record is called name:start-end (0-based, half-open)."""

    name: str
    sequence: str


class ReadResult(NamedTuple):
    """What a file held: records, `skipped` as (record, reason), and sentences on what was changed or is odd."""

    records: list[Record]
    skipped: list[tuple[str, str]]
    notes: list[str]

    @property
    def sequences(self) -> list[str]:
        """The sequences alone."""
        return [record.sequence for record in self.records]

    @property
    def rejected(self) -> list[Rejected]:
        """What was skipped, for lists of it."""
        return [Rejected(name, "", why) for name, why in self.skipped]


OF_RNA = str.maketrans("Uu", "Tt")


def read(
    path: str | Path,
    alphabet: Alphabet = DNA,
    column: str | None = None,
    n_policy: str = "split",
    on_error: str = "raise",
) -> ReadResult:
    """Read FASTA, GenBank, .csv, .tsv or .txt (a sequence a line), each optionally .gz; files of RNA as DNA.

    Args:
        path: file; the suffix tells the format.
        alphabet: what the sequences consist of.
        column: name or number (from 1) of the column of a table that holds the sequences; None = "sequence", whatever
            its case, or the only column of sequences where there is no header.
        n_policy: for unknown letters (N and the like, which files may hold; X in proteins): "split" cuts the record
            there, "skip" leaves it out, "refuse" treats them like any foreign letter.
        on_error: "raise" stops at the first bad record, "skip" lists it in `skipped`.

    Raises:
        ValueError: an unreadable file or format, a missing column, no sequence in it, or a bad record (see on_error).
    """
    if n_policy not in N_POLICIES or on_error not in ("raise", "skip"):
        raise ValueError(
            f"n_policy={n_policy!r}, on_error={on_error!r}; accepted: n_policy {', '.join(N_POLICIES)}, "
            "on_error raise, skip"
        )
    path = Path(path)
    if column is not None and _suffix(path) not in TABLES:
        raise ValueError(f"{path.name} is no table ({', '.join(TABLES)}) and has no column {column!r}; leave it out")
    result = ReadResult([], [], [])
    records = list(_entries(path, _text(path), column, alphabet, result.notes))
    if alphabet.complement and is_rna("".join(record.sequence for record in records)):
        records = [Record(name, sequence.translate(OF_RNA)) for name, sequence in records]
        result.notes.append(f"{path.name}: RNA is read as DNA, U as T")
    _refuse_nucleotides(path.name, records, alphabet)
    cut: collections.Counter[str] = collections.Counter()
    several = 0
    for record in records:
        kept = len(result.records)
        try:
            pieces = _pieces(record, alphabet, n_policy)
            result.records.extend(pieces)
            if n_policy == "split" and alphabet.unknown in _plain(record.sequence.upper(), alphabet, n_policy):
                several += 1
                cut.update(letter for letter in record.sequence.upper() if letter not in alphabet.letters)
            if len(result.records) == kept:
                result.skipped.append((record.name, f"holds {alphabet.unknown}"))
        except AlphabetError as error:
            if on_error == "raise":
                raise ValueError(f"{path.name}: {error}") from error
            result.skipped.append((record.name, str(error)))
    if not result.records and on_error == "raise":
        what = "are no records" if not records else f"is nothing left of {len(records)} records ({alphabet.unknown})"
        raise ValueError(f"{path.name} is empty: there {what}; expected {alphabet.name} sequences")
    if cut:
        letters = ", ".join(f"{letter} {count:,}" for letter, count in cut.most_common() if letter != "*")
        total = sum(count for letter, count in cut.items() if letter != "*")
        result.notes.append(
            f"{path.name}: {several} record{'s' * (several != 1)} cut at {total:,} ambiguous "
            f"letter{'s' * (total != 1)} ({letters})"
        )
    if any(record.sequence != record.sequence.upper() for record in records):
        result.notes.append(f"{path.name}: lower-case letters are read as upper case")
    twice = [name for name, count in collections.Counter(name for name, _ in records).items() if count > 1]
    if twice:
        result.notes.append(f"{path.name}: {len(twice)} names occur more than once, the first is {twice[0]!r}")
    return result


def is_rna(letters: str) -> bool:
    """Whether all letters of a file are those of RNA, U among them: where there is a T, U is an error."""
    held = set(letters.upper())
    return "U" in held and held <= set("ACGUN") | set(AMBIGUOUS.pattern.strip("[]"))


def read_most(path: str | Path, alphabet: Alphabet = DNA, column: str | None = None) -> ReadResult:
    """Training data: like `read`, but a few bad records are left out and listed.

    Raises:
        ValueError: as `read`, or more than a tenth of the records are bad; the first of them is named.
    """
    result = read(path, alphabet, column, on_error="skip")
    bad = [reason for _, reason in result.skipped if reason != f"holds {alphabet.unknown}"]
    kept = {record.name.rpartition(":")[0] or record.name for record in result.records}
    if not result.records or len(bad) > MOST_LEFT_OUT * (len(bad) + len(kept)):
        return read(path, alphabet, column)  # says what is wrong
    return result


def _text(path: Path) -> str:
    """Text of a file with a known suffix."""
    suffix = _suffix(ordinary(path))
    if suffix not in SUFFIXES:
        raise ValueError(f"{path.name} has suffix {suffix!r}; readable are {', '.join(SUFFIXES)}, each also with .gz")
    return contents.text(path)


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def _entries(path: Path, text: str, column: str | None, alphabet: Alphabet, notes: list[str]) -> Iterator[Record]:
    """Records of the text of a file, unchecked; what is odd of a table is added to the notes."""
    suffix = _suffix(path)
    if suffix in TABLES:
        usual = "\t" if suffix == ".tsv" else ","
        found = table_column(path.name, text, column, "sequence", usual, lambda field: _is_sequence(field, alphabet))
        notes.extend(found.notes)
        for number, cell in found.fields:
            yield Record(f"line {number}", cell)
    elif suffix == ".txt":
        for i, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield Record(f"line {i}", line.strip())
    elif suffix in FASTA:
        text = re.sub(r"(?m)^;.*\n?", "", text)  # comments of the older kind
        if text.strip() and not text.lstrip().startswith(">"):
            start = brief(text.strip().split("\n")[0], 40)
            raise ValueError(f"{path.name} starts with {start!r}; a FASTA record starts with '>' and its name")
        yield from _biopython(path.name, text.lstrip(), "fasta")
    else:
        yield from _biopython(path.name, text, "genbank")


def _is_sequence(text: str, alphabet: Alphabet) -> bool:
    """Whether a field of a table is a sequence, and no name of a column: many words are spelled in amino acids."""
    letters = alphabet.letters + alphabet.unknown
    plain = text.upper() if alphabet.complement else text.removesuffix("*")
    return len(plain) >= LEAST_SEQUENCE and set(plain) <= set(letters)


def _biopython(name: str, text: str, form: str) -> Iterator[Record]:
    """Records as Biopython reads them."""
    from Bio import SeqIO
    from Bio.Seq import UndefinedSequenceError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on headers that are read all the same
            warnings.filterwarnings("error", "Expected sequence length")  # a record that was cut
            records = [(record.id, str(record.seq)) for record in SeqIO.parse(io.StringIO(text), form)]
    except UndefinedSequenceError as error:
        raise ValueError(f"{name} has a record without its sequence; export it with the sequence (ORIGIN)") from error
    except Exception as error:  # Biopython says by many kinds that it cannot go on
        raise ValueError(f"{name} is no readable {form} file ({brief(reason(error), 200)})") from error
    for i, (title, sequence) in enumerate(records, 1):
        yield Record(title or f"record {i}", sequence)


def _pieces(record: Record, alphabet: Alphabet, n_policy: str) -> list[Record]:
    """What is kept of a record, checked; empty where the policy leaves nothing."""
    sequence, name = _plain(record.sequence.upper(), alphabet, n_policy), brief(record.name)
    if alphabet.unknown not in sequence or n_policy == "refuse":
        return [Record(record.name, alphabet.check(sequence, name))]
    alphabet.check(sequence.replace(alphabet.unknown, alphabet.letters[0]), name)  # other letters are refused
    if n_policy == "skip":
        return []
    runs = re.finditer(f"[^{alphabet.unknown}]+", sequence)
    return [Record(f"{record.name}:{run.start()}-{run.end()}", run[0]) for run in runs]


def _plain(sequence: str, alphabet: Alphabet, n_policy: str) -> str:
    """A sequence without the sign of its end (proteins), and N for letters that stand for several bases (DNA)."""
    if alphabet.complement is None:
        return sequence.removesuffix("*")
    if n_policy == "refuse" or len(AMBIGUOUS.findall(sequence)) > MOST_AMBIGUOUS * len(sequence):
        return sequence
    return AMBIGUOUS.sub(alphabet.unknown, sequence)


def _refuse_nucleotides(name: str, records: Sequence[Record], alphabet: Alphabet) -> None:
    """Refuse DNA or RNA where proteins are expected: A, C, G and T are amino acids as well."""
    held = set().union(*(record.sequence.upper() for record in records))
    enough = sum(len(record.sequence) for record in records) >= LEAST_DNA
    if alphabet.complement is None and enough and held <= set("ACGTUN"):
        raise ValueError(
            f"{name} holds nothing but {''.join(sorted(held))}: this looks like DNA or RNA: use domain=dna"
        )


def write_fasta(
    path: str | Path,
    sequences: Sequence[str],
    names: Sequence[str],
    columns: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Write FASTA with headers like `>sample-00000 reward=1.25`, 60 letters a line; .gz compresses.

    Raises:
        ValueError: names or a column have another length than `sequences`.
    """
    from Bio import SeqIO
    from Bio.Seq import Seq
    from Bio.SeqRecord import SeqRecord

    columns = columns or {}
    for key, values in {"names": names, **columns}.items():
        if len(values) != len(sequences):
            raise ValueError(f"{key} has {len(values)} entries for {len(sequences)} sequences; give one each")
    records = []
    for i, (name, text) in enumerate(zip(names, sequences, strict=True)):
        description = " ".join(f"{key}={values[i]:.6g}" for key, values in columns.items())
        records.append(SeqRecord(Seq(text), id=name, description=description))
    stream = io.StringIO()
    SeqIO.write(records, stream, "fasta")
    data = stream.getvalue().encode()
    write_atomic(path, gzip.compress(data, mtime=0) if str(path).endswith(".gz") else data)
