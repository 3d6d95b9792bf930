"""Runs of D4RL and Minari in HDF5 files, written here as they write them."""

import numpy as np
import pytest

from guidekit.domains.trajectories.files import read_paths
from guidekit.domains.trajectories.recordings import cut
from guidekit.domains.trajectories.tables import Layout

WALK = np.arange(20.0).reshape(10, 2)


def test_runs_end_where_they_are_over():
    over = np.zeros(10, bool)
    over[[3, 4]] = True  # a run of one point is none
    first, second = cut(WALK, over, "here")
    np.testing.assert_array_equal(first, WALK[:4])
    np.testing.assert_array_equal(second, WALK[5:])
    with pytest.raises(ValueError, match="here: 10 observations and ends"):
        cut(WALK, over[:5], "here")


@pytest.fixture
def h5py():
    return pytest.importorskip("h5py")


def test_d4rl(h5py, tmp_path):
    """The corner of the maze at (2, 1) in the file's unit, cells of 2."""
    with h5py.File(tmp_path / "maze.hdf5", "w") as file:
        file["observations"] = np.concatenate([WALK, WALK], 1)
        file["actions"] = WALK
        file["timeouts"] = np.arange(10) == 5
        file["terminals"] = np.zeros(10)
    first, second = read_paths(tmp_path / "maze.hdf5", Layout.of(None, 2.0, (2.0, 1.0)))
    np.testing.assert_allclose(first, (WALK[:6] - [2, 1]) / 2)
    np.testing.assert_allclose(second, (WALK[6:] - [2, 1]) / 2)


def test_minari(h5py, tmp_path):
    """Ten runs and more, in the order of their numbers; observations as an array or with a goal beside the state."""
    with h5py.File(tmp_path / "main_data.hdf5", "w") as file:
        for number in range(11):
            seen = np.full((3, 4), float(number))
            if number % 2:
                file[f"episode_{number}/observations/observation"] = seen
                file[f"episode_{number}/observations/desired_goal"] = seen[:, :2]
            else:
                file[f"episode_{number}/observations"] = seen
    found = read_paths(tmp_path / "main_data.hdf5")
    assert [path[0, 0] for path in found] == list(range(11)) and found[0].shape == (3, 2)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"images": WALK}, "mine.h5 has images; observations with terminals or timeouts (D4RL), or groups episode_0"),
        ({"episode_0/actions": WALK}, "mine.h5: episode_0 has no observations; (n, 2 or more) is expected"),
        ({"observations": WALK[:, 0], "timeouts": WALK[:, 0]}, "has observations of shape (10,)"),
    ],
)
def test_other_files_are_one_line(h5py, tmp_path, written, told):
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        for name, values in written.items():
            file[name] = values
    with pytest.raises(ValueError) as error:
        read_paths(tmp_path / "mine.h5")
    assert told in str(error.value)
