"""Obstacles on no map, detours around them, and what repairs plans of points and plans of cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.domains.trajectories import MazeError, PathCodec, PathPrior, Trajectories, maze
from guidekit.domains.trajectories.cells import CellCodec, Passable
from guidekit.domains.trajectories.detours import LOOKED, detour, knotted, repaired
from guidekit.domains.trajectories.mazes import RADIUS, Maze, evenly, least_clearance, lengths
from guidekit.domains.trajectories.obstacles import Obstructed, obstructed
from guidekit.networks import TemporalUNet
from guidekit.processes import EDM

ROOM = Maze("room", ("######", "#....#", "#....#", "######"))


def test_distances_see_discs_and_boxes():
    world = Obstructed("room", ROOM.rows, ((3.0, 2.0, 0.4), (4.5, 1.5, 5.0, 2.5)))
    points = np.array([[2.0, 2.0], [3.0, 2.0], [4.2, 2.0], [1.3, 2.0], [4.2, 1.1]])
    np.testing.assert_allclose(world.distance(points), [0.6, -0.4, 0.3, 0.3, 0.1], atol=0.03)
    np.testing.assert_allclose(world.outwards(points[[2]]), [[-1, 0]], atol=0.05)
    assert world.walls.sum() == ROOM.walls.sum()


def test_a_map_of_obstacles_is_what_it_has_beside_the_maze(tmp_path):
    (tmp_path / "map.txt").write_text("######\n#.##.#\n#....#\n######\n")
    assert obstructed(ROOM, tmp_path / "map.txt").obstacles == ((2.0, 1.0, 3.0, 2.0), (3.0, 1.0, 4.0, 2.0))
    (tmp_path / "map.txt").write_text("######\n#...##\n######\n")
    with pytest.raises(MazeError, match="map of obstacles map.txt has 6 x 3 cells or lacks walls"):
        obstructed(ROOM, tmp_path / "map.txt")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([[1.5, 1.5]], r"obstacle \[1.5, 1.5\]; a disc"),
        ([[1.5, 1.5, -0.1]], "a disc"),
        ([[2.0, 1.0, 1.0, 2.0]], "or a box"),
        ([[1.5, 9.0, 0.2]], "lies outside maze room of 6 x 4 cells"),
        ("here", "maze"),
        ([["a", 1, 2]], "a list of"),
        (5, "a list of"),
    ],
)
def test_obstacles_that_are_none_are_one_line(given, words):
    with pytest.raises(ValueError, match=words):
        obstructed(ROOM, given)


def test_a_detour_is_clear_and_nearly_shortest():
    world = Obstructed("room", ROOM.rows, ((3.0, 2.0, 0.5),))
    path = detour(world, np.array([1.5, 2.0]), np.array([4.5, 2.0]))
    np.testing.assert_allclose(path[[0, -1]], [[1.5, 2.0], [4.5, 2.0]])
    assert least_clearance(path[None], world.distance, 40)[0] >= RADIUS
    shortest = 2 * (np.sqrt(1.5**2 - 0.6**2) + 0.6 * np.arcsin(0.6 / 1.5))  # around a disc of .6
    assert shortest < lengths(path[None])[0] < 1.1 * shortest


def test_there_is_no_detour_through_a_blocked_corridor():
    world = Obstructed("u", maze("u").rows, ((3.0, 2.2, 4.0, 2.8),))
    assert detour(world, np.array([1.5, 1.5]), np.array([1.5, 3.5])) is None
    path = evenly([[1.5, 1.5], [3.5, 1.5], [3.5, 3.5], [1.5, 3.5]], 64)
    same, clear = repaired(world, path)
    assert not clear and np.array_equal(same, path)


def test_repair_keeps_what_is_clear_and_both_ends():
    world = Obstructed("u", maze("u").rows, ((3.5, 2.5, 0.2),))
    path = evenly([[1.5, 1.5], [3.3, 1.5], [3.5, 1.7], [3.5, 3.3], [3.3, 3.5], [1.5, 3.5]], 64)
    mended, clear = repaired(world, path)
    assert clear and least_clearance(mended[None], world.distance)[0] >= RADIUS
    assert mended.shape == (64, 2) and np.array_equal(mended[[0, -1]], path[[0, -1]])
    wavy = np.clip(path + 0.4 * np.random.default_rng(0).standard_normal(path.shape), 0, 5)
    wavy[[0, -1]] = path[[0, -1]]
    mended, clear = repaired(world, wavy)  # takes several rounds
    assert clear and mended.shape == (64, 2) and least_clearance(mended[None], world.distance)[0] >= RADIUS
    whole, clear = repaired(world, path[:20])
    assert clear and np.array_equal(whole, path[:20])


def test_knots_keep_corners():
    corner = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.3], [1.2, 0.3]])
    found = knotted(corner, 16)
    assert len(found) == 16 and all((np.abs(found - point).sum(1) < 1e-12).any() for point in corner)
    assert np.linalg.norm(np.diff(found, axis=0), axis=1).max() < 0.12
    assert len(knotted(evenly(corner, 40), 16)) == 16


@pytest.fixture(scope="module")
def prior():
    torch.manual_seed(0)
    made = PathPrior(TemporalUNet(length=16, width=8, multipliers=(1, 2)), EDM(), (2, 16))
    made.codec = PathCodec(obstructed(maze("u"), [[3.5, 2.5, 0.2]]), 16)
    return made


def test_plans_of_any_network_are_repaired(prior):
    condition = {"start": [1.5, 1.5], "goal": [1.5, 3.5]}
    options = {"num_samples": 6, "steps": 4, "condition": condition}
    free = gk.sample(prior, None, **options)
    result = gk.sample(prior, gk.guidance.Repair(), **options)
    paths = prior.codec.cells(result.samples.double()).numpy()
    assert int(result.info["broken"].sum()) == 6 and int(result.info["unmended"].sum()) == 0
    assert least_clearance(paths, prior.codec.maze.distance).min() >= RADIUS - 1e-3
    before = prior.codec.cells(free.samples.double()).numpy()
    assert least_clearance(before, prior.codec.maze.distance).max() < LOOKED
    np.testing.assert_allclose(paths[:, [0, -1]], before[:, [0, -1]], atol=1e-5)


def test_a_codec_that_mends_nothing_is_named():
    chain = gk.priors.CategoricalChain(torch.ones(2, 2))
    with pytest.raises(gk.GuidanceError, match="Repair asks the prior's codec to mend samples, and that of"):
        gk.sample(chain, gk.guidance.Repair(), num_samples=1, steps=2)


def test_an_obstacle_at_the_start_is_said(prior):
    with pytest.raises(MazeError, match="goal .* lies in a wall"):
        prior.condition({"start": [1.5, 1.5], "goal": [3.5, 2.5]})


def test_cells_that_obstacles_cut_off_are_found():
    """The corridor of the U is 0 1 2 3 6 5 4; a box across cell 3 cuts off what is behind it, a disc does not."""
    ids = torch.tensor([[0, 1, 2, 3, 6, 5, 4, 4], [0, 1, 2, 2, 1, 1, 0, 0], [0, 1, 3, 3, 6, 5, 4, 4]])
    for obstacle, wanted in (([3.0, 2.2, 4.0, 2.8], [4, -1, 2]), ([3.5, 2.5, 0.2], [-1, -1, 2])):
        codec = CellCodec(obstructed(maze("u"), [obstacle]), 8)
        first, stop = Passable(codec)(ids)
        assert first.tolist() == wanted
        assert stop.tolist() == [place + 1 if place >= 0 else -1 for place in wanted]
        string = codec.decode(ids[:1])[0]
        assert (string is None) == (wanted[0] >= 0)
        if string is not None:
            assert least_clearance(string[None], codec.maze.distance, 40)[0] >= RADIUS


def test_cells_from_which_the_end_is_out_of_reach_are_found():
    """Free cells 0 1 2 3 above 4 5 6 7, a box on 6: from 3 back to 4 takes 3 steps."""
    codec = CellCodec(obstructed(ROOM, [[3.0, 2.0, 4.0, 3.0]]), 5)
    assert codec.steps[3, 4] == 3 and np.isinf(codec.steps[6, 4])
    ids = torch.tensor([[0, 1, 2, 3, 4], [0, 1, 5, 4, 4], [0, 1, 2, 3, 3]])
    assert Passable(codec)(ids)[0].tolist() == [3, -1, -1]  # at place 3 one step is left, three are needed


def test_the_automaton_leaves_out_cells_that_obstacles_fill():
    codec = CellCodec(obstructed(maze("u"), [[3.0, 2.0, 4.0, 3.0]]), 8)
    ids = torch.tensor([[0, 1, 2, 2, 1, 1, 0, 0], [0, 1, 2, 3, 6, 5, 4, 4]])
    assert codec.automaton.accepts(ids).tolist() == [True, False]
    assert CellCodec(obstructed(maze("u"), [[3.5, 2.5, 0.2]]), 8).automaton.accepts(ids).tolist() == [True, True]


def test_the_domain_puts_obstacles_into_its_maze():
    domain = Trajectories(maze="u", obstacles=[[3.5, 2.5, 0.2]])
    assert domain.ground.obstacles == ((3.5, 2.5, 0.2),)
    reward = domain.rewards.make("clearance")
    straight = torch.from_numpy(PathCodec(maze("u"), 64).unit(evenly([[3.5, 1.2], [3.5, 3.8]], 64)).T).float()[None]
    assert reward.scores(straight, 0.0, None) < -0.1
    assert Trajectories(maze="u").rewards.make("clearance").scores(straight, 0.0, None) == 0
