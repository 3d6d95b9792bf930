"""The claim of row 7 at a size that takes seconds: equal calls, no derivative, and errors that are errors."""

import pytest
import torch

import guidekit as gk
from guidekit.evidence.claim import chosen


@pytest.fixture(scope="module")
def claim_module():
    import sys

    (source,) = chosen(7)
    claim = source.load()
    return sys.modules[claim.measure.__module__]


def test_all_solvers_have_the_same_calls_and_beat_nothing_at_all(claim_module):
    names = ("EnKG", "EKI", "stochastic control", "best of N")
    found = claim_module.figures_of(0, 2, size=16, members=32, steps=4, names=names)
    assert {calls for _, calls in found.values()} == {128}
    assert all(0 < error < 1.6 for error, _ in found.values())
    assert found["EnKG"][0] < 0.9


def test_the_truth_is_of_the_prior_and_nothing_is_differentiated(claim_module):
    truth, operator, likelihood = claim_module.problem(0, 2, 1.0, 16)
    drawn = gk.sample(claim_module.prior(16), None, 64, steps=20, sampler="heun").samples
    assert drawn.std() == pytest.approx(1.0, abs=0.1)
    truths = torch.cat([claim_module.problem(seed, 8, 1.0, 16)[0] for seed in range(12)])
    assert truths.std() == pytest.approx(1.0, abs=0.15)
    x = truth.clone().requires_grad_()
    assert not operator.forward(x).requires_grad
    with pytest.raises(gk.GuidanceError, match="black box"):
        gk.sample(claim_module.prior(16), gk.guidance.DPS(likelihood), 1)
