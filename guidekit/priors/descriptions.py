"""Processes in the JSON descriptions of checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from guidekit import processes
from guidekit.errors import UnknownNameError
from guidekit.processes.alpha import ALPHAS
from guidekit.processes.schedules import GeometricVE, KarrasVE, LinearFlow, SubVP
from guidekit.processes.tables import TableVP
from guidekit.processes.variance_preserving import CosineVP, LinearVP, RateVP

PROCESSES = {
    "masked": processes.Masked,
    "uniform": processes.Uniform,
    "marginal": processes.Marginal,
    "kinds": processes.Kinds,
    "structured": processes.Structured,
    "stepped": processes.Stepped,
}


GAUSSIAN: dict[str, Callable[..., processes.GaussianProcess]] = {
    "vp": processes.VP,
    "sub_vp": processes.SubVP,
    "discrete_vp": processes.DiscreteVP,
    "ve": processes.VE,
    "edm": processes.EDM,
    "flow": processes.Flow,
}


def gaussian_process_from(description: Mapping[str, Any]) -> processes.GaussianProcess:
    """The Gaussian process of a checkpoint, process = {name, options}; EDM where the description names none.

    Raises:
        UnknownNameError: no process of that name.
    """
    made = {"name": "edm", **(description.get("process") or {})}
    if made["name"] not in GAUSSIAN:
        raise UnknownNameError("process", made["name"], GAUSSIAN)
    return GAUSSIAN[made["name"]](**(made.get("options") or {}))


def describe_gaussian(process: processes.GaussianProcess) -> dict[str, Any]:
    """{name, options} of a Gaussian process, for `gaussian_process_from`.

    Raises:
        ValueError: a schedule without a name.
    """
    schedule = process.schedule
    if isinstance(schedule, SubVP):
        return {**describe_gaussian(processes.GaussianProcess(schedule.inner)), "name": "sub_vp"}
    if isinstance(schedule, RateVP) and not callable(schedule.rate):
        return {"name": "vp", "options": {"schedule": list(schedule.rate)}}
    fields = dataclasses.asdict(schedule)
    for name, kind, more in (
        ("vp", LinearVP, {"schedule": "linear"}),
        ("vp", CosineVP, {"schedule": "cosine"}),
        ("discrete_vp", TableVP, {}),
        ("edm", KarrasVE, {}),
        ("ve", GeometricVE, {}),
        ("flow", LinearFlow, {}),
    ):
        if type(schedule) is kind:
            return {"name": name, "options": {**more, **fields}}
    raise ValueError(f"a process with a {type(schedule).__name__} schedule has no name to be written under")


def process_from(description: Mapping[str, Any]) -> processes.DiscreteProcess:
    """The process of a checkpoint; masked where the description names none.

    Args:
        description: with vocab_size, pad_id and, optionally, process = {name, alpha, options}.

    Raises:
        UnknownNameError: no process or alpha schedule of that name.
    """
    made = {"name": "masked", **(description.get("process") or {})}
    alpha = {"name": "log_linear", **(made.get("alpha") or made.get("survival") or {})}  # its name in files of 0.1
    for what, name, choices in (
        ("process", made["name"], PROCESSES),
        ("alpha schedule", alpha["name"], ALPHAS),
    ):
        if name not in choices:
            raise UnknownNameError(what, name, choices)
    schedule = ALPHAS[alpha["name"]](**{key: value for key, value in alpha.items() if key != "name"})
    kind = PROCESSES[made["name"]]
    options = dict(made.get("options") or {})
    if kind in (processes.Masked, processes.Uniform):
        options["vocab_size"] = description["vocab_size"]
    return kind(alpha=schedule, pinned=description["pad_id"], **options)


def describe(process: processes.DiscreteProcess) -> dict[str, Any]:
    """The entry `process_from` reads."""
    name = next(key for key, kind in PROCESSES.items() if type(process) is kind)
    alpha = next(key for key, kind in ALPHAS.items() if type(process.alpha) is kind)
    common = ("vocab_size", "alpha", "pinned")
    return {
        "name": name,
        "alpha": {"name": alpha, **dataclasses.asdict(process.alpha)},
        "options": {f.name: getattr(process, f.name) for f in dataclasses.fields(process) if f.name not in common},
    }
