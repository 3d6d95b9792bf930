"""Lists of what could not be read, beside what was made of the rest."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from guidekit.io.files import write_atomic
from guidekit.samples import Rejected


def list_rejected(beside: str | Path, rejected: Sequence[Rejected]) -> Path | None:
    """Write every one of them to <beside without its suffix>.rejected.csv (place, text, reason), and return its path.

    Without any, a list of an earlier run is removed, and None returned.
    """
    path = Path(beside).with_suffix(".rejected.csv")
    if not rejected:
        path.unlink(missing_ok=True)
        return None
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(Rejected._fields)
    writer.writerows(rejected)
    write_atomic(path, stream.getvalue().encode())
    return path
