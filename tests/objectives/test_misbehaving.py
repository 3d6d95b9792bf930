"""Functions of users that hang, crash, or answer with anything but a number."""

import importlib
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.core.ledger import Ledger
from guidekit.core.prior import Prior
from guidekit.objectives import Isolated, ObjectReward, score, worker
from guidekit.objectives.scoring import failures, refuse_useless, remark
from guidekit.objectives.worker import attempt

FATAL = {
    "hang": "took longer than 0.5 s",
    "exit": "ended its process (exit code 9)",
    "crash": "crashed (SIGSEGV)",
    "killed": "crashed (SIGKILL)",
    "interrupt": "raised KeyboardInterrupt",
}
"""What only another process survives."""

WRONG = {
    "quit": "raised SystemExit: 4",
    "memory": "raised MemoryError",
    "recursion": "raised RecursionError: maximum recursion depth exceeded",
    "none": "returned None, not one number",
    "list": "returned a list, not one number",
    "text": "returned a str, not one number",
    "complex": "returned a complex, not one number",
    "huge": "returned a number too large for a float",
    "nan": "returned NaN",
    "infinite": "returned plus infinity",
}
RIGHT = {"rejected": -math.inf, "large": 1e308, "moved": 1.0}


@pytest.fixture
def mine(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("misbehaving")


@pytest.mark.parametrize("workers", [1, 3])
def test_whatever_a_function_does_costs_one_object(mine, workers):
    expected = {}
    for i, (word, outcome) in enumerate({**FATAL, **WRONG, **RIGHT}.items()):
        expected |= {word: outcome, f"fine {i}": float(len(f"fine {i}"))}
    function = Isolated(mine.act, "misbehaving:act", workers=workers, timeout=0.5)
    for _ in range(2):  # and the next call finds everything in order
        found = dict(function.outcomes(list(expected)))
        found = [found[i] for i in range(len(expected))]
        for (word, outcome), one in zip(expected.items(), found, strict=True):
            assert one.startswith(outcome) if isinstance(outcome, str) else one == outcome, word


@pytest.mark.parametrize(("word", "outcome"), [*WRONG.items(), *RIGHT.items()])
def test_within_this_process_as_well(mine, word, outcome):
    here = os.getcwd()
    found = attempt(mine.act, word)
    assert found.startswith(outcome) if isinstance(outcome, str) else found == outcome
    assert os.getcwd() == here


@pytest.mark.parametrize(
    ("value", "score"),
    [
        (True, 1.0),
        (np.True_, 1.0),
        (np.int64(3), 3.0),
        (np.float32(0.5), 0.5),
        (np.array(2.0), 2.0),
        (np.array([[2.0]]), 2.0),
        (torch.tensor(2), 2.0),
        (torch.ones(1, 1, requires_grad=True), 1.0),
        (np.complex128(1), "returned a complex128, not one number"),
        (np.str_("1"), "returned a str_, not one number"),
        (np.array([1.0, 2.0]), "returned an ndarray of shape (2,), not one number"),
        (torch.ones(2), "returned a Tensor of shape (2,), not one number"),
        (np.array(np.nan), "returned NaN"),
        (np.float32(np.inf), "returned plus infinity"),
        (b"1", "returned a bytes, not one number"),
        ({}, "returned a dict, not one number"),
    ],
)
def test_what_is_a_score(value, score):
    assert attempt(lambda obj: value, None) == score


def test_a_message_that_cannot_be_made_is_left_out():
    class Rude(Exception):
        def __str__(self):
            raise RuntimeError

    def function(obj):
        raise Rude

    assert attempt(function, None) == "raised Rude"


def test_processes_stay_and_hold_no_more_than_the_function_needs(mine):
    function = Isolated(mine.calls, "misbehaving:calls", timeout=None)
    assert [function("a"), function("b"), function("c")] == [1, 2, 3]
    function.close()
    assert function("d") == 1
    assert Isolated(mine.imported_torch)("a") == 0  # by pickle, and importing torch takes seconds
    process = Isolated(mine.act)("pid")
    for _ in range(100):  # nobody holds it any more
        if not Path(f"/proc/{int(process)}").exists():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the worker process outlived its function")


def test_a_process_ends_with_the_one_that_started_it(mine):
    """Also where that is killed, and the function hangs."""
    code = (
        "import threading, time, misbehaving; from guidekit.objectives.pool import Isolated;"
        "f = Isolated(misbehaving.act, 'misbehaving:act'); print(int(f('pid')), flush=True); f('hang')"
    )
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(gk.__file__).parents[1])])
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})
    worker = int(run.stdout.readline())
    run.kill()
    run.wait()
    for _ in range(200):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker process outlived its parent")


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (lambda text: 1.0, {}, "cannot be given to a worker process"),
        (len, {"workers": -1}, "workers=-1"),
        (len, {"workers": True}, "workers=True"),
        (len, {"timeout": 0}, "timeout=0"),
        (len, {"timeout": math.nan}, "timeout=nan"),
        (len, {"memory": 1}, "memory=1; megabytes from 16 on"),
    ],
)
def test_what_cannot_be_isolated_is_refused(function, options, said):
    with pytest.raises(ValueError, match=said):
        Isolated(function, **options)


def test_a_function_that_workers_cannot_import_is_refused():
    with pytest.raises(ValueError, match="cannot be imported in a worker process: raised ModuleNotFoundError"):
        Isolated(len, "no_such_module:function")("a")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the limit")
