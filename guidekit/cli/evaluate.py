"""`guidekit evaluate`: judge samples by the standard metrics of their field."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console

from guidekit.domain import load_domain
from guidekit.evaluation.table import comparison


def run(config: dict[str, Any]) -> dict[str, Any]:
    """Read samples (and reference and training set where given), print the metrics, write them where asked."""
    if config["samples"] is None or config["samples"] == "???":
        raise ValueError("evaluate needs samples=<file>")
    domain, console = load_domain(config["domain"]["name"]), Console()
    objects, note = domain.read_samples(config["samples"], config["column"])
    notes, given = [note], {}
    for name in ("reference", "training"):
        if config[name]:
            given[name], note = domain.read_reference(config[name], config["on_error"])
            notes.append(note)
    for note in filter(None, notes):
        console.print(note, soft_wrap=True)
    figures = domain.evaluate(objects, **given)
    console.print(comparison({Path(config["samples"]).name: figures}, f"{len(objects)} {domain.objects}"))
    if config["output"]:
        part = Path(f"{config['output']}.part")
        part.write_text(json.dumps(figures, indent=1))
        os.replace(part, config["output"])
    return figures
