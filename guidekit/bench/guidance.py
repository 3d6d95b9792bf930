"""Several guidances on one prior, side by side: the field's figures and what each cost."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from guidekit.commands.sample import progress_bar
from guidekit.core.guidance import Guidance
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.core.state import State
from guidekit.domain import Domain
from guidekit.errors import UnknownNameError
from guidekit.installed import configured
from guidekit.io.files import write_atomic
from guidekit.objectives.objects import score
from guidekit.reporting.console import Console
from guidekit.reporting.table import text
from guidekit.running.build import build_guidance, build_reward, build_sampler
from guidekit.running.folder import OutputError
from guidekit.sampling import prepare, sample

SAME = ("domain", "reward", "sampler", "prior", "conditions", "each", "steps", "device")
"""Settings that a file of figures belongs to; guidances and seeds may be added to it."""

COSTS = ("network rows", "seconds")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What all guidances of a comparison share.

    Args:
        domain, prior, reward, given: see `guidekit.commands.sample`; `given` goes to `Domain.evaluate`.
        condition: of the samples, a row each, or None.
        labels: class number wanted of each, or None.
        arguments: of `sample`.
    """

    domain: Domain
    prior: Prior
    reward: Objective | None
    given: Mapping[str, Any]
    condition: State | None
    labels: Sequence[int] | None
    arguments: Mapping[str, Any]


def run(config: dict[str, Any], console: Console) -> dict[str, Any]:
    """Sample with every guidance and seed, judge the samples, print a table; `output` keeps each figure as it is made.

    A file that holds some of them already is completed.

    Raises:
        ValueError: settings that cannot work, before anything is sampled.
    """
    rows = {title(one): one for one in config["guidances"]}
    if len(rows) < len(config["guidances"]) or not rows:
        raise ValueError(f"guidances={config['guidances']}: a list of different ones is needed")
    for name in ("seeds", "each"):
        if config[name] < 1:
            raise ValueError(f"{name}={config[name]}; at least 1 is needed")
    plan = planned(config)
    guidances = {}
    verifier = partial(plan.domain.verifier, prior=plan.prior)
    for name, one in rows.items():
        own = partial(build_reward, plan.domain, prior=plan.prior)
        guidances[name] = build_guidance(one, plan.reward, verifier, plan.domain.load_prior, own)
        prepare(plan.prior, guidances[name], condition=plan.condition, **plan.arguments)  # refuses, samples nothing
    record = opened(config)
    seeds = range(config["seed"], config["seed"] + config["seeds"])
    with progress_bar(console) as bar:
        task = bar.add_task("", text="")
        for name, guidance in guidances.items():
            for seed in seeds:
                if str(seed) in record["figures"].setdefault(name, {}):
                    continue
                bar.update(task, description=name, text=f"seed {seed} of {seeds[0]}-{seeds[-1]}")
                record["figures"][name][str(seed)] = measured(plan, guidance, seed)
                if config["output"]:
                    write_atomic(config["output"], json.dumps(record, indent=1).encode())
                columns_of(record["figures"][name][str(seed)], config["figures"])  # a wrong name is told at once
    found = {name: [record["figures"][name][str(seed)] for seed in seeds] for name in guidances}
    console.print(table(found, config["figures"], f"{plan.arguments['num_samples']} {plan.domain.objects} each"))
    return record


def title(guidance: str | Mapping[str, Any]) -> str:
    """A guidance with its settings, as the table names it."""
    if isinstance(guidance, str):
        return guidance
    settings = (f"{key}={value}" for key, value in guidance.items() if key != "name")
    return " ".join([str(guidance.get("name")), *settings])


