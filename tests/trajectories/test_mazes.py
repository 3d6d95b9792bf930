"""Mazes, shortest ways and the ball that runs along paths."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from guidekit.domains.trajectories.demonstrations import demonstrate
from guidekit.domains.trajectories.mazes import (
    MAPS,
    RADIUS,
    Maze,
    MazeError,
    evenly,
    least_clearance,
    lengths,
    maze,
)
from guidekit.domains.trajectories.routes import Roadmap
from guidekit.domains.trajectories.tracking import advance, track
from guidekit.errors import UnknownNameError

ROOM = Maze("room", ("#####", "#...#", "#...#", "#...#", "#####"))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((), "is empty"),
        (("###", "#.##", "###"), "row 2 has 4 cells and row 1 has 3; a rectangle"),
        (("###", "#x#", "###"), r"row 2 has 'x'; # \(wall\) and . \(free\)"),
        (("###", "#..", "###"), "open at row 2, column 3: close the border"),
        (("###", "###", "###"), "has no free cell"),
    ],
)
def test_what_is_no_maze_is_refused(rows, words):
    with pytest.raises(MazeError, match=words):
        Maze("mine", rows)


def test_a_maze_is_read_from_a_file_or_named(tmp_path):
    (tmp_path / "mine.txt").write_text("####\n#..#\n####\n\n")
    assert maze(tmp_path / "mine.txt").rows == ("####", "#..#", "####")
    assert maze("large").size == (12, 9)
    with pytest.raises(UnknownNameError, match="did you mean 'medium'"):
        maze("medum")
    (tmp_path / "odd.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MazeError, match="is no text file"):
        maze(tmp_path / "odd.txt")


def test_distances_are_those_of_a_square_room():
    points = np.array([[2.5, 2.5], [1.3, 2.5], [2.5, 3.9], [1.2, 1.2], [0.8, 2.5]])
    np.testing.assert_allclose(ROOM.distance(points), [1.5, 0.3, 0.1, 0.2, -0.2], atol=0.01)
    np.testing.assert_allclose(ROOM.outwards(points[1:3]), [[1, 0], [0, -1]], atol=1e-3)


def test_clearance_is_the_distance_with_a_gradient():
    points = torch.tensor(maze("medium").random_points(200, np.random.default_rng(0)), requires_grad=True)
    found = maze("medium").clearance(points)
    np.testing.assert_allclose(found.detach(), maze("medium").distance(points.detach().numpy()), atol=1e-6)
    near = torch.tensor([[1.25, 2.5]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(ROOM.clearance(near).sum(), near)
    torch.testing.assert_close(slope, torch.tensor([[1.0, 0.0]], dtype=torch.float64), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("point", "words"),
    [((9.0, 1.0), "lies outside maze room of 5 x 5 cells"), ((0.5, 0.5), "lies in a wall .* centered at")],
)
def test_points_in_walls_are_refused_with_the_nearest_cell(point, words):
    with pytest.raises(MazeError, match=words):
        ROOM.check(np.array(point), "start")


def test_the_shortest_way_is_a_taut_string():
    """Around the wall of the U: two corners, each passed at a tenth of a cell to the side of the diagonal."""
    start, goal, offset = np.array([1.5, 1.5]), np.array([1.5, 3.5]), 0.1 / math.sqrt(2)
    path = Roadmap(maze("u")).path(start, goal)
    corners = np.array([[3 + offset, 2 - offset], [3 + offset, 3 + offset]])
    np.testing.assert_allclose(path, [start, *corners, goal])
    straight = Roadmap(ROOM).path(np.array([1.5, 1.5]), np.array([3.5, 3.5]))
    assert len(straight) == 2


def test_an_unreachable_goal_is_said():
    walled = Maze("walled", ("#####", "#.#.#", "#####"))
    with pytest.raises(MazeError, match=r"goal \(3.5, 1.5\) cannot be reached from \(1.5, 1.5\) in maze walled"):
        Roadmap(walled).path(np.array([1.5, 1.5]), np.array([3.5, 1.5]))


def test_knots_are_even_along_the_length():
    corner = evenly([[0, 0], [3, 0], [3, 1]], 5)
    np.testing.assert_allclose(corner, [[0, 0], [1, 0], [2, 0], [3, 0], [3, 1]])
    assert lengths(corner[None])[0] == pytest.approx(4)


def test_a_path_through_a_wall_has_no_clearance():
    through = np.array([[[1.5, 1.5], [1.5, 3.5]]])
    assert least_clearance(through, maze("u").distance)[0] < 0
    assert least_clearance(np.array([[[1.5, 1.5], [3.5, 1.5]]]), maze("u").distance)[0] == pytest.approx(0.5, abs=0.01)


def test_the_ball_never_enters_a_wall_whatever_pushes_it():
    generator = np.random.default_rng(0)
    world = maze("large")
    position, velocity = world.random_points(300, generator), np.zeros((300, 2))
    touched = np.zeros(300, bool)
    for _ in range(200):
        position, velocity, hit = advance(world, position, velocity, 8 * generator.standard_normal((300, 2)).round())
        touched |= hit
        assert world.distance(position).min() > RADIUS - 0.03  # the table has 25 points a cell
    assert touched.all()


def test_a_wall_takes_the_speed_towards_it_and_leaves_the_rest():
    position, velocity, hit = advance(ROOM, np.array([[1.11, 2.5]]), np.array([[-1.0, 0.7]]), np.zeros((1, 2)))
    assert hit[0]
    np.testing.assert_allclose(velocity, [[0.0, 0.7]], atol=1e-3)
    np.testing.assert_allclose(position[0, 0], 1.1, atol=0.01)


def test_paths_are_run_to_their_end_and_contacts_are_seen():
    world = maze("u")
    room = Roadmap(world, offset=0.2, room=0.1)
    clear = evenly(room.path(np.array([1.5, 1.5]), np.array([1.5, 3.5])), 256)
    straight = evenly([[1.5, 1.5], [1.5, 3.5]], 256)
    run = track(world, np.stack([clear, straight]))
    gap = np.linalg.norm(run.positions[:, -1] - [1.5, 3.5], axis=-1)
    assert gap[0] < 0.02 and not run.touched[0]
    assert gap[1] > 1 and run.touched[1]
    assert np.abs(run.actions).max() <= 1


@pytest.mark.parametrize("name", MAPS)
def test_demonstrations_are_clear_and_nearly_shortest(name):
    world = maze(name)
    found = demonstrate(world, 150, seed=3)
    again = demonstrate(world, 150, seed=3)
    np.testing.assert_array_equal(found.paths, again.paths)
    assert found.dropped < 0.3
    assert least_clearance(found.paths, world.distance).min() > 0.05
    roadmap = Roadmap(world)
    far = [path.astype(float) for path in found.paths if np.linalg.norm(path[0] - path[-1]) > 2][:20]
    ratio = [lengths(path[None])[0] / lengths(roadmap.path(path[0], path[-1])[None])[0] for path in far]
    assert 1.0 <= np.mean(ratio) < 1.2
