"""Where a training writes: tried before the work, held by one training at a time, and gone on with."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from guidekit.errors import UnknownNameError
from guidekit.io.files import PART
from guidekit.priors.checkpoints import CheckpointError, read_description
from guidekit.running.folder import OutputError
from guidekit.running.lock import locked
from guidekit.training.states import KEY, differences, read_state

RESUME = ("auto", "never")

REMEDY = "pass overwrite=true to start anew, or another output="


@dataclasses.dataclass(frozen=True)
class Place:
    """The files of a training, and what may become of those that are there.

    Args:
        output: checkpoint to write.
        resume: "auto" goes on with the training that was left here, "never" refuses to.
        overwrite: start anew over files of guidekit.
    """

    output: Path
    resume: str = "auto"
    overwrite: bool = False

    @property
    def state(self) -> Path:
        """What the next session goes on from."""
        return self.output.with_name(self.output.name + ".ckpt")

    @property
    def early(self) -> Path:
        """The weak model for autoguidance, of trainers that keep one."""
        return self.output.with_name(f"{self.output.stem}_early{self.output.suffix}")

    @property
    def work(self) -> Path:
        """Folder of what is needed for a while."""
        return self.output.with_name(f".{self.output.name}.work")

    def standing(self, made: Mapping[str, Any], early: bool = False) -> Literal["new", "begun", "done"]:
        """How far the training of a record has come here.

        Args:
            made: see `states.record_of`; a part of it does, to find what differs before the rest is known.
            early: the training also writes `self.early`.

        Raises:
            OutputError: what is there is no file of guidekit, is of another training, or is not to be gone on with.
        """
        mine = [self.early, self.output] if early else [self.output]
        cards = {path: _card(path) for path in mine if path.exists()}
        state = self._state() if self.state.exists() else None
        there = [*cards, *([] if state is None else [self.state])]
        if self.overwrite or not there:
            return "new"
        if self.resume == "never":
            raise OutputError(f"{there[0]} exists and resume=never was given; {REMEDY}")
        records = {path: card.get("training") for path, card in cards.items()}
        if state is not None:
            records[self.state] = state[KEY]
        source = there[-1]  # the latest of them: an early copy, the result, the state
        record = records[source]
        if record is None:
            raise OutputError(f"{source} exists, and was made in another way; {REMEDY}")
        told = differences(record["made"], made)
        if told:
            raise OutputError(f"{source} is of a training with other settings: {'; '.join(told)}; {REMEDY}")
        result = records.get(self.output)
        if result is not None and result["complete"] and not differences(result["made"], made):
            return "done"
        if state is None and result is not None:
            raise OutputError(
                f"{self.output} is of a training that has not ended, whose {self.state} is gone; {REMEDY}"
            )
        if state is None:
            return "new"
        return "begun"

    def _state(self) -> dict[str, Any]:
        try:
            return read_state(self.state)
        except CheckpointError as error:
            raise OutputError(f"{error}, and is not replaced; move it away, or pass another output=") from error


@contextlib.contextmanager
def claimed(name: str | None, resume: str, overwrite: bool) -> Iterator[Place]:
    """The place of a training, which no other one writes to meanwhile.

    Raises:
        ValueError: no file name, or one of another kind.
        OutputError: nothing can be written there, or another training does.
    """
    if resume not in RESUME:
        raise UnknownNameError("resume", str(resume), RESUME)
    if name in (None, "???") or not str(name).endswith(".safetensors"):
        raise ValueError("train needs output=<file>.safetensors")
    output = Path(name).expanduser()
    place = Place(Path(os.path.realpath(output)) if output.is_symlink() else output, resume, overwrite)
    for path in (place.output, place.state, place.early):
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is a folder or device, where a file is to be written; pass another output=")
    with made_if_used(place.output.parent):
        try:
            with tempfile.NamedTemporaryFile(dir=place.output.parent, prefix=f".{place.state.name}."):
                pass
        except OSError as error:
            raise OutputError(
                f"{place.output} cannot be written ({error.strerror or error}); pass another output="
            ) from error
        with locked(place.output, f"{place.output} is being trained by another guidekit train"):
            _sweep(place)
            yield place


@contextlib.contextmanager
def made_if_used(folder: Path) -> Iterator[Path]:
    """A folder that is made where there is none, and is gone again where nothing is left in it."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        for path in made:  # the innermost first
            with contextlib.suppress(OSError):  # there is something in it
                path.rmdir()


@contextlib.contextmanager
def workplace(place: Place) -> Iterator[Path]:
    """A folder beside the output that is gone afterwards; one that a kill left is emptied."""
    shutil.rmtree(place.work, ignore_errors=True)
    place.work.mkdir()
    try:
        yield place.work
    finally:
        shutil.rmtree(place.work, ignore_errors=True)


def _sweep(place: Place) -> None:
    """Remove what a killed training left: its work folder and half-written files."""
    shutil.rmtree(place.work, ignore_errors=True)
    for path in (place.output, place.state, place.early):
        for part in path.parent.glob(f".{glob.escape(path.name)}.*{PART}"):
            part.unlink(missing_ok=True)


def _card(path: Path) -> dict[str, Any]:
    """The card of a checkpoint that may be replaced."""
    try:
        return read_description(path).get("card") or {}
    except CheckpointError as error:
        raise OutputError(f"{error}, and is not replaced; move it away, or pass another output=") from error
