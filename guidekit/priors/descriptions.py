"""Processes in the JSON descriptions of checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from guidekit import processes
from guidekit.names import UnknownNameError
from guidekit.processes.survival import SURVIVALS

PROCESSES = {
    "masked": processes.Masked,
    "uniform": processes.Uniform,
    "marginal": processes.Marginal,
    "structured": processes.Structured,
    "stepped": processes.Stepped,
}


GAUSSIAN = {"vp": processes.VP, "ve": processes.VE, "edm": processes.EDM, "flow": processes.Flow}


def gaussian_process_from(description: Mapping[str, Any]) -> processes.GaussianProcess:
    """The Gaussian process of a checkpoint, process = {name, options}; EDM where the description names none.

    Raises:
        UnknownNameError: no process of that name.
    """
    made = {"name": "edm", **(description.get("process") or {})}
    if made["name"] not in GAUSSIAN:
        raise UnknownNameError("process", made["name"], GAUSSIAN)
    return GAUSSIAN[made["name"]](**(made.get("options") or {}))


def process_from(description: Mapping[str, Any]) -> processes.DiscreteProcess:
    """The process of a checkpoint; masked where the description names none.

    Args:
        description: with vocab_size, pad_id and, optionally, process = {name, survival, options}.

    Raises:
        UnknownNameError: no process or survival schedule of that name.
    """
    made = {"name": "masked", **(description.get("process") or {})}
    survival = {"name": "log_linear", **(made.get("survival") or {})}
    for kind, name, choices in (
        ("process", made["name"], PROCESSES),
        ("survival schedule", survival["name"], SURVIVALS),
    ):
        if name not in choices:
            raise UnknownNameError(kind, name, choices)
    schedule = SURVIVALS[survival["name"]](**{key: value for key, value in survival.items() if key != "name"})
    kind = PROCESSES[made["name"]]
    options = dict(made.get("options") or {})
    if kind in (processes.Masked, processes.Uniform):
        options["vocab_size"] = description["vocab_size"]
    return kind(survival=schedule, pinned=description["pad_id"], **options)


def describe(process: processes.DiscreteProcess) -> dict[str, Any]:
    """The entry `process_from` reads."""
    name = next(key for key, kind in PROCESSES.items() if type(process) is kind)
    survival = next(key for key, kind in SURVIVALS.items() if type(process.survival) is kind)
    common = ("vocab_size", "survival", "pinned")
    return {
        "name": name,
        "survival": {"name": survival, **dataclasses.asdict(process.survival)},
        "options": {f.name: getattr(process, f.name) for f in dataclasses.fields(process) if f.name not in common},
    }
