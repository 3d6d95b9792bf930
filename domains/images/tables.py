"""What the tables of a run tell of images."""

from __future__ import annotations

import math
import statistics
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from guidekit.reporting.summary import means, summarised

from .judging import Classifier
from .rewards import jpeg_bytes

OUTSIDE = 1.05
"""Numbers beyond this are counted: clipping them changes the picture visibly."""
MEANS = ("brightness", "contrast", "jpeg_bytes", "outside")


def rows(
    states: Tensor, images: Sequence[np.ndarray | None], judge: Classifier | None, wanted: Sequence[str | None]
) -> list[dict[str, Any]]:
    """One row a sample: checksum, judged class and its probability, that of the wanted class, pixels, validity.

    Args:
        states: (B, C, H, W).
        images: what they decode to, None where a state is not finite.
        judge: None leaves the classes out.
        wanted: the class that was asked for of each; left out where the judge knows none of them.

    Returns:
        rows; brightness and contrast (standard deviation) are of numbers from 0 to 1, `outside` is the share of numbers
        of the state beyond `OUTSIDE`, which decoding clips.
    """
    laws = None if judge is None else judge.probabilities(states.cpu().nan_to_num().clamp(-1, 1)).tolist()
    known = () if judge is None else judge.classes
    asked = [known.index(name) if name in known else None for name in wanted]
    found = []
    for i, image in enumerate(images):
        valid = image is not None
        row: dict[str, Any] = {"checksum": "" if image is None else f"{zlib.crc32(image.tobytes()):08x}"}
        if judge is not None and laws is not None:
            top = int(np.argmax(laws[i]))
            row["class"] = judge.classes[top] if valid else ""
            row["probability"] = laws[i][top] if valid else math.nan
            number = asked[i]
            if any(one is not None for one in asked):
                row["wanted"] = laws[i][number] if valid and number is not None else math.nan
            if len(set(wanted)) > 1:
                row["asked"] = wanted[i] or ""
        numbers = np.full(1, math.nan) if image is None else np.asarray(image / 255)
        row |= {"brightness": float(numbers.mean()), "contrast": float(numbers.std())}
        row["jpeg_bytes"] = math.nan if image is None else jpeg_bytes(image)
        row["outside"] = float((states[i].abs() > OUTSIDE).double().mean()) if valid else math.nan
        found.append(row | {"valid": valid, "reason": "" if valid else "not finite"})
    return found


def summary(rows: Sequence[Mapping[str, Any]], values: Sequence[float], wanted: str | None = None) -> dict[str, float]:
    """Figures of rows and their rewards; means over distinct valid images.

    With a wanted class that the judge knows also the share that is judged to be of it, or each of its own.
    """
    figures, kept = summarised(rows, values, "checksum")
    if "asked" in rows[0]:
        figures["judged as asked"] = (
            statistics.fmean(row["class"] == row["asked"] for row in kept) if kept else math.nan
        )
    elif "wanted" in rows[0]:
        figures[f"judged {wanted}"] = statistics.fmean(row["class"] == wanted for row in kept) if kept else math.nan
    return figures | {name.replace("_", " "): value for name, value in means(kept, MEANS).items()}
