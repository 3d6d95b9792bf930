"""Cards of posterior solvers: whether their draws are draws from the posterior, at which noise and number of steps."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from guidekit.bench import exact
from guidekit.bench.record import opened, written
from guidekit.bench.solvers import Solver, chosen
from guidekit.commands.sample import progress_bar
from guidekit.core.guidance import Guidance
from guidekit.core.prior import Prior
from guidekit.core.requirements import suits
from guidekit.core.sampler import Sampler
from guidekit.errors import UnknownNameError
from guidekit.evaluation.posterior_card import WORDS, Card, DivergedError, card
from guidekit.installed import configured
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.objectives.operators.base import Operator
from guidekit.objectives.units import in_units
from guidekit.reporting.console import Console
from guidekit.samplers import DPMSolver
from guidekit.sampling import sample

DRAWS = 19
"""Draws of a posterior: 19 are enough for coverage without bias, see `guidekit.evaluation.calibration.coverage`."""

STEPS = (20, 50, 100)

TRUTH_STEPS = 60

REFERENCE = "exact draws"
"""The row of draws from the exact posterior: what the error of the bench is."""


def check(
    prior: Prior,
    operator: Operator | Callable[[Tensor], Tensor],
    solver: Callable[[GaussianLikelihood], Guidance],
    noise: float = 0.05,
    steps: int = 20,
    sampler: Sampler | None = None,
    problems: int = 64,
    draws: int = DRAWS,
    truths: Tensor | None = None,
    seed: int = 0,
) -> Card:
    """The card of a solver on a prior of your own; no exact posterior is needed.

    Truths are drawn from the prior and measured, every measurement is solved several times: where the draws are from
    the posterior, the truth is one more of them.

    Args:
        prior: whose posterior it is.
        operator: values of states in the objects' own unit (B, *S) -> (B, *M).
        solver: makes the guidance of a likelihood: gk.guidance.DPS, or a function.
        noise: std of the noise, in the unit of the measurement.
        steps, sampler: of `sample`.
        problems: measurements.
        draws: of each posterior.
        truths: (problems, *S), exact draws from the prior; None draws them without guidance in `TRUTH_STEPS` steps
            of second order, which has an error of its own.
        seed: of everything.

    Raises:
        ValueError: fewer than 5 draws or 10 problems, or no finite draws.
    """
    if draws < 5 or problems < 10:
        raise ValueError(f"draws={draws}, problems={problems}; 5 and 10 are needed at least")
    if truths is None:
        truths = _truths(prior, problems, seed)
    forward: Any = getattr(operator, "forward", operator)
    clean = forward(prior.units.values(truths))
    y = clean + noise * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)).to(clean)
    rows = GaussianLikelihood(operator, y.repeat_interleave(draws, 0), noise)
    likelihood = in_units(rows, prior.units, tuple(prior.event_shape))
    return card(truths, _draws(prior, solver(likelihood), len(truths), draws, steps, sampler, seed)[0])


def _truths(prior: Prior, count: int, seed: int) -> Tensor:
    second = DPMSolver()
    return sample(
        prior,
        num_samples=count,
        steps=TRUTH_STEPS,
        seed=seed + 1,
        sampler=second if suits(second, prior) else None,
    ).samples


def _draws(
    prior: Prior, guidance: Guidance, problems: int, draws: int, steps: int, sampler: Sampler | None, seed: int
) -> tuple[Tensor, float]:
    """Samples (problems, draws, *S) of one call, and states that the network looked at for each."""
    count = problems * draws
    result = sample(prior, guidance, num_samples=count, steps=steps, sampler=sampler, seed=seed)
    return result.samples.unflatten(0, (problems, draws)), result.ledger.network_rows / count


def measured(solver: Solver | None, name: str, steps: int, each: int, seed: int = 0) -> dict[str, Any]:
    """Figures of one solver on one of the priors with a known posterior, pooled over its operators.

    Args:
        solver: None is the exact posterior itself.
        name: of the prior, see `guidekit.bench.exact.PRIORS`.
        steps: of the sampler.
        each: problems of every operator and noise.
        seed: of the draws; problems are the same for all.

    Returns:
        "card" of all problems, "noise": cards by std of the noise, "rows" of the network a draw, "seconds".
    """
    began, rows = time.perf_counter(), 0.0
    found, made = _problems(name, each), []
    for one in found.values():
        if solver is None:
            made.append(one.exact[:, -20:-1])
            continue
        y, noise = (part.repeat_interleave(DRAWS, 0) for part in (one.y, one.noise))
        guidance = solver.made(GaussianLikelihood(one.operator, y, noise), functools.partial(_field, name))
        sampler = solver.sampled_by(guidance)
        draws, rows = _draws(one.prior, guidance, len(one.y), DRAWS, steps, sampler, seed)
        made.append(draws)
    truths, known, noise = (
        torch.cat([getattr(one, key) for one in found.values()]) for key in ("truths", "exact", "noise")
    )
    draws, known = torch.cat(made), known[:, : exact.EXACT_DRAWS]
    levels = {f"{std:g}": noise == std for std in exact.NOISES}
    return {
        "card": _told(card(truths, draws, known)),
        "noise": {
            level: _attempt(functools.partial(_at_noise, truths[place], draws[place], known[place]))
            for level, place in levels.items()
        },
        "rows": round(rows, 2),
        "seconds": round(time.perf_counter() - began, 2),
    }


def _at_noise(truths: Tensor, draws: Tensor, known: Tensor) -> dict[str, Any]:
    told = _told(card(truths, draws, known, points=0))
    return {name: told[name] for name in ("coverage", "spread", "bias", "failed", "verdict")}


@functools.cache
def _problems(name: str, each: int) -> dict[str, exact.Problems]:
    return exact.problems(name, each)


@functools.cache
def _field(name: str) -> Any:
    return exact.fitted(next(iter(exact.problems(name, 1).values())).prior)


def _told(found: Card) -> dict[str, Any]:
    figures = {k: None if math.isnan(v) else round(v, 4) for k, v in dataclasses.asdict(found).items()}
    return figures | {"verdict": found.verdict}


def label(priors: Mapping[str, Mapping[str, Any]], steps: int = STEPS[0]) -> str:
    """The one word for a solver: that of the prior where its coverage is farthest from 90 %; biased if it diverges.

    Args:
        priors: its figures, by prior and number of steps.
        steps: of the sampler.
    """
    cells = [one.get(str(steps), {}) for one in priors.values()]
    cards = [cell["card"] for cell in cells if "card" in cell]
    if any("diverged" in cell for cell in cells):
        return "biased"
    if not cards:
        return "-"
    failing = [one for one in cards if one["verdict"] != WORDS[0]]
    if not failing:
        return WORDS[0]
    return max(failing, key=lambda one: abs(one["coverage"] - 0.9))["verdict"]


def run(config: dict[str, Any], console: Console) -> dict[str, Any]:
    """Cards of all solvers, or of those named; `output` has every card as it is made, and is completed.

    With task= the prior is that of the configuration, truths are its own samples, and no posterior has to be known.

    Raises:
        ValueError: settings that cannot work, before anything is sampled.
    """
    steps, each = counts(config["steps"], STEPS), config["problems"] or 24
    if each < 10:
        raise ValueError(f"problems={each}; at least 10 of every operator and noise are needed")
    named = config["guidances"] if config["guidances"] != ["none"] else None
    if config["task"].get("name") is not None:
        return own(config, console, chosen(named), steps)
    wanted: list[Solver | None] = [None, *chosen(named)]
    priors = [config["priors"]] if isinstance(config["priors"], str) else config["priors"] or list(exact.PRIORS)
    for name in priors:
        if name not in exact.PRIORS:
            raise UnknownNameError("prior with a known posterior", str(name), exact.PRIORS)
    record = opened(config["output"], {"problems": each, "seed": config["seed"]}, config["overwrite"], "cards")
    with progress_bar(console) as bar:
        task = bar.add_task("", text="")
        for count, solver, name in itertools.product(steps, wanted, priors):
            title = REFERENCE if solver is None else solver.title
            cells = record["cards"].setdefault(title, {}).setdefault(name, {})
            if str(count) in cells:
                continue
            bar.update(task, description=title, text=f"{name}, {count} steps")
            cells[str(count)] = _attempt(functools.partial(measured, solver, name, count, each, config["seed"]))
            record["labels"] = labels(record["cards"])
            written(config["output"], record)
    console.print(table(record["cards"], [REFERENCE, *(one.title for one in wanted if one)], steps))
    return record


def _attempt(job: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Figures, or why there are none."""
    try:
        return job()
    except (DivergedError, ArithmeticError) as error:
        return {"diverged": " ".join(str(error).split())}
    except (ValueError, RuntimeError) as error:
        return {"refused": " ".join(str(error).split())}


