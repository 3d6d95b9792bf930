"""Names that users choose from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UnknownNameError(ValueError):
    """A name is none of the known ones; the message has the choices (where they are not too many) and the nearest."""

    def __init__(self, kind: str, name: object, choices: Iterable[str], most: int = 60) -> None:
        choices = sorted(choices)
        near = difflib.get_close_matches(str(name), choices, 1 if len(choices) <= most else 3, 0.5)
        hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
        many = f"{len(choices)} names, such as {', '.join(choices[:3])}"
        accepted = many if len(choices) > most else ", ".join(choices) or "none"
        super().__init__(f"no {kind} named {name!r}{hint}; accepted: {accepted}")
