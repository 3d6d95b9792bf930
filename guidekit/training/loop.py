"""What trainings of priors share: the Lightning loop, its checkpoints and an early copy of the weights."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ProgressBar

from guidekit.priors.checkpoints import load_network, read_description, save_checkpoint
from guidekit.priors.weights import CheckpointError
from guidekit.running.signals import Stopped, terminable
from guidekit.training.denoising import DenoisingModule
from guidekit.training.place import Place, claimed
from guidekit.training.progress import progress
from guidekit.training.quiet import quiet
from guidekit.training.states import RecordedStates, read_state
from guidekit.training.stopping import StopBetweenUpdates


def run(
    module: DenoisingModule,
    loaders: tuple[Iterable, Iterable],
    trainer: dict[str, Any],
    place: Place,
    made: dict[str, Any],
    done: int,
    description: dict[str, Any],
) -> dict[str, float]:
    """Train, or go on with what was begun, and write the averaged weights.

    A training that was cut anywhere ends with the same weights as one that was not: batches, noise and hidden labels
    are functions of the seed and the update.

    Args:
        module: what is trained.
        loaders: of training and of validation batches; those of training begin with the first one that is due.
        trainer: settings, see configs/trainer/; `early`, a share of the steps, writes the average of that moment to
            `place.early`: a weak model for autoguidance.
        place: of the files.
        made: record of the training, see `states.record_of`.
        done: updates that were done before, see `updates_done`; the state of them is in `place.state`.
        description: of the checkpoint, with "network" and "card"; see `save_checkpoint`. "unit" is that of the
            validation loss, nats by default.

    Returns:
        updates done, samples seen, seconds of this session and validation loss.

    Raises:
        Stopped: by a signal; the state is written.
    """
    began = time.perf_counter()

    def write(path: Path, report: dict[str, float], summary: str, complete: bool) -> None:
        hardware = f"{platform.machine()}, {torch.get_num_threads()} threads, {loop.strategy.root_device}"
        card = {**description.get("card", {}), **report, "trainer": trainer, "hardware": hardware, "summary": summary}
        card["training"] = {"made": made, "complete": complete}
        save_checkpoint(path, module.average, {**description, "card": card})

    early = early_update(trainer)
    stop = StopBetweenUpdates(trainer["minutes"])
    callbacks = [KeepState(place.state, trainer["validate_every"]), stop]
    callbacks += (
        [AtUpdate(early, lambda: write(place.early, {"updates": early}, f"{early} updates", False))] if early else []
    )
    with quiet():
        loop = lightning_loop(trainer, made, callbacks)
        with stop:
            loop.fit(module, *loaders, ckpt_path=place.state if done else None, weights_only=True if done else None)
        loop.save_checkpoint(place.state)
    if stop.signal is not None:
        raise Stopped(stop.signal)
    with quiet(), StopBetweenUpdates():  # Lightning answers signals with an exit code of its own
        loss = round(loop.validate(module, loaders[1], verbose=False)[0]["val/loss"], 5)
        unit = description.get("unit", "nats")
        report = {
            "updates": module.updates,
            "samples seen": module.updates * trainer["batch_size"],
            "seconds of the last session": round(time.perf_counter() - began),
            f"validation {unit}": loss,
        }
        summary = f"{module.updates} updates of {trainer['batch_size']}, {loss} {unit}"
        write(place.output, report, summary, module.updates >= trainer["steps"])
    return report


def main(fit: Callable[..., dict[str, float] | None], path: str) -> int:
    """Train as the YAML file of a prepared folder says, with paths relative to the folder; returns an exit code."""
    import yaml

    config, folder = yaml.safe_load(Path(path).read_text()), Path(path).parent
    name = str(folder / config["output"])
    try:
        with terminable(), claimed(name, config["resume"], config["overwrite"]) as place:
            prepared = np.load(folder / "prepared.npz")
            report = fit(prepared, config["trainer"], place, config["init"], config["seed"])
    except KeyboardInterrupt as stop:
        print("stopped; the same command goes on", file=sys.stderr)
        return getattr(stop, "code", 130)
    print("already done" if report is None else json.dumps(report))
    return 0


def early_update(trainer: dict[str, Any]) -> int:
    """The update behind which a weak model is kept; 0 is none."""
    return round(trainer.get("early", 0.0) * trainer["steps"])


def updates_done(place: Place, made: dict[str, Any], trainer: dict[str, Any]) -> int | None:
    """Updates of this training that are done, which is where the batches go on; None where nothing is left to do.

    Raises:
        OutputError: see `Place.standing`.
    """
    standing = place.standing(made, bool(early_update(trainer)))
    if standing == "done":
        return None
    return read_state(place.state)["updates"] if standing == "begun" else 0


def start_from(network: torch.nn.Module, init: str, domain: str) -> None:
    """Load the weights of a checkpoint of the same network; raises `CheckpointError` where it does not fit."""
    found, wanted = load_network(init, read_description(init, domain)).state_dict(), network.state_dict()
    for name in [*wanted, *found]:
        here, there = (tuple(state[name].shape) if name in state else None for state in (wanted, found))
        if here != there:
            raise CheckpointError(
                f"init={init}: its weights {name} have shape {there}, those of this network {here}: it was made for "
                "data of another size or kind, or with other settings"
            )
    network.load_state_dict(found)


class AtUpdate(lightning.Callback):
    """Calls something once, after a number of updates."""

    def __init__(self, update: int, then: Callable[[], None]) -> None:
        self.update, self.then = update, then

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *rest: Any) -> None:
        """See the class."""
        if pl_module.updates == self.update:
            self.then()


class KeepState(lightning.Callback):
    """Writes the state of the loop every so many updates, and at least once a minute.

    Args:
        state: file to write.
        every: updates.
    """

    def __init__(self, state: Path, every: int) -> None:
        self.state, self.every, self.last = state, every, time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *rest: Any) -> None:
        """See the class."""
        if pl_module.updates % self.every == 0 or time.monotonic() - self.last >= MOST_SECONDS:
            trainer.save_checkpoint(self.state)
            self.last = time.monotonic()


MOST_SECONDS = 60
"""Of training that a kill may cost."""


def lightning_loop(
    trainer: dict[str, Any], made: dict[str, Any], callbacks: list[lightning.Callback]
) -> lightning.Trainer:
    """The Lightning trainer of the settings, whose states carry a record."""
    told = progress(trainer["steps"])
    return lightning.Trainer(
        max_steps=trainer["steps"],
        precision=trainer["precision"],
        accelerator=trainer["accelerator"],
        devices=1,
        logger=False,
        plugins=[RecordedStates(made)],
        enable_checkpointing=False,  # its own writes through the folder of temporary files
        callbacks=[told, *callbacks],
        enable_progress_bar=isinstance(told, ProgressBar),  # without a bar of ours Lightning adds its own
        check_val_every_n_epoch=None,
        val_check_interval=trainer["validate_every"],
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
