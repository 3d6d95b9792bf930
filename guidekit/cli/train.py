"""`guidekit train`: train a prior of a domain with Lightning."""

from __future__ import annotations

import importlib
import inspect
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from guidekit.domain import UnknownNameError, configured
from guidekit.networks import NETWORKS
from guidekit.priors.checkpoints import read_description
from guidekit.priors.descriptions import GAUSSIAN, PROCESSES
from guidekit.priors.parametrization import PARAMETRIZATIONS
from guidekit.processes.survival import SURVIVALS
from guidekit.running.folder import OutputError
from guidekit.training.guided_losses import guided_loss
from guidekit.training.objectives import OBJECTIVES

OF_SAMPLES = ("value", "refiner")
"""Kinds of trainers that learn from samples of a prior; each is a module <kind>_job of guidekit.training."""


def run(config: dict[str, Any]) -> None:
    """Prepare the data of the domain, train, write the checkpoint; `prepare` stops after the first part."""
    console, (domain, _) = Console(), configured(config["domain"])
    kind = config["trainer"].get("kind")
    if kind is not None:
        if kind not in OF_SAMPLES:
            raise UnknownNameError("trainer.kind", str(kind), OF_SAMPLES)
        for name in ("init", "prepare", "resume"):
            if config[name]:
                raise ValueError(f"{name}= is for priors; trainer={kind} learns from samples of prior=")
        job = importlib.import_module(f"guidekit.training.{kind}_job")
        return job.train(config, domain, free_output(config), console)
    for name, given in (("reward", config["reward"].get("name")), ("condition", config["condition"])):
        if given is not None:
            raise ValueError(
                f"{name}= is for values and refiners; priors are trained without one, or use trainer=value"
            )
    refuse_settings(config["trainer"], domain.job)
    if config["init"] is not None:
        refuse_other_network(read_description(config["init"], domain.name)["network"], config["trainer"]["network"])
    if config["prepare"]:
        folder = Path(config["prepare"])
        if folder.exists() and not config["overwrite"]:
            raise OutputError(f"folder {folder} exists; pass overwrite=true or another prepare=")
        with tempfile.TemporaryDirectory() as place:
            prepared = Path(place) / "prepared.npz"
            domain.prepare_training(prepared, config["data"], config["trainer"])
            folder.mkdir(parents=True, exist_ok=True)
            shutil.move(prepared, folder / "prepared.npz")
        _write_yaml(folder / "train.yaml", {**config, "output": "prior.safetensors"})
        console.print(f"prepared; train with: python -m guidekit.training.{domain.job} {folder / 'train.yaml'}")
        return
    output = free_output(config)
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    fit = importlib.import_module(f"guidekit.training.{domain.job}").fit
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.npz"
        domain.prepare_training(prepared, config["data"], config["trainer"])
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            report = fit(prepared, config["trainer"], output, config["init"], config["resume"], config["seed"])
        except MisconfigurationException as error:
            raise ValueError(f"trainer.accelerator={config['trainer']['accelerator']!r}: {error}") from error
    console.print(f"written to {output}: {', '.join(f'{key} {value}' for key, value in report.items())}")


def free_output(config: dict[str, Any]) -> Path:
    """The file to write; refuses an existing one that is not to be replaced."""
    if config["output"] in (None, "???") or not str(config["output"]).endswith(".safetensors"):
        raise ValueError("train needs output=<file>.safetensors")
    output = Path(config["output"])
    if output.exists() and not (config["overwrite"] or config["resume"]):
        raise OutputError(f"{output} exists; pass overwrite=true, resume=true or another output=")
    return output


POSITIVE = ("steps", "batch_size", "validation", "validate_every", "learning_rate", "temperature", "threads", "minutes")
SHARES = ("decay", "ema", "label_dropout", "early")


def choices_of(trainer: dict[str, Any], job: str) -> list[tuple[str, Any, Any]]:
    """(what, chosen name, accepted names) of a trainer's settings."""
    process, parametrization = trainer["process"], trainer.get("parametrization")
    if job == "array_job":
        return [("process", process["name"], GAUSSIAN), ("parametrization", parametrization, PARAMETRIZATIONS)]
    return [
        ("process", process["name"], PROCESSES),
        ("survival schedule", process.get("survival", {}).get("name", "log_linear"), SURVIVALS),
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
    if levels is not None and (len(levels) != 2 or not levels[1] > 0):
        raise ValueError(f"trainer.levels={levels}; mean and standard deviation of the log noise level are needed")
    if trainer.get("guided"):
        guided_loss(None, trainer["guided"])
    known = inspect.signature(NETWORKS[network["name"]]).parameters
    for name in network["options"]:
        if name not in known:
            raise UnknownNameError(f"option of network {network['name']}", name, known)
    for name in POSITIVE:
        value = trainer.get(name)
        if value is not None and not (isinstance(value, int | float) and value > 0):
            raise ValueError(f"trainer.{name}={value}; a number above 0 is needed")
    for name in SHARES:
        if not 0 <= trainer.get(name, 0.0) <= 1:
            raise ValueError(f"trainer.{name}={trainer[name]}; a share from 0 to 1 is needed")


def refuse_other_network(made: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise ValueError where the network of trainer.init is not the one that is to be trained."""
    pairs = [("name", made["name"], wanted["name"])]
    pairs += [(f"options.{key}", made["options"].get(key, value), value) for key, value in wanted["options"].items()]
    for key, was, now in pairs:
        if was != now:
            raise ValueError(
                f"init= holds a network with {key}={was}, not trainer.network.{key}={now}; make them equal"
            )


def _write_yaml(path: Path, config: dict[str, Any]) -> None:
    from omegaconf import OmegaConf

    path.write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
