"""What trainings of priors share: the Lightning loop, its checkpoints and an early copy of the weights."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning
import torch

from guidekit.priors.checkpoints import CheckpointError, load_network, read_description, save_checkpoint
from guidekit.training.denoising import DenoisingModule


def run(
    module: DenoisingModule,
    loaders: tuple[Iterable, Iterable],
    trainer: dict[str, Any],
    output: Path,
    resume: bool,
    description: dict[str, Any],
) -> dict[str, float]:
    """Train, keep `<output>.ckpt` for resuming, and write the averaged weights to `output`.

    Args:
        module: what is trained.
        loaders: of training and of validation batches.
        trainer: settings, see configs/trainer/; `early`, a share of the steps, writes the average of that moment to
            `<output stem>_early.safetensors`: a weak model for autoguidance.
        output: checkpoint to write.
        resume: go on from `<output>.ckpt`.
        description: of the checkpoint, with "network" and "card"; see `save_checkpoint`. "unit" is that of the
            validation loss, nats by default.

    Returns:
        updates done, samples seen, seconds of this session and validation loss.

    Raises:
        CheckpointError: nothing to resume.
    """
    state = output.with_name(output.name + ".ckpt")
    if resume and not state.is_file():
        raise CheckpointError(f"there is no training state {state} to resume")
    began = time.perf_counter()

    def write(path: Path, report: dict[str, float], summary: str) -> None:
        hardware = f"{platform.machine()}, {torch.get_num_threads()} threads, {loop.strategy.root_device}"
        card = {**description.get("card", {}), **report, "trainer": trainer, "hardware": hardware, "summary": summary}
        save_checkpoint(path, module.average, {**description, "card": card})

    early = round(trainer.get("early", 0.0) * trainer["steps"])
    path = output.with_name(f"{output.stem}_early{output.suffix}")
    copies = [AtUpdate(early, lambda: write(path, {"updates": early}, f"{early} updates"))] if early else []
    loop = lightning_loop(trainer, state, len(module.configure_optimizers()), copies)
    loop.fit(module, *loaders, ckpt_path=state if resume else None, weights_only=True if resume else None)
    loop.save_checkpoint(state)
    loss = round(loop.validate(module, loaders[1], verbose=False)[0]["val/loss"], 5)
    unit = description.get("unit", "nats")
    report = {
        "updates": module.updates,
        "samples seen": module.updates * trainer["batch_size"],
        "seconds of the last session": round(time.perf_counter() - began),
        f"validation {unit}": loss,
    }
    write(output, report, f"{module.updates} updates of {trainer['batch_size']}, {loss} {unit}")
    return report


def start_from(network: torch.nn.Module, init: str, domain: str) -> None:
    """Load the weights of a checkpoint of the same network; raises `CheckpointError` where it does not fit."""
    network.load_state_dict(load_network(init, read_description(init, domain)).state_dict())


class AtUpdate(lightning.Callback):
    """Calls something once, after a number of updates."""

    def __init__(self, update: int, then: Callable[[], None]) -> None:
        self.update, self.then = update, then

    def on_train_batch_end(self, trainer: lightning.Trainer, module: DenoisingModule, *rest: Any) -> None:
        """See the class."""
        if module.updates == self.update:
            self.then()


def lightning_loop(
    trainer: dict[str, Any], state: Path, optimizers: int, more: list[lightning.Callback]
) -> lightning.Trainer:
    """The Lightning trainer of the settings; it keeps its state in a file."""
    keep = lightning.pytorch.callbacks.ModelCheckpoint(
        state.parent,
        filename=state.stem,
        every_n_train_steps=optimizers * trainer["validate_every"],
        enable_version_counter=False,
    )
    keep.FILE_EXTENSION = state.suffix
    callbacks = [keep, lightning.pytorch.callbacks.RichProgressBar(refresh_rate=20), *more]
    if trainer["minutes"]:
        callbacks.append(lightning.pytorch.callbacks.Timer({"seconds": round(60 * trainer["minutes"])}))
    warnings.filterwarnings("ignore", module="lightning")
    return lightning.Trainer(
        max_steps=optimizers * trainer["steps"],  # Lightning counts the steps of every optimiser
        precision=trainer["precision"],
        accelerator=trainer["accelerator"],
        devices=1,
        logger=False,
        callbacks=callbacks,
        check_val_every_n_epoch=None,
        val_check_interval=trainer["validate_every"],
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )


def updates_done(state: Path | None) -> int:
    """Updates in a training state, 0 without one: a resumed session draws other batches than the one before it."""
    if state is None or not state.is_file():
        return 0
    return torch.load(state, weights_only=True, map_location="cpu")["updates"]
