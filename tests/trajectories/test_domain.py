"""The domain of plans: its contract, files, bad input, and balls that are driven."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.cli import main
from guidekit.domains.trajectories import Drive, MazeError, Trajectories, drive
from guidekit.domains.trajectories.files import read_paths
from guidekit.domains.trajectories.mazes import RADIUS, maze
from guidekit.domains.trajectories.planning import NEAR
from guidekit.samples import Samples
from guidekit.testing import check_domain

U = Trajectories(maze="u")
ENDS = np.array([[[1.5, 1.3], [1.4, 3.6]], [[3.5, 1.5], [3.5, 3.5]]])


@pytest.fixture(scope="module")
def prior():
    return U.load_prior()


def test_contract(prior):
    check_domain(U, prior=prior, steps=4, num_samples=3)


def test_rewards_by_hand(prior):
    """A path of three cells along a wall, .15 away from it: .02 into the margin of .17 at every point."""
    path = np.linspace([1.15, 1.15], [1.15, 1.85], 64)
    far = np.linspace([1.5, 1.5], [3.5, 1.5], 64)
    states = prior.encode([path, far])
    clearance, shortness = (U.rewards[name](states) for name in ("clearance", "shortness"))
    torch.testing.assert_close(shortness, torch.tensor([-0.7, -2.0]), atol=1e-4, rtol=0)
    assert clearance[1] == 0 and clearance[0].item() == pytest.approx(-63 * 0.02**2, rel=0.3)
    smooth = U.rewards["smoothness"](states)
    torch.testing.assert_close(smooth, torch.zeros(2), atol=1e-6, rtol=0)
    through = U.rewards.make("through", point=(2.5, 1.9))(states)
    assert through[1].item() == pytest.approx(-0.16, abs=1e-3)
    executed = U.rewards["executed"](states)
    assert executed[1].item() == pytest.approx(1 - 0.02, abs=1e-3)  # arrives, clean, two cells long


def test_a_turn_asks_for_speed_squared_over_its_radius(prior):
    """A circle of .5 cells at 2 cells / s: 8 cells / s^2, twice an acceleration of 4, and no more than one of 8."""
    angle = np.linspace(0, np.pi, 64)
    states = prior.encode([2.5 + 0.5 * np.stack([np.cos(angle), np.sin(angle)], 1)])
    found = [U.rewards.make("gentleness", speed=2.0, acceleration=a)(states).item() for a in (4.0, 8.1)]
    assert found[0] == pytest.approx(-1, abs=0.01) and found[1] == 0


def test_a_run_ends_for_itself(prior):
    """What a ball gets does not depend on how long the others run."""
    near, far = np.linspace([1.5, 1.5], [1.9, 1.5], 64), np.linspace([1.2, 1.2], [3.8, 1.2], 64)
    reward = U.rewards["executed"]
    both, alone = reward(prior.encode([near, far])), reward(prior.encode([near]))
    assert both[0] == alone[0]


def test_costs_bend_plans(prior):
    """The cost falls to less than a fifth, of a margin that plans do not keep by themselves; ends stay."""
    condition = prior.between(ENDS[:1, 0], ENDS[:1, 1])
    cost = U.rewards.make("clearance", margin=0.35)
    found = {}
    for name, guidance in (("plain", None), ("guided", gk.guidance.PathGuidance(cost))):
        result = gk.sample(prior, guidance, 12, 10, seed=0, condition=condition)
        found[name] = cost(result.samples).mean()
        assert all(np.allclose(path[[0, -1]], ENDS[0], atol=1e-5) for path in result.objects())
    assert found["plain"] < -0.01 and found["guided"] > 0.2 * found["plain"]


def test_receding_horizon_begins_where_the_ball_is_and_stops_near_the_goal(prior):
    driven = drive(prior, ENDS[:, 0], ENDS[:, 1], every=20, steps=6)
    assert isinstance(driven, Drive) and driven.arrived().all()
    for run, plans, (start, goal) in zip(driven.positions, driven.plans, ENDS, strict=True):
        np.testing.assert_array_equal(run[0], start)
        for step, plan in plans:
            np.testing.assert_allclose(plan[0], run[step], atol=1e-5)
            np.testing.assert_allclose(plan[-1], goal, atol=1e-5)
        length = [np.linalg.norm(np.diff(plan, axis=0), axis=1).sum() for _, plan in plans]
        assert length[-1] <= NEAR and all(each > NEAR for each in length[:-1])
        assert [step for step, _ in plans] == [20 * k for k in range(len(plans))]
    once = drive(prior, ENDS[:, 0], ENDS[:, 1], every=None, steps=6)
    assert [len(plans) for plans in once.plans] == [1, 1]
    assert (driven.lengths > 1.9).all() and (driven.lengths < 8).all()


def test_plan_writes_what_was_run(tmp_path):
    words = ["plan", "domain=trajectories", "domain.maze=u", "condition={pairs: 2}", "num_samples=2", "steps=4"]
    assert main([*words, f"output={tmp_path / 'run'}"]) == 0
    rows = list(csv.DictReader((tmp_path / "run" / "runs.csv").open()))
    assert {row["path"] for row in rows} == {"0", "1"} and float(rows[1]["t"]) == 0.05
    assert "<animate " in (tmp_path / "run" / "run.svg").read_text()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert set(record["figures"]) >= {"success", "clean", "ratio", "plans of a run"}
    assert len(read_paths(tmp_path / "run" / "runs.csv")) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["condition={start: [1.5, 1.5]}"], "start and goal are needed"),
        (["condition={start: [1.5, 1.5], goal: [2.5, 2.5]}"], "goal (2.5, 2.5) lies in a wall"),
        (["condition={pairs: none}"], "a whole number, with seed and apart, is expected"),
        (["condition={pairs: 2}", "every=0"], "every=0; a whole number of at least 1 or null"),
    ],
)
def test_plan_refuses_in_one_line(words, told, capsys, tmp_path):
    assert main(["plan", "domain=trajectories", "domain.maze=u", *words, f"output={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_maze_without_a_prior(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text("\n".join(gk_maze().rows))
    assert main(["plan", "domain=trajectories", "domain.maze=mine.txt", "condition={pairs: 2}", "output=run"]) == 2
    error = capsys.readouterr().err
    assert "guidekit train domain=trajectories domain.maze=mine.txt output=mine.safetensors" in error
    assert error.count("\n") == 1 and not Path("run").exists()


def test_a_goal_behind_walls_is_said_at_once(prior):
    parted = Trajectories(maze="u").load_prior()
    object.__setattr__(parted, "codec", type(prior.codec)(gk_maze(), 64))
    with pytest.raises(MazeError, match=r"\(3.5, 1.5\) cannot be reached from \(1.5, 1.5\) .*: walls part them"):
        parted.condition({"start": [1.5, 1.5], "goal": [3.5, 1.5]})


def gk_maze():
    from guidekit.domains.trajectories import Maze

    return Maze("parted", ("#####", "#.#.#", "#.#.#", "#.#.#", "#####"))


def table(folder, text, name="mine.csv"):
    (folder / name).write_text(text)
    return folder / name


def test_columns_and_units_are_those_of_the_file(tmp_path):
    """Metres from another corner: a cell of 2 m, the maze's corner at (10, 20)."""
    path = table(tmp_path, "trip,s,east,south,speed\na,0,13,23,1\nb,0,12,22,1\na,1,15,23,1\na,2,17,23,1\nb,3,14,22,1\n")
    domain = Trajectories("u", columns={"path": "trip", "t": "s", "x": "east", "y": "south"}, cell=2, origin=(10, 20))
    first, second = domain.read_samples(path).objects
    np.testing.assert_allclose(first, [[1.5, 1.5], [2.5, 1.5], [3.5, 1.5]])
    np.testing.assert_allclose(second, [[1, 1], [2, 1]])


