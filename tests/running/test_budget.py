"""Hard budgets: never exceeded, runs end with what they have, and a larger budget goes on."""

import csv
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.cli import main
from guidekit.core.budget import Budget, Purse
from guidekit.core.ledger import Ledger
from guidekit.objectives import ObjectReward
from guidekit.running.posterior import posterior as moments
from guidekit.running.tasks import Given
from guidekit.sampling import Result

GAUSSIAN = gk.priors.Gaussian(torch.zeros(2), 1.0)
NEAR = gk.objectives.QuadraticReward(torch.ones(2))
SVDD = gk.guidance.SVDD(NEAR, 3)


def run(budget, guidance=SVDD, **options):
    return gk.sample(GAUSSIAN, guidance, **{"num_samples": 40, "steps": 5, "budget": budget, **options})


def test_no_limit_changes_nothing():
    plain = gk.sample(GAUSSIAN, SVDD, 40, 5)
    roomy = run(Budget(network_calls=10**6))
    torch.testing.assert_close(roomy.samples, plain.samples, rtol=1e-5, atol=1e-5)
    assert roomy.ledger.network_rows == plain.ledger.network_rows and roomy.stopped == plain.stopped == ""


@pytest.mark.parametrize("limit", [13, 14, 100, 200, 519])
def test_network_calls_are_never_exceeded(limit):
    """One sample takes 1 + 4 x 3 rows."""
    asked = []

    class Spied(gk.priors.Gaussian):
        def predict(self, x, t, condition=None):
            asked.append(len(x))
            return super().predict(x, t, condition)

    result = gk.sample(Spied(torch.zeros(2), 1.0), SVDD, 40, 5, budget={"network_calls": limit})
    found = len(result.samples)
    assert sum(asked) <= limit and result.stopped == "network_calls"
    assert found == limit // 13
    plain = gk.sample(GAUSSIAN, SVDD, 40, 5).samples
    torch.testing.assert_close(result.samples, plain[:found], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("limit", [15, 100, 599])
def test_reward_calls_are_never_exceeded(limit):
    """Of black boxes on objects as well, which are scored once."""
    result = run({"reward_calls": limit})
    assert result.stopped == "reward_calls" and result.ledger.reward_calls <= limit
    assert len(result.samples) == limit // 15
    made = []

    def black_box(row):
        made.append(row)
        return float(row[0])

    reward = ObjectReward(black_box)
    result = run({"reward_calls": limit}, gk.guidance.SVDD(reward, 3))
    assert min(limit - 15, 480) <= len(made) <= limit and reward.allow is None


@pytest.mark.parametrize("name", ["EnsembleKalmanGuidance", "EnsembleKalmanInversion", "DPSGSG"])
def test_forward_models_without_a_gradient_ask_the_budget_first(name):
    """A chunk that would cost more is not begun on: the black box never sees more states than were paid for."""
    seen = []

    def black_box(states):
        seen.append(len(states))
        return states

    settings = {"draws": 6} if name == "DPSGSG" else {"updates": 2, "particles": 3}
    likelihood = gk.objectives.GaussianLikelihood(black_box, torch.ones(1, 2), 0.3)
    guidance = getattr(gk.guidance, name)(likelihood, **settings)
    cost = run(None, guidance, num_samples=1).ledger.reward_calls
    assert cost == sum(seen)
    for limit in (3 * cost + 1, 2):
        seen.clear()
        if limit == 2:
            with pytest.raises(ValueError, match="less than one step|first sample"):
                run({"reward_calls": limit}, guidance)
        else:
            assert run({"reward_calls": limit}, guidance).stopped == "reward_calls"
        assert sum(seen) <= limit


def test_seconds_end_a_run():
    clock = []

    def slow(progress):
        clock.append(progress.step)
        torch.randn(200, 200).matmul(torch.randn(200, 200))
        import time

        time.sleep(0.01)

    result = run({"seconds": 0.4}, progress=slow, num_samples=4000)
    assert result.stopped == "seconds" and 0 < len(result.samples) < 4000
    assert 0.01 * len(clock) < 0.8


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"network_calls": 2}, r"budget.network_calls=2 is less than one step of one sample takes; 4 are spent"),
        ({"network_calls": 12}, r"ends the run at step [45] of 5 of its first sample; about \d+.* are needed"),
        ({"reward_calls": 2}, "less than one step"),
        ({"network_calls": 0}, "a number above 0"),
        ({"seconds": float("nan")}, "a number above 0"),
        ({"calls": 3}, "did you mean"),
        (7, "give limits by name"),
    ],
)
def test_what_pays_for_no_sample_is_refused(budget, said):
    with pytest.raises(ValueError, match=said):
        run(budget)


