"""What the domains of sounds and of chorales have in common."""

from __future__ import annotations

import math
import statistics
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from guidekit.domain import Domain, require
from guidekit.objectives import ObjectReward
from guidekit.priors.base import Prior
from guidekit.priors.checkpoints import read_description

from .data import ASSETS
from .figures import Panel, sheet
from .rewards import StateReward, state_reward


class SoundDomain(Domain):
    """Base: real-valued pictures of what sounds (B, C, H, W) in [-1, 1], with classes."""

    assets = ASSETS
    job = "array_job"
    shows_unguided = True
    libraries: tuple[str, ...]
    """Modules of the extra that are needed for anything but training."""
    default: str
    """Name of the shipped prior that "default" stands for."""
    classes: tuple[str, ...]

    def __init__(self) -> None:
        for module in self.libraries:  # say so now, not after an hour of sampling
            require("audio", module)
        self.wanted: int | None = None

    def checkpoint(self, name: str) -> Path:
        """See `Domain.checkpoint`; "default" is the shipped prior of this domain, where there is one."""
        own = self.assets / f"{self.default}.safetensors"
        return own if name == "default" and own.is_file() else super().checkpoint(name)

    def priors(self) -> dict[str, str]:
        """Shipped priors of this domain and what they were made from."""
        found = {path.stem: read_description(path) for path in sorted(self.assets.glob("*.safetensors"))}
        return {
            name: f"{made['card'].get('data', '')}; {made['card'].get('summary', '')}"
            for name, made in found.items()
            if made.get("domain") == self.name
        }

    def load_prior(self, name: str = "default") -> Prior:
        """A shipped prior or one in a checkpoint file; takes over its classes.

        Raises:
            CheckpointError: missing, truncated, or of another domain.
            UnknownNameError: neither a shipped prior nor a file.
        """
        from guidekit.priors.checkpoints import load_gaussian_prior

        path = self.checkpoint(name)
        prior = load_gaussian_prior(path, self.name)
        labels = [label["values"] for label in read_description(path).get("labels", ()) if label["name"] == "class"]
        self.classes = tuple(labels[0]) if labels else ()
        return prior

    def bind(self, function: Callable, name: str | None = None) -> StateReward | ObjectReward:
        """A reward of states from a function of an object; those of states and torch modules are taken as they are."""
        found = state_reward(function)
        if found is not None:
            found.refuse_shape(self.shape)
            return found
        reward = super().bind(function, name)
        if hasattr(function, "temperature"):
            reward.temperature = function.temperature
        return reward

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a state, without the batch."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement shape")

    def compare_with(self, condition: Any) -> None:
        """Samples of one class are compared with real ones of it."""
        named = condition.get("class") if isinstance(condition, Mapping) else condition
        if isinstance(named, Sequence) and not isinstance(named, str) and len(named) == 1:
            named = named[0]
        if isinstance(named, str) and named in self.classes:
            self.wanted = self.classes.index(named)
        elif isinstance(named, int) and not isinstance(named, bool) and 0 <= named < len(self.classes):
            self.wanted = named

    def rows(self, states: Tensor) -> tuple[list[Any | None], list[str]]:
        """Objects of states and why there is none, empty where there is one."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement rows")

    def measures(self, thing: Any) -> dict[str, float]:
        """Numbers of an object for tables."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement measures")

    def stored(self, thing: Any) -> bytes:
        """What makes two objects the same."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement stored")

    def table(self, states: Tensor) -> list[dict[str, Any]]:
        """One row a sample for samples.csv: checksum, the numbers of `measures`, validity and the reason."""
        objects, reasons = self.rows(states)
        numbers = [None if one is None else self.measures(one) for one in objects]
        empty = dict.fromkeys(next((one for one in numbers if one is not None), {}), math.nan)
        return [
            {"checksum": "" if one is None else f"{zlib.crc32(self.stored(one)):08x}"}
            | (empty if own is None else own)
            | {"valid": one is not None, "reason": reason}
            for one, own, reason in zip(objects, numbers, reasons, strict=True)
        ]

    def summary(self, rows: Sequence[Mapping[str, Any]], values: Sequence[float]) -> dict[str, float]:
        """Figures for the closing table, from the rows of `table` and the rewards; means over distinct valid ones."""
        distinct = {row["checksum"]: (value, row) for row, value in zip(rows, values, strict=True) if row["valid"]}
        scored = [value for value, _ in distinct.values() if math.isfinite(value)]
        valid = sum(row["valid"] for row in rows)
        figures = {"valid": valid / len(rows), "unique": len(distinct) / valid if valid else math.nan}
        figures["reward"] = statistics.fmean(scored) if scored else math.nan
        figures["reward sd"] = statistics.stdev(scored) if len(scored) > 1 else math.nan
        figures["median reward"] = statistics.median(scored) if scored else math.nan
        figures["best"] = max(scored, default=math.nan)
        for name in rows[0]:
            if name not in ("checksum", "valid", "reason"):
                column = [row[name] for _, row in distinct.values()]
                figures[name] = statistics.fmean(column) if column else math.nan
        return figures

    def chosen(self, states: Tensor, values: Sequence[float]) -> list[tuple[float, int, Any]]:
        """(value, row, object) of the distinct valid samples, best first."""
        best: dict[bytes, tuple[float, int, Any]] = {}
        for i, (one, value) in enumerate(zip(self.rows(states)[0], values, strict=True)):
            if one is not None:
                best.setdefault(self.stored(one), (value, i, one))
        return sorted(best.values(), key=lambda row: -math.inf if math.isnan(row[0]) else row[0], reverse=True)

    def picture(self, thing: Any) -> np.ndarray:
        """An object as numbers (H, W) or colours (H, W, 3) for `figures.sheet`, low pitches at the bottom."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement picture")

    def reference(self, label: int | None = None, split: str = "test") -> list[Any]:
        """Real objects shipped with the domain, of one class where a label is given."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement reference")

    def figure(
        self,
        states: Tensor,
        values: Sequence[float],
        label: str,
        path: Path,
        most: int = 12,
        unguided: tuple[Tensor, Sequence[float]] | None = None,
    ) -> str | None:
        """The best distinct valid samples beside unguided or real ones; returns the file name, None without any.

        Args:
            states: (B, C, H, W).
            values: rewards (B,), NaN for none.
            label: of the reward.
            path: PNG to write.
            most: pictures a panel.
            unguided: states and rewards of samples without guidance.
        """
        title = "guided" if unguided is not None else "samples"
        panels = [self._panel(title, states, values, label, most)]
        if unguided is not None:
            panels.append(self._panel("unguided", *unguided, label, most))
        else:
            real = self.reference(self.wanted)
            shown = [real[i] for i in np.linspace(0, len(real) - 1, min(most, len(real))).round().astype(int)]
            panels.append(Panel("real", [self.picture(one) for one in shown], [math.nan] * len(shown)))
        if not panels[0].pictures:
            return None
        sheet([panel for panel in panels if panel.pictures], path, *self.axes)
        return path.name

    axes: tuple[str, str] = ("", "")
    """What the two directions of a picture are."""

    def _panel(self, title: str, states: Tensor, values: Sequence[float], label: str, most: int) -> Panel:
        found = self.chosen(states, values)
        scored = [value for value, _, _ in found if math.isfinite(value)]
        if scored:
            title += f": best {min(most, len(found))} of {len(values)} by {label}, mean {statistics.fmean(scored):.3g}"
        return Panel(title, [self.picture(one) for _, _, one in found[:most]], [value for value, _, _ in found[:most]])

    @staticmethod
    def note(path: str | Path, skipped: Sequence[tuple[str, str]], fate: str, notes: Sequence[str]) -> str:
        """What is to be said of a file that was read."""
        told = [f"{path}: {len(skipped)} files {fate}; the first: {skipped[0][1]}"] if skipped else []
        return "; ".join([*told, *notes])
