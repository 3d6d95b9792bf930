"""Probabilities of rare events against closed forms: tails of Gaussians and mixtures, strings of a chain."""

import dataclasses
import json
import math
import shutil
import signal

import pytest
import torch
from scipy.stats import norm

import guidekit as gk
from guidekit.cli import main
from guidekit.commands.estimate import Pieces
from guidekit.core.objective import Objective
from guidekit.estimation import GROUPS, estimate, remark
from guidekit.objectives.window import Windowed, outside
from guidekit.sampling import Sampling

RARE = 1e-6


def gaussian(size=2):
    return gk.priors.Gaussian(torch.zeros(size), 1.0, gk.processes.VP("cosine"))


def mean_of(size=2, differentiable=True):
    return gk.objectives.Reward(lambda x: x.sum(1) / math.sqrt(size), differentiable=differentiable)


@dataclasses.dataclass(frozen=True, eq=False)
class Number(Objective, Windowed):
    """3 i + j of a state (i, j) in a window."""

    low: float
    high: float

    def scores(self, states, t, rows):
        """See `Objective.scores`."""
        return outside(3.0 * states[:, 0] + states[:, 1], self.low, self.high)


@pytest.mark.parametrize(("differentiable", "error"), [(True, 0.05), (False, 0.15)])
def test_the_tail_of_a_gaussian(differentiable, error):
    """One in a million within 10 % by less than 10,000 samples where the reward has a gradient.

    100 steps of the sampler are wrong by about 5 %: the variance of x_0 by .5 %, times half the squared threshold.
    """
    reward, many = mean_of(differentiable=differentiable), {"num_samples": 8_000, "steps": 100}
    found = estimate(gaussian(), reward, float(norm.isf(RARE)), method="tilt", seed=1, **many)
    assert found.drawn <= 10_000 and found.remark == "" and found.error < error * found.probability
    assert abs(found.probability - RARE) < 3.5 * found.error + 0.05 * RARE
    low, high = found.interval
    assert low < found.probability < high and 4 < found.tilt < 6


def test_samples_of_the_event():
    """Weighted back they have the law of the prior given the event: its mean along the reward is phi(c) / P."""
    found = estimate(gaussian(), mean_of(), 3.0, steps=100, seed=0)
    drawn = found.samples(4_000).double()
    along, across = drawn.sum(1) / math.sqrt(2), (drawn[:, 0] - drawn[:, 1]) / math.sqrt(2)
    assert (along >= 3).all()
    assert float(along.mean()) == pytest.approx(norm.pdf(3) / norm.sf(3), abs=0.03)
    assert abs(float(across.mean())) < 0.1 and float(across.std()) == pytest.approx(1, abs=0.1)


def test_common_events_are_counted():
    found = estimate(gaussian(), mean_of(), 1.0, num_samples=4_000, steps=40, seed=0)
    assert found.tilt == 0 and found.drawn == 4_400
    assert abs(found.probability - norm.sf(1.0)) < 4 * found.error
    assert found.error == pytest.approx(math.sqrt(norm.sf(1) * norm.cdf(1) / 4_000), rel=0.5)


def mixture():
    """Two modes, of which the rare one holds the event; its probability is .01 P(N(3, .5) >= 4.5)."""
    weights, process = torch.tensor([0.99, 0.01]), gk.processes.VP("cosine")
    prior = gk.priors.GaussianMixture(torch.tensor([[-3.0], [3.0]]), 0.5, weights, process)
    return prior, gk.objectives.Reward(lambda x: x[:, 0], differentiable=True), 0.01 * norm.sf(3.0)


def test_splitting_finds_the_rare_mode():
    """100 steps are wrong by 5 %; two moves a level leave copies alike, which the spread of the groups shows."""
    prior, reward, exact = mixture()
    found = estimate(prior, reward, 4.5, method="splitting", steps=100, seed=0)
    assert found.error < 0.25 * found.probability and found.remark == ""
    assert abs(found.probability - exact) < 3.5 * found.error + 0.05 * exact
    assert (found.samples(100) >= 4.5).all()


def test_a_tilt_says_where_it_fails():
    prior, reward, exact = mixture()
    found = estimate(prior, reward, 4.5, steps=60, seed=0)
    assert found.tilt > 0 and found.probability < 0.1 * exact
    assert "of 20 groups: it is too low by an unknown amount" in found.remark and "method=splitting" in found.remark


