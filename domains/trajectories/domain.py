"""The domain of plans: paths of a ball through a maze."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guidekit.core.guidance import Guidance
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.domain import Domain
from guidekit.examples import Example
from guidekit.extras import require
from guidekit.io.files import write_npz
from guidekit.priors.checkpoints import load_gaussian_prior, read_description
from guidekit.samples import Dataset, Samples
from guidekit.sampling import per_group

from . import figures, files, metrics
from .animation import animated
from .codec import PathCodec
from .demonstrations import demonstrate
from .mazes import Maze, maze
from .obstacles import obstructed
from .planning import drive
from .preparation import prepare, prepare_windows
from .prior import PathPrior
from .rewards import REWARDS, PathReward
from .tables import Layout
from .tracking import TIME_STEP
from .windows import WindowCodec, WindowPrior

ASSETS = Path(__file__).parent / "assets"
FIRST = "medium"
"""The maze that is meant where none is named."""
KNOTS = 64
"""Points of a path where no prior says otherwise."""


@dataclasses.dataclass(frozen=True)
class Trajectories(Domain):
    """Paths (K, 2) through a maze, in cells from its upper left corner, as real numbers (B, 2, K).

    Args:
        maze: "u", "medium", "large", "giant", or a text file; None is that of the prior.
        obstacles: what is on no map and stands in the maze, see `obstacles.obstructed`.
        columns: of tables of users: {path: ..., t: ..., x: ..., y: ...}; None is these names.
        cell: length of a cell in the unit of users' files.
        origin: the upper left corner of the maze in the unit of users' files.

    Raises:
        UnknownNameError, MazeError: no such maze, or no obstacle.
    """

    maze: str | None = None
    obstacles: str | Sequence[Sequence[float]] | None = None
    columns: Mapping[str, str] | None = None
    cell: float = 1.0
    origin: tuple[float, float] = (0.0, 0.0)
    name = "trajectories"
    objects = "paths"
    suffix = ".npz"
    assets = ASSETS
    kinds = REWARDS
    job = "array_job"

    def __post_init__(self) -> None:
        """Refuse what is no maze, and a lack of libraries."""
        require(self.name, "scipy")
        self.ground, self.layout  # noqa: B018  fail here, not after sampling

    def examples(self) -> Sequence[Example]:
        """See `Domain.examples`."""
        from .examples import EXAMPLES

        return EXAMPLES

    @property
    def default(self) -> str:
        """See `Domain.default`: the prior of the maze."""
        return self.maze or FIRST

    @functools.cached_property
    def ground(self) -> Maze:
        """The maze that is meant, with its obstacles."""
        return obstructed(maze(self.maze or FIRST), self.obstacles)

    @property
    def layout(self) -> Layout:
        """Of users' files."""
        return Layout.of(self.columns, self.cell, self.origin)

    @property
    def codec(self) -> PathCodec:
        """Of paths through the maze."""
        return PathCodec(self.ground, KNOTS)

    def checkpoint(self, name: str) -> Path:
        """See `Domain.checkpoint`; says how to make a prior of a maze that ships without one."""
        if (
            name == "default"
            and self.assets is not None
            and not (self.assets / f"{self.default}.safetensors").is_file()
        ):
            raise ValueError(
                f"no prior of maze {self.default} ships: guidekit train domain={self.name} domain.maze={self.default} "
                f"output=mine.safetensors makes one, for prior=mine.safetensors; "
                f"there are {', '.join(super().priors())}"
            )
        return super().checkpoint(name)

    def codec_for(self, prior: Prior, description: Mapping[str, Any]) -> PathCodec:
        """See `Domain.codec_for`: as many knots as the prior's states have."""
        found = tuple(description.get("maze", ()))
        through = obstructed(Maze(description["dataset"], found), self.obstacles) if found else self.ground
        if "stride" in description:
            return WindowCodec(through, prior.event_shape[-1], description["stride"])
        return PathCodec(through, prior.event_shape[-1])

    def priors(self) -> dict[str, str]:
        """See `Domain.priors`; of one maze, where one is named."""
        found = super().priors()
        if self.maze is None or self.assets is None:
            return found
        rows = {name: tuple(read_description(self.assets / f"{name}.safetensors").get("maze", ())) for name in found}
        return {name: told for name, told in found.items() if rows[name] == self.ground.rows}

    def load_prior(self, name: str = "default") -> PathPrior:
        """See `Domain.load_prior`; the maze is that of the checkpoint.

        Raises:
            ValueError: `maze` is another one.
        """
        path = self.checkpoint(name)
        made: Any = load_gaussian_prior(path, self.name)
        found = read_description(path, self.name)
        kind = WindowPrior if "stride" in found else PathPrior
        prior = kind(
            made.network, made.process, made.event_shape, made.parametrization, made.sigma_data, card=made.card
        )
        return self.completed(prior, made, found)

    def completed(self, prior: Any, made: Any, description: Mapping[str, Any]) -> Any:
        """A prior with its codec, and what `made` of the same checkpoint says of itself.

        Raises:
            ValueError: `maze` is another one.
        """
        prior.name, prior.dataset, prior.made = made.name, made.dataset, made.made
        prior.codec = self.codec_for(prior, description)
        through = prior.codec.maze
        if self.maze is not None and through.rows != self.ground.rows:
            raise ValueError(f"{prior.name} is of maze {through.name}, not of domain.maze={self.maze}; leave it out")
        return prior

    def through(self, prior: Prior | None) -> Maze:
        """The maze of a prior, or that of the domain without one."""
        return getattr(getattr(prior, "codec", None), "maze", self.ground)

    def bind(self, function: Any, name: str | None = None, **isolation: Any) -> Objective:
        """See `Domain.bind`; rewards of this domain are told the maze."""
        if isinstance(function, PathReward):
            return dataclasses.replace(function, codec=self.codec)  # type: ignore[type-var]
        return super().bind(function, name, **isolation)

    def suited(self, reward: Objective, prior: Prior) -> Objective:
        """See `Domain.suited`: rewards of paths read the states of the prior."""
        reward = super().suited(reward, prior)
        own = getattr(prior, "codec", None)
        if isinstance(reward, PathReward) and isinstance(own, PathCodec):
            return dataclasses.replace(reward, codec=own)  # type: ignore[type-var]
        return reward

    def reference(self, *, split: str = "test", prior: Prior | None = None) -> list[np.ndarray]:
        """Demonstrations driven anew; those of training have other seeds."""
        return list(demonstrate(self.through(prior), 120, KNOTS, seed=1 if split == "test" else 2).paths.astype(float))

    def read_samples(self, path: str | Path, column: str | None = None, prior: Prior | None = None) -> Dataset:
        """Paths of an NPZ, CSV or GeoJSON file, or of a run's folder."""
        if column is not None:
            raise ValueError(f"column={column!r}: paths are read from the columns path, x and y")
        path = Path(path)
        if path.is_dir():  # of a run: in cells
            return Dataset(files.read_paths(path / "samples.npz"))
        return Dataset(files.read_paths(path, self.layout))

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> None:
        """See `preparation.prepare`, and `preparation.prepare_windows` for trainer=windows."""
        if "stride" in trainer:
            prepare_windows(path, data, trainer, self.ground)
        else:
            prepare(path, data, trainer, self.ground, self.layout)

    def evaluate(
        self,
        objects: Sequence[np.ndarray | None],
        reference: Sequence[np.ndarray] | None = None,
        *,
        training: Sequence[np.ndarray] | None = None,
        prior: Prior | None = None,
        condition: Any = None,
        labels: Sequence[int] | None = None,
        radius: float = 0.3,
        **options: Any,
    ) -> dict[str, Any]:
        """Success, clean runs and length of what is executed; see `metrics.evaluate`."""
        return metrics.evaluate(self.through(prior), list(objects), radius)

    def write(self, folder: Path, samples: Samples, columns: Mapping[str, Sequence[float]]) -> list[str]:
        """Write samples.npz (paths, or windows), points.csv and samples.geojson of the valid ones."""
        valid = [i for i, path in enumerate(samples.objects) if path is not None]
        if not valid:
            return []
        paths = [samples.objects[i] for i in valid]
        kept = {key: [column[i] for i in valid] for key, column in columns.items()}
        name = "windows" if paths[0].shape[1] == 6 else "paths"
        write_npz(folder / "samples.npz", {name: np.stack(paths), "index": valid, **kept})
        return ["samples.npz", *files.write_paths(folder, paths, valid)]

    def table(self, samples: Samples) -> list[dict[str, Any]]:
        """One row a sample for samples.csv, see `metrics.judged`."""
        return metrics.judged(self.through(samples.prior), samples.objects)

    def summary(
        self, rows: Sequence[Mapping[str, Any]], values: Sequence[float], samples: Samples | None = None
    ) -> dict[str, float]:
        """Rewards, and shares and means of the rows."""
        found = super().summary(rows, values, samples)
        found |= {key: float(np.mean([row[key] for row in rows])) for key in ("free", "success", "clean")}
        for key in ("length", "ratio"):
            numbers = [row[key] for row in rows if np.isfinite(row[key])]
            found[key] = float(np.mean(numbers)) if numbers else float("nan")
        return found

    def drive(
        self, folder: Path, prior: Prior, guidance: Guidance | None, condition: Any, **settings: Any
    ) -> dict[str, float]:
        """See `Domain.drive`: writes runs.csv, with the control step and the time of every point, and run.svg."""
        assert isinstance(prior, PathPrior)
        count = settings.pop("num_samples")
        starts, goals = prior.ends(per_group(condition, count, "cpu"))
        driven = drive(prior, starts, goals, guidance, **settings)
        files.write_runs(folder, driven.positions)
        animated(prior.codec.maze, driven, folder / "run.svg")
        ratio = driven.lengths / metrics.shortest(prior.codec.maze, starts, goals)
        arrived = driven.arrived()
        return {
            "success": float(arrived.mean()),
            "clean": float((arrived & ~driven.touched).mean()),
            "ratio": float(np.mean(ratio[arrived])) if arrived.any() else float("nan"),
            "plans of a run": float(np.mean([len(each) for each in driven.plans])),
            "seconds of a run": float(np.mean([len(each) - 1 for each in driven.positions])) * TIME_STEP,
        }

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
        groups = [("samples" if unguided is None else "guided", samples, values)]
        groups += [] if unguided is None else [("unguided", *unguided)]
        ground, panels = self.through(samples.prior), []
        for name, group, scores in groups:
            good = [i for i, each in enumerate(group.objects) if each is not None]
            clean = [row["clean"] for row in metrics.judged(ground, [group.objects[i] for i in good])]
            title = figures.titled(name, clean, scores, label)
            panels.append((title, [group.objects[i] for i in good], clean))
        if not any(paths for _, paths, _ in panels):
            return None
        figures.draw(ground, panels, path)
        return path.name
