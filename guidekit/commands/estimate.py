"""The work behind `guidekit estimate`: how probable an event is under a prior, with objects of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from torch import Tensor

from guidekit.commands.sample import PLAIN, standing
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.domain import Domain
from guidekit.estimation import estimate
from guidekit.events import Estimated, Store, threshold
from guidekit.installed import configured
from guidekit.io.tensors import read_checked, write_checked
from guidekit.objectives.objects import score
from guidekit.reporting.console import Console
from guidekit.running import particles
from guidekit.running.build import build_reward, build_sampler
from guidekit.running.folder import RunFolder
from guidekit.running.identity import digest, identity
from guidekit.running.machine import use_threads
from guidekit.running.output import write_csv
from guidekit.running.signals import terminable
from guidekit.samples import Samples

SHOWN = 32
"""Objects of the event that are written."""


class Pieces(Store):
    """Finished pieces of an estimate, a file each, in the folder of a run.

    Args:
        folder: that exists.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """See `Store.load`; a damaged file is no piece."""
        return read_checked(self.folder / f"{name}.safetensors")

    def save(self, name: str, tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> None:
        """See `Store.save`."""
        write_checked(self.folder / f"{name}.safetensors", tensors, said)


def run(config: dict[str, Any], console: Console | None = None) -> Path:
    """Estimate as a resolved configuration says and return the output folder; what was interrupted goes on.

    Raises:
        ValueError: settings that cannot work, before anything is written.
        OutputError: the output folder is taken.
        KeyboardInterrupt: a line has said where finished pieces are.
    """
    console = console or Console()
    use_threads(config["threads"])
    domain, _ = configured(config["domain"])
    prior = domain.load_prior(config["prior"])
    reward = build_reward(domain, config["reward"], prior)
    if reward is None:
        raise ValueError("estimate needs a reward, which says what the event is: reward=qed at_least=0.93")
    threshold(reward, config["at_least"], config["at_most"])  # refused before anything is begun
    made_by = identity(domain, config)
    label = f"estimate-{domain.name}-{reward.name}"
    path = str(config["output"]) if config["output"] is not None else Path("outputs") / f"{label}-{digest(made_by)[:8]}"
    with terminable():
        folder = RunFolder(path, made_by, config["overwrite"])
        if folder.finished:
            console.print(f"already done: {folder.path} holds the results of this command", **PLAIN)
            return folder.path
        found = estimated(config, prior, reward, folder, console)
        try:
            folder.begin_results()
            record = write(folder.results, domain, prior, found, config, label)
            placed = folder.complete(record)
        except BaseException:
            console.print(standing(folder), **PLAIN)
            raise
    table = Table(title=f"P({found.event})", title_justify="left")
    for column in ("", domain.name):
        table.add_column(column)
    for name, value in record["figures"].items():
        shown = f"{value:.3g}" if isinstance(value, float) else f"{value:,}"
        table.add_row(name, "-" if shown == "nan" else shown)
    console.print(table)
    if found.remark:
        console.print(found.remark, soft_wrap=True)
    console.print(f"written to {placed}", markup=False, highlight=False, soft_wrap=True)
    return placed


def estimated(
    config: Mapping[str, Any], prior: Prior, reward: Objective, folder: RunFolder, console: Console
) -> Estimated:
    """The estimate, from the pieces that are in its folder; nothing stays there where it is refused."""
    given = {key: config[key] for key in ("method", "num_samples", "steps", "seed", "condition")}
    kept = len(list(folder.chunks.glob("*.safetensors")))
    if kept:
        console.print(f"goes on from {kept} finished pieces of the interrupted run", **PLAIN)
    try:
        return estimate(
            prior,
            reward,
            config["at_least"],
            at_most=config["at_most"],
            sampler=build_sampler(config["sampler"]),
            log=lambda told: console.print(told, highlight=False),
            store=Pieces(folder.chunks),
            **given,
        )
    except ValueError:
        folder.tidy()
        raise
    except BaseException:
        console.print(standing(folder), **PLAIN)
        raise


def write(
    folder: Path, domain: Domain, prior: Prior, found: Estimated, config: Mapping[str, Any], label: str
) -> dict[str, Any]:
    """Objects of the event and a picture of the particles; returns the record."""
    low, high = found.interval
    figures = {
        "probability": found.probability,
        "standard error": found.error,
        "95 % interval, from": low,
        "to": high,
        "steps": config["steps"],
        "samples drawn": found.drawn,
        "reward calls": found.ledger.reward_calls,
        "seconds": found.ledger.seconds,
    }
    if found.probability > 0:
        shown = Samples(found.samples(SHOWN, config["seed"]), prior, config["condition"])
        rows = domain.table(shown)
        if found.measure is not None:
            for row, value in zip(rows, score(prior, found.measure, shown.states).tolist(), strict=True):
                row[found.measure.name] = value
        write_csv(folder / "samples.csv", rows)
        domain.write(folder, shown, {})
    if found.result is not None:
        particles.draw(found.result, folder / "particles.png")
    return {
        "label": label,
        "config": config,
        "prior": config["prior"],
        "figures": figures,
        "groups": found.groups.tolist(),
        "remark": found.remark,
        "ledger": dataclasses.asdict(found.ledger),
    }
