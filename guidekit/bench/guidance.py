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
from guidekit.core.ledger import Ledger
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.core.state import State, take
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

COSTS = ("network rows", "reward calls", "seconds")

SCORED = "scored"
"""Figure: the share of samples that have a reward, of which `reward` is the mean."""

FIT = "fit"
"""Stands in a guidance's settings for the number that a budget pays for."""

PILOT = 16
"""Samples by which numbers that a budget pays for are found."""

CORRECTIONS, ROOM = 3, 0.02
"""Times that a number is made smaller, and by how much of the budget its cost may be above it."""

PRICES = {"network_calls": "network rows", "reward_calls": "reward calls"}
"""Limits of a budget, and what they limit."""


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
    limits = {name: limit for name, limit in config["budget"].items() if limit is not None}
    rows = {title(one): one for one in config["guidances"]}
    fits = [one for one in rows.values() if fitted(one, 1) != one]
    if bool(limits) != bool(fits):
        raise ValueError(
            f"budget= pays for a number that is written as {FIT}: 'guidances=[{{name: best_of_n, particles: {FIT}}}]' "
            "budget.network_calls=500"
        )
    if len(rows) < len(config["guidances"]) or not rows:
        raise ValueError(f"guidances={config['guidances']}: a list of different ones is needed")
    for name in ("seeds", "each"):
        if config[name] < 1:
            raise ValueError(f"{name}={config[name]}; at least 1 is needed")
    plan = planned(config)
    guidances = {}
    for one in rows.values():  # refuses, samples nothing
        prepare(plan.prior, built(plan, fitted(one, 1)), condition=plan.condition, **plan.arguments)
    record = opened(config)
    for one in rows.values():
        number = affordable(plan, one, limits, config["seed"]) if one in fits else 0
        guidances[title(fitted(one, number))] = built(plan, fitted(one, number))
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


def built(plan: Plan, one: str | Mapping[str, Any]) -> Guidance | None:
    """The guidance of a configuration."""
    verifier = partial(plan.domain.verifier, prior=plan.prior)
    own = partial(build_reward, plan.domain, prior=plan.prior)
    return build_guidance(one, plan.reward, verifier, plan.domain.load_prior, own)


def fitted(one: Any, number: int) -> Any:
    """A configuration with a number wherever `FIT` stands."""
    if isinstance(one, Mapping):
        return {key: fitted(value, number) for key, value in one.items()}
    if isinstance(one, list | tuple):
        return [fitted(value, number) for value in one]
    return number if one == FIT else one


def affordable(plan: Plan, one: Mapping[str, Any], limits: Mapping[str, float], seed: int) -> int:
    """The largest number that a budget pays for, of a cost that is about linear in it, as small runs show.

    Args:
        plan: what is shared.
        one: configuration with `FIT` in it.
        limits: a sample's, by name.
        seed: of the small runs.

    Raises:
        ValueError: it does not pay for 1.
    """
    few, many = (prices(plan, built(plan, fitted(one, number)), seed) for number in (2, 6))
    found = []
    for name, limit in limits.items():
        slope = (many[PRICES[name]] - few[PRICES[name]]) / 4
        base = few[PRICES[name]] - 2 * slope
        if slope > 0:
            found.append(int((limit - base) / slope + 1e-9))
    if not found or min(found) < 1:
        told = ", ".join(f"budget.{name}={limit:g}" for name, limit in limits.items())
        why = "its cost does not depend on it" if not found else f"1 takes more than {told} a sample"
        raise ValueError(f"{title(one)}: {why}")
    number = min(found)
    for _ in range(CORRECTIONS):  # where the cost is not quite linear
        priced = prices(plan, built(plan, fitted(one, number)), seed)
        excess = max(priced[PRICES[name]] / limit for name, limit in limits.items())
        if excess <= 1 + ROOM or number == 1:
            break
        number = max(1, int(number / excess))
    return number


def prices(plan: Plan, guidance: Guidance | None, seed: int) -> dict[str, float]:
    """What a sample costs, as a few of them show."""
    forget(plan.reward)
    count = min(PILOT, plan.arguments["num_samples"])
    condition = None if plan.condition is None else take(plan.condition, slice(0, count))
    result = sample(plan.prior, guidance, seed=seed, condition=condition, **{**plan.arguments, "num_samples": count})
    return paid(result.ledger, count)


def forget(reward: Objective | None) -> None:
    """Have a reward remember no scores: what one run has paid for is not free for the next."""
    members: Sequence[Any] = () if reward is None else reward.members
    for member in members:
        if hasattr(member, "restore"):
            member.restore({})


def paid(ledger: Ledger, count: int) -> dict[str, float]:
    """Costs of a sample; seconds are those of all."""
    rows, calls = ledger.network_rows / count, ledger.reward_calls / count
    return {"network rows": rows, "reward calls": calls, "seconds": ledger.seconds}


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
    forget(plan.reward)
    result = sample(plan.prior, guidance, seed=seed, condition=plan.condition, **plan.arguments)
    labels = {} if plan.labels is None else {"labels": plan.labels}
    figures = dict(plan.domain.evaluate(result.objects(), prior=plan.prior, **plan.given, **labels))
    if plan.reward is not None:
        values = score(plan.prior, plan.reward, result.samples)
        figures["reward"] = float(values[values.isfinite()].mean())
        figures[SCORED] = float(values.isfinite().double().mean())
    return figures | paid(result.ledger, plan.arguments["num_samples"])


def table(found: Mapping[str, Sequence[Mapping[str, Any]]], figures: Sequence[str] | None, heading: str) -> Table:
    """A row a guidance, a column a figure; the other way round for all figures. Mean and sd over seeds.

    Args:
        found: guidance -> figures of every seed.
        figures: names of the columns; None is all numbers. Rewards that some samples have not come with their share.
        heading: above the table.
    """
    first = next(iter(found.values()))[0]
    partly = any(one.get(SCORED, 1) < 1 for seeds in found.values() for one in seeds)
    if figures and partly and "reward" in figures and SCORED in first and SCORED not in figures:
        place = list(figures).index("reward") + 1
        figures = [*figures[:place], SCORED, *figures[place:]]
    shown = columns_of(first, figures)
    cells = [[spread(name, [one.get(name, math.nan) for one in seeds]) for name in shown] for seeds in found.values()]
    rows, columns = (list(found), shown) if figures else (shown, list(found))
    made = Table(title=heading, title_justify="left")
    if partly and {"reward", SCORED} <= set(shown):
        made.caption = f"reward is the mean of the samples that have one, whose share is {SCORED}"
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