def test_searches_of_whole_runs_are_stopped_inside():
    search = gk.guidance.NoiseSearch(NEAR, 3, 4)
    cost = run(None, search, num_samples=1).ledger.network_rows
    result = run({"network_calls": 5 * cost + 1}, search, num_samples=9)
    assert len(result.samples) == 5 and result.ledger.network_rows == 5 * cost
    with pytest.raises(ValueError, match="less than one step|first sample"):
        run({"network_calls": cost - 1}, search)


def test_chunks_grow_and_shrink():
    purse, sizes = Purse(Budget(network_calls=1000)), []
    while size := purse.pays(64):
        sizes.append(size)
        purse.paid(Ledger(network_rows=10 * size), size)
    assert sum(sizes) == 100 and sizes[:4] == [1, 1, 2, 4] and sizes[-1] == 1 and purse.stopped == "network_calls"


COMMAND = ["sample", "domain=molecules", "reward=qed", "guidance=svdd", "guidance.candidates=3", "num_samples=12"]
COMMAND += ["steps=4", "output=run"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_budget_that_ends_the_unguided_part_says_so(here, capsys):
    words = ["sample", "domain=molecules", "reward=qed", "guidance=svdd", "guidance.candidates=2", "num_samples=4"]
    assert main([*words, "steps=4", "batch_size=1", "budget.network_calls=38", "output=run"]) == 0
    told, left = capsys.readouterr().out, len(rows(here / "run/unguided.csv"))
    assert 0 < left < 4 == len(rows(here / "run/samples.csv"))
    assert "after 4 of 4 samples, and those without guidance are fewer" in told and f"{left} unguided" in told


def test_a_run_ends_with_what_it_has_and_goes_on(here, capsys):
    assert main([*COMMAND, "budget.network_calls=16"]) == 0
    told = capsys.readouterr().out
    first, record = rows(here / "run/samples.csv"), json.loads((here / "run/run.json").read_text())
    assert 0 < len(first) < 12 and f"stopped by budget.network_calls=16 after {len(first)} of 12 samples" in told
    assert record["stopped"] == "network_calls" and record["spent"]["network_calls"] <= 16
    assert main([*COMMAND, "budget.network_calls=16"]) == 0
    assert "already done" in capsys.readouterr().out and (here / "run.partial").is_dir()
    assert main([*COMMAND, "budget.network_calls=32"]) == 0
    more = rows(here / "run/samples.csv")
    assert f"{len(first)} of 12 samples are there" in capsys.readouterr().out
    assert len(first) < len(more) < 12 and more[: len(first)] == first
    assert main(COMMAND) == 0
    whole = rows(here / "run/samples.csv")
    assert len(whole) == 12 and whole[: len(more)] == more and (here / "run/unguided.csv").is_file()
    assert json.loads((here / "run/run.json").read_text())["stopped"] == ""
    assert not (here / "run.partial").exists()
    capsys.readouterr()
    assert main(COMMAND) == 0 and "already done" in capsys.readouterr().out


@pytest.mark.parametrize("limit", ["network_calls=1", "seconds=0.000001"])
def test_less_than_a_step_is_refused_in_one_line(here, capsys, limit):
    assert main([*COMMAND, f"budget.{limit}"]) == 2
    told = capsys.readouterr()
    assert "is less than one step of one sample takes" in told.err and told.err.count("\n") == 1
    assert not list(here.iterdir())


MEASURED = [
    "sample",
    "domain=images",
    "task=superresolution",
    "guidance=dps",
    "steps=3",
    "baseline=false",
    "output=run",
]


def posterior(path):
    with np.load(path / "posterior.npz") as file:
        return {name: file[name] for name in file.files}


def test_measurements_are_drawn_as_far_as_a_budget_pays_and_go_on(here, capsys):
    """Three pictures with four draws each: the last one that is begun has fewer, and the rest waits for more."""
    words = [*MEASURED, "task.input=[3,4,5]", "task.noise_std=[0.05,0.1,0.2]", "num_samples=4", "batch_size=2"]
    assert main([*words, "budget.network_calls=21"]) == 0  # 3 rows a draw: chunks of 1, 2, 2 and 1, and 3 rows are left
    told, first = capsys.readouterr().out, rows(here / "run/samples.csv")
    record = json.loads((here / "run/run.json").read_text())
    assert record["stopped"] == "network_calls" and 15 <= record["spent"]["network_calls"] <= 21
    assert 4 < len(first) < 8 and {row["input"] for row in first[:4]} == {"0"} and first[4]["input"] == "1"
    assert f"after {len(first)} of 12 samples, 1 of 3 measurements with all of theirs; the same command" in told
    found = posterior(here / "run")
    assert {name: len(found[name]) for name in ("y", "mean", "std", "truth", "noise_std")} == dict.fromkeys(
        ("y", "mean", "std", "truth", "noise_std"), 2
    )
    assert main([*words, "budget.network_calls=30"]) == 0
    assert f"{len(first)} of 12 samples are there" in capsys.readouterr().out
    more = rows(here / "run/samples.csv")
    assert len(first) < len(more) < 12 and more[: len(first)] == first
    assert json.loads((here / "run/run.json").read_text())["spent"]["network_calls"] <= 30
    assert main(words) == 0
    assert main([*words[:-1], "batch_size=1", "output=at_once"]) == 0
    whole, at_once = (rows(here / name / "samples.csv") for name in ("run", "at_once"))
    assert len(whole) == 12 and [row["input"] for row in whole] == sorted(4 * ["0", "1", "2"])
    for one, other in zip(whole, at_once, strict=True):
        assert {**one, **more[0]}.keys() == other.keys()
        assert float(one["psnr"]) == pytest.approx(float(other["psnr"]), abs=1e-2)
    np.testing.assert_allclose(posterior(here / "run")["mean"], posterior(here / "at_once")["mean"], atol=1e-4)
    np.testing.assert_allclose(posterior(here / "run")["mean"][0], found["mean"][0], atol=1e-6)


def test_a_measurement_is_drawn_as_far_as_a_budget_pays(here, capsys):
    words = [*MEASURED, "task.input=3", "num_samples=6", "batch_size=1"]
    assert main([*words, "budget.network_calls=9"]) == 0
    assert "after 3 of 6 samples; the same command" in capsys.readouterr().out
    found = posterior(here / "run")
    assert len(found["mean"]) == 1 and np.isfinite(found["std"]).all()


def test_moments_are_of_the_draws_that_there_are():
    """Two objects with three and one draw: means, spreads with weights, and no spread of one."""
    states = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    weights = torch.tensor([0.5, 0.25, 0.25, 1.0]).double()
    result = Result(states, weights.log()[:, None], torch.zeros(4), Ledger(), {})
    units = SimpleNamespace(values=lambda states: states)
    given = Given(None, None, states[:2], torch.ones(1), None, None, [], SimpleNamespace(units=units), 3)
    assert given.inputs(result).tolist() == [0, 0, 0, 1] and len(given.drawn(3).y) == 1 and len(given.drawn(4).y) == 2
    found = moments(given, result)
    mean = (weights[:3, None] * states[:3]).sum(0)
    variance = (weights[:3, None] * (states[:3] - mean).square()).sum(0) / (1 - weights[:3].square().sum())
    torch.testing.assert_close(found.mean, torch.stack([mean, states[3]]))
    torch.testing.assert_close(found.std[0], variance.sqrt())
    assert found.std[1].isnan().all()
    plain = moments(given, dataclasses.replace(result, log_weights=torch.zeros(4, 1)))
    torch.testing.assert_close(plain.std[0], states[:3].std(0))


def test_a_budget_below_one_draw_of_a_measurement_is_refused(here, capsys):
    assert main([*MEASURED, "task.input=[3,4]", "budget.network_calls=2"]) == 2
    assert "ends the run at step 3 of 3 of its first sample" in capsys.readouterr().err
    assert not list(here.iterdir())


@pytest.mark.parametrize(("limit", "stopped"), [(90, "network_calls"), (170, "")])
def test_more_rounds_for_distinct_samples_are_paid_from_the_same_budget(tmp_path, limit, stopped):
    """The unguided samples beside them have been paid for as well; the smaller budget ends the rounds."""
    words = ["sample", "reward=qed", "guidance=best_of_n", "guidance.particles=2", "num_samples=6", "steps=4"]
    words += ["unique=true", f"budget.network_calls={limit}", f"output={tmp_path / 'run'}"]
    assert main(words) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    spent = sum(each["network_rows"] for each in record["ledger"].values())
    assert record["stopped"] == stopped and len(record["log_normalizer"]["guided"]) > 6  # there was a second round
    assert spent <= record["spent"]["network_calls"] <= limit
