"""The tables of docs/certified.md, from the cards that ship: `python -m guidekit.bench.certified` writes them anew."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from guidekit.bench.posterior import REFERENCE, STEPS, shown

ROOT = Path(__file__).parents[2]
FILE = ROOT / "guidekit" / "evidence" / "posterior.json"
PAGE = ROOT / "docs" / "certified.md"
MARKS = ("<!-- cards: made by python -m guidekit.bench.certified -->\n", "<!-- end of cards -->")


def tables(record: Mapping[str, Any]) -> str:
    """All tables in Markdown."""
    cards = record["cards"]
    titles = sorted(cards, key=lambda title: (title != REFERENCE, _distance(cards[title]), title))
    priors = list(cards[REFERENCE])
    parts = [
        f"{record['settings']['problems']} problems of each operator and noise, 19 draws each, seed "
        f"{record['settings']['seed']}, guidekit {record['guidekit']}, torch {record['torch']}. The error of a "
        f"coverage is about {_error(cards[REFERENCE]):.1f} points; the first row shows what it does.\n"
    ]
    for steps in STEPS:
        rows = [[_name(title), *(_cell(cards[title], name, steps) for name in priors)] for title in titles]
        rows = [row for row in rows if any(cell != "-" for cell in row[1:])]
        if rows:
            head = ["guidance", *priors]
            parts.append(f"### {steps} steps\nCoverage of 90 % regions in % / std ratio / bias in stds.\n")
            parts.append(_markdown(head, rows))
    parts.append("### By noise\nCoverage of 90 % regions in %, at 20 steps, noise .05 / .15 / .3.\n")
    rows = [[_name(title), *(_by_noise(cards[title], name) for name in priors)] for title in titles]
    parts.append(_markdown(["guidance", *priors], [row for row in rows if any(cell != "-" for cell in row[1:])]))
    refused = _refused(cards)
    if refused:
        parts.append("### Without a card\n" + "\n".join(f"- `{title}`: {why}" for title, why in refused.items()) + "\n")
    return "\n".join(parts)


def _name(title: str) -> str:
    return title if title == REFERENCE else f"`{title.partition(' ')[0]}` {title.partition(' ')[2]}".strip()


def _distance(priors: Mapping[str, Any]) -> float:
    """How far from calibrated the worst prior at 20 steps is, for the order of rows."""
    found = [one["20"]["card"] for one in priors.values() if "card" in one.get("20", {})]
    if len(found) < len(priors):
        return 1e9
    return max(abs(one["coverage"] - 0.9) / 0.02 + abs(one["spread"] - 1) / 0.1 + one["bias"] / 0.3 for one in found)


def _error(priors: Mapping[str, Any]) -> float:
    found = [cell["card"]["error"] for one in priors.values() for cell in one.values() if "card" in cell]
    return 100 * sum(found) / len(found)


def _cell(priors: Mapping[str, Any], name: str, steps: int) -> str:
    figures, verdict = shown(priors.get(name, {}).get(str(steps), {}))
    return verdict if figures == "-" else f"{figures} {verdict}"


def _by_noise(priors: Mapping[str, Any], name: str) -> str:
    noise = priors.get(name, {}).get("20", {}).get("noise")
    shares = [f"{100 * one['coverage']:.0f}" if "coverage" in one else "-" for one in (noise or {}).values()]
    return " / ".join(shares) or "-"


def _refused(cards: Mapping[str, Any]) -> dict[str, str]:
    """Why a solver has no figure, where it has none in any cell."""
    found = {}
    for title, priors in cards.items():
        cells = [cell for one in priors.values() for cell in one.values()]
        if cells and all("refused" in cell for cell in cells):
            found[title] = cells[0]["refused"]
    return found


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def with_tables(page: str, record: Mapping[str, Any]) -> str:
    """The text of the page with the tables of a record."""
    head, _, rest = page.partition(MARKS[0])
    return head + MARKS[0] + tables(record) + MARKS[1] + rest.partition(MARKS[1])[2]


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(), json.loads(FILE.read_text())))
