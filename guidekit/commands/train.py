"""`guidekit train`: train a prior of a domain with Lightning."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from guidekit.domain import Domain
from guidekit.errors import UnknownNameError
from guidekit.installed import configured
from guidekit.io.files import write_atomic
from guidekit.io.rejected import list_rejected
from guidekit.networks import NETWORKS
from guidekit.priors.adjacency import refuse_without_signal
from guidekit.priors.checkpoints import read_description
from guidekit.priors.descriptions import GAUSSIAN, PROCESSES, gaussian_process_from
from guidekit.priors.parametrization import PARAMETRIZATIONS
from guidekit.processes.alpha import ALPHAS
from guidekit.registry import settings
from guidekit.reporting.console import Console
from guidekit.running.folder import OutputError
from guidekit.running.settings import converted
from guidekit.running.signals import terminable
from guidekit.samples import Reading
from guidekit.training.graph_transitions import TRANSITIONS
from guidekit.training.guided_losses import guided_loss
from guidekit.training.objectives import OBJECTIVES
from guidekit.training.place import Place, claimed, made_if_used, workplace
from guidekit.training.states import read_state, record_of

OF_SAMPLES = ("value", "energy", "refiner", "gaussian_field", "judge")
"""Kinds of trainers that learn from samples, or at once; each is a module <kind>_job of guidekit.training."""


def run(config: dict[str, Any]) -> None:
    """Prepare the data of the domain, train, write the checkpoint; `prepare` stops after the first part.

    Raises:
        Stopped: by a signal; what was reached is kept for the same command, and said.
    """
    console, (domain, _) = Console(), configured(config["domain"])
    kind = config["trainer"].get("kind")
    if config["output"] in (None, "???"):
        config = {**config, "output": f"{domain.name}-{kind or 'prior'}.safetensors"}
    if kind is not None and kind not in domain.jobs:
        return learn_from_samples(config, kind, domain, console)
    for name, given in (("reward", config["reward"].get("name")), ("condition", config["condition"])):
        if given is not None:
            raise ValueError(
                f"{name}= is for values and refiners; priors are trained without one, or use trainer=value"
            )
    job = domain.jobs.get(str(kind), domain.job)
    refuse_settings(config["trainer"], job)
    if config["init"] is not None:
        config = {**config, "init": str(domain.checkpoint(config["init"]))}
        refuse_other_network(read_description(config["init"], domain.name)["network"], config["trainer"]["network"])
    if config["prepare"]:
        return prepare(config, domain, console, job)
    with going_on(config) as place:
        place.standing(record_of(config["trainer"], config["seed"]), config["trainer"].get("early", 0) > 0)
        with workplace(place) as folder:
            reading = domain.prepare_training(folder / PREPARED, config["data"], told_of(config, domain))
            tell(console, reading, place.output)
            prepared = dict(np.load(folder / PREPARED))
        from lightning.fabric.utilities.exceptions import MisconfigurationException

        fit = importlib.import_module(f"guidekit.training.{job}").fit
        try:
            report = fit(prepared, config["trainer"], place, config["init"], config["seed"])
        except MisconfigurationException as error:
            raise ValueError(f"trainer.accelerator={config['trainer']['accelerator']!r}: {error}") from error
        if report is None:
            return console.print(f"already done: {place.output}; {ANEW}")
        told = ", ".join(f"{key} {value}" for key, value in report.items())
        console.print(f"written to {place.output}: {told}")
        if report["updates"] < config["trainer"]["steps"]:
            console.print(f"{config['trainer']['steps']} updates are wanted: the same command goes on")


def told_of(config: dict[str, Any], domain: Domain) -> dict[str, Any]:
    """What a domain is told of a training: settings of the trainer, and the column of tables.

    Raises:
        ValueError: a column for data that are no tables.
    """
    trainer = {**config["trainer"], "init": config["init"]}
    if config["column"] is None:
        return trainer
    if not domain.tables:
        raise ValueError(f"column={config['column']} is for tables, and domain {domain.name} is trained from none")
    return {**trainer, "column": str(config["column"])}


def tell(console: Console, reading: Reading | None, beside: Path) -> None:
    """Say what is odd about training data, and list what could not be used in a file beside another."""
    if reading is None:
        return
    if reading.notes:
        console.print(reading.notes, soft_wrap=True, markup=False, highlight=False)
    if listed := list_rejected(beside, reading.rejected):
        console.print(f"what was left out is listed in {listed}", soft_wrap=True, markup=False, highlight=False)


PREPARED = "prepared.npz"

ANEW = "overwrite=true trains anew"


def learn_from_samples(config: dict[str, Any], kind: str, domain: Domain, console: Console) -> None:
    """Train what learns from samples of a prior."""
    if kind not in OF_SAMPLES:
        raise UnknownNameError("trainer.kind", str(kind), [*OF_SAMPLES, *domain.jobs])
    if config["column"] is not None:
        raise ValueError("column= is for the tables that priors are trained from")
    for name in ("init", "prepare"):
        if config[name]:
            does = {"gaussian_field": "fits one at once", "judge": "learns classes from data="}.get(
                kind, "learns from samples of prior="
            )
            raise ValueError(f"{name}= is for priors; trainer={kind} {does}")
    job = importlib.import_module(f"guidekit.training.{kind}_job")
    with going_on(config) as place:
        if not job.train(config, domain, place, console):
            console.print(f"already done: {place.output}; {ANEW}")


@contextlib.contextmanager
def going_on(config: dict[str, Any]) -> Iterator[Place]:
    """The place of a training, held; a signal is answered with how to go on."""
    place = None
    try:
        with terminable(), claimed(config["output"], config["resume"], config["overwrite"]) as place:
            yield place
    except KeyboardInterrupt:
        told = "nothing was reached that could be kept"
        if place is not None and place.state.exists():
            again = " without overwrite=true" if config["overwrite"] else ""
            told = f"the same command{again} goes on from {place.state}{reached(place.state)}"
        print(f"guidekit: stopped; {told}", file=sys.stderr)
        raise


def reached(state: Path) -> str:
    """How many updates a state is of, in words."""
    updates = read_state(state).get("updates")
    return "" if updates is None else f" ({updates} updates)"


def prepare(config: dict[str, Any], domain: Domain, console: Console, job: str) -> None:
    """Write what another machine trains from: data, and their settings last.

    Raises:
        OutputError: the folder holds something else.
    """
    folder = Path(config["prepare"]).expanduser()
    there = {path.name for path in folder.iterdir()} if folder.exists() else set()
    begun = {name for name in there if name.startswith(PREPARED)}
    if there - begun and not config["overwrite"]:
        raise OutputError(f"folder {folder} exists; pass overwrite=true or another prepare=")
    if SETTINGS in there and not begun:
        raise OutputError(f"{folder / SETTINGS} is not of guidekit, and is not replaced; pass another prepare=")
    from omegaconf import OmegaConf

    again = {**config, "output": "prior.safetensors", "overwrite": False, "prepare": None}
    with made_if_used(folder):
        reading = domain.prepare_training(folder / PREPARED, config["data"], told_of(config, domain))
        tell(console, reading, folder / PREPARED)
        write_atomic(folder / SETTINGS, OmegaConf.to_yaml(OmegaConf.create(again)).encode())
    console.print(f"prepared; train with: python -m guidekit.training.{job} {folder / SETTINGS}")


SETTINGS = "train.yaml"


def choices_of(trainer: dict[str, Any], job: str) -> list[tuple[str, Any, Any]]:
    """(what, chosen name, accepted names) of a trainer's settings."""
    process, parametrization = trainer["process"], trainer.get("parametrization")
    if job == "array_job":
        return [("process", process["name"], GAUSSIAN), ("parametrization", parametrization, PARAMETRIZATIONS)]
    if job == "adjacency_job":
        return [("process", process["name"], GAUSSIAN), ("optimizer", trainer["optimizer"], ("adamw", "muon"))]
    if job == "graph_job":
        return [("process", process["name"], TRANSITIONS), ("optimizer", trainer["optimizer"], ("adamw", "muon"))]
    if "objective" not in trainer:
        raise ValueError("this trainer is for priors of real-valued states, and this domain's are of tokens")
    return [
        ("process", process["name"], PROCESSES),
        ("alpha schedule", process.get("alpha", {}).get("name", "log_linear"), ALPHAS),
        ("objective", trainer["objective"], OBJECTIVES),
        ("parametrization", parametrization or "clean", ("clean", "ratios")),
    ]