def labels(cards: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The word for every guidance with its defaults, by name; variants have theirs in the tables."""
    found = {title: label(priors) for title, priors in cards.items() if " " not in title}
    return {title: word for title, word in found.items() if word != "-"}


def counts(steps: Any, usual: Sequence[int]) -> list[int]:
    """Numbers of steps from a setting: one, a list, or the usual ones for null.

    Raises:
        ValueError: what is no number of steps.
    """
    found = list(usual) if steps is None else steps if isinstance(steps, list) else [steps]
    if not found or any(type(one) is not int or one < 2 for one in found):
        raise ValueError(f"steps={steps}; a whole number from 2 on, or a list of them, is needed")
    return found


def own(config: Mapping[str, Any], console: Console, solvers: Sequence[Solver], steps: Sequence[int]) -> dict[str, Any]:
    """Cards on a prior of a domain for one of its tasks, by samples of that prior alone."""
    from guidekit.objectives.tasks import make
    from guidekit.running.tasks import COMMON

    domain, _ = configured(config["domain"])
    prior, given = domain.load_prior(config["prior"]), config["task"]
    options = {key: value for key, value in given.items() if key not in COMMON}
    shape = tuple(prior.event_shape)
    operator = make(domain.tasks, given["name"], shape, options).operator
    noise = float(given.get("noise_std") or 0.05)
    problems = config["problems"] or 32
    settings = {"problems": problems, "seed": config["seed"], "domain": dict(config["domain"])}
    settings |= {"prior": config["prior"], "task": dict(given)}
    record = opened(config["output"], settings, config["overwrite"], "cards")
    truths = _truths(prior, problems, config["seed"])
    name = str(given["name"])
    for solver in solvers:
        cells = record["cards"].setdefault(solver.title, {}).setdefault(name, {})
        for count in steps:
            if str(count) in cells:
                continue

            def job(solver: Solver = solver, count: int = count) -> dict[str, Any]:
                def made(likelihood: GaussianLikelihood) -> Guidance:
                    return solver.made(likelihood, lambda: _fit(truths, prior))

                seen = operator.forward(prior.units.values(truths[:1]))
                probe = made(in_units(GaussianLikelihood(operator, seen, noise), prior.units, shape))
                found = check(
                    prior,
                    operator,
                    made,
                    noise,
                    count,
                    solver.sampled_by(probe),
                    problems,
                    truths=truths,
                    seed=config["seed"],
                )
                return {"card": _told(found)}

            cells[str(count)] = _attempt(job)
            written(config["output"], record)
    console.print(table(record["cards"], [solver.title for solver in solvers], steps))
    return record


def _fit(states: Tensor, prior: Prior) -> Any:
    from guidekit.priors.gaussian_field import GaussianField

    return GaussianField.fit(states, process=prior.process)  # type: ignore[arg-type]


def table(cards: Mapping[str, Mapping[str, Any]], titles: Sequence[str], steps: Sequence[int]) -> Table:
    """A row a solver and prior: coverage of 90 %, spread and bias at each number of steps."""
    made = Table(title="coverage of 90 % regions / std ratio / bias in stds", title_justify="left")
    made.add_column("guidance")
    made.add_column("prior")
    for count in steps:
        made.add_column(f"{count} steps", justify="right")
        made.add_column("verdict")
    for title in titles:
        for name, cells in cards.get(title, {}).items():
            row = [title, name]
            for count in steps:
                row += shown(cells.get(str(count), {}))
            made.add_row(*row)
    return made


def shown(cell: Mapping[str, Any]) -> tuple[str, str]:
    """Figures and verdict of a cell, as tables have them."""
    if "card" not in cell:
        return "-", next(iter(cell), "-")
    one = cell["card"]
    failed = f" ({one['failed']} failed)" if one["failed"] else ""
    return f"{100 * one['coverage']:.0f} / {one['spread']:.2f} / {one['bias']:.2f}{failed}", one["verdict"]


__all__ = ["DRAWS", "STEPS", "check", "label", "labels", "measured", "run", "table"]
