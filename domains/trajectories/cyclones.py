"""Tracks of tropical cyclones: CSV files in their own columns and units, a Gaussian prior fitted at once, errors.

A track is (n, 3) float64: longitude and latitude in degrees (longitude runs on past 180 instead of jumping), and wind
in knots, at even steps of time.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from guidekit.io.contents import text
from guidekit.priors.gaussian import Gaussian
from guidekit.processes import EDM

COLUMNS = {"storm": "SID", "time": "ISO_TIME", "lon": "LON", "lat": "LAT", "wind": "USA_WIND"}
"""Columns of IBTrACS (NOAA, public domain), whose second line has units and is skipped."""
KNOTS = {"kt": 1.0, "m/s": 1 / 0.514444, "km/h": 1 / 1.852, "mph": 1 / 1.150779}
"""Knots of one unit of wind."""
EARTH = 6371.0
"""Mean radius, km."""


@dataclasses.dataclass(frozen=True)
class Track:
    """A storm at even steps of time.

    Args:
        storm: its name in the file.
        time: of the first fix.
        hours: from fix to fix.
        points: (n, 3): longitude, latitude, wind in knots (NaN where it is not told).
    """

    storm: str
    time: np.datetime64
    hours: float
    points: np.ndarray


def read_tracks(
    path: str | Path, columns: Mapping[str, str] | None = None, hours: float = 6.0, wind: str = "kt", shortest: int = 2
) -> list[Track]:
    """Tracks of a CSV file with one row a fix.

    Fixes between the steps, such as landfalls, are left out; a storm is cut where one is missing, and its pieces are
    tracks of their own.

    Args:
        path: of the file.
        columns: names of storm, time (ISO 8601), lon, lat and wind in it, where they are not those of IBTrACS.
        hours: wanted from fix to fix, counted from midnight.
        wind: its unit: kt, m/s, km/h or mph.
        shortest: fixes of the shortest piece that is kept.

    Raises:
        ValueError: columns that are not there, a place or time that is none (with its line), an unknown unit, or no
            track at all.
    """
    if wind not in KNOTS:
        raise ValueError(f"wind={wind!r}; accepted units: {', '.join(KNOTS)}")
    names = {**COLUMNS, **(columns or {})}
    if set(names) != set(COLUMNS):
        raise ValueError(f"columns={dict(columns or {})}: names are given for {', '.join(COLUMNS)}")
    rows = list(csv.DictReader(io.StringIO(text(Path(path)))))
    lacking = [name for name in names.values() if not rows or name not in rows[0]]
    if lacking:
        raise ValueError(f"{path} has no column {lacking[0]!r}; say which they are: columns={{lon: ..., lat: ...}}")
    fixes: dict[str, list[tuple[np.datetime64, float, float, float]]] = {}
    for number, row in enumerate(rows, 2):
        if number == 2 and not row[names["time"]].strip()[:1].isdigit():
            continue  # a line of units
        try:
            time = np.datetime64(row[names["time"]].strip().replace(" ", "T"), "s")
            lon, lat = float(row[names["lon"]]), float(row[names["lat"]])
            told = row[names["wind"]].strip()
            speed = float(told) * KNOTS[wind] if told else np.nan
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
        if np.isnat(time) or not -360 <= lon <= 360 or not -90 <= lat <= 90:  # NaN as well
            raise ValueError(f"{path}, line {number}: longitude {lon}, latitude {lat} at {time} is no place and time")
        fixes.setdefault(row[names["storm"]], []).append((time, lon, lat, speed))
    found = [piece for storm, each in fixes.items() for piece in _pieces(storm, sorted(each), hours)]
    kept = [piece for piece in found if len(piece.points) >= shortest]
    if not kept:
        raise ValueError(f"{path}: no storm has {shortest} fixes at steps of {hours:g} hours")
    return kept


def _pieces(storm: str, fixes: Sequence[tuple], hours: float) -> list[Track]:
    """Runs of fixes at even steps."""
    times = np.array([each[0] for each in fixes])
    seconds = (times - times.astype("datetime64[D]")).astype("timedelta64[s]").astype(int)
    even = [i for i in range(len(fixes)) if seconds[i] % round(hours * 3600) == 0]
    even = [i for k, i in enumerate(even) if k == 0 or times[i] != times[even[k - 1]]]  # agencies report twice
    steps = np.diff(times[even]).astype("timedelta64[s]").astype(float)
    cuts = np.flatnonzero(steps != hours * 3600) + 1
    made = []
    for part in np.split(np.array(even, int), cuts):
        if len(part):
            points = np.array([fixes[i][1:] for i in part], float)
            points[:, 0] = np.unwrap(points[:, 0], period=360)
            made.append(Track(storm, times[part[0]], hours, points))
    return made


def windows(tracks: Sequence[Track], length: int, every: int = 4) -> np.ndarray:
    """Pieces (m, length, 3) of tracks, one from every few fixes; those without wind somewhere are left out.

    Raises:
        ValueError: none is that long.
    """
    cut = [t.points[i : i + length] for t in tracks for i in range(0, len(t.points) - length + 1, every)]
    found = [each for each in cut if np.isfinite(each).all()]
    if not found:
        raise ValueError(f"no track has {length} fixes in a row with their wind")
    return np.stack(found)


@dataclasses.dataclass(frozen=True)
class TrackCodec:
    """Between windows (length, 3) and states (B, 3 * length) relative to the fix `now`, in hundreds of km and 25 kt.

    Args:
        length: fixes.
        now: number of the fix that is the origin of places; wind and latitude themselves are kept.
    """

    length: int
    now: int

    def encode(self, objects: Sequence[np.ndarray]) -> Tensor:
        """States (B, 3 * length) float64, see the class; the last block is wind."""
        points = np.stack([np.asarray(each, float) for each in objects])
        origin = points[:, self.now : self.now + 1]
        east = (points[..., 0] - origin[..., 0]) * np.cos(np.radians(origin[..., 1])) * _DEGREE
        north = (points[..., 1] - origin[..., 1]) * _DEGREE
        return torch.from_numpy(np.concatenate([east, north, points[..., 2] / 25], 1))

    def decode(self, states: Tensor, origin: Sequence[float] = (0.0, 0.0)) -> list[np.ndarray]:
        """Windows (length, 3) around an origin (longitude, latitude); wind is at least 0."""
        east, north, wind = states.double().cpu().numpy().reshape(len(states), 3, self.length).transpose(1, 0, 2)
        lon = origin[0] + east / (np.cos(np.radians(origin[1])) * _DEGREE)
        return list(np.stack([lon, origin[1] + north / _DEGREE, np.maximum(25 * wind, 0)], -1))


_DEGREE = 2 * np.pi * EARTH / 360 / 100
"""Hundreds of km of a degree."""


@dataclasses.dataclass(frozen=True)
class TrackModel:
    """A Gaussian law of windows; forecasts are its exact conditional laws.

    Args:
        codec: of the windows.
        mean: (3 * length,) float64.
        covariance: of states.
    """

    codec: TrackCodec
    mean: Tensor
    covariance: Tensor

    @classmethod
    def fit(cls, pieces: np.ndarray, now: int, shrink: float = 0.02) -> TrackModel:
        """The model of windows (m, length, 3); shrink: share of the covariance that is replaced by its diagonal."""
        codec = TrackCodec(pieces.shape[1], now)
        states = codec.encode(list(pieces))
        covariance = torch.cov(states.T)
        diagonal = torch.diag(covariance.diag().clamp_min(1e-6))
        return cls(codec, states.mean(0), (1 - shrink) * covariance + shrink * diagonal)

    @property
    def prior(self) -> Gaussian:
        """The law of windows, a prior as any other."""
        return Gaussian(self.mean, self.covariance, EDM())

    def forecast(self, history: np.ndarray) -> Gaussian:
        """The exact law of a window (states) whose first `now` + 1 fixes (k, 3) are known.

        Raises:
            ValueError: another number of fixes, or one that is not finite.
        """
        known, length = self.codec.now + 1, self.codec.length
        history = np.asarray(history, float)
        if history.shape != (known, 3) or not np.isfinite(history).all():
            raise ValueError(f"history has shape {history.shape}; ({known}, 3) is expected: lon, lat, wind, all finite")
        whole = np.concatenate([history, np.repeat(history[-1:], length - known, 0)])
        state = self.codec.encode([whole])[0]
        seen = torch.zeros(3, length, dtype=torch.bool)
        seen[:, :known] = True
        seen = seen.flatten()
        across = self.covariance[:, seen] @ torch.linalg.pinv(self.covariance[seen][:, seen], hermitian=True)
        mean = self.mean + across @ (state - self.mean)[seen]
        covariance = self.covariance - across @ self.covariance[seen]
        mean[seen] = state[seen]
        covariance[seen], covariance[:, seen] = 0.0, 0.0
        tiny = 1e-8 * torch.eye(len(mean), dtype=mean.dtype)
        return Gaussian(mean, (covariance + covariance.T) / 2 + tiny, EDM())


def great_circle(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distance in km of places (..., 2 or more): longitude, latitude in degrees (haversine)."""
    a, b = np.radians(one[..., :2]), np.radians(other[..., :2])
    half = np.sin((b - a) / 2) ** 2
    inner = half[..., 1] + np.cos(a[..., 1]) * np.cos(b[..., 1]) * half[..., 0]
    return 2 * EARTH * np.arcsin(np.sqrt(inner.clip(0, 1)))


def errors(forecasts: np.ndarray, truth: np.ndarray, known: int) -> dict[str, np.ndarray]:
    """Errors of an ensemble (n, length, 3) against a window (length, 3), for every fix behind the `known` ones.

    Returns:
        track, km between the mean place and the true one; spread, root of the mean squared distance to the mean place;
        wind, mean minus true, knots.
    """
    ahead, real = forecasts[:, known:], truth[known:]
    mean = ahead.mean(0)
    spread = np.sqrt(np.square(great_circle(ahead, mean[None])).mean(0))
    return {"track": great_circle(mean, real), "spread": spread, "wind": mean[:, 2] - real[:, 2]}


def intensity(pieces: np.ndarray) -> dict[str, float]:
    """Wind of windows (m, length, 3) at 6 h: mean, peaks (mean and 95 %), share that rise by 30 kt in 24 h."""
    wind = pieces[..., 2]
    rise = wind[:, 4:] - wind[:, :-4]
    peak = wind.max(1)
    return {
        "mean wind": float(wind.mean()),
        "mean peak": float(peak.mean()),
        "95 % of peaks": float(np.quantile(peak, 0.95)),
        "rapid intensification": float((rise.max(1) >= 30).mean()),
    }
