"""Scores of a reward on disk: what an interrupted run has paid for is not paid again, and counts come out the same."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

from guidekit.core.objective import Objective


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
        self.path, self._known = path, dict[str, Any]()
        self._file: TextIO | None = None
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
        reward: of the run, perhaps a combination; those without a memory are left alone.
        journal: outcomes that an interrupted run has paid for.
    """

    def __init__(self, reward: Objective | None, journal: Journal) -> None:
        members: Sequence[Any] = () if reward is None else reward.members
        self.rewards: list[Remembering] = [member for member in members if hasattr(member, "restore")]
        self.known: dict[str, float] = {}
        for i, one in enumerate(self.rewards):
            one.paid = Share(journal, f"{i} ")

    def recall(self) -> None:
        """Before a chunk is drawn."""
        for i, one in enumerate(self.rewards):
            one.restore({key.partition(" ")[2]: value for key, value in self.known.items() if key.startswith(f"{i} ")})

    def learned(self) -> dict[str, Any]:
        """After it: what came in, and whether all before was forgotten."""
        now = {f"{i} {key}": value for i, one in enumerate(self.rewards) for key, value in one.export().items()}
        forgot = any(key not in now for key in self.known)
        return {"forgot": forgot, "scores": {k: v for k, v in now.items() if forgot or k not in self.known}}

    def add(self, learned: Mapping[str, Any]) -> None:
        """What a chunk has learned."""
        self.known = ({} if learned["forgot"] else self.known) | learned["scores"]


class Share(MutableMapping[str, Any]):
    """What is in a journal of one of several rewards: names with a prefix."""

    def __init__(self, journal: MutableMapping[str, Any], prefix: str) -> None:
        self.journal, self.prefix = journal, prefix

    def __getitem__(self, name: str) -> Any:
        return self.journal[self.prefix + name]

    def __setitem__(self, name: str, outcome: Any) -> None:
        self.journal[self.prefix + name] = outcome

    def __delitem__(self, name: str) -> None:
        del self.journal[self.prefix + name]

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(self.prefix) for name in self.journal if name.startswith(self.prefix))

    def __len__(self) -> int:
        return len(list(iter(self)))


def _check(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
