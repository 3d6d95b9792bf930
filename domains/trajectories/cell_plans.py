"""Plans as sequences of maze cells: a domain of tokens beside that of knots."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.domain import Domain
from guidekit.examples import Example
from guidekit.io.files import write_npz
from guidekit.priors.checkpoints import load_token_prior, read_description
from guidekit.samples import Samples

from . import Trajectories, files, metrics
from .cell_preparation import LONGEST, prepare_cells
from .cell_prior import CellPrior
from .cells import CellCodec, Passable
from .mazes import Maze, lengths, maze
from .obstacles import obstructed

FIRST = "large"
"""The maze that is meant where none is named."""


@dataclasses.dataclass(frozen=True, eq=False)
class ExecutedString:
    """What comes of a path under the controller, a black box: 1 for arriving, .5 less where a wall was touched.

    A hundredth is taken off for every cell of length, so that of two that arrive the shorter is better.

    Args:
        radius: cells from the goal within which it has arrived, and stayed.
        maze: with its walls.
    """

    radius: float = 0.3
    maze: Maze | None = None
    name: ClassVar[str] = "executed"
    floor: ClassVar[float | None] = None
    temperature: ClassVar[float] = 0.1

    def __call__(self, path: np.ndarray) -> float:
        """One path (n, 2) in, one number out."""
        assert self.maze is not None, "made by the domain, which knows the maze"
        run = metrics.executed(self.maze, [path])
        good = float(metrics.arrived(run, path[None, -1], self.radius)[0])
        return good - 0.5 * float(run.touched[0]) - 0.01 * float(lengths(path[None])[0])


@dataclasses.dataclass(frozen=True, eq=False)
class ShortString:
    """Minus the length of the taut string through the cells, in cells; a black box."""

    name: ClassVar[str] = "shortness"
    floor: ClassVar[float | None] = None
    temperature: ClassVar[float] = 0.5

    def __call__(self, path: np.ndarray) -> float:
        """One path (n, 2) in, one number out."""
        return -float(lengths(path[None])[0])


@dataclasses.dataclass(frozen=True)
class Cells(Trajectories):
    """Paths through a maze as tokens (B, L): the cells they pass, the last one repeated to the end.

    Objects are the taut strings (n, 2) through those cells, in cells from the upper left corner; None where cells do
    not follow each other.
    """

    name = "cells"
    assets = Path(__file__).parent / "assets" / "cells"
    kinds = {ExecutedString.name: ExecutedString, ShortString.name: ShortString}
    job = "token_job"

    def examples(self) -> Sequence[Example]:
        """None beside those of `Trajectories`."""
        return ()

    @property
    def default(self) -> str:
        """See `Domain.default`: the prior of the maze."""
        return self.maze or FIRST

    @functools.cached_property
    def ground(self) -> Maze:
        """The maze that is meant, with its obstacles."""
        return obstructed(maze(self.maze or FIRST), self.obstacles)

    @property
    def codec(self) -> CellCodec:  # type: ignore[override]
        """Of paths through the maze."""
        return CellCodec(self.ground, LONGEST.get(self.ground.name, len(self.ground.cells)))

    def codec_for(self, prior: Prior, description: Mapping[str, Any]) -> CellCodec:  # type: ignore[override]
        """See `Domain.codec_for`: as many cells as the prior's states have."""
        found = tuple(description.get("maze", ()))
        through = obstructed(Maze(description["dataset"], found), self.obstacles) if found else self.ground
        return CellCodec(through, prior.event_shape[0])

    def verifier(self, forbidden: Sequence[str] = (), prior: Prior | None = None) -> Passable:  # type: ignore[override]
        """What finds the first cell that does not follow the one before it, or that obstacles cut off.

        Raises:
            ValueError: something is forbidden by name.
        """
        if forbidden:
            raise ValueError(f"forbidden={list(forbidden)}: what plans must avoid is said by domain.obstacles=")
        codec = getattr(prior, "codec", None)
        return Passable(codec if isinstance(codec, CellCodec) else self.codec)

    def load_prior(self, name: str = "default") -> CellPrior:  # type: ignore[override]
        """See `Domain.load_prior`; the maze is that of the checkpoint.

        Raises:
            ValueError: `maze` is another one.
        """
        path = self.checkpoint(name)
        made, found = load_token_prior(path, self.name), read_description(path, self.name)
        prior = CellPrior(
            made.network, made.process.vocab_size, made.length_counts, None, made.card, made.temperature, made.process
        )
        return self.completed(prior, made, found)

    def bind(self, function: Any, name: str | None = None, **isolation: Any) -> Objective:
        """See `Domain.bind`; rewards of this domain are told the maze."""
        if isinstance(function, ExecutedString):
            function = dataclasses.replace(function, maze=self.ground)
        return Domain.bind(self, function, name, **isolation)

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> None:
        """See `cell_preparation.prepare_cells`."""
        prepare_cells(path, data, trainer, self.codec)

    def write(self, folder: Path, samples: Samples, columns: Mapping[str, Sequence[float]]) -> list[str]:
        """Write samples.npz (points and offsets), points.csv and samples.geojson of the valid paths."""
        objects = exact_ends(samples)
        paths = [path for path in objects if path is not None]
        if not paths:
            return []
        valid = [i for i, path in enumerate(objects) if path is not None]
        kept = {key: [column[i] for i in valid] for key, column in columns.items()}
        offsets = np.cumsum([0, *map(len, paths)])
        cells = samples.states[valid].cpu().numpy()
        arrays = {"points": np.concatenate(paths), "offsets": offsets, "index": valid, "cells": cells, **kept}
        write_npz(folder / "samples.npz", arrays)
        return ["samples.npz", *files.write_paths(folder, paths, valid)]

    def table(self, samples: Samples) -> list[dict[str, Any]]:
        """One row a sample for samples.csv, see `metrics.judged`."""
        return metrics.judged(self.through(samples.prior), exact_ends(samples))

    def figure(
        self,
        samples: Samples,
        values: Sequence[float],
        label: str,
        path: Path,
        *,
        unguided: tuple[Samples, Sequence[float]] | None = None,
        objective: Objective | None = None,
    ) -> str | None:
        """Guided paths on the maze, beside unguided ones."""
        beside = None if unguided is None else (_Drawn(unguided[0]), unguided[1])
        return super().figure(_Drawn(samples), values, label, path, unguided=beside, objective=objective)  # type: ignore[arg-type]


def exact_ends(samples: Samples) -> list[np.ndarray | None]:
    """Objects of samples, from the very start to the very goal where the condition says them."""
    codec: Any = samples.prior.codec
    given = samples.condition
    if given is None or not isinstance(given, Mapping | Sequence):
        return samples.objects
    ends = [given] * len(samples) if isinstance(given, Mapping) else list(given)
    if len(ends) != len(samples):
        ends = [ends[i * len(ends) // len(samples)] for i in range(len(samples))]
    return codec.paths(samples.states, ends)


class _Drawn:
    """Samples whose objects have exact ends."""

    def __init__(self, samples: Samples) -> None:
        self.prior, self.objects = samples.prior, exact_ends(samples)
