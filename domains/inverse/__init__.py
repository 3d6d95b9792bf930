"""Fields of science in their own units: relief, climate, brains, vorticity; priors, operators, metrics, pictures."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.domain import Domain
from guidekit.errors import UnknownNameError
from guidekit.examples import Example
from guidekit.extras import require
from guidekit.io.files import write_atomic, write_npz
from guidekit.io.reading import note
from guidekit.objectives.of_states import StateModel
from guidekit.reporting.summary import STATISTICS, means, ranked, summarised
from guidekit.samples import Dataset, Samples

from .codec import FieldCodec, FieldError
from .data import ASSETS, KINDS, Kind, fields, split_name
from .files import netcdf, read
from .metrics import evaluate
from .preparation import prepare
from .rewards import REWARDS
from .tasks import TASKS

NUMBERS = ("mean", "deviation", "lowest", "highest", "roughness")
"""Columns of the table, in the unit of the field."""


@dataclasses.dataclass(frozen=True)
class Inverse(Domain):
    """Fields as real numbers (B, 1, H, W); objects are float32 arrays (H, W) in metres, degrees, grey levels or 1/s.

    Args:
        kind: "relief" (64 x 64 pixels of 5 arc minutes, m), "climate" (16 x 16 cells of 2 degrees, °C), "mri" (80 x 80
            pixels of 2.8 mm, grey levels) or "vorticity" (64 x 64 on a torus, 1/s).

    Raises:
        UnknownNameError: no such kind.
        MissingExtraError: a library of the extra is not installed.
    """

    kind: str = "relief"
    name = "inverse"
    objects = "fields"
    suffix = ".nc"
    assets = ASSETS
    kinds = REWARDS
    job = "array_job"
    tasks = TASKS
    network = StateModel

    def __post_init__(self) -> None:
        """Refuse what is no kind, and a lack of libraries."""
        if self.kind not in KINDS:
            raise UnknownNameError("kind of fields", str(self.kind), KINDS)
        for module in ("matplotlib", "scipy"):  # say so now, not after an hour of sampling
            require(self.name, module)

    def examples(self) -> Sequence[Example]:
        """See `Domain.examples`."""
        from .examples import EXAMPLES

        return EXAMPLES

    @property
    def default(self) -> str:
        """The shipped prior that "default" stands for: the network of the kind, or its Gaussian field."""
        return self.kind if (ASSETS / f"{self.kind}.safetensors").is_file() else f"{self.kind}_field"

    def about(self, prior: Prior | None = None) -> Kind:
        """The kind of a prior's fields, or of the domain without one."""
        if prior is not None and prior.dataset in KINDS and KINDS[prior.dataset].shape == tuple(prior.event_shape):
            return KINDS[prior.dataset]
        return KINDS[self.kind]

    @property
    def basis(self) -> str:
        """In which a Gaussian field of the kind is fitted."""
        return KINDS[self.kind].basis

    @property
    def codec(self) -> FieldCodec:
        """Of fields of the kind."""
        return _codec(KINDS[self.kind])

    def codec_for(self, prior: Prior, description: Mapping[str, Any]) -> FieldCodec:
        """See `Domain.codec_for`."""
        about = self.about(prior)
        if tuple(prior.event_shape) != about.shape:
            raise ValueError(f"{prior.name} is of states {tuple(prior.event_shape)}; {about.shape} are expected here")
        return _codec(about)

    def reference(self, *, split: str = "test", prior: Prior | None = None) -> list[np.ndarray]:
        """Real fields of the kind."""
        return list(fields(self._kind(prior), split))

    def _kind(self, prior: Prior | None) -> str:
        about = self.about(prior)
        return next(name for name, kind in KINDS.items() if kind is about)

    def read_samples(self, path: str | Path, column: str | None = None, prior: Prior | None = None) -> Dataset:
        """Generated fields of a file or folder, None for those that are none; see `files.read`."""
        if column is not None:
            raise ValueError(f"column={column!r} is for tables; fields are read from npz, npy, csv and nc")
        result = read(path, self.about(prior), "skip")
        if not result.fields:
            raise ValueError(f"{path}: none of {len(result.skipped)} fields is usable: {result.skipped[0][1]}")
        told = note(path, result.skipped, "count as invalid", "fields", result.notes)
        return Dataset([*result.fields, *[None] * len(result.skipped)], notes=told)

    def read_reference(self, path: str | Path, on_error: str = "raise", prior: Prior | None = None) -> Dataset:
        """Real fields: a file, a folder, or a shipped set such as "relief:test"."""
        known = split_name(str(path))
        if known is not None:
            return Dataset(list(fields(*known)))
        result = read(path, self.about(prior), on_error)
        return Dataset(result.fields, notes=note(path, result.skipped, "are left out", "fields", result.notes))

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> None:
        """See `preparation.prepare`."""
        prepare(path, data, trainer, self.kind)

    def evaluate(
        self,
        objects: Sequence[np.ndarray | None],
        reference: Sequence[np.ndarray] | None = None,
        *,
        training: Sequence[np.ndarray] | None = None,
        prior: Prior | None = None,
        condition: Any = None,
        labels: Sequence[int] | None = None,
        **options: Any,
    ) -> dict[str, float | int | str]:
        """Moments, spectra, nearest training fields, and pairs; see `metrics.evaluate`.

        Args:
            objects: fields, None = invalid.
            reference: real fields; None is the held-out part of the kind.
            training: fields trained on; None is the training part of the kind, an empty sequence none.
            prior, condition, labels: see `Domain.evaluate`.
            options: of `metrics.evaluate`.

        Raises:
            ValueError: `paired` without a reference.
        """
        if options.get("paired") and reference is None:
            raise ValueError("domain.paired=true compares each sample with its own truth: give reference=")
        reference = self.reference(prior=prior) if reference is None else reference
        training = self.reference(split="train", prior=prior) if training is None else training
        return evaluate(list(objects), reference, self.about(prior), training=training or None, **options)

    def table(self, samples: Samples) -> list[dict[str, Any]]:
        """One row a sample for samples.csv: checksum, `NUMBERS` in the unit, validity and the reason."""
        rows = []
        for field in samples.objects:
            row: dict[str, Any] = {"checksum": "" if field is None else f"{zlib.crc32(field.tobytes()):08x}"}
            row |= dict.fromkeys(NUMBERS, math.nan) if field is None else measured(field)
            rows.append(row | {"valid": field is not None, "reason": "not finite" if field is None else ""})
        return rows

    def summary(
        self, rows: Sequence[Mapping[str, Any]], values: Sequence[float], samples: Samples | None = None
    ) -> dict[str, float]:
        """Figures for the closing table: of the rewards, and means of `NUMBERS` over distinct valid fields."""
        figures, kept = summarised(rows, values, "checksum", tuple(STATISTICS))
        return figures | means(kept, list(NUMBERS))

    def write(self, folder: Path, samples: Samples, columns: Mapping[str, Sequence[float]]) -> list[str]:
        """Write samples.npz and samples.nc (NetCDF, with the unit) of the valid fields; returns the file names.

        The npz has `fields` (n, H, W) float32, the columns, and `index`, the row of samples.csv.
        """
        found, about = samples.objects, self.about(samples.prior)
        valid = [i for i, one in enumerate(found) if one is not None]
        if not valid:
            return []
        kept = {key: [column[i] for i in valid] for key, column in columns.items()}
        shown = [found[i] for i in valid]
        write_npz(folder / "samples.npz", {"fields": np.stack(shown), "unit": about.unit, "index": valid, **kept})
        write_atomic(folder / "samples.nc", netcdf(shown, about))
        return ["samples.npz", "samples.nc"]

    def figure(
        self,
        samples: Samples,
        values: Sequence[float],
        label: str,
        path: Path,
        most: int = 12,
        *,
        unguided: tuple[Samples, Sequence[float]] | None = None,
        objective: Objective | None = None,
    ) -> str | None:
        """The best distinct valid fields beside unguided or real ones, with a bar of the unit.

        Args:
            samples, values, label, path, unguided, objective: see `Domain.figure`.
            most: fields a panel.
        """
        from .figures import draw, titled

        def panel(title: str, samples: Samples, values: Sequence[float]) -> Any:
            found = ranked(samples.objects, values, lambda one: None if one is None else one.tobytes())
            return titled(title, found, len(values), label, most)

        guided = panel("samples" if unguided is None else "guided", samples, values)
        if not guided.pictures:
            return None
        about = self.about(samples.prior)
        if unguided is not None:
            beside = panel("unguided", *unguided)
        else:
            real = self.reference(prior=samples.prior)
            shown = [real[i] for i in np.linspace(0, len(real) - 1, min(most, len(real))).round().astype(int)]
            beside = titled(f"real ({about.title})", [(math.nan, one) for one in shown], len(shown), "", most)
        draw([guided, beside], about, path)
        return path.name

    def compared(self, groups: Mapping[str, Samples], path: Path, most: int = 12) -> str | None:
        """Draw groups of fields side by side, see `Domain.compared`."""
        from .figures import draw, titled

        found = {title: [one for one in group.objects if one is not None] for title, group in groups.items()}
        if not any(found.values()):
            return None
        about = self.about(next(iter(groups.values())).prior)
        draw(
            [titled(name, [(math.nan, one) for one in them], 0, "", most) for name, them in found.items()], about, path
        )
        return path.name


def measured(field: np.ndarray) -> dict[str, float]:
    """`NUMBERS` of a field: moments, extremes, and the root-mean-square difference of neighbors."""
    steps = np.concatenate([np.diff(field, axis=axis).ravel() for axis in (0, 1)])
    found = (field.mean(), field.std(), field.min(), field.max(), np.sqrt(np.mean(steps**2)))
    return dict(zip(NUMBERS, map(float, found), strict=True))


def _codec(kind: Kind) -> FieldCodec:
    return FieldCodec(kind.shape, kind.units)


__all__ = ["FieldCodec", "FieldError", "Inverse"]
