"""Scores of a reward on disk: what an interrupted run has paid for is not paid again, and counts come out the same."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Protocol


class Remembering(Protocol):
    """A reward that remembers what it has scored.

    Attributes:
        paid: outcomes by name of the object. Asked for one that is new, it takes the outcome from here and counts it as
            if made; it puts in every outcome that it makes.
    """

    paid: MutableMapping[str, float | str]

    def export(self) -> dict[str, float]:
        """What is remembered."""

    def restore(self, known: Mapping[str, float]) -> None:
        """Remember this, and nothing else."""


class Journal(MutableMapping[str, Any]):
    """Outcomes by name, each written to a file as it comes; a line cut short or damaged is passed over.

    Args:
        path: of the file, made with the first outcome.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._file, self._known = path, None, {}
        for line in path.read_text(errors="replace").splitlines() if path.is_file() else ():
            text, _, check = line.rpartition(" ")
            if check == _check(text):
                name, outcome = json.loads(text)
                self._known[name] = outcome

    def __getitem__(self, name: str) -> Any:
        return self._known[name]

    def __setitem__(self, name: str, outcome: Any) -> None:
        self._known[name] = outcome
        if self._file is None:
            self._file = self.path.open("a")
            self._file.write("\n")  # ends a line that was cut short
        text = json.dumps([name, outcome])
        self._file.write(f"{text} {_check(text)}\n")
        self._file.flush()

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Memory:
    """What a reward remembers before each chunk of a run, whichever chunks are drawn now and whichever were before.

    Args:
        reward: of the run; one without a memory is left alone.
        journal: outcomes that an interrupted run has paid for.
    """

    def __init__(self, reward: Any, journal: Journal) -> None:
        self.reward: Remembering | None = reward if hasattr(reward, "restore") else None
        self.known: dict[str, float] = {}
        if self.reward is not None:
            self.reward.paid = journal

    def recall(self) -> None:
        """Before a chunk is drawn."""
        if self.reward is not None:
            self.reward.restore(self.known)

    def learned(self) -> dict[str, Any]:
        """After it: what came in, and whether all before was forgotten."""
        now = {} if self.reward is None else self.reward.export()
        forgot = any(key not in now for key in self.known)
        return {"forgot": forgot, "scores": {k: v for k, v in now.items() if forgot or k not in self.known}}

    def add(self, learned: Mapping[str, Any]) -> None:
        """What a chunk has learned."""
        self.known = ({} if learned["forgot"] else self.known) | learned["scores"]


def _check(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
