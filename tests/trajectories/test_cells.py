"""Paths as cells of a maze: adjacency, taut strings, known cells, and plans that hold for certain."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.domains.trajectories import MazeError, PathError, demonstrate, maze
from guidekit.domains.trajectories.cell_plans import Cells, exact_ends
from guidekit.domains.trajectories.cell_prior import CellPrior
from guidekit.domains.trajectories.cells import CellCodec
from guidekit.domains.trajectories.mazes import Maze, least_clearance, lengths
from guidekit.domains.trajectories.routes import Roadmap
from guidekit.errors import UnknownNameError
from guidekit.networks import SequenceTransformer
from guidekit.samples import Samples
from guidekit.training.objectives import MaskedLikelihood

ROOM = Maze("room", ("#####", "#..##", "#...#", "#####"))


def test_cells_follow_each_other_where_no_wall_stands_between():
    """Ids: 0 1 above, 2 3 4 below; one steps across an open corner (0 to 3), not across that of a wall (1 to 4)."""
    wanted = torch.tensor(
        [[1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 1, 1]], dtype=torch.bool
    )
    codec = CellCodec(ROOM, 4)
    assert torch.equal(torch.from_numpy(codec.adjacent), wanted)
    states = torch.tensor([[0, 3, 4, 4], [1, 4, 4, 4], [0, 1, 3, 2], [0, 3, 9, 9]])
    assert codec.valid(states).tolist() == [True, False, True, False]
    assert codec.automaton.accepts(states[:3]).tolist() == [True, False, True]
    assert [path is None for path in codec.decode(states)] == [False, True, False, True]


def test_demonstrations_are_cells_and_their_strings_are_nearly_shortest():
    world = maze("medium")
    codec, roadmap = CellCodec(world, 18), Roadmap(maze("medium"))
    paths = [path.astype(float) for path in demonstrate(world, 60, seed=4).paths]
    states = codec.encode(paths)
    assert codec.valid(states).all()
    strings = codec.paths(states, [{"start": path[0], "goal": path[-1]} for path in paths])
    for path, string in zip(paths, strings, strict=True):
        np.testing.assert_allclose(string[[0, -1]], path[[0, -1]], atol=1e-6)
        assert least_clearance(string[None], world.distance)[0] > 0.09
        assert lengths(string[None])[0] <= 1.1 * lengths(roadmap.path(path[0], path[-1])[None])[0] + 0.1


def test_a_string_is_taut_around_the_corner_of_its_corridor():
    codec = CellCodec(maze("u"), 8)
    ids = codec.sequence(np.array([[1.5, 1.5], [3.5, 1.5], [3.5, 3.5], [1.5, 3.5]]))
    (path,) = codec.decode(torch.from_numpy(np.pad(ids, (0, 8 - len(ids)), mode="edge"))[None])
    np.testing.assert_allclose(path, [[1.5, 1.5], [3.15, 1.85], [3.15, 3.15], [1.5, 3.5]], atol=1e-9)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (np.zeros((1, 2)), r"path 0 has shape \(1, 2\)"),
        (np.array([[1.5, 1.5], [1.5, 3.5]]), "runs through a wall of maze u"),
        (np.array([[1.5, 1.5], [1.5, 9.0]]), "runs through a wall of maze u, or leaves it"),
        (np.array([[1.5, 1.5], [3.5, 1.5], [3.5, 3.5], [1.5, 3.5]]), "7 cells; this prior knows up to 4"),
    ],
)
def test_paths_without_a_state_are_refused(path, words):
    with pytest.raises(PathError, match=words):
        CellCodec(maze("u"), 4).encode([path])


@pytest.fixture(scope="module")
def prior():
    torch.manual_seed(0)
    network = SequenceTransformer(7, 8, width=16, depth=1, heads=2)
    made = CellPrior(network, 7, [0] * 8 + [1], None)
    made.codec = CellCodec(maze("u"), 8)
    return made


WAY = {"start": [1.5, 1.5], "goal": [1.4, 3.5]}


@pytest.mark.parametrize("sampler", ["ancestral", "remdm", "path_planning"])
def test_plans_of_any_network_are_connected_and_end_where_they_should(prior, sampler):
    options = {"num_samples": 30, "steps": 4, "sampler": sampler, "condition": WAY}
    free = gk.sample(prior, None, **options).samples
    assert prior.codec.valid(free).double().mean() < 0.5
    tokens = gk.sample(prior, gk.guidance.Grammar(), **options).samples
    assert prior.codec.valid(tokens).all()
    for found in (free, tokens):
        assert (found[:, 0] == prior.codec.id_at([1.5, 1.5])).all()
        assert (found[:, -1] == prior.codec.id_at([1.5, 3.5])).all()
    for path in exact_ends(Samples(tokens, prior, WAY)):
        np.testing.assert_allclose(path[[0, -1]], [[1.5, 1.5], [1.4, 3.5]])


def test_a_way_point_is_passed(prior):
    condition = {**WAY, 4: [3.5, 2.5]}
    tokens = gk.sample(prior, gk.guidance.Grammar(), num_samples=20, steps=4, condition=condition).samples
    assert (tokens[:, 4] == prior.codec.id_at([3.5, 2.5])).all() and prior.codec.valid(tokens).all()


def test_a_goal_that_cannot_be_reached_is_said_at_once(prior):
    condition = {**WAY, 1: [1.5, 3.5]}
    with pytest.raises(gk.GuidanceError, match="no sequence of 8 tokens is accepted .* a goal that cannot be reached"):
        gk.sample(prior, gk.guidance.Grammar(), num_samples=2, steps=4, condition=condition)


@pytest.mark.parametrize(
    ("condition", "kind", "words"),
    [
        ({"start": [0.5, 0.5]}, MazeError, "start .* lies in a wall"),
        ({"goal": "there"}, ValueError, "condition goal: 'there'; a point"),
        ({"gaol": [1.5, 1.5]}, UnknownNameError, "did you mean 'goal'"),
        ({8: [1.5, 1.5]}, ValueError, "no place 8; a path has places 0 to 7"),
        ("goal", ValueError, "expected {start"),
    ],
)
def test_bad_conditions_are_one_line(prior, condition, kind, words):
    with pytest.raises(kind, match=words):
        prior.condition(condition)


def test_every_path_may_have_its_own_ends(prior):
    known = prior.condition([{"start": [1.5, 1.5]}, {"goal": [3.5, 2.5]}])
    assert known[0].tolist() == [prior.codec.id_at([1.5, 1.5]), *[-1] * 7]
    assert known[1].tolist() == [*[-1] * 7, prior.codec.id_at([3.5, 2.5])]


def test_shown_ends_are_not_scored():
    """Every end is shown with probability 1: the loss does not look at what the network says there."""
    tokens, seen = torch.randint(5, (40, 6)), []

    def network(z, select, labels):
        seen.append((z, select))
        return torch.zeros(int(select.sum()), 5)

    loss = MaskedLikelihood(5, ends=1.0)(network, tokens, generator=torch.Generator().manual_seed(0))
    ((z, select),) = seen
    assert torch.equal(z[:, [0, -1]], tokens[:, [0, -1]]) and not select[:, [0, -1]].any()
    assert loss.mean().item() == pytest.approx(4 * np.log(5), rel=1e-5)  # four tokens of five kinds, each by chance
    MaskedLikelihood(5, ends=0.25)(network, tokens.repeat(50, 1), generator=torch.Generator().manual_seed(0))
    shown = (seen[1][0][:, 0] != 5).double().mean().item()
    assert shown == pytest.approx(0.25 + 0.75 * 0.415, abs=0.05)  # or not masked: 1 - E[k / n], k up to n = 5 or so


def test_the_domain_names_its_maze_and_writes_what_it_reads(prior, tmp_path):
    domain = Cells(maze="u")
    tokens = gk.sample(prior, gk.guidance.Grammar(), num_samples=4, steps=4, condition=WAY).samples
    samples = Samples(tokens, prior, WAY)
    assert domain.write(tmp_path, samples, {}) == ["samples.npz", "points.csv", "samples.geojson"]
    for name in ("samples.npz", "points.csv", "samples.geojson"):
        back = list(domain.read_samples(tmp_path / name))
        assert len(back) == 4
        np.testing.assert_allclose(back[0], exact_ends(samples)[0], atol=1e-4)
    assert [row["valid"] for row in domain.table(samples)] == [True] * 4
    assert domain.figure(samples, [], "", tmp_path / "figure.png") == "figure.png"
