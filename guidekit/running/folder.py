"""The output folder of a run: complete or not there, and never at the cost of anything else."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from guidekit.errors import UnknownNameError
from guidekit.io.files import PART, sha256, sync, write_atomic
from guidekit.io.plain_json import plain_json
from guidekit.running.identity import changes, digest
from guidekit.running.lock import Lock
from guidekit.running.made import RECORD, contents, foreign, hashes, record_of, remove_empty, remove_made

STATE, LOCK, SCORES = "state.json", ".guidekit.lock", "scores.txt"
RESULTS, REPLACED, CHUNKS = "results", "replaced", "chunks-"


class OutputError(ValueError):
    """The output folder is taken, or holds another run; the message says what to do."""


class RunFolder:
    """Work happens in `<path>.partial`; its results are renamed to `path` when they are complete.

    At every instant the folder is untouched, or the same run can go on, or it is finished. Only files that a run of
    guidekit wrote are ever removed.

    Args:
        path: final folder.
        identity: what makes this run what it is, see `guidekit.running.identity`.
        overwrite: replace a finished run or drop an interrupted one, if they are others.
        resume: "auto" goes on with an interrupted run and leaves a finished one alone, if they are this one; "never"
            takes them for others.
        goes_on: told the record of a finished run that is this one: whether there is more to be made, as its budget
            ended it and there is a larger one. Its samples are then taken up, and its results replaced.

    Attributes:
        finished: `path` holds this run, complete; then nothing is locked, and there is nothing to do.
        chunks: folder of finished samples.
        scores: file of scores, see `guidekit.running.scores`.
        results: folder in which the final files are written.
        placed: where the results are, once they are complete.

    Raises:
        OutputError: the place is taken, by another run or by something that guidekit did not make.
        LockedError: a run is at work there.
    """

    def __init__(
        self,
        path: str | Path,
        identity: Mapping[str, Any],
        overwrite: bool = False,
        resume: str = "auto",
        goes_on: Callable[[Mapping[str, Any]], bool] = lambda record: False,
    ) -> None:
        if resume not in ("auto", "never"):
            raise UnknownNameError("resume", str(resume), ["auto", "never"])
        self.path = output_path(path)
        self.partial = self.path.with_name(self.path.name + ".partial")
        self.identity, self.overwrite, self.resume, self.goes_on = identity, overwrite, resume, goes_on
        self.chunks = self.partial / f"{CHUNKS}{digest(identity)}"
        self.scores, self.results = self.partial / SCORES, self.partial / RESULTS
        self.placed: Path | None = None
        self._old: str | None = None
        self.finished = self._stands()
        if self.finished and not self.partial.exists():
            return
        self._refuse_kind(self.partial)
        self._made = [self.partial, *self.path.parents]
        self._made = [place for place in self._made if not place.exists()]
        self.partial.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(self.partial / LOCK, f"a run is at work in {self.partial}")
        try:
            self._enter()
        except BaseException:
            self._leave()
            raise

    def complete(self, record: dict[str, Any], more: bool = False) -> Path:
        """Add what identifies the run to its record, write it, and put the results in their place.

        Args:
            record: of the run.
            more: keep the samples, as there is more to be made.

        Returns:
            The place: `path`, or a folder beside it where `path` has been taken by something else meanwhile.
        """
        written = [path for path in contents(self.results) if self._stale.get(path) != _stamp(path)]
        files = hashes(self.results, [path for path in written if path.name != RECORD])
        record |= {"made_by": self.identity, "files": files}
        write_atomic(self.results / RECORD, plain_json(record).encode())
        for path in written:
            sync(path)
        for folder, _, _ in os.walk(self.results):
            sync(folder)
        if self.path.exists() and self._replaceable():
            os.rename(self.path, self.partial / REPLACED)
        self.placed = self._put()
        sync(self.path.parent)
        if more:
            self._drop_replaced()
            self._leave()
        else:
            self.tidy()
        return self.placed

    def begin_results(self) -> None:
        """Make the folder of results; files that a kill left there are written again, others in it stay."""
        self.results.mkdir(exist_ok=True)
        for part in self.results.rglob(f".*{PART}"):
            part.unlink()
        self._stale = {path: _stamp(path) for path in contents(self.results)}

    def tidy(self) -> None:
        """Remove the working files, let go of the lock, and remove the working folder if nothing else is in it."""
        self._drop()
        if self.placed == self.path or self.finished:
            self._drop_replaced()
        self._leave()

    def abandon(self) -> bool:
        """Leave a run that was stopped: nothing is removed if samples or scores are kept; returns whether they are."""
        try:
            kept = bool(self._samples())
            if not kept and self.placed is None:
                self._drop()
            return kept
        finally:
            self._leave()

    def _stands(self) -> bool:
        """Whether this run is finished; OutputError where something else stands in its way."""
        self._refuse_kind(self.path)
        if not self.path.exists() or not any(self.path.iterdir()):
            return False
        record = record_of(self.path)
        if record is None:
            raise OutputError(
                f"{self.path} exists and was not made by guidekit sample, or its {RECORD} lists no files; "
                "give another output="
            )
        told = changes(record["made_by"], self.identity)
        if not told and self.resume == "auto":
            if not self.goes_on(record):
                return True
            self._old = sha256(self.path / RECORD)
            return False
        if not self.overwrite:
            what = f"a finished run that was another: {told}" if told else "this run, finished"
            raise OutputError(f"{self.path} exists, with {what}; pass overwrite=true or another output=")
        if strange := foreign(self.path):
            raise OutputError(
                f"overwrite=true replaces only what guidekit wrote, and {strange[0]} is not so or was changed "
                "since; move it away, or give another output="
            )
        self._old = sha256(self.path / RECORD)
        return False

    def _refuse_kind(self, path: Path) -> None:
        if path.is_symlink():
            raise OutputError(f"{path} is a link to {os.readlink(path)}; give a folder itself, or another output=")
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path} exists and is no folder; give another output=")

    def _enter(self) -> None:
        """Under the lock: undo a replacement that was cut short, and see whether the run in the folder is this one."""
        if (self.partial / REPLACED).exists() and not self.path.exists():
            os.rename(self.partial / REPLACED, self.path)
        self.finished = self._stands()
        found = sorted(path.name for path in self.partial.iterdir() if path.name != LOCK and path.suffix != PART)
        state = self._state()
        told = "" if state is None else changes(state, self.identity)
        if self.finished:
            if not told and not self._ended_early():
                self.tidy()
            self._lock.release()
            return
        if state is None and found and self.chunks.name not in found:
            raise OutputError(f"{self.partial} exists and is no interrupted run of guidekit; give another output=")
        if found and (told or self.resume == "never"):
            if self._samples() and not self.overwrite:
                raise OutputError(self._standing(told))
            self._drop()
            shutil.rmtree(self.results, ignore_errors=True)
        self.chunks.mkdir(exist_ok=True)
        write_atomic(self.partial / STATE, json.dumps(self.identity, indent=1).encode())
        sync(self.partial.parent)

    def _ended_early(self) -> bool:
        """Whether the finished run has samples here that a larger budget would go on from."""
        return bool((record_of(self.path) or {}).get("stopped"))

    def _state(self) -> dict[str, Any] | None:
        try:
            state = json.loads((self.partial / STATE).read_text())
        except (OSError, ValueError):
            return None
        return state if isinstance(state, dict) else None

    def _standing(self, told: str) -> str:
        if not told:
            return f"an interrupted run lies in {self.partial}; leave out resume=never to go on, or pass overwrite=true"
        return (
            f"{self.partial} holds an interrupted run that was another: {told}; repeat it as it was, "
            "pass overwrite=true to drop it, or give another output="
        )

    def _samples(self) -> list[Path]:
        return [*self.partial.glob(f"{CHUNKS}*/*.safetensors"), *self.partial.glob(SCORES)]

    def _replaceable(self) -> bool:
        """Whether the folder that is there is the one that was to be replaced, as its run left it."""
        record = self.path / RECORD
        return self._old is not None and record.is_file() and sha256(record) == self._old and not foreign(self.path)

    def _put(self) -> Path:
        beside = (self.path.with_name(f"{self.path.name}-{i}") for i in itertools.count(2))
        for place in itertools.chain([self.path], beside):
            if os.path.lexists(place) and (place != self.path or not place.is_dir()):
                continue
            try:
                os.rename(self.results, place)  # over an empty folder at most
                return place
            except OSError:
                if not os.path.lexists(place):
                    raise
        raise AssertionError("there is always a free name")

    def _drop(self) -> None:
        """Remove samples, scores and state; the state last, which tells that the rest is ours."""
        for chunks in self.partial.glob(f"{CHUNKS}*"):
            for path in [*chunks.glob("*.safetensors"), *chunks.glob(f".*{PART}")]:
                path.unlink()
            remove_empty(chunks)
        for part in self.partial.glob(f".*{PART}"):
            part.unlink()
        self.scores.unlink(missing_ok=True)
        (self.partial / STATE).unlink(missing_ok=True)

    def _drop_replaced(self) -> None:
        """Remove the run that was replaced; what came into it in the last moment moves to its successor."""
        old = self.partial / REPLACED
        if old.is_dir() and self.path.is_dir():
            remove_empty(old)  # of files that a kill let us remove only half
            for path in foreign(old):
                new = self.path / path.relative_to(old)
                if not os.path.lexists(new):
                    new.parent.mkdir(parents=True, exist_ok=True)
                    os.rename(path, new)
            remove_made(old)

    def _leave(self) -> None:
        self._lock.release()
        for place in self._made:
            with contextlib.suppress(OSError):
                place.rmdir()
        with contextlib.suppress(OSError):
            self.partial.rmdir()


def output_path(path: str | Path) -> Path:
    """The final folder as a user names it; "~" is the home folder.

    Raises:
        OutputError: no such user, or no folder of its own (the root, the current folder).
    """
    try:
        place = Path(path).expanduser()
    except RuntimeError as error:
        raise OutputError(f"output={path}: {str(error).rstrip('.').lower()}; write out the folder") from None
    plain = Path(os.path.abspath(place))
    if not plain.name or (plain.exists() and plain.samefile(Path.cwd())):
        raise OutputError(f"output={path} is no folder of its own; give a new one inside it")
    return place if place.name not in ("", "..") else plain


def _stamp(path: Path) -> tuple[int, int, int]:
    at = path.lstat()
    return at.st_ino, at.st_mtime_ns, at.st_size
