"""Windows of states and actions: drives in time, what their actions do, priors that are told their ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.cli import main
from guidekit.domains.trajectories import PathError, Trajectories, drive, maze
from guidekit.domains.trajectories.demonstrations import drives, windows
from guidekit.domains.trajectories.metrics import judged, way
from guidekit.domains.trajectories.windows import PUSH, SPEED, WindowCodec, WindowPrior, acted
from guidekit.io.files import write_npz
from guidekit.networks import TemporalUNet
from guidekit.processes import EDM

U = maze("u")
CODEC = WindowCodec(U, 128, 1)


@pytest.fixture(scope="module")
def found():
    return windows(U, 60, 128, 1).paths.astype(float)


@pytest.fixture(scope="module")
def prior():
    torch.manual_seed(0)
    made = WindowPrior(TemporalUNet(6, 32, 8, (1, 2)), EDM(), (6, 32))
    torch.nn.init.normal_(made.network.head.weight, std=0.1)
    made.codec = WindowCodec(U, 32, 2)
    return made


def test_actions_of_a_window_do_what_its_states_say(found):
    """Pushed by them alone, balls run through the recorded states: a shift of one step would be off by .1 and more."""
    run = acted(U, found, 1)
    np.testing.assert_allclose(run.positions[:, :-1], found[:, :-1, :2], atol=0.02)
    np.testing.assert_allclose(run.velocities[:, :-1], found[:, :-1, 2:4], atol=0.05)
    assert not run.touched.any()


def test_windows_begin_at_a_start_or_on_the_way_and_end_at_rest(found):
    resting = (found[:, 0, 2:] == 0).all(1)
    assert 0.2 < resting.mean() < 0.8  # half of them, and 60 windows
    assert (found[:, -1, 2:] == 0).all()
    ends = drives(U, 60).ends[:, 1]
    assert all(np.abs(ends - goal).sum(1).min() < 1e-5 for goal in found[:, -1, :2])


def test_accelerations_are_means_over_the_stride():
    """Three steps apart the change of velocity is the sum of three pushes of .05 s at 8 cells / s^2."""
    found = windows(U, 40, 64, 3).paths.astype(float)
    change = np.diff(found[:, :40, 2:4], axis=1)[:, 2:]
    np.testing.assert_allclose(change, found[:, 3:40, 4:] * 3 * 0.05 * 8, atol=1e-4)


def test_states_and_windows_are_one(found):
    states = CODEC.encode(list(found))
    assert states.shape == (len(found), 6, 128)
    back = CODEC.decode(states)
    np.testing.assert_allclose(np.stack(back), found, atol=1e-5)
    assert states[0, 2, 5].item() == pytest.approx(found[0, 5, 2] / SPEED, abs=1e-6)
    assert states[0, 5, 5].item() == pytest.approx(found[0, 5, 5] / PUSH, abs=1e-6)
    with pytest.raises(PathError, match=r"window 0 has shape \(64, 2\); \(128, 6\)"):
        CODEC.encode([np.zeros((64, 2))])
    states[0, 0, 0] = torch.nan
    assert CODEC.decode(states)[0] is None


def test_the_rest_at_the_goal_is_no_part_of_the_way(found):
    for row, window in zip(judged(U, list(found)), found, strict=True):
        path = way(window)
        assert row["success"] and np.linalg.norm(path[-2] - path[-1]) < 0.25
        assert (np.linalg.norm(path[:-1] - path[-1], axis=1) >= 0.1).all() or len(path) == 2
    path = np.linspace([1.5, 1.5], [3.5, 1.5], 9)
    np.testing.assert_array_equal(way(path), path)


def test_ends_are_known_at_rest_or_moving(prior):
    start, goal, moving = np.array([[1.5, 1.3]]), np.array([[1.4, 3.6]]), np.array([[0.6, -0.3]])
    for velocities in (None, moving):
        condition = prior.between(start, goal, velocities)
        made = gk.sample(prior, None, 2, 4, seed=0, condition=condition).samples
        first, last = made[:, :, 0].double(), made[:, :, -1].double()
        np.testing.assert_allclose(prior.codec.cells(made)[:, 0], start.repeat(2, 0), atol=1e-5)
        np.testing.assert_allclose(first[:, 2:4] * SPEED, np.repeat(moving * (velocities is not None), 2, 0), atol=1e-5)
        assert (first[:, 4:] == 0).all() and (last[:, 2:] == 0).all()


def test_way_points_and_repair_are_refused(prior):
    with pytest.raises(gk.errors.UnknownNameError, match="start"):
        prior.condition({"start": [1.5, 1.3], "goal": [1.4, 3.6], 5: [3.5, 2.5]})
    with pytest.raises(PathError, match="a detour has no velocities"):
        prior.codec.repaired(torch.zeros(1, 6, 32))


def test_balls_are_driven_by_windows(prior):
    run = drive(prior, np.array([[1.5, 1.3]]), np.array([[1.4, 3.6]]), every=None, steps=2)
    assert len(run.positions) == 1 and np.isfinite(run.positions[0]).all()


SMALL = [
    "trainer=windows",
    "trainer.demonstrations=400",
    "trainer.validation=20",
    "trainer.knots=64",
    "trainer.stride=2",
    "trainer.steps=2",
    "trainer.network.options={width: 8, multipliers: [1, 2], kernel: 5}",
]


def test_from_drives_to_windows_in_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "domain=trajectories", "domain.maze=u", *SMALL, "output=mine.safetensors"]) == 0
    words = ["domain=trajectories", "prior=mine.safetensors", "condition={pairs: 2}", "num_samples=2", "steps=2"]
    assert main(["sample", *words, "output=run"]) == 0
    made = Trajectories().load_prior("mine.safetensors")
    assert isinstance(made, WindowPrior) and made.codec.stride == 2 and made.event_shape == (6, 64)
    objects = [each for each in gk.sample(made, None, 2, 2, seed=0).objects() if each is not None]
    if (tmp_path / "run" / "samples.npz").exists():
        written = np.load(tmp_path / "run" / "samples.npz")
        assert written["windows"].shape[1:] == (64, 6)
    assert all(each.shape == (64, 6) for each in objects)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"windows": np.zeros((30, 8, 2))}, "windows of shape (30, 8, 2); (n, K, 6) is expected"),
        ({"paths": np.zeros((30, 8, 2))}, "mine.npz"),
        ({"windows": np.zeros((300, 64, 6))}, "300 of 300 windows cross walls"),
        ({"windows": np.full((30, 64, 6), 1.5)}, "30 paths are too few to hold out trainer.validation=20"),
        ({"windows": np.full((300, 32, 6), 1.5)}, "window 0 has shape (32, 6); (64, 6), all finite"),
    ],
)
def test_bad_windows_are_one_line(arrays, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path / "mine.npz", arrays)
    words = ["train", "domain=trajectories", "domain.maze=u", *SMALL, "data=mine.npz", "output=mine.safetensors"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and not (tmp_path / "mine.safetensors").exists()