def test_a_process_takes_no_more_memory_than_it_may(mine):
    function = Isolated(mine.act, "misbehaving:act", memory=120)
    words = ["take 20", "take 400", "fine"]
    told = "raised MemoryError (memory=120 megabytes are what a worker process may take, with its imports)"
    assert dict(function.outcomes(words)) == {0: 20.0, 1: told, 2: 4.0}
    assert Isolated(mine.act, "misbehaving:act", memory=900)("take 400") == 400
    with pytest.raises(worker.NoScoreError, match="crashed"):
        Isolated(mine.act)("crash")


def test_a_limit_that_the_system_does_not_keep_is_said(mine, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.warns(UserWarning, match=r"memory=500 is not kept on this system \(darwin\): only Linux does"):
        Isolated(mine.act, memory=500)


class Words:
    """Objects are words, by number."""

    def __init__(self, words):
        self.words, self.language = words, " ".join(map(str, words))

    def decode(self, states):
        return [self.words[i] for i in states[:, 0].tolist()]


def scored(reward, words, states):
    prior = Prior()
    prior.codec = Words(words)
    return score(prior, reward, states).tolist()


@pytest.mark.filterwarnings("ignore:reward")
def test_counts_reasons_and_memory(mine):
    words = ["fine", "hang", "exit", "none", None, "fine"]
    reward, states = ObjectReward(Isolated(mine.act, timeout=0.5)), torch.arange(6)[:, None]
    values = scored(reward, words, states)
    ledger = reward.spent()
    assert values == [4.0, -math.inf, -math.inf, -math.inf, -math.inf, 4.0]
    counts = (ledger.reward_calls, ledger.reward_failures, ledger.reward_timeouts, ledger.reward_invalid)
    assert counts == (4, 3, 1, 1)  # one object behind two states is scored once
    told = failures(ledger + Ledger(), "words")
    assert "failed on 3 words, 1 of them for want of time" in told
    assert all(f"{reason} (1 times)" in told for reason in (FATAL["hang"], FATAL["exit"], WRONG["none"]))
    again, kept = ObjectReward(lambda word: pytest.fail("scored again")), reward.export()
    again.restore(kept)
    assert scored(again, words, states) == values and again.spent() == Ledger(reward_repeated=6)
    assert again.export() == kept and all(isinstance(key, str) for key in kept)


def test_throughput_and_what_was_not_scored_again():
    def slow(word):
        time.sleep(0.01)
        return float(len(word))

    reward, states = ObjectReward(slow), torch.tensor([0, 1, 1, 2, 3])[:, None]
    for times in (1, 2):  # "aa" stands behind two states more, None is no object, and the second time all are known
        scored(reward, ["aa", "b", None, "aa"], states)
        ledger = reward.spent()
        assert ledger.reward_calls == 2 and ledger.reward_invalid == 1
        assert ledger.reward_repeated == (2 if times == 1 else 7)
    assert 0.02 <= ledger.reward_seconds < 2
    told = ledger.throughput
    assert told["objects a second"] == pytest.approx(2 / ledger.reward_seconds)
    assert told["share not scored again"] == pytest.approx(7 / 9)
    assert Ledger().throughput == {}
    assert (ledger + ledger).reward_repeated == 14


@pytest.mark.filterwarnings("ignore:reward")
def test_outcomes_paid_before_are_counted_and_not_made_again(mine):
    words, states = ["fine", "none", "exit", "hang"], torch.arange(4)[:, None]
    reward, again = (
        ObjectReward(Isolated(mine.act, timeout=0.5)),
        ObjectReward(lambda word: pytest.fail("scored again")),
    )
    reward.paid = {}
    values = scored(reward, words, states)
    again.paid = dict(reward.paid)
    assert scored(again, words, states) == values and reward.spent() == again.spent()
    assert again.spent().reward_calls == 4


@pytest.mark.filterwarnings("ignore:reward")
def test_a_part_of_a_combination_may_be_isolated(mine):
    isolated, plain = ObjectReward(Isolated(mine.act, timeout=0.5)), ObjectReward(len, "len")
    assert (2 * isolated + plain)(["abc", "hang"]).tolist() == [9.0, -math.inf]
    assert (isolated * plain)(["exit now", "abc"]).tolist() == [-math.inf, 9.0]
    assert set(isolated.spent().reward_reasons) == {FATAL["hang"], FATAL["exit"]}


def test_what_a_function_says_of_itself_is_kept():
    function = np.vectorize(len)  # an object with attributes, of a module that can be imported
    function.temperature = 0.2
    assert Isolated(function, "numpy:size").temperature == 0.2


def test_a_useless_function_is_refused_and_one_that_rejects_is_not(mine):
    with pytest.raises(ValueError, match=r"reward mine failed on all 2 words it was tried on: returned None"):
        refuse_useless(mine.act, ["none", "none more"], "mine", "words")
    for words in (["none", "fine"], ["none", "list"], ["rejected"], []):
        refuse_useless(mine.act, words, "mine", "words")


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([0.5, 0.5, -math.inf], "was 0.5 for all 2"),
        ([-math.inf, -math.inf], "failed on or rejected all 2"),
        ([0.5, 0.6], ""),
        ([0.5], ""),
        ([], ""),
    ],
)
def test_scores_that_tell_nothing_apart_are_remarked_on(scores, said):
    told = remark(scores, "mine", "words")
    assert said in told and bool(told) == bool(said)