def refuse_settings(trainer: dict[str, Any], job: str) -> None:
    """Raise ValueError for names and numbers that cannot work, before the data are prepared."""
    network = trainer["network"]
    for kind, name, choices in [("network", network["name"], NETWORKS), *choices_of(trainer, job)]:
        if name not in choices:
            raise UnknownNameError(kind, str(name), choices)
    levels = trainer.get("levels")
    if levels is not None and not levels[1] > 0:
        raise ValueError(f"trainer.levels={levels}; mean and standard deviation of the log noise level are needed")
    if trainer.get("guided"):
        guided_loss(None, trainer["guided"])  # type: ignore[arg-type]  # only checks the settings
    refuse_options(network["name"], network["options"])
    if job in ("array_job", "adjacency_job"):
        try:
            process = gaussian_process_from(trainer)
        except TypeError as error:
            raise ValueError(f"trainer.process.options={trainer['process'].get('options')}: {error}") from error
        if job == "adjacency_job":
            refuse_without_signal(process)


def refuse_options(network: str, options: dict[str, Any]) -> None:
    """Raise ValueError for options of a network that it has not, of a wrong type, or a size below 1."""
    known = {setting.name: setting for setting in settings(NETWORKS[network])}
    for name, value in options.items():
        if name not in known:
            raise UnknownNameError(f"option of network {network}", name, known)
        place = f"trainer.network.options.{name}"
        converted(known[name], value, None, place)
        if type(value) is int and value < 1:
            raise ValueError(f"{place}={value}; a whole number of at least 1 is needed")


def refuse_other_network(made: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise ValueError where the network of trainer.init is not the one that is to be trained."""
    pairs = [("name", made["name"], wanted["name"])]
    pairs += [(f"options.{key}", made["options"].get(key, value), value) for key, value in wanted["options"].items()]
    for key, was, now in pairs:
        if was != now:
            raise ValueError(
                f"init= holds a network with {key}={was}, not trainer.network.{key}={now}; make them equal"
            )