def test_maze_data_of_others_are_cut_at_terminals(tmp_path):
    seen = np.arange(14.0).reshape(7, 2)
    np.savez(tmp_path / "d.npz", observations=np.concatenate([seen, seen], 1), timeouts=[0, 0, 1, 0, 0, 0, 1])
    assert [len(path) for path in read_paths(tmp_path / "d.npz")] == [3, 4]


@pytest.mark.parametrize(
    ("settings", "text", "told"),
    [
        ({}, "path,x\n0,1\n", "no column of mine.csv named 'y'"),
        ({"columns": {"x": "est"}}, "path,east,y\n0,1,1\n0,2,2\n", "did you mean 'east'"),
        ({"columns": {"z": "east"}}, "path,x,y\n0,1,1\n0,2,2\n", "no column of a path named 'z'"),
        ({}, "path,x,y\n0,1,1\n0,nan,2\n", "row 3: x='nan' is no finite number"),
        ({}, "path,x,y\n0,1,1\n0,1,\n", "row 3: y='' is no finite number"),
        ({}, "path,t,x,y\n0,0,1,1\n0,.1,2,2\n0,.2,2,2\n0,.4,3,3\n", "row 5: t of path '0' grows by 0.2 where most"),
        ({}, "path,t,x,y\n0,0,1,1\n0,0,2,2\n", "row 3: t of path '0' grows by 0 where"),
        ({}, "path,x,y\n", "has no rows"),
        ({}, "path,x,y\n0,1,1\n", "path 0 has shape (1, 2)"),
        ({"cell": 0.0}, "path,x,y\n0,1,1\n", "cell=0.0"),
    ],
)
def test_tables_are_refused_in_one_line(settings, text, told, tmp_path):
    path = table(tmp_path, text)
    with pytest.raises(ValueError) as error:
        Trajectories("u", **settings).read_samples(path)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_parquet_without_its_library_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ValueError, match="read by pyarrow, which is not installed"):
        read_paths(tmp_path / "a.parquet")


