"""Molecule files: readers that name the bad line and the reason, writers that never leave half a file."""

import gzip
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor

from guidekit.io import contents
from guidekit.io.columns import column as table_column
from guidekit.io.contents import brief
from guidekit.io.files import write_atomic
from guidekit.samples import Rejected

SUFFIXES = (".smi", ".txt", ".csv", ".tsv", ".sdf")
SEPARATED = {".csv": ",", ".tsv": "\t"}
HEADERS = {"smiles", "smile", "canonical_smiles", "isomeric_smiles", "structure", "molecule", "mol"}
# A ring closure label with its optional bond; bracket atoms come first, as their digits are no ring labels.
RING_LABEL = re.compile(r"(\[[^\]]*\])|[-=#$:~/\\]?(?:%\(\d+\)|%\d\d|\d)")
EXTENSION = re.compile(r"\s+\|.*\|$")  # of extended SMILES: stereo groups, coordinates and the like
MOST_CHARACTERS, MOST_NESTED, MOST_ATOMS = 5_000, 250, 5_000
"""Of a SMILES or SMARTS, of branches within branches, and of a molecule: rdkit's recursions end the process beyond."""
PROBLEMS = {"AtomValenceException": "valence", "AtomKekulizeException": "kekulize", "KekulizeException": "kekulize"}


class ReadResult(NamedTuple):
    """What a file held: `smiles` as written there, `skipped` as (line number from 1, text, reason), what is odd."""

    smiles: list[str]
    skipped: list[tuple[int, str, str]]
    notes: list[str]

    @property
    def rejected(self) -> list[Rejected]:
        """What was skipped, for lists of it."""
        return [Rejected(f"line {line}", text, why) for line, text, why in self.skipped]


def parse(smiles: str) -> tuple[Chem.Mol | None, str]:
    """Read one SMILES without printing; returns (molecule, "") or (None, reason).

    The reason is "empty", "parse", "ring closure", "valence", "kekulize" or one of `excess`. Text with white space
    inside is "parse": rdkit would take what follows the white space as a name.
    """
    text = smiles.strip()
    if not text:
        return None, "empty"
    if text.split() != [text]:
        return None, "parse"
    if excess(text):
        return None, excess(text)
    try:
        return _parsed(text)
    except (RuntimeError, ValueError, OverflowError):  # such as a number beyond what rdkit can hold
        return None, "parse"


def excess(text: str) -> str:
    """Why rdkit must not be given a SMILES or SMARTS: it is too long or too deeply nested; empty where it is not."""
    if text.count("(") > MOST_NESTED or text.count("[") > MOST_NESTED:
        steps = ((c in "([") - (c in ")]") for c in text)
        if max(itertools.accumulate(steps)) > MOST_NESTED:
            return f"nested more than {MOST_NESTED} deep"
    return f"longer than {MOST_CHARACTERS:,} characters" if len(text) > MOST_CHARACTERS else ""


def _parsed(text: str) -> tuple[Chem.Mol | None, str]:
    """`parse` of a text without white space."""
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(text)
        if molecule is not None:
            return (molecule, "") if molecule.GetNumAtoms() else (None, "empty")
        raw = Chem.MolFromSmiles(text, sanitize=False)
        if raw is not None:
            return None, _problem(raw)
        # Only the ring labels are wrong when the string reads once they are gone.
        without_rings = Chem.MolFromSmiles(RING_LABEL.sub(r"\1", text), sanitize=False)
    return None, "parse" if without_rings is None else "ring closure"


def chemistry_problems(raw: Chem.Mol) -> list:
    """What is wrong with an unsanitised molecule: rdkit objects with GetType(), GetAtomIdx() or GetAtomIndices()."""
    found = list(Chem.DetectChemistryProblems(raw))
    if not found:  # an aromatic atom with too many bonds outside aromatic rings shows only when sanitised
        try:
            Chem.SanitizeMol(Chem.Mol(raw))
        except Chem.MolSanitizeException as error:
            found = [error.cause]  # type: ignore[attr-defined]  # not in rdkit's stubs
    return found


def _problem(raw: Chem.Mol) -> str:
    """First chemistry problem of an unsanitised molecule, as a reason of `parse`."""
    kinds = [PROBLEMS.get(p.GetType(), "parse") for p in chemistry_problems(raw)]
    return kinds[0] if kinds else "parse"


