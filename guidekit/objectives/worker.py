"""One call of a function of somebody else's, and the process that makes such calls for another one.

The file is also run as a script, by `guidekit.objectives.pool`. It imports nothing but the standard library, so that a
process is there in a moment and holds only what the function needs.
"""

from __future__ import annotations

import array
import contextlib
import importlib
import math
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

LONGEST = 200
"""Characters of a reason that are kept."""


def attempt(function: Callable[[Any], Any], obj: Any, read: Callable[[Any], Any] | None = None) -> Any:
    """The score of an object, or why it has none; whatever the function does, the current folder is the same after.

    A score is a number other than NaN and plus infinity. Minus infinity is one: the object is rejected.

    Args:
        function: of the object.
        obj: the object.
        read: what becomes of the answer; None is `number`.
    """
    folder = _folder()
    try:
        return (number if read is None else read)(function(obj))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit and all else a function may raise: one object is not worth the run
        return reason(error)
    finally:
        if folder is not None and _folder() != folder:
            with contextlib.suppress(OSError):
                os.chdir(folder)


def attempt_all(function: Callable[[Any], Any], objects: list[Any]) -> list[float | str]:
    """As `attempt`, of a function that takes a list of objects and returns a list of as many numbers."""
    made: list[Any] = []

    def called(given: list[Any]) -> float:
        answer = function(given)
        answer = answer.tolist() if hasattr(answer, "tolist") else answer
        if not isinstance(answer, list | tuple) or len(answer) != len(given):
            kind = f"{len(answer)} numbers" if isinstance(answer, list | tuple) else kind_of(answer)
            raise NoScoreError(f"returned {kind} for a list of {len(given)}; a list of as many numbers is expected")
        made.extend(answer)
        return 0.0

    failed = attempt(called, objects)
    return [failed] * len(objects) if isinstance(failed, str) else [attempt(lambda one: one, one) for one in made]


class NoScoreError(Exception):
    """What a function returned is no score; the message says what it was."""

    complete = True
    """As the script that a worker process runs, this class is another one than as a module: told by this."""


def number(value: Any) -> float:
    """A function's answer as a float: an int, a float, a bool, or an array or tensor of one of them.

    Raises:
        NoScoreError: anything else, NaN, plus infinity, or a number too large for a float.
    """
    given = value
    if hasattr(value, "item") and hasattr(value, "shape"):  # of numpy and torch
        if math.prod(value.shape) != 1:
            raise NoScoreError(f"returned {kind_of(given)} of shape {tuple(value.shape)}, not one number")
        value = value.item()
    if not hasattr(value, "__float__") and not hasattr(value, "__index__"):  # text has neither
        raise NoScoreError(f"returned {kind_of(given)}, not one number")
    try:
        score = float(value)
    except OverflowError:
        raise NoScoreError("returned a number too large for a float") from None
    if math.isnan(score) or score == math.inf:
        raise NoScoreError(f"returned {'NaN' if math.isnan(score) else 'plus infinity'}")
    return score


def numbers(value: Any) -> tuple[tuple[int, ...], bytes]:
    """A function's answer as an array: its shape, and its numbers as float64 in the order of C.

    Raises:
        NoScoreError: no array or nested list of one shape, or numbers that are not finite.
    """
    given, value = value, value.tolist() if hasattr(value, "tolist") else value
    shape: list[int] = []
    row = value
    while isinstance(row, list | tuple):
        shape.append(len(row))
        row = row[0] if row else 0.0
    flat = value if shape else [value]
    try:
        for size in shape[1:]:
            if any(len(one) != size for one in flat):
                raise TypeError
            flat = [number for one in flat for number in one]
        found = array.array("d", flat)
    except (TypeError, ValueError):
        if any(isinstance(one, complex) for one in flat):
            raise NoScoreError("returned complex numbers; give real and imaginary parts as real ones") from None
        raise NoScoreError(f"returned {kind_of(given)} that is no array of numbers") from None
    if not all(map(math.isfinite, found)):
        raise NoScoreError("returned numbers that are not finite")
    return tuple(shape), found.tobytes()


