"""Functions of users in processes of their own: what they hang, crash or exhaust costs one object."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from guidekit.objectives import worker

BATCH = 64
"""Most objects sent to a process at once; each is timed and answered by itself."""

START = 600.0
"""Seconds within which a process must have imported the function."""

LEAST_MEMORY = 16
"""Megabytes without which no process starts."""

FORWARDED = ("temperature", "floor", "name", "file", "by_rank", "batched")
"""What a function may say of itself."""


TOO_LONG = "took longer than"
"""How the reason of a failure begins that was one of time."""

OUT_OF_MEMORY = re.compile(r"raised \w*MemoryError\b")
"""Reasons of failures that were ones of memory; libraries have errors of their own for it."""


class Isolated:
    """A function of an object that runs in other processes, started at its first call and kept.

    An object on which it hangs, crashes or leaves Python is not tried again; a new process does the next one.

    Args:
        function: object -> number, or, where its attribute `batched` is true, list of objects -> list of numbers;
            importable by its name, or picklable.
        path: "module:function" where that is its name.
        workers: processes.
        timeout: seconds an object, or a list of them, may take; None is no limit.
        batched: what the function takes; None is what it says.
        memory: megabytes that each process may take, with what it imports; None is what is free when it starts. An
            object that wants more fails with MemoryError, or with the process.
        arrays: the function answers by an array, which `outcomes` gives as a shape and the bytes of float64 numbers.
        role: what the function is to its user, for messages; only a "reward" can run in this process as well.

    Raises:
        ValueError: workers, timeout or memory out of range, or a function that no other process can be given.

    Warns:
        UserWarning: a limit of memory where the system does not keep it (only Linux does).
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        path: str | None = None,
        workers: int = 1,
        timeout: float | None = 60.0,
        batched: bool | None = None,
        memory: float | None = None,
        arrays: bool = False,
        role: str = "reward",
    ) -> None:
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise ValueError(f"workers={workers!r}; a whole number of at least 1 is needed")
        if timeout is not None and not 0 < timeout < math.inf:
            raise ValueError(f"timeout={timeout}; seconds above 0 are needed, or null for no limit")
        if memory is not None and not LEAST_MEMORY <= memory < math.inf:
            raise ValueError(f"memory={memory}; megabytes from {LEAST_MEMORY} on are needed, or null for what is free")
        if os.name != "posix":
            raise ValueError("worker processes need Linux or macOS; set workers=0")
        if memory is not None and not sys.platform.startswith("linux"):
            warnings.warn(
                f"memory={memory:g} is not kept on this system ({sys.platform}): only Linux does", stacklevel=2
            )
        self.function, self.timeout, self.memory = function, timeout, memory
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        for name in FORWARDED:
            if hasattr(function, name):
                setattr(self, name, getattr(function, name))
        self.batched = bool(getattr(function, "batched", False) if batched is None else batched)
        self._instead = ", or set workers=0 to run it in this process" if role == "reward" else ""
        label = f"{role} {self.__name__}"
        order = (path, b"" if path else pickled(function, label, self._instead), self.batched, arrays)
        most = 0 if memory is None else int(memory * 1e6)
        self._processes = [Process(order, label, self._instead, most) for _ in range(workers)]
        self._finish = weakref.finalize(self, _stop, self._processes, os.getpid())

    def __call__(self, obj: Any) -> float:
        """The score of one object; raises NoScoreError where it has none."""
        ((_, answer),) = self.outcomes([obj])
        if isinstance(answer, str):
            raise worker.NoScoreError(answer)
        return answer

    def close(self) -> None:
        """End the processes; they are started again when needed."""
        _stop(self._processes, os.getpid())

    def outcomes(self, objects: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """For each object, as it is done, its index and its score or, as a string, why it has none.

        Raises:
            ValueError: no process can be started.
        """
        waiting: deque[tuple[int, bytes]] = deque()
        for i, obj in enumerate(objects):
            try:
                waiting.append((i, pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)))
            except Exception as error:
                yield i, f"cannot be sent to a worker process ({worker.reason(error)}){self._instead}"
        try:
            while waiting or any(process.batch for process in self._processes):
                self._hand_out(waiting)
                for process in self._ready():
                    outcome = process.answer(self.timeout)
                    if process.connection is None:  # it is gone, and those it had not begun go to another
                        waiting.extendleft(reversed(process.batch))
                        process.batch.clear()
                    yield self._told(*outcome)
        except BaseException:  # an interrupt: answers that are under way would be taken for those of the next call
            self.close()
            raise

    def _told(self, i: int, answer: Any) -> tuple[int, Any]:
        """An outcome, with the limit where it is of memory."""
        if self.memory is None or not isinstance(answer, str) or not OUT_OF_MEMORY.match(answer):
            return i, answer
        return i, f"{answer} (memory={self.memory:g} megabytes are what a worker process may take, with its imports)"

    def _hand_out(self, waiting: deque[tuple[int, bytes]]) -> None:
        for process in self._processes:
            if waiting and not process.batch:
                parts = len(self._processes) * (1 if self.batched else 2)  # lists are for what is quick in one piece
                size = min(BATCH, math.ceil(len(waiting) / parts))
                process.send([waiting.popleft() for _ in range(size)], self.timeout)

    def _ready(self) -> list[Process]:
        """Processes that have answered, died, or are late."""
        busy = [process for process in self._processes if process.batch]
        patience = min([1.0, *(max(0.0, process.late_at - time.monotonic()) for process in busy)])
        heard = wait([process.pipe for process in busy], patience)
        return [process for process in busy if process.pipe in heard or process.dead or process.late]


