"""`guidekit evaluate`: judge samples by the standard metrics of their field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guidekit.core.prior import Prior
from guidekit.evaluation.likelihood import bits_per_token
from guidekit.installed import configured
from guidekit.io.files import write_atomic
from guidekit.io.plain_json import plain_json
from guidekit.io.rejected import list_rejected
from guidekit.reporting.console import Console
from guidekit.reporting.table import comparison
from guidekit.running.independence import caution, recorded

PLAIN: dict[str, Any] = {"soft_wrap": True, "markup": False, "highlight": False}
"""How what a file holds is printed: as it is, in one line."""
BOUND, ERROR = "bits per token (bound)", "standard error of the bound"


def likelihood(prior: Prior, objects: Sequence[Any], draws: int, condition: Any) -> dict[str, float]:
    """Bound on the bits a token of objects (None = invalid, left out), for the table; NaN when there are none."""
    valid = [one for one in objects if one is not None]
    if not valid:
        return {BOUND: math.nan, ERROR: math.nan}
    made = bits_per_token(prior, prior.encode(valid), draws, condition)
    return {BOUND: made["bits_per_token"], ERROR: made["standard_error"]}


def run(config: dict[str, Any]) -> dict[str, Any]:
    """Read samples (and reference and training set where given), print the metrics, write them where asked."""
    if config["samples"] is None or config["samples"] == "???":
        raise ValueError("evaluate needs samples=<file>")
    refuse_settings(config)
    (domain, given), console = configured(config["domain"]), Console()
    prior = None if config["prior"] is None else domain.load_prior(config["prior"])
    column = None if config["column"] is None else str(config["column"])
    objects = domain.read_samples(config["samples"], column, prior)
    notes, rejected = [objects.notes], list(objects.rejected)
    for name, read in (("reference", domain.read_reference), ("training", domain.read_training)):
        if config[name]:
            given[name] = read(config[name], config["on_error"], prior)
            notes.append(given[name].notes)
            rejected += given[name].rejected
    for note in filter(None, notes):
        console.print(note, **PLAIN)
    if rejected and config["output"] is None:
        console.print(f"output=figures.json also lists all {len(rejected)} that cannot be read", **PLAIN)
    lacking = [name for name in ("reference", "training") if not config[name]]
    bound = {} if prior is None else likelihood(prior, objects, config["draws"], config["condition"])
    figures = {**domain.evaluate(objects, prior=prior, condition=config["condition"], **given), **bound}
    if lacking and domain.shipped(prior):
        told = f"compared with the shipped {domain.shipped(prior)}; for samples of other data give "
        console.print(told + " and ".join(f"{name}=FILE" for name in lacking), **PLAIN)
    console.print(comparison({Path(config["samples"]).name: figures}, f"{len(objects)} {domain.objects}"))
    told = caution(domain, prior, recorded(config["samples"], domain.name))
    if told:
        console.print(told, soft_wrap=True)
    if config["output"]:
        write_atomic(config["output"], plain_json(figures).encode())
        if listed := list_rejected(config["output"], rejected):
            console.print(f"what cannot be read is listed in {listed}", **PLAIN)
    return figures


def refuse_settings(config: dict[str, Any]) -> None:
    """Raise ValueError for settings that cannot work, before minutes are spent on reading and counting."""
    if config["on_error"] not in ("raise", "skip"):
        raise ValueError(f"on_error={config['on_error']!r}; accepted: raise, skip")
    if config["condition"] is not None and config["prior"] is None:
        raise ValueError(f"condition={config['condition']!r} is that of a prior: give prior= as well")
    output = Path(config["output"] or "figures.json")
    if output.is_dir() or not output.parent.is_dir():
        raise ValueError(f"output={output}: a file in a folder that exists is needed")
