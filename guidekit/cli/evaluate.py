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
    options = {"column": config["column"], "on_error": config["on_error"]}
    objects, note = domain.read_samples(config["samples"], **options)
    if note:
        console.print(note)
    reference = (
        domain.read_samples(config["reference"], on_error=config["on_error"])[0] if config["reference"] else None
    )
    given = {"training": domain.read_training(config["training"])} if config["training"] else {}
    figures = domain.evaluate(objects, reference, **given)
    console.print(comparison({Path(config["samples"]).name: figures}, f"{len(objects)} {domain.objects}"))
    if config["output"]:
        part = Path(f"{config['output']}.part")
        part.write_text(json.dumps(figures, indent=1))
        os.replace(part, config["output"])
    return figures
