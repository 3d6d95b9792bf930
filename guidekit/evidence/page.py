"""docs/methods.md, made from rows, claims and what they measured: `python -m guidekit.evidence.page` writes it.

A status is computed, never written: *met* and *not met* are verdicts over the seeds on record, *not run* says that
there is no claim, no record of it, or one of an earlier text of it, *planned* that no public name of the method exists.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from guidekit.evidence import record as records
from guidekit.evidence.claim import FOLDER, Claim, Source, sources
from guidekit.evidence.record import Record
from guidekit.evidence.rows import FILE, Row, rows
from guidekit.evidence.run import RECORDS, ROOT, asked, interval, number
from guidekit.evidence.statistics import holds
from guidekit.io.files import write_atomic

PAGE = ROOT / "docs" / "methods.md"
STATUSES = ("met", "not met", "not run", "planned")

HEAD = """# Methods: what works, with what evidence
guidekit set out from 104 papers on diffusion guidance. This page has one row for each of them, whatever became of
it, and a second table for what the library offers besides. It is made by `python -m guidekit.evidence.page` from
the claims in `guidekit/evidence/`, what they measured (`docs/evidence/`) and `guidekit/evidence/rows.toml`: nobody
writes a status by hand.

## How to read the tables
- **name**: what is imported from `guidekit`. For a planned row it is the intended name, and nothing can be imported
  under it yet.
- **tier**: how much is aimed at. **A**: runs through the public API in at least two domains. **B**: needs attention
  maps, a given image or image-specific losses, and is held to small conditional image models. **C**: from a
  large-system paper; only its guidance, distillation or conditioning mechanism, at toy scale. The system itself
  (3-D bodies, video, scene text, driving) is not claimed.
- **status**: a claim is a program that says what must hold and within which bounds, set before it is run; `guidekit
  bench evidence row=2` runs it with seeds 0, 1 and 2.
  - **met**: every check of every claim of the row holds; as a rule the whole 95 % interval over seeds is within its
    bounds. It says no more than the claim does: the last column tells what is still missing.
  - **not met**: a check fails; the row keeps its figure. An interval that reaches over a bound fails too, whatever its
    mean: it may be wide because three seeds of that size say too little.
  - **not run**: there is no claim yet, or it was not run since it was changed. The method itself is there, with the
    tests that the row names.
  - **planned**: not there yet.
- **domains run**: where it has been run end to end, *exact* meaning analytic priors.
- **missing**: what the method lacks, and what a longer run than that of the claim would add.
- Below the tables every row has its claims with all figures, its **oracle tests**, which compare the method with an
  answer known exactly (a Gaussian, a mixture, an enumerable chain) or with a limit case, and what was **recorded
  before there were claims**, with the command or the page that has more.

