"""How far a training is: a bar in a terminal, a line a minute in a file."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import RichProgressBar

EVERY = 60
"""Seconds between two lines."""


def progress(updates: int) -> lightning.Callback:
    """The bar where standard output is a terminal, else the lines.

    Args:
        updates: that the training is made for.
    """
    return Bar(refresh_rate=20) if sys.stdout.isatty() else Lines(updates)


class Bar(RichProgressBar):
    """Lightning's bar, which says "Epoch 0/-2" of trainings that count updates."""

    def _get_train_description(self, current_epoch: int) -> str:
        return "updates"


class Lines(lightning.Callback):
    """Writes a line to standard error once a minute, and behind every validation."""

    def __init__(self, updates: int) -> None:
        self.updates, self.last = updates, time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *rest: Any) -> None:
        """Write where a minute has gone by."""
        if time.monotonic() - self.last >= EVERY:
            self._write(trainer, pl_module)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Write the new validation loss; that at the very end is in the report."""
        if trainer.state.fn == "fit":
            self._write(trainer, pl_module)

    def _write(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        losses = {
            name.replace("/", " "): float(value)
            for name, value in sorted(trainer.callback_metrics.items())
            if name in ("train/loss", "val/loss")
        }
        text = "".join(f", {name} {value:.4g}" for name, value in losses.items())
        print(f"update {pl_module.updates} of {self.updates}{text}", file=sys.stderr, flush=True)
        self.last = time.monotonic()
