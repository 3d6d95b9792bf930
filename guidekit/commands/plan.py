"""The work behind `guidekit plan`: plans are made, run for a while, and made anew from where that has led."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from guidekit.installed import configured
from guidekit.reporting.console import Console
from guidekit.running.build import build_guidance, build_reward, build_sampler
from guidekit.running.folder import RunFolder
from guidekit.running.identity import digest, identity
from guidekit.running.machine import use_threads

SETTINGS = ("num_samples", "every", "near", "speed", "steps", "seed")
"""Those that the domain takes."""


def run(config: dict[str, Any], console: Console | None = None) -> Path:
    """Drive as a resolved configuration says and return the output folder.

    Raises:
        ValueError: settings that cannot work, before anything is written; a domain that plans nothing.
        OutputError: the output folder is taken.
    """
    console = console or Console()
    use_threads(config["threads"])
    domain, _ = configured(config["domain"])
    prior = domain.load_prior(config["prior"])
    reward = build_reward(domain, config["reward"], prior)
    guidance = build_guidance(
        config["guidance"],
        reward,
        partial(domain.verifier, prior=prior),
        domain.load_prior,
        partial(build_reward, domain, prior=prior),
    )
    given = {key: config[key] for key in SETTINGS} | {"sampler": build_sampler(config["sampler"])}
    condition = prior.condition(config["condition"])
    made_by = identity(domain, config)
    label = "-".join(part for part in ("plan", domain.name, config["guidance"].get("name")) if part)
    path = str(config["output"]) if config["output"] is not None else Path("outputs") / f"{label}-{digest(made_by)[:8]}"
    folder = RunFolder(path, made_by, config["overwrite"])
    if folder.finished:
        console.print(f"already done: {folder.path} holds the results of this command", markup=False, soft_wrap=True)
        return folder.path
    try:
        began = time.perf_counter()
        folder.begin_results()
        figures = domain.drive(folder.results, prior, guidance, condition, **given)
        figures["seconds"] = time.perf_counter() - began
        placed = folder.complete({"label": label, "config": config, "prior": config["prior"], "figures": figures})
    except BaseException:
        folder.abandon()
        raise
    table = Table(title=label, title_justify="left")
    for column in ("", "driven"):
        table.add_column(column)
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}")
    console.print(table)
    console.print(f"written to {placed}", markup=False, highlight=False, soft_wrap=True)
    return placed
