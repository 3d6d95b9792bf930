"""A program as a reward: objects as lines into it, one number a line out of it."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from guidekit.objectives.worker import NoScoreError


@dataclasses.dataclass(frozen=True)
class Command:
    """A function of lists of objects that runs a program: `worker.attempt_all` calls it, in a process of its own.

    Args:
        words: the program and its arguments.
        line: object -> the line that tells of it.
    """

    words: tuple[str, ...]
    line: Callable[[Any], str]
    batched: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Of the program."""
        return self.words[0].rpartition("/")[2]

    def __call__(self, objects: Sequence[Any]) -> list[Printed]:
        """What was printed for each object.

        Raises:
            NoScoreError: the program failed, or printed more or fewer lines than it was given.
        """
        given = "".join(f"{self.line(one)}\n" for one in objects)
        done = subprocess.run(self.words, input=given, capture_output=True, text=True, check=False, errors="replace")
        if done.returncode:
            told = done.stderr.strip().splitlines()
            raise NoScoreError(f"ended with exit code {done.returncode}{': ' + told[-1] if told else ''}")
        lines = done.stdout.splitlines()
        if len(lines) != len(objects):
            found = f"{len(lines)} lines" if len(lines) != 1 else "1 line"
            raise NoScoreError(f"printed {found} for {len(objects)} objects; one number a line is expected")
        return [Printed(line) for line in lines]


@dataclasses.dataclass(frozen=True)
class Printed:
    """A printed line, which is a number or says why there is none."""

    text: str

    def __float__(self) -> float:
        """The number; raises NoScoreError where it is none."""
        try:
            return float(self.text)
        except ValueError:
            raise NoScoreError(f"printed no number: {self.text!r}") from None


def command(text: str, line: Callable[[Any], str]) -> Command:
    """A program from a command line.

    Raises:
        ValueError: nothing, quotation marks that do not match, or a program that is not there.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"reward.command={text!r}: {str(error).lower()}") from error
    if not words:
        raise ValueError("reward=command needs reward.command=, a program that reads one object a line")
    if shutil.which(words[0]) is None:
        raise ValueError(f"reward.command={text!r}: there is no program {words[0]!r} that can be run")
    return Command(words, line)


def as_line(one: Any) -> str:
    """An object in one line: text as it is, arrays as JSON.

    Raises:
        NoScoreError: another object, or text of several lines.
    """
    if isinstance(one, str):
        if one.splitlines() not in ([], [one]):
            raise NoScoreError("is told objects of one line, and this one has several")
        return one
    if hasattr(one, "tolist"):
        return json.dumps(one.tolist())
    raise NoScoreError(
        f"is told text and arrays, not a {type(one).__name__}; write a function (reward=module:function)"
    )