def reason(error: BaseException) -> str:
    """A failure in one line."""
    if getattr(error, "complete", False):
        return error.args[0]
    try:
        said = " ".join(str(error).split())
    except Exception:  # a message that cannot be made
        said = ""
    return f"raised {type(error).__name__}{': ' * bool(said)}{said}"[:LONGEST]


def kind_of(value: Any) -> str:
    """What a value is, with its article."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0].lower() in 'aeiou' or name == 'ndarray' else 'a'} {name}"


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def serve(connection: Connection) -> None:
    """Take a function, then lists of pickled objects, and answer each object at once, until the other side is gone.

    The first message is (module search path, "module:function" or None, the pickled function, whether it takes lists,
    whether it answers by arrays, one pickled object). The answer is None, or why the function cannot be had. Scores are
    floats, arrays what `numbers` makes of them, failures strings.
    """
    sys.path[:], path, pickled, listed, arrays, example = connection.recv()
    try:
        function = pickle.loads(pickled) if path is None else _imported(path)
    except BaseException as error:
        connection.send(reason(error))
        return
    with contextlib.suppress(Exception):
        pickle.loads(example)  # imports what objects are made of, so that the first one does not pay for it
    connection.send(None)
    while True:
        received = connection.recv()
        if listed:
            for outcome in _answers(function, received):
                connection.send(outcome)
            continue
        for packed in received:
            connection.send(_answer(function, packed, numbers if arrays else None))


def _answer(function: Callable[[Any], Any], packed: bytes, read: Callable[[Any], Any] | None = None) -> Any:
    try:
        return attempt(lambda one: function(pickle.loads(one)), packed, read)
    except KeyboardInterrupt as error:  # nobody at a keyboard: the function's own
        return reason(error)


def _answers(function: Callable[[Any], Any], packed: list[bytes]) -> list[float | str]:
    try:
        return attempt_all(lambda some: function([pickle.loads(one) for one in some]), packed)
    except KeyboardInterrupt as error:
        return [reason(error)] * len(packed)


def _imported(path: str) -> Callable[[Any], Any]:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def limit_memory(most: int = 0) -> None:
    """Let this process take no more memory than there is now, and have it be the one that is ended if that fails.

    Where the limit works (Linux) a function that wants more gets MemoryError, and the machine stays usable.

    Args:
        most: bytes that it may take in all, modules that it imports among them; 0 is what is free.
    """
    with contextlib.suppress(OSError, ValueError, ImportError):
        Path("/proc/self/oom_score_adj").write_text("1000")
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        free = int(available() * 0.9)
        free = min(most, free) if most else free
        resource.setrlimit(resource.RLIMIT_DATA, (free if hard < 0 else min(free, hard), hard))


def available() -> int:
    """Bytes of memory that are free on this machine and within the limit of its container."""
    rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    found = [int(rows["MemAvailable"].split()[0]) * 1024]
    with contextlib.suppress(OSError, ValueError):  # no container, or the word "max"
        most, used = (int(Path("/sys/fs/cgroup", f"memory.{name}").read_text()) for name in ("max", "current"))
        found.append(most - used)
    return min(found)


def follow(parent: int) -> None:
    """End this process, and what it has started, once its parent is gone (also where a function never returns)."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.killpg(0, signal.SIGKILL)


def main(descriptor: int, parent: int, most: int) -> None:
    """Serve on an inherited socket, with so many bytes of memory at most; 0 is what is free."""
    os.set_inheritable(descriptor, False)  # what the function starts must not keep it open
    limit_memory(most)
    threading.Thread(target=follow, args=(parent,), daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        serve(Connection(descriptor))
    os._exit(0)  # threads that the function has started do not keep the process


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