@dataclasses.dataclass
class Process:
    """One process and what it has been asked.

    Attributes:
        order: path, pickled function, whether it takes lists and answers by arrays; see `worker.serve`.
        label: of the function, for messages.
        instead: what else its user can do, for messages.
        memory: bytes that it may take; 0 is what is free.
        batch: objects not answered yet; the first is being scored.
        late_at: on the monotonic clock.
    """

    order: tuple[str | None, bytes, bool, bool]
    label: str
    instead: str = ""
    memory: int = 0
    batch: deque[tuple[int, bytes]] = dataclasses.field(default_factory=deque)
    late_at: float = math.inf
    connection: Connection | None = None
    popen: subprocess.Popen | None = None

    @property
    def pipe(self) -> Connection:
        """The connection to a process that was started."""
        assert self.connection is not None
        return self.connection

    @property
    def child(self) -> subprocess.Popen:
        """The process, once it was started."""
        assert self.popen is not None
        return self.popen

    @property
    def dead(self) -> bool:
        """It has ended; what it said before may still be unread."""
        return self.child.poll() is not None

    @property
    def late(self) -> bool:
        """The object in hand has taken too long."""
        return time.monotonic() >= self.late_at

    def send(self, batch: list[tuple[int, bytes]], timeout: float | None) -> None:
        """Ask for scores; a process is started where there is none."""
        if self.connection is not None and self.dead:
            self.stop()  # it died between two batches
        if self.connection is None:
            self.start(batch[0][1])
        self.batch.extend(batch)
        self.late_at = math.inf if timeout is None else time.monotonic() + timeout
        with contextlib.suppress(OSError):  # it died; `answer` will find out
            self.pipe.send([packed for _, packed in batch])

    def answer(self, timeout: float | None) -> tuple[int, Any]:
        """The index of the first open object and its outcome; a process that is dead or late is ended."""
        try:
            said = self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):
            said = None
        i, _ = self.batch.popleft()
        if said is None:
            said = f"{TOO_LONG} {timeout:g} s" if self.late and not self.dead else self.ending()
            self.stop()
        self.late_at = math.inf if timeout is None else time.monotonic() + timeout
        return i, said

    def ending(self) -> str:
        """How the process ended."""
        try:
            code = self.child.wait(5.0)
        except subprocess.TimeoutExpired:  # it has closed its connection and lives
            return "closed the connection of its worker process"
        if code >= 0:
            return f"ended its process (exit code {code})"
        try:
            return f"crashed ({signal.Signals(-code).name})"
        except ValueError:
            return f"crashed (signal {-code})"

    def start(self, example: bytes) -> None:
        """Start and wait until the function is imported; ValueError where it cannot be.

        Args:
            example: a pickled object.
        """
        self.connection, theirs = Pipe()
        descriptor = theirs.fileno()
        # Not by multiprocessing: that would import the caller's main script, and guidekit with torch, once more.
        command = [sys.executable, "-P", worker.__file__, str(descriptor), str(os.getpid()), str(self.memory)]
        self.popen = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=[descriptor], start_new_session=True, close_fds=True
        )
        theirs.close()
        try:
            self.connection.send((sys.path, *self.order, example))
            refused = self.connection.recv() if self.connection.poll(START) else f"took longer than {START:g} s"
        except (EOFError, OSError):
            refused = self.ending()
        if refused is not None:
            self.stop()
            raise ValueError(
                f"{self.label} cannot be imported in a worker process: {refused}; put the function into a module "
                f"that can be imported{self.instead}"
            )

    def stop(self) -> None:
        """End the process and what it has started."""
        if self.connection is not None:
            self.connection.close()
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()
        self.connection, self.late_at = None, math.inf


def pickled(function: Callable, label: str, instead: str = "") -> bytes:
    """A function for other processes; ValueError where it cannot be sent, with what can be done instead."""
    hint = f"write it in a module and import it{instead}"
    if "__main__" in (getattr(function, "__module__", None), type(function).__module__):
        raise ValueError(f"{label} is defined in the script itself, where worker processes cannot see it; {hint}")
    try:
        return pickle.dumps(function)
    except Exception as error:
        raise ValueError(f"{label} cannot be given to a worker process ({worker.reason(error)}); {hint}") from error


def _stop(processes: list[Process], owner: int) -> None:
    if os.getpid() == owner:  # a fork has copies of these objects, and must not end its parent's processes
        for process in processes:
            process.stop()
            process.batch.clear()
