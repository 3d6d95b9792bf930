"""The work behind `guidekit estimate`: how probable an event is under a prior, with objects of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rich.table import Table

from guidekit.estimation import estimate
from guidekit.installed import configured
from guidekit.reporting.console import Console
from guidekit.running import particles
from guidekit.running.build import build_reward, build_sampler
from guidekit.running.folder import RunFolder
from guidekit.running.groups import MISSING
from guidekit.running.identity import digest, identity
from guidekit.running.machine import use_threads
from guidekit.running.output import write_csv
from guidekit.samples import Samples

SHOWN = 32
"""Objects of the event that are written."""


def run(config: dict[str, Any], console: Console | None = None) -> Path:
    """Estimate as a resolved configuration says and return the output folder.

    Raises:
        ValueError: settings that cannot work, before anything is written.
        OutputError: the output folder is taken.
    """
    console = console or Console()
    use_threads(config["threads"])
    domain, _ = configured(config["domain"])
    prior = domain.load_prior(config["prior"])
    reward = build_reward(domain, config["reward"], prior)
    if reward is None:
        raise ValueError("estimate needs a reward, which says what the event is: reward=qed at_least=0.93")
    if config["at_least"] in (MISSING, None):
        raise ValueError("estimate needs at_least=, the least reward of the event")
    made_by = identity(domain, config)
    label = f"estimate-{domain.name}-{reward.name}"
    path = str(config["output"]) if config["output"] is not None else Path("outputs") / f"{label}-{digest(made_by)[:8]}"
    folder = RunFolder(path, made_by, config["overwrite"])
    if folder.finished:
        console.print(f"already done: {folder.path} holds the results of this command", markup=False, soft_wrap=True)
        return folder.path
    given = {key: config[key] for key in ("method", "num_samples", "steps", "seed", "condition")}
    try:
        found = estimate(
            prior,
            reward,
            config["at_least"],
            sampler=build_sampler(config["sampler"]),
            log=lambda told: console.print(told, highlight=False),
            **given,
        )
        folder.begin_results()
        low, high = found.interval
        figures = {
            "probability": found.probability,
            "standard error": found.error,
            "95 % interval, from": low,
            "to": high,
            "samples drawn": found.drawn,
            "reward calls": found.ledger.reward_calls,
            "seconds": found.ledger.seconds,
        }
        if found.probability > 0:
            shown = Samples(found.samples(SHOWN, config["seed"]), prior, config["condition"])
            rows = domain.table(shown)
            write_csv(folder.results / "samples.csv", rows)
            domain.write(folder.results, shown, {})
        if found.result is not None:
            particles.draw(found.result, folder.results / "particles.png")
        record = {
            "label": label,
            "config": config,
            "prior": config["prior"],
            "figures": figures,
            "groups": found.groups.tolist(),
            "remark": found.remark,
            "ledger": dataclasses.asdict(found.ledger),
        }
        placed = folder.complete(record)
    except BaseException:
        folder.abandon()
        raise
    table = Table(title=f"P({reward.name} >= {config['at_least']:g})", title_justify="left")
    for column in ("", domain.name):
        table.add_column(column)
    for name, value in figures.items():
        table.add_row(name, f"{value:.3g}" if isinstance(value, float) else f"{value:,}")
    console.print(table)
    if found.remark:
        console.print(found.remark, soft_wrap=True)
    console.print(f"written to {placed}", markup=False, highlight=False, soft_wrap=True)
    return placed