def test_members_of_a_chain_may_obey_a_reward_of_their_own():
    from functools import partial

    from guidekit.running.build import build_guidance, build_reward

    given = {"name": "chain", "of": [{"name": "path", "reward": "clearance"}, {"name": "best_of_n", "particles": 4}]}
    made = build_guidance(given, U.rewards["executed"], reward=partial(build_reward, U))
    assert [member.objectives[0].name for member in made.members] == ["clearance", "executed"]
    own = {"name": "path", "reward": {"name": "clearance", "margin": 0.3}}
    assert build_guidance(own, None, reward=partial(build_reward, U)).objective.margin == 0.3
    with pytest.raises(ValueError, match="names a reward of its own, 'clearance', and there is no domain"):
        build_guidance({"name": "path", "reward": "clearance"}, None)
    with pytest.raises(ValueError, match="no setting of guidance=cfg named 'reward'"):
        build_guidance({"name": "cfg", "reward": "clearance"}, None, reward=partial(build_reward, U))


def test_a_ball_that_touches_a_wall_may_go_on():
    ground = maze("u")
    ground.check(np.array([1.0 + RADIUS - 1e-4, 1.5]), "start")
    with pytest.raises(MazeError, match="closer to one than the ball's radius"):
        ground.check(np.array([1.0 + RADIUS - 1e-2, 1.5]), "start")


def test_the_table_has_rewards(prior):
    samples = Samples(prior.encode([np.linspace(*ends, 64) for ends in ENDS]), prior)
    rows = U.table(samples)
    found = U.summary(rows, [-1.0, -2.0], samples)
    assert found["reward"] == -1.5 and found["best"] == -1.0 and "success" in found
    assert np.isnan(U.summary(rows, [float("nan")] * 2, samples)["reward"])