def test_tokens():
    """A chain of which every string is known, each letter likely to follow its like; the event is a rare one."""
    start, move = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([[0.8, 0.15, 0.05], [0.1, 0.8, 0.1], [0.05, 0.15, 0.8]])
    table = torch.einsum("a,ab,bc,cd->abcd", start, move, move, move).double()
    event = torch.tensor([2, 1, 1, 2])
    exact = float(table[tuple(event.tolist())])
    assert exact == pytest.approx(1.2e-3)
    prior = gk.priors.CategoricalChain(table)
    reward = gk.objectives.Reward(lambda z: (z == event).sum(1).double())
    found = estimate(prior, reward, 3.5, steps=16, sampler="ancestral", seed=0)
    assert found.error < 0.35 * found.probability
    assert abs(found.probability - exact) < 3.5 * found.error
    assert (found.samples(5) == event).all()


def test_bounds_of_a_window_are_those_of_what_it_measures():
    """Chain of nine states: the number 3 i + j of each, from a window on it, against the sums of its law."""
    law = torch.tensor([[0.30, 0.05, 0.05], [0.02, 0.20, 0.08], [0.10, 0.05, 0.15]], dtype=torch.float64)
    prior = gk.priors.CategoricalChain(law)
    number = torch.arange(9.0).view(3, 3)
    window = Number(0.0, 1.0)
    for bounds, said in (({"at_least": 6}, "Number >= 6"), ({"at_most": 2}, "Number <= 2"), ({}, "0 <= Number <= 1")):
        found = estimate(prior, window, **bounds, num_samples=2_000, steps=8, sampler="ancestral")
        low, high = (bounds.get("at_least", -9), bounds.get("at_most", 9)) if bounds else (0, 1)
        exact = float(law[(number >= low) & (number <= high)].sum())
        assert found.event == said and abs(found.probability - exact) < 4 * found.error + 0.02
    both = estimate(prior, window, 3, at_most=5, num_samples=400, steps=8, sampler="ancestral")
    assert both.event == "3 <= Number <= 5" and (both.samples(9)[:, 0] == 1).all()


def test_a_reward_that_is_no_window_keeps_its_own_meaning_of_low_and_high():
    @dataclasses.dataclass(frozen=True, eq=False)
    class Clamped(Objective):
        low: float = 0.0
        high: float = 2.0

        def scores(self, states, t, rows):
            return states[:, 0].clamp(self.low, self.high)

    found = estimate(gaussian(), Clamped(), 1.0, num_samples=2_000, steps=60)
    assert abs(found.probability - 0.1587) < 4 * found.error and found.event == "Clamped >= 1"


def test_the_other_side_of_a_reward():
    found = estimate(gaussian(), gk.objectives.Reward(lambda x: x[:, 0]), at_most=-2.0, num_samples=2_000, steps=60)
    assert abs(found.probability - 0.02275) < 4 * found.error and float(found.samples(20)[:, 0].max()) <= -2
    with pytest.raises(ValueError, match="are for windows such as logp"):
        estimate(gaussian(), gk.objectives.Reward(lambda x: x[:, 0]), 1.0, at_most=2.0)


def test_what_cannot_be_trusted_is_told():
    assert "no particle came into the event (the nearest one misses it by 0.25)" in remark(torch.zeros(GROUPS), 0.25)
    one = torch.zeros(GROUPS).index_fill(0, torch.tensor([3]), 1.0)
    assert remark(one, 0.0) == (
        "the estimate rests on 1.0 of 20 groups: it is too low by an unknown amount, and so is its error; take more "
        "samples"
    )
    assert remark(torch.ones(GROUPS), 0.0) == ""
    with pytest.raises(ValueError, match="no particle is within the event"):
        estimate(
            gaussian(), gk.objectives.Reward(lambda x: x[:, 0].clamp(-1, 1)), 2.0, num_samples=40, steps=4
        ).samples(1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"at_least": math.nan}, "at_least=nan; a finite number in the unit of the reward is needed"),
        ({"at_least": "high"}, "at_least='high'"),
        ({"at_least": 1.0, "num_samples": 10}, "num_samples=10; a whole number of at least 40"),
        ({"at_least": 1.0, "reward": lambda x: x[:, 0] * 0}, "have the reward 0: there is nothing to tilt by"),
        ({"at_least": 4.0, "sampler": "heun"}, "heun"),
        ({"at_least": 4.0, "method": "split"}, "splitting"),
    ],
)
def test_what_is_refused(options, told):
    given = {"reward": mean_of(), "steps": 8, **options}
    with pytest.raises(ValueError) as error:
        estimate(gaussian(), given.pop("reward"), given.pop("at_least"), **given)
    assert told.lower() in str(error.value).lower()


