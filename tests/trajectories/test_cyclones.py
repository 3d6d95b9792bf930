"""Tracks of cyclones: files, an exact Gaussian forecast, errors on the sphere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.domains.trajectories.cyclone_files import draw_tracks, write_tracks
from guidekit.domains.trajectories.cyclones import (
    Track,
    TrackCodec,
    TrackModel,
    errors,
    great_circle,
    intensity,
    read_tracks,
    windows,
)

HEAD = "SID,ISO_TIME,LAT,LON,USA_WIND\n ,,degrees_north,degrees_east,kts\n"


def made(count, length, seed=0):
    """Tracks that drift west and north at a speed of their own."""
    generator = np.random.default_rng(seed)
    speed = generator.normal([-1.0, 0.5, 2.0], [0.3, 0.2, 1.0], (count, 1, 3))
    start = np.concatenate([generator.uniform([-60, 10], [-30, 20], (count, 1, 2)), np.full((count, 1, 1), 40.0)], -1)
    return start + speed * np.arange(length)[:, None] + 0.02 * generator.standard_normal((count, length, 3))


def test_a_file_is_cut_at_gaps_and_fixes_between_steps_are_left_out(tmp_path):
    rows = ["A,2001-09-01 00:00:00,10,179,30", "A,2001-09-01 06:00:00,11,-179.5,", "A,2001-09-01 08:30:00,11.2,-179,40"]
    rows += ["A,2001-09-01 12:00:00,12,-178,45", "A,2001-09-02 00:00:00,13,-176,50", "A,2001-09-02 06:00:00,14,-175,50"]
    (tmp_path / "x.csv").write_text(HEAD + "\n".join(rows) + "\n")
    first, second = read_tracks(tmp_path / "x.csv")
    np.testing.assert_allclose(first.points[:, 0], [179, 180.5, 182])  # runs on past the date line
    assert np.isnan(first.points[1, 2]) and first.storm == "A" and str(first.time) == "2001-09-01T00:00:00"
    assert len(second.points) == 2


def test_columns_and_units_are_named(tmp_path):
    (tmp_path / "x.csv").write_text("id,when,x,y,v\n1,2001-09-01T00,10,20,50\n1,2001-09-01T12,11,21,25\n")
    columns = {"storm": "id", "time": "when", "lon": "x", "lat": "y", "wind": "v"}
    (track,) = read_tracks(tmp_path / "x.csv", columns, hours=12, wind="m/s")
    np.testing.assert_allclose(track.points, [[10, 20, 97.19], [11, 21, 48.6]], atol=0.01)


@pytest.mark.parametrize(
    ("body", "options", "words"),
    [
        ("a,b\n1,2\n", {}, "has no column 'SID'"),
        (HEAD + "A,2001-09-01 00:00:00,nan,179,30\n", {}, "line 3: longitude 179.0, latitude nan .* is no place"),
        (HEAD + "A,2001-09-01 00:00:00,10,x,30\n", {}, "line 3: could not convert"),
        (HEAD + "A,2001-13-01 00:00:00,10,1,30\n", {}, "line 3: "),
        (HEAD + "A,2001-09-01 00:00:00,10,1,30\n", {}, "no storm has 2 fixes at steps of 6 hours"),
        (HEAD, {"wind": "bft"}, "accepted units: kt, m/s"),
        (HEAD, {"columns": {"longitude": "x"}}, "names are given for storm, time"),
    ],
)
def test_bad_files_are_one_line(tmp_path, body, options, words):
    (tmp_path / "x.csv").write_text(body)
    with pytest.raises(ValueError, match=words):
        read_tracks(tmp_path / "x.csv", **options)


def test_distances_are_those_of_the_sphere():
    quarter = np.pi / 2 * 6371
    np.testing.assert_allclose(great_circle(np.array([0.0, 0.0]), np.array([90.0, 0.0])), quarter)
    np.testing.assert_allclose(great_circle(np.array([0.0, 0.0]), np.array([37.0, 90.0])), quarter)
    np.testing.assert_allclose(great_circle(np.array([179.5, 0.0]), np.array([-179.5, 0.0])), quarter / 90)


def test_windows_round_trip():
    pieces = made(5, 8)
    codec = TrackCodec(8, 3)
    for piece, state in zip(pieces, codec.encode(list(pieces)), strict=True):
        np.testing.assert_allclose(codec.decode(state[None], piece[3, :2])[0], piece, atol=1e-9)


def test_a_forecast_is_the_regression_on_what_is_known():
    """Sampled through the loop: the mean is that of least squares on the same windows, the known fixes stay."""
    pieces = made(4000, 6)
    model = TrackModel.fit(pieces, now=2, shrink=1e-9)
    truth = made(1, 6, seed=9)[0]
    law = model.forecast(truth[:3])
    states = gk.sample(law, num_samples=2000, steps=30, seed=0, dtype=torch.float64).samples
    x = model.codec.encode(list(pieces)).reshape(-1, 3, 6)
    seen, ahead = x[:, :, :3].flatten(1), x[:, :, 3:].flatten(1)
    seen = torch.cat([seen, torch.ones(len(seen), 1, dtype=torch.float64)], 1)
    slope = torch.linalg.lstsq(seen, ahead, driver="gelsd").solution
    own = model.codec.encode([truth])[0].reshape(3, 6)
    expected = torch.cat([own[:, :3].flatten(), torch.ones(1, dtype=torch.float64)]) @ slope
    mean = states.reshape(-1, 3, 6)[:, :, 3:].flatten(1)
    tolerance = 5 * mean.std(0) / len(mean) ** 0.5 + 5e-3
    assert ((mean.mean(0) - expected).abs() < tolerance).all()
    assert (states.reshape(-1, 3, 6)[:, :, :3] - own[:, :3]).abs().max() < 1e-3
    found = errors(np.stack(model.codec.decode(states, truth[2, :2])), truth, 3)
    assert found["track"].max() < 60 and found["track"].shape == (3,)
    with pytest.raises(ValueError, match=r"history has shape \(2, 3\); \(3, 3\) is expected"):
        model.forecast(truth[:2])


def test_statistics_of_wind():
    pieces = np.zeros((2, 6, 3))
    pieces[0, :, 2], pieces[1, :, 2] = [20, 20, 30, 40, 55, 50], 40
    found = intensity(pieces)
    assert found["mean peak"] == pytest.approx(47.5) and found["rapid intensification"] == 0.5


def test_pieces_without_wind_are_left_out(tmp_path):
    rows = [f"A,2001-09-{1 + i // 4:02d} {6 * (i % 4):02d}:00:00,{10 + i},20,{'' if i == 9 else 30}" for i in range(16)]
    (tmp_path / "x.csv").write_text(HEAD + "\n".join(rows) + "\n")
    tracks = read_tracks(tmp_path / "x.csv")
    assert windows(tracks, 5).shape == (2, 5, 3)
    with pytest.raises(ValueError, match="no track has 12 fixes"):
        windows(tracks, 12)


def test_what_is_written_is_read(tmp_path):
    tracks = [Track(f"S{i}", np.datetime64("2001-09-01T00:00:00"), 6.0, points) for i, points in enumerate(made(3, 5))]
    tracks[0].points[2, 2] = np.nan
    assert write_tracks(tmp_path, tracks) == ["tracks.csv", "tracks.npz", "tracks.geojson"]
    for one, other in zip(tracks, read_tracks(tmp_path / "tracks.csv"), strict=True):
        np.testing.assert_allclose(one.points, other.points, atol=0.06)
        assert (one.storm, one.time, one.hours) == (other.storm, other.time, other.hours)
    draw_tracks({"data": [track.points for track in tracks]}, tmp_path / "tracks.png")
    assert (tmp_path / "tracks.png").stat().st_size > 5000
