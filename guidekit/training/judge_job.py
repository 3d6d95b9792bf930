"""The work behind `guidekit train trainer=judge`: a classifier that judges samples, or is a reward."""

from __future__ import annotations

from typing import Any

from guidekit.domain import Domain
from guidekit.reporting.console import Console
from guidekit.running.machine import use_threads
from guidekit.training.place import Place, workplace
from guidekit.training.states import record_of


def train(config: dict[str, Any], domain: Domain, place: Place, console: Console) -> bool:
    """Train a judge of a domain's objects and write it. False where it was done.

    Raises:
        ValueError: a domain without judges, no data with classes, or settings out of range.
        OutputError: see `guidekit.training.place.Place.standing`.
    """
    trainer = config["trainer"]
    for name, given in (("reward", config["reward"].get("name")), ("condition", config["condition"])):
        if given is not None:
            raise ValueError(f"{name}= is for values and refiners; trainer=judge learns classes from data=")
    if config["data"] is None:
        raise ValueError("trainer=judge learns classes from data=, such as a folder whose sub-folders are classes")
    use_threads(trainer["threads"])
    record = record_of(trainer, config["seed"], domain=config["domain"], data=config["data"])
    if place.standing(record) == "done":
        return False
    with workplace(place):
        report = domain.train_judge(config["data"], trainer, place.output, {"made": record, "complete": True})
    told = ", ".join(f"{key} {value}" for key, value in report.items())
    console.print(f"written to {place.output}: {told}; use it with domain.judge={place.output}", soft_wrap=True)
    return True
