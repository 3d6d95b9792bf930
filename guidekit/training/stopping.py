"""Trainings end behind the update they are in, at a signal or after a time.

SIGTERM is what schedulers and shutdowns send, SIGHUP a closed terminal, SIGINT is Ctrl-C.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import lightning
from lightning.pytorch.utilities.exceptions import SIGTERMException

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopBetweenUpdates(lightning.Callback):
    """Ends a Lightning loop behind an update, at the first signal or after a time; a second signal ends the process.

    A context manager to put around `Trainer.fit`, and a callback of that trainer.

    Args:
        minutes: of training from now on; None is without limit.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self.signal: int | None = None
        self.end = None if minutes is None else time.monotonic() + 60 * minutes

    def __enter__(self) -> StopBetweenUpdates:
        self._handlers = contextlib.ExitStack()
        self._handlers.enter_context(_handled(self._note))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> bool:
        self._handlers.close()
        # Lightning's own way out, where the signal came before it handed its handlers over
        return isinstance(error, SIGTERMException) and self.signal is not None

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Take the signals from Lightning, which would end without a checkpoint and with exit code 0."""
        if self.signal is None:
            self._handlers.enter_context(_handled(self._note))

    def on_train_batch_end(self, trainer: lightning.Trainer, *rest: Any) -> None:
        """Ask the loop to end where it is time."""
        if self.signal is not None or (self.end is not None and time.monotonic() >= self.end):
            trainer.should_stop = True

    def _note(self, number: int, frame: Any) -> None:
        self.signal = number
        for other in SIGNALS:
            if signal.getsignal(other) == self._note:
                signal.signal(other, signal.SIG_DFL)


@contextlib.contextmanager
def _handled(handler: Any) -> Iterator[None]:
    """Signals go to a handler; left as they are in threads, which have none, and where they are ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)