def planned(config: Mapping[str, Any]) -> Plan:
    """Domain, prior, reward and conditions of a configuration."""
    domain, given = configured(config["domain"])
    prior = domain.load_prior(config["prior"])
    reward = build_reward(domain, config["reward"], prior)
    known: Any = getattr(prior, "labels", ())
    wanted = config["conditions"]
    if wanted is None and len(known) > 1:
        names = ", ".join(label.name for label in known)
        raise ValueError(f"prior {config['prior']} has the labels {names}; name values: 'conditions=[{{qed: high}}]'")
    if wanted is None and known:
        wanted = list(known[0].values)
    rows: list[Any] = [prior.condition(one) for one in wanted or ()]
    condition: Any = torch.cat(rows).repeat_interleave(config["each"], 0) if rows else None
    labels = condition[:, 0].tolist() if rows and len(known) == 1 else None
    arguments = dict(
        sampler=build_sampler(config["sampler"]),
        steps=config["steps"],
        device=config["device"],
        num_samples=config["each"] * max(1, len(rows)),
    )
    return Plan(domain, prior, reward, given, condition, labels, arguments)


def opened(config: Mapping[str, Any]) -> dict[str, Any]:
    """The record to be filled: that of `output`, where it is of the same settings, or an empty one."""
    settings = {key: config[key] for key in SAME}
    machine = {"machine": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    empty = {"settings": settings, **machine, "torch": torch.__version__, "figures": {}}
    path = config["output"] and Path(config["output"])
    if not path:
        return empty
    if path.is_dir() or not path.parent.is_dir():
        raise OutputError(f"output={path}: a file in a folder that exists is needed")
    if not path.exists() or config["overwrite"]:
        return empty
    try:
        record = json.loads(path.read_text())
        same = record["settings"] == json.loads(json.dumps(settings))
    except (ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise OutputError(
            f"{path} holds something else; repeat its settings, or pass overwrite=true or another output="
        )
    return record


def measured(plan: Plan, guidance: Guidance | None, seed: int) -> dict[str, Any]:
    """Figures of one guidance and one seed."""
    result = sample(plan.prior, guidance, seed=seed, condition=plan.condition, **plan.arguments)
    ledger = result.ledger
    labels = {} if plan.labels is None else {"labels": plan.labels}
    figures = dict(plan.domain.evaluate(result.objects(), prior=plan.prior, **plan.given, **labels))
    if plan.reward is not None:
        values = score(plan.prior, plan.reward, result.samples)
        figures["reward"] = float(values[values.isfinite()].mean())
    return figures | {"network rows": ledger.network_rows / plan.arguments["num_samples"], "seconds": ledger.seconds}


def table(found: Mapping[str, Sequence[Mapping[str, Any]]], figures: Sequence[str] | None, heading: str) -> Table:
    """A row a guidance, a column a figure; the other way round for all figures. Mean and sd over seeds.

    Args:
        found: guidance -> figures of every seed.
        figures: names of the columns; None is all numbers.
        heading: above the table.
    """
    shown = columns_of(next(iter(found.values()))[0], figures)
    cells = [[spread(name, [one.get(name, math.nan) for one in seeds]) for name in shown] for seeds in found.values()]
    rows, columns = (list(found), shown) if figures else (shown, list(found))
    made = Table(title=heading, title_justify="left")
    made.add_column("")
    for name in columns:
        made.add_column(name, justify="right")
    for name, row in zip(rows, cells if figures else zip(*cells, strict=True), strict=True):
        made.add_row(name, *row)
    return made


def columns_of(found: Mapping[str, Any], figures: Sequence[str] | None) -> list[str]:
    """Names of the figures to show, costs last; UnknownNameError for one that the domain does not give."""
    known = [name for name, value in found.items() if not isinstance(value, str)]
    for name in figures or ():
        if name not in known:
            raise UnknownNameError("figure", str(name), known)
    return [*(figures or [name for name in known if name not in COSTS]), *COSTS]


def spread(name: str, values: Sequence[float]) -> str:
    """Mean and standard deviation of a figure over seeds."""
    mean = text(name, statistics.fmean(values) if len(values) > 1 else values[0])
    return mean if len(values) < 2 or name in COSTS else f"{mean} +- {text(name, statistics.stdev(values))}"