WORDS = [
    "estimate",
    "domain=dna",
    "reward=gc",
    "num_samples=40",
    "steps=4",
    "output=run",
]


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*WORDS, "at_least=.45"]) == 0
    shown = capsys.readouterr().out
    assert "P(gc >= 0.45)" in shown and "95 % interval" in shown and "written to" in shown
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert 0 < record["figures"]["probability"] <= 1 and len(record["groups"]) == GROUPS
    assert (tmp_path / "run" / "samples.fasta").exists() and (tmp_path / "run" / "samples.csv").exists()
    assert main([*WORDS, "at_least=.45"]) == 0 and "already done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["estimate", "domain=dna", "reward=motif", "reward.motif=CTCF"],
            "give at_least=, the least motif, or at_most=",
        ),
        ([*WORDS, "at_least=inf"], "at_least=inf; a finite number or null is needed"),
        (["estimate", "domain=dna", "at_least=1"], "estimate needs a reward"),
        ([*WORDS, "at_least=1", "atleast=1"], "atleast"),
        ([*WORDS, "at_least=.5", "at_most=.4"], "at_least=0.5 is above at_most=0.4"),
        ([*WORDS, "at_least=45"], "45 % is 0.45"),
    ],
)
def test_bad_input_is_one_line(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["tilt", "splitting"])
def test_an_estimate_goes_on_from_its_pieces_bit_for_bit(method, tmp_path, monkeypatch):
    """Stopped after every second piece, again and again, it comes to what one run comes to, and draws nothing twice."""
    monkeypatch.setattr("guidekit.events.ROWS", 100)
    drawn, saved, draw = [], [], Sampling.draw

    def counted(self, begin, end, *rest):
        drawn.append(end - begin)
        return draw(self, begin, end, *rest)

    class Stopping(Pieces):
        def save(self, name, *piece):
            super().save(name, *piece)
            saved.append(name)
            if len(saved) % 2 == 0:
                raise KeyboardInterrupt

    def run(store=None):
        return estimate(gaussian(), mean_of(), 2.5, method=method, num_samples=400, steps=8, store=store)

    monkeypatch.setattr(Sampling, "draw", counted)
    whole, once = run(), sum(drawn)
    drawn.clear()
    found, stops = None, 0
    while found is None:
        try:
            found = run(Stopping(tmp_path))
        except KeyboardInterrupt:
            stops += 1
    assert stops > 3 and sum(drawn) == once and found.drawn == whole.drawn
    assert torch.equal(found.groups, whole.groups) and whole.probability > 0
    assert torch.equal(found.states, whole.states) and torch.equal(found.log_weights, whole.log_weights)
    counts = [(one.ledger.network_rows, one.ledger.reward_calls, one.ledger.backward_passes) for one in (found, whole)]
    assert counts[0] == counts[1] and (found.result is None) == (whole.result is None)
    if found.result is not None:
        assert found.result.info.keys() == whole.result.info.keys()


RUN = [*WORDS[:-1], "at_least=.5"]


def test_an_interrupted_command_goes_on(tmp_path, monkeypatch, capsys):
    """Ctrl-C after the first level; then a damaged piece, which is made again."""
    monkeypatch.chdir(tmp_path)
    save = Pieces.save

    def interrupted(self, name, *piece):
        save(self, name, *piece)
        if name == "levels":
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Pieces, "save", interrupted)
        assert main([*RUN, "output=run"]) == 130
    told = capsys.readouterr().out
    assert "what is finished is kept in" in told and "the same command goes on from there" in told
    shutil.copytree("run.partial", "bad.partial")
    assert main([*RUN, "output=run", "seed=1"]) == 2
    assert "holds an interrupted run that was another: seed was 0, is 1" in capsys.readouterr().err
    assert main([*RUN, "output=run"]) == 0
    assert "goes on from 2 finished pieces of the interrupted run" in capsys.readouterr().out
    assert not (tmp_path / "run.partial").exists()
    (piece,) = (tmp_path / "bad.partial").glob("chunks-*/levels.safetensors")
    data = bytearray(piece.read_bytes())
    data[-3] ^= 1
    piece.write_bytes(data)
    assert main([*RUN, "output=bad"]) == 0 and main([*RUN, "output=whole"]) == 0
    run, bad, whole = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("run", "bad", "whole"))
    assert run["groups"] == bad["groups"] == whole["groups"]
    for name in ("samples.csv", "samples.fasta"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_nothing_is_left_of_an_estimate_that_cannot_be(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flat = ["estimate", "domain=dna", "reward=sum", "reward.terms=[{name: gc, low: 0, high: 1}]"]
    assert main([*flat, "num_samples=40", "steps=4", "at_least=2", "method=tilt"]) == 2
    error = capsys.readouterr()
    assert "there is nothing to tilt by" in error.err and "interrupted" not in error.out
    assert not list(tmp_path.iterdir())
