"""Training data of priors of fields: states, more of them by symmetry, and the description of the future checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .codec import FieldCodec
from .data import KINDS, fields, split_name
from .files import read


def prepare(path: Path, data: str | None, trainer: Mapping[str, Any], kind: str) -> None:
    """Write what `guidekit.training.array_job` trains a prior of fields from.

    The npz has images and val_images, states as float32 (n, H, W), and a description (JSON) with domain, event_shape,
    dataset and card. Fields are shuffled (seed 0) and the last ones held out; `trainer.symmetry` makes that many of
    each of the others by what leaves their law unchanged, see `alike`.

    Args:
        path: npz file to write.
        data: what `files.read` accepts, in the unit of the kind, or a shipped set; None is its training part.
        trainer: settings of configs/trainer/inverse.yaml; `validation` fields are held out.
        kind: of the fields.

    Raises:
        ValueError: unreadable data, or fewer than ten times as many fields as are to be held out.
    """
    about, known = KINDS[kind], split_name(data or kind)
    if known is not None and known[0] != kind:
        raise ValueError(f"data={data} are of another kind than domain.kind={kind}")
    found = np.stack(read(data, about).fields) if known is None else fields(*known)  # type: ignore[arg-type]
    order, held = np.random.default_rng(0).permutation(len(found)), trainer["validation"]
    if len(found) < 10 * held:
        raise ValueError(
            f"{len(found):,} fields are too few to hold out trainer.validation={held} of them; hold out at most "
            f"{len(found) // 10}"
        )
    title = about.title if known is not None else f"{about.title}, {Path(str(data)).name}"
    codec = FieldCodec(about.shape, about.units)
    train, validation = found[order[: len(order) - held]], found[order[len(order) - held :]]
    described: dict[str, Any] = {
        "domain": "inverse",
        "event_shape": list(about.shape),
        "dataset": kind,
        "card": {"data": f"{title}, {len(train):,} fields"},
    }
    more = alike(train, kind, trainer.get("symmetry", 1))
    arrays: dict[str, Any] = {
        "images": codec.encode(list(more))[:, 0].numpy(),
        "val_images": codec.encode(list(validation))[:, 0].numpy(),
    }
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez_compressed(file, description=np.array(json.dumps(described)), **arrays)
    part.replace(path)


def alike(found: np.ndarray, kind: str, times: int) -> np.ndarray:
    """Fields (n, H, W) and times - 1 others of each that are as likely (seed 0), (times * n, H, W).

    Relief is mirrored along both axes, air temperature and brains east to west. The law of the flow's vorticity is
    exactly unchanged by shifts along x and by quarters of the square along y, and by mirroring x, a change of sign and
    a shift by an eighth along y at once.
    """
    random, made = np.random.default_rng(0), [found]
    for _ in range(times - 1):
        made.append(np.stack([_other(one, kind, random) for one in found]))
    return np.concatenate(made)


def _other(field: np.ndarray, kind: str, random: np.random.Generator) -> np.ndarray:
    mirrored, upside_down, along, quarters = random.integers([2, 2, field.shape[1], 4])
    if kind == "vorticity":
        eighth = field.shape[0] // 8
        if mirrored:
            field = -np.roll(field[:, ::-1], eighth, 0)
        return np.roll(field, (quarters * 2 * eighth, along), (0, 1))
    if mirrored:
        field = field[:, ::-1]
    return field[::-1] if kind == "relief" and upside_down else field
