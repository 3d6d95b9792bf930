"""Names that users choose from, and where their code raised something."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path


class UnknownNameError(ValueError):
    """A name is none of the known ones; the message has the choices (where they are not too many) and the nearest."""

    def __init__(self, kind: str, name: object, choices: Iterable[str], most: int = 60) -> None:
        choices = sorted(choices)
        near = difflib.get_close_matches(str(name), choices, 1 if len(choices) <= most else 3, 0.5)
        hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
        many = f"{len(choices)} names, such as {', '.join(choices[:3])}"
        accepted = many if len(choices) > most else ", ".join(choices) or "none"
        super().__init__(f"no {kind} named {name!r}{hint}; accepted: {accepted}")


def raised_in(error: BaseException, module: str) -> str:
    """Where in a user's module an error was raised, the innermost place, as " (FILE, line N)".

    Empty where the module is not in its traceback, and for a syntax error, which says so itself.
    """
    name = f"{module.rpartition('.')[2]}.py"
    frames = [] if isinstance(error, SyntaxError) else traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).name == name]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