## Nothing is dropped in silence
A method never leaves this page. Targets are set before the first run and are not results; they are not softened
afterwards, and a baseline gets the same tuning effort as the method it is compared with. Where a paper's claim does
not show up at our scale, the row keeps the numbers. Where only an abstract or a summary could be read, the code
says "reconstructed".
"""
BESIDE = """Engines, baselines and samplers that are not rows above. Some rows are special settings of them, and most
comparisons need them. They have no tier. (SVDD, arXiv 2408.08252, is row 73; D-CFG, D-CBG and UDLM, 2412.10193, are
row 70; FKC is row 91; ReMDM is row 18.)"""


@dataclasses.dataclass(frozen=True)
class Told:
    """A claim, and what is on record of it.

    Args:
        source, claim: the file and what is in it.
        record: None where there is none.
    """

    source: Source
    claim: Claim
    record: Record | None

    @property
    def current(self) -> bool:
        """Whether the record is one of the claim as it is now."""
        return self.record is not None and self.record.source == self.source.digest

    @property
    def status(self) -> str:
        """met, not met or not run."""
        return self.record.status(self.claim) if self.record is not None and self.current else "not run"


def told(folder: Path = FOLDER, recorded: Path = RECORDS) -> dict[str, list[Told]]:
    """All claims with their records, by row."""
    found: dict[str, list[Told]] = {}
    for source in sources(folder):
        record = records.read(recorded / f"{source.stem}.json")
        found.setdefault(source.row, []).append(Told(source, source.load(), record))
    return found


def status(row: Row, claims: Sequence[Told]) -> str:
    """One of `STATUSES`, by the names of a row and the records of its claims."""
    if not row.exists:
        return "planned"
    found = {each.status for each in claims} or {"not run"}
    return next(name for name in ("not met", "not run", "met") if name in found)


def summary(row: Row, claims: Sequence[Told]) -> str:
    """The status, with the figures of what is not met, or with what has not been run."""
    found = status(row, claims)
    if found == "not run":
        return "not run (no claim yet)" if not claims else "not run"
    if found != "not met":
        return found
    failed = []
    for each in claims:
        if each.record is None or each.status != "not met":
            continue
        for check in each.claim.checks:
            figure = each.record.figures()[check.figure]
            if not holds(check, figure):
                failed.append(f"{check.says}: {number(figure.mean)} ({interval(figure)}), asked {asked(check)}")
    return "not met: " + "; ".join(failed)


def text(table: Sequence[Row] | None = None, claims: Mapping[str, Sequence[Told]] | None = None) -> str:
    """The whole page."""
    table, claims = rows() if table is None else table, told() if claims is None else claims
    papers, beside = ([row for row in table if row.number.startswith("E") == e] for e in (False, True))
    parts = [
        HEAD,
        f"## The {len(papers)}\n",
        counted(papers, claims),
        listing(papers, claims),
        "## Beyond them\n" + BESIDE + "\n",
        listing(beside, claims) + "\nNumbers in brackets are arXiv identifiers.\n",
        "## Row by row",
        *(section(row, claims.get(row.number, ())) for row in table if detailed(row)),
        "## The papers by number\n",
        "\n".join(f"{row.number}. {row.title}" for row in papers) + "\n",
    ]
    return "\n".join(parts)


def counted(table: Sequence[Row], claims: Mapping[str, Sequence[Told]]) -> str:
    """How many rows have which status."""
    counts = Counter(status(row, claims.get(row.number, ())) for row in table)
    return ", ".join(f"{counts[name]} {name}" for name in STATUSES) + ".\n"


def listing(table: Sequence[Row], claims: Mapping[str, Sequence[Told]]) -> str:
    """Rows as a table."""
    lines = ["| # | method | name | tier | status | domains run | missing |", "|---|---|---|---|---|---|---|"]
    for row in table:
        own = claims.get(row.number, ())
        state, missing = summary(row, own), [row.missing, *(each.claim.longer for each in own)]
        if detailed(row):
            state = f"[{state}](#{anchor(row)})"
        cells = [row.number, row.method, row.written, row.tier, state, row.domains, "; ".join(filter(None, missing))]
        lines.append("| " + " | ".join(cell or "-" for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def detailed(row: Row) -> bool:
    """Whether a row has more to tell than its line."""
    return row.exists


def heading(row: Row) -> str:
    """Of its section."""
    return f"{row.number} {row.method}"


def anchor(row: Row) -> str:
    """What a heading is linked by."""
    return re.sub(r"[^\w\- ]", "", heading(row).lower()).replace(" ", "-")


def section(row: Row, claims: Sequence[Told]) -> str:
    """Everything about one row."""
    note = f" ({row.note})" if row.note else ""
    lines = [f"\n### {heading(row)}", f"{row.written}{note}\n"]
    for each in claims:
        lines += claimed(each)
    if row.missing:
        lines.append(f"- Missing: {row.missing}.")
    oracles = dict.fromkeys([*(one for each in claims for one in each.claim.oracles), *row.oracles])
    lines += [f"- Oracle test: {one}." for one in oracles]
    lines += [f"- Recorded before there were claims: {one}." for one in row.recorded]
    return "\n".join(lines)


def claimed(each: Told) -> list[str]:
    """A claim with its figures."""
    claim, record = each.claim, each.record
    lines = [f"**Claim {each.source.stem}** ({', '.join(claim.domains)}), *{each.status}*: {claim.says}\n"]
    if record is None or not each.current:
        why = "it has changed since it was run" if record is not None else "there is no record"
        return [*lines, f"Not run: {why}; `guidekit bench evidence row={each.source.key}`.\n"]
    figures, made = record.figures(), record.made
    lines += ["| check | mean | 95 % interval | asked | verdict |", "|---|---|---|---|---|"]
    for check in claim.checks:
        figure = figures[check.figure]
        verdict = "met" if holds(check, figure) else "not met"
        cells = (check.says, number(figure.mean), interval(figure), asked(check), verdict)
        lines.append(f"| {' | '.join(cells)} |")
    checked = {check.figure for check in claim.checks}
    others = [f"{name} {number(one.mean)} ({interval(one)})" for name, one in figures.items() if name not in checked]
    lines.append("")
    if others:
        lines.append("Beside them: " + "; ".join(others) + ".")
    seconds = sum(run.seconds for run in record.runs.values())
    lines.append(
        f"Seeds {', '.join(map(str, record.runs))}, {seconds:.0f} s, guidekit {made['guidekit']}, "
        f"torch {made['torch']}, {made['processor']}, threads: {made['threads']}; "
        f"`{records.command(each.source, record.runs)}`."
    )
    if claim.longer:
        lines.append(f"A longer run would add: {claim.longer}.")
    return [*lines, ""]


def write(path: Path = PAGE) -> Path:
    """Write the page in one step."""
    write_atomic(path, text().encode())
    return path


__all__ = ["FILE", "PAGE", "text", "write"]

if __name__ == "__main__":
    print(f"wrote {write()}")
