"""Tracks of cyclones written and drawn: CSV, NPZ, GeoJSON, and a picture over longitude and latitude."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from guidekit.io.files import write_atomic, write_npz
from guidekit.reporting.panels import DPI, FAINT, INK, LITERAL

from .cyclones import COLUMNS, Track

MOST = 60
"""Tracks of a group that are drawn."""


def write_tracks(folder: str | Path, tracks: Sequence[Track]) -> list[str]:
    """Write tracks.csv (as `read_tracks` reads it), tracks.npz (points, offsets) and tracks.geojson.

    Lines of GeoJSON keep longitudes that run past 180, so that a line does not jump around the world.
    """
    folder, stream = Path(folder), io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(COLUMNS.values())
    features = []
    for track in tracks:
        for number, (lon, lat, wind) in enumerate(track.points):
            time = track.time + np.timedelta64(round(number * track.hours * 3600), "s")
            speed = "" if np.isnan(wind) else f"{wind:.1f}"
            table.writerow([track.storm, str(time).replace("T", " "), f"{lon:.4f}", f"{lat:.4f}", speed])
        wind = [None if np.isnan(each) else round(float(each), 1) for each in track.points[:, 2]]
        told = {"storm": track.storm, "time": str(track.time), "hours": track.hours, "wind": wind}
        line = {"type": "LineString", "coordinates": np.round(track.points[:, :2], 4).tolist()}
        features.append({"type": "Feature", "properties": told, "geometry": line})
    write_atomic(folder / "tracks.csv", stream.getvalue().encode())
    write_atomic(folder / "tracks.geojson", json.dumps({"type": "FeatureCollection", "features": features}).encode())
    offsets = np.cumsum([0, *(len(track.points) for track in tracks)])
    arrays = {"points": np.concatenate([track.points for track in tracks]), "offsets": offsets}
    write_npz(folder / "tracks.npz", arrays)
    return ["tracks.csv", "tracks.npz", "tracks.geojson"]


def draw_tracks(groups: Mapping[str, Sequence[np.ndarray]], path: str | Path) -> None:
    """Draw groups of tracks (n, 3) over longitude and latitude, one color a group, thicker where the wind is stronger.

    Args:
        groups: title and tracks.
        path: png file to write.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    colors = ("#2f6fb3", "#c0392b", "#e0a84a", "#4b8b5a")
    with rc_context({**LITERAL, "font.family": "DejaVu Sans", "font.size": 8, "text.color": INK}):
        figure = Figure(figsize=(6, 4), dpi=DPI, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for number, (title, tracks) in enumerate(groups.items()):
            color = colors[number % len(colors)]
            for each in list(tracks)[:MOST]:
                pieces = np.stack([each[:-1, :2], each[1:, :2]], 1)
                width = 0.4 + np.nan_to_num(each[1:, 2], nan=0.0) / 50
                axes.add_collection(LineCollection(list(pieces), linewidths=list(width), colors=color, alpha=0.6))
                axes.plot(*each[0, :2], "o", color=color, ms=2)
            axes.plot([], [], color=color, label=title)
        axes.autoscale_view()
        middle = float(np.mean(axes.get_ylim()))
        axes.set_aspect(1 / max(np.cos(np.radians(middle)), 0.2))
        axes.set(xlabel="longitude, degrees", ylabel="latitude, degrees")
        axes.grid(color=FAINT, lw=0.3, alpha=0.5)
        axes.legend(frameon=False)
        stream = io.BytesIO()
        figure.savefig(stream, format="png")
    write_atomic(Path(path), stream.getvalue())