def read(path: str | Path, column: str | None = None, on_error: str = "raise") -> ReadResult:
    """Read the molecules of a .smi, .txt, .csv, .tsv or .sdf file, each optionally .gz.

    Args:
        path: .smi and .txt give the first white-space separated field of each line, a header line is recognised;
            .sdf records are turned into canonical SMILES. Other SMILES stay as written.
        column: name or number (from 1) of a column of a .csv or .tsv; None = "smiles", whatever its case, or the only
            column of molecules where there is no header.
        on_error: "raise" stops at the first malformed line, "skip" lists it in `skipped`.

    Raises:
        ValueError: malformed line with on_error="raise", no molecule in the file, missing column, unknown suffix.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error is {on_error!r}; expected 'raise' or 'skip'")
    path = Path(path)
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path.name} has suffix {suffix!r}; readable are {', '.join(SUFFIXES)}, each also with .gz")
    text = contents.text(path)
    result, cells = ReadResult([], [], []), None
    if suffix in SEPARATED:
        cells, notes = table_column(path.name, text, column, "smiles", SEPARATED[suffix], _is_molecule)
        result.notes.extend(notes)
    elif column is not None:
        raise ValueError(f"{path.name} is no table ({', '.join(SEPARATED)}) and has no column {column!r}; leave it out")
    for line, entry, smiles, reason in _entries(suffix, text, cells, column):
        if not reason:
            result.smiles.append(smiles)
        elif on_error == "skip":
            result.skipped.append((line, entry, reason))
        else:
            kind = "record" if suffix == ".sdf" else "SMILES"
            raise ValueError(
                f"{path.name} line {line}: cannot read {kind} {brief(entry)!r} ({reason}); "
                'pass on_error="skip" to leave such lines out'
            )
    if not result.smiles:
        raise ValueError(f"{path.name} holds no molecule ({len(result.skipped)} malformed lines)")
    several = sum("." in smiles for smiles in result.smiles)
    if several:
        result.notes.append(f"{path.name}: {several} molecules are of several components, such as salts")
    return result


def _is_molecule(text: str) -> bool:
    """Whether a field of a table is a molecule, and so no name of a column."""
    return not parse(EXTENSION.sub("", text))[1]


def _entries(
    suffix: str, text: str, cells: Iterable[tuple[int, str]] | None, column: str | None
) -> Iterator[tuple[int, str, str, str]]:
    """(line number, text, SMILES, reason or "") of every molecule in a text; cells are those of a table."""
    if suffix == ".sdf":
        yield from _records(text)
        return
    fields = _first(text) if cells is None else [(line, EXTENSION.sub("", cell)) for line, cell in cells]
    headers = HEADERS if cells is None else {(column or "smiles").lower()}
    for line, entry in fields:
        reason = "repeated header" if entry.lower() in headers else parse(entry)[1]
        yield line, entry, entry, reason


def _first(text: str) -> list[tuple[int, str]]:
    """(line number, first field) of each line that is not blank; a header on top is left out."""
    rows = [(i, line.split()[0]) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    return rows[bool(rows) and rows[0][1].lower() in HEADERS :]


def _records(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Like `_entries` for SDF text; the line is the first of the record, the text its title."""
    start, block = 1, []
    for i, line in enumerate([*text.split("\n"), "$$$$"], 1):
        if line.rstrip() != "$$$$":
            block.append(line.rstrip("\r"))
            continue
        if any(part.strip() for part in block):
            smiles, reason = _of_record("\n".join(block))
            yield start, block[0].strip(), smiles, reason
        start, block = i + 1, []


def _of_record(block: str) -> tuple[str, str]:
    """Canonical SMILES of an SDF record, and the reason where there is none."""
    try:
        with rdBase.BlockLogs():
            molecule = Chem.MolFromMolBlock(block, sanitize=False)
            if molecule is None:
                return "", "parse"
            if molecule.GetNumAtoms() > MOST_ATOMS:
                return "", f"more than {MOST_ATOMS:,} atoms"
            raw, molecule = molecule, Chem.MolFromMolBlock(block)
            if molecule is None:
                return "", _problem(raw)
            return (Chem.MolToSmiles(molecule), "") if molecule.GetNumAtoms() else ("", "empty")
    except (RuntimeError, ValueError, OverflowError):  # such as a number beyond what rdkit can hold
        return "", "parse"


def _pack(path: str | Path, text: str) -> None:
    """Write text atomically, gzip-compressed when the name ends in .gz (no time stamp: same text, same bytes)."""
    data = text.encode()
    write_atomic(path, gzip.compress(data, mtime=0) if str(path).endswith(".gz") else data)


def write_smi(
    path: str | Path,
    smiles: Sequence[str],
    names: Sequence[str] | None = None,
    columns: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Write one SMILES a line, behind a tab its name and its numbers, `sample-00000 reward=0.92`; .gz compresses.

    Args:
        path: of the file.
        smiles: one a line.
        names: of each; None is none.
        columns: numbers of each, by what they are.

    Raises:
        ValueError: names or a column have another length than `smiles`.
    """
    if names is not None and len(names) != len(smiles):
        raise ValueError(f"{len(names)} names for {len(smiles)} SMILES; give one name each")
    for key, values in (columns or {}).items():
        if len(values) != len(smiles):
            raise ValueError(f"{key} has {len(values)} values for {len(smiles)} SMILES; give one each")
    titles = [[] if names is None else [names[i]] for i in range(len(smiles))]
    for key, values in (columns or {}).items():
        for title, value in zip(titles, values, strict=True):
            title.append(f"{key}={value:.6g}")
    lines = ["\t".join(filter(None, (one, " ".join(title)))) for one, title in zip(smiles, titles, strict=True)]
    _pack(path, "".join(f"{line}\n" for line in lines))


def write_sdf(
    path: str | Path, molecules: Sequence[Chem.Mol], properties: Mapping[str, Sequence[object]] | None = None
) -> None:
    """Write molecules with 2-D coordinates (Angstrom-like drawing units) and data fields; .gz compresses.

    Args:
        properties: field name -> one value per molecule, written as text.

    Raises:
        ValueError: a property has another length than `molecules`.
    """
    for key, values in (properties or {}).items():
        if len(values) != len(molecules):
            raise ValueError(f"property {key!r} has {len(values)} values for {len(molecules)} molecules; give one each")
    stream = io.StringIO()
    writer = Chem.SDWriter(stream)
    for i, molecule in enumerate(molecules):
        molecule = Chem.Mol(molecule)  # keep the caller's molecule as it is
        rdDepictor.Compute2DCoords(molecule)
        for key, values in (properties or {}).items():
            molecule.SetProp(key, str(values[i]))
        writer.write(molecule)
    writer.close()
    _pack(path, stream.getvalue())
