"""The output folder of a run: either complete or not there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

RECORD = "config.json"


class OutputError(ValueError):
    """The output folder is taken, or holds another run; the message says what to pass."""


class RunFolder:
    """Work happens in `<path>.partial`, which is renamed to `path` when the run is complete.

    Args:
        path: final folder.
        config: what makes this run what it is; a run resumes only where it is the same.
        overwrite: replace a folder that is there.
        resume: go on from an interrupted run.

    Raises:
        OutputError: `path` exists and overwrite is false; or an interrupted run is there and neither resume nor
            overwrite was asked for; or the interrupted run was another one.
    """

    def __init__(self, path: str | Path, config: dict[str, Any], overwrite: bool = False, resume: bool = False) -> None:
        self.path = Path(path)
        self.partial = self.path.with_name(self.path.name + ".partial")
        if self.path.exists() and not overwrite:
            raise OutputError(f"output folder {self.path} exists; pass overwrite=true or another output=")
        text = json.dumps(config, sort_keys=True, indent=1)
        if self.partial.exists() and not resume:
            if not overwrite:
                raise OutputError(
                    f"an interrupted run lies in {self.partial}; pass resume=true to finish it or overwrite=true"
                )
            shutil.rmtree(self.partial)
        if resume and self.partial.exists() and (self.partial / RECORD).read_text() != text:
            raise OutputError(
                f"{self.partial} holds a run with other settings; repeat its settings, or pass overwrite=true"
            )
        if resume and not self.partial.exists():
            raise OutputError(f"there is no interrupted run {self.partial} to resume")
        self.parent_is_new = not self.path.parent.exists()
        self.chunks = self.partial / "chunks"
        self.chunks.mkdir(parents=True, exist_ok=True)
        (self.partial / RECORD).write_text(text)

    def complete(self) -> None:
        """Drop the working files and put the folder in its place."""
        shutil.rmtree(self.chunks)
        (self.partial / RECORD).unlink()
        if self.path.exists():
            old = self.path.with_name(self.path.name + ".old")
            os.replace(self.path, old)
            os.replace(self.partial, self.path)
            shutil.rmtree(old)
        else:
            os.replace(self.partial, self.path)

    def abandon(self) -> None:
        """Remove the working folder of a run that has nothing worth keeping."""
        shutil.rmtree(self.partial, ignore_errors=True)
        if self.parent_is_new and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()
