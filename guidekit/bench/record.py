"""Files of figures that are completed cell by cell: what is in them is not measured again."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import guidekit
from guidekit.io.files import write_atomic
from guidekit.running.folder import OutputError


def opened(output: str | None, settings: Mapping[str, Any], overwrite: bool, kind: str) -> dict[str, Any]:
    """The record to be filled: that of a file, where it is of the same settings, or an empty one.

    Args:
        output: the file, or None.
        settings: what all figures of a record share.
        overwrite: begin anew.
        kind: key of the figures, which tells records of one bench from those of another.

    Raises:
        OutputError: no file in a folder that exists, or one that holds something else.
    """
    settings = json.loads(json.dumps(dict(settings)))
    machine = platform.processor() or platform.machine()
    empty = {"settings": settings, "machine": machine, "torch": torch.__version__, "guidekit": guidekit.__version__}
    path = output and Path(output)
    if not path:
        return empty | {kind: {}}
    if path.is_dir() or not path.parent.is_dir():
        raise OutputError(f"output={path}: a file in a folder that exists is needed")
    if not path.exists() or overwrite:
        return empty | {kind: {}}
    try:
        record = json.loads(path.read_text())
        same = record["settings"] == settings and isinstance(record[kind], dict)
    except (ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise OutputError(
            f"{path} holds something else; repeat its settings, or pass overwrite=true or another output="
        )
    return record


def written(output: str | None, record: Mapping[str, Any]) -> None:
    """The record in its file, where there is one."""
    if output:
        write_atomic(output, (json.dumps(record, indent=1) + "\n").encode())
