"""What the tables of a run tell of images."""

from __future__ import annotations

import math
import statistics
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .judging import Classifier
from .rewards import jpeg_bytes

OUTSIDE = 1.05
"""Numbers beyond this are counted: clipping them changes the picture visibly."""
MEANS = ("brightness", "contrast", "jpeg_bytes", "outside")


def rows(
    states: Tensor, images: Sequence[np.ndarray | None], judge: Classifier | None, wanted: int | None
) -> list[dict[str, Any]]:
    """One row a sample: checksum, judged class and its probability, that of the wanted class, pixels, validity.

    Args:
        states: (B, C, H, W).
        images: what they decode to, None where a state is not finite.
        judge: None leaves the classes out.
        wanted: number of the class that was asked for.

    Returns:
        rows; brightness and contrast (standard deviation) are of numbers from 0 to 1, `outside` is the share of numbers
        of the state beyond `OUTSIDE`, which decoding clips.
    """
    laws = None if judge is None else judge.probabilities(states.cpu().nan_to_num().clamp(-1, 1)).tolist()
    found = []
    for i, image in enumerate(images):
        valid = image is not None
        row: dict[str, Any] = {"checksum": f"{zlib.crc32(image.tobytes()):08x}" if valid else ""}
        if laws is not None:
            top = int(np.argmax(laws[i]))
            row["class"] = judge.classes[top] if valid else ""
            row["probability"] = laws[i][top] if valid else math.nan
            if wanted is not None:
                row["wanted"] = laws[i][wanted] if valid else math.nan
        numbers = image / 255 if valid else np.full(1, math.nan)
        row |= {"brightness": float(numbers.mean()), "contrast": float(numbers.std())}
        row["jpeg_bytes"] = jpeg_bytes(image) if valid else math.nan
        row["outside"] = float((states[i].abs() > OUTSIDE).double().mean()) if valid else math.nan
        found.append(row | {"valid": valid, "reason": "" if valid else "not finite"})
    return found


def summary(rows: Sequence[Mapping[str, Any]], values: Sequence[float], wanted: str | None = None) -> dict[str, float]:
    """Figures of rows and their rewards; means over distinct valid images.

    With the name of a wanted class also the share that is judged to be of it.
    """
    distinct = {row["checksum"]: (value, row) for row, value in zip(rows, values, strict=True) if row["valid"]}
    scored = [value for value, _ in distinct.values() if math.isfinite(value)]
    kept = [row for _, row in distinct.values()]
    valid = sum(row["valid"] for row in rows)
    figures = {"valid": valid / len(rows), "unique": len(distinct) / valid if valid else math.nan}
    figures["reward"] = statistics.fmean(scored) if scored else math.nan
    figures["reward sd"] = statistics.stdev(scored) if len(scored) > 1 else math.nan
    figures["best"] = max(scored, default=math.nan)
    if wanted is not None:
        figures[f"judged {wanted}"] = statistics.fmean(row["class"] == wanted for row in kept) if kept else math.nan
    for name in MEANS:
        figures[name.replace("_", " ")] = statistics.fmean(row[name] for row in kept) if kept else math.nan
    return figures
