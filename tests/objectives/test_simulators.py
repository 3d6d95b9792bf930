"""Simulators in processes of their own: what one does to a state costs that state, and no other."""

import importlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.objectives import GaussianLikelihood
from guidekit.objectives.operators.simulator import Simulator
from guidekit.objectives.worker import NoScoreError, numbers

PRIOR = gk.priors.Gaussian(torch.zeros(4), 1.0, gk.processes.EDM())


@pytest.fixture
def mine(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("misbehaving")


@pytest.mark.parametrize("workers", [1, 3])
def test_a_state_that_fails_measures_nothing_and_is_counted(mine, workers):
    operator = Simulator(mine.simulate, workers=workers, timeout=0.5)
    x = torch.tensor([[0.5, 1, 2, 3], [1.5, 0, 0, 0], [-1, 5, 6, 7], [2.5, 0, 0, 0], [3.5, 0, 0, 0], [0, 0, 1, 0]])
    with pytest.warns(UserWarning, match="simulator simulate raised FloatingPointError: diverged, on state 2 of 6;"):
        found = operator.forward(x)
    expected = 2 * x[:, ::2]
    expected[[1, 3, 4]] = torch.nan
    torch.testing.assert_close(found, expected, equal_nan=True)
    told = operator.spent()
    assert (told.reward_failures, told.reward_timeouts) == (3, 1)
    assert set(told.reward_reasons) == {
        "raised FloatingPointError: diverged",
        "took longer than 0.5 s",
        "ended its process (exit code 9)",
    }
    torch.testing.assert_close(operator.forward(x[:1].double()), expected[:1].double())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # told once
        assert operator.forward(x[1:2]).isnan().all()
    operator.close()


def test_an_ensemble_goes_on_without_members_that_fail(mine):
    likelihood = GaussianLikelihood(Simulator(mine.simulate, timeout=5.0), torch.tensor([[1.5, 0.5]]), 0.1)
    wild = gk.guidance.EnsembleKalmanInversion(likelihood, particles=24, updates=2)
    result = gk.sample(PRIOR, wild, 1, steps=8, seed=1)
    assert result.samples.isfinite().all()
    assert result.ledger.reward_failures == int(result.info["failed members"].sum()) > 0
    assert result.ledger.reward_calls == 48
    assert not any("not finite" in reason for reason in result.ledger.reward_reasons)  # counted once, by its reason


def test_searches_and_estimated_gradients_count_a_failure_once(mine):
    operator = Simulator(mine.simulate, timeout=1.0)
    likelihood = GaussianLikelihood(operator, torch.tensor([[1.5, 0.5]]), 0.1)
    for guidance in (gk.guidance.BestOfN(likelihood, 24), gk.guidance.DPSGSG(likelihood, draws=8)):
        before = operator.spent()
        result = gk.sample(PRIOR, guidance, 1, steps=4, seed=1)
        assert result.samples.isfinite().all()
        assert result.ledger.reward_failures == (operator.spent() - before).reward_failures
        assert not any("NaN" in reason or "not finite" in reason for reason in result.ledger.reward_reasons)


def test_one_number_is_a_measurement_of_one_number(mine):
    operator = Simulator(mine.total)
    x = torch.arange(8.0).reshape(2, 4)
    torch.testing.assert_close(operator.forward(x), x.sum(1, keepdim=True))
    assert GaussianLikelihood(operator, torch.ones(1, 1), 0.5).residual(x).shape == (2, 1)
    plain = GaussianLikelihood(lambda states: states.sum(1), torch.ones(1), 0.5)
    torch.testing.assert_close(plain.residual(x), 1 - x.sum(1, keepdim=True))


def test_a_simulator_that_never_works_is_told(mine):
    with pytest.raises(ValueError, match="simulator simulate raised FloatingPointError: diverged, on all 2 states"):
        Simulator(mine.simulate).forward(torch.full((2, 4), 1.5))


def test_what_cannot_be_isolated_is_told_of_the_simulator():
    with pytest.raises(ValueError, match="^simulator <lambda> cannot be given to a worker process") as unsent:
        Simulator(lambda x: x)
    with pytest.raises(ValueError, match="^simulator len cannot be imported in a worker process") as unknown:
        Simulator(len, "no_such_module:function").forward(torch.ones(1, 2))
    for told in (str(unsent.value), str(unknown.value)):
        assert "reward" not in told and "workers=0" not in told


def test_gradients_through_it_are_refused(mine):
    likelihood = GaussianLikelihood(Simulator(mine.simulate), torch.zeros(1, 2), 0.1)
    with pytest.raises(
        gk.GuidanceError, match="objective; a likelihood of simulate is a black box.*EnsembleKalmanGuidance or DPSGSG"
    ):
        gk.sample(PRIOR, gk.guidance.DPS(likelihood), 1)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([[1.0, 2.0], [3.0]], "no array of numbers"),
        ("text", "no array of numbers"),
        (None, "no array of numbers"),
        ([1.0, float("nan")], "not finite"),
        ([[1.0, "a"]], "no array of numbers"),
        (np.array(["a"]), "returned an ndarray that is no array of numbers"),
        (np.fft.rfft2(np.ones((4, 4))), "complex numbers; give real and imaginary parts"),
    ],
)
def test_what_is_no_array(value, said):
    with pytest.raises(NoScoreError, match=said):
        numbers(value)


@pytest.mark.parametrize(
    "value", [np.arange(6.0).reshape(1, 2, 3), np.float32(2.0), torch.ones(2, 0), [[1, 2], [3, 4]]]
)
def test_arrays_keep_shape_and_order(value):
    shape, packed = numbers(value)
    np.testing.assert_array_equal(np.frombuffer(packed).reshape(shape), np.asarray(value, dtype=float))
