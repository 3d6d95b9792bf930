"""Resampling schemes are unbiased and have the variance they promise."""

import pytest
import torch

from guidekit.core.prediction import pick
from guidekit.guidance.particles.resampling import RESAMPLERS

WEIGHTS = torch.tensor([[0.05, 0.4, 0.0, 0.25, 0.3], [0.2, 0.2, 0.2, 0.2, 0.2]], dtype=torch.float64)
RUNS = 20_000


def copies(scheme, weights, runs=RUNS):
    w = weights.repeat(runs, 1)
    u = torch.rand(w.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    counts = torch.nn.functional.one_hot(RESAMPLERS[scheme](w, u), w.shape[1]).sum(1)
    return counts.view(runs, *weights.shape)


@pytest.mark.parametrize("scheme", RESAMPLERS)
def test_unbiased(scheme):
    counts = copies(scheme, WEIGHTS).double()
    error = counts.std(0) / RUNS**0.5 + 1e-9
    assert ((counts.mean(0) - 5 * WEIGHTS).abs() <= 4 * error).all()
    assert (counts.sum(2) == 5).all()
    assert (counts[:, 0, 2] == 0).all()  # weight zero is never chosen


@pytest.mark.parametrize("scheme", ["systematic", "residual", "ssp"])
def test_counts_are_at_least_the_floor(scheme):
    counts = copies(scheme, WEIGHTS, 2000)
    assert (counts >= (5 * WEIGHTS + 1e-9).floor()).all()
    if scheme != "residual":
        assert (counts <= (5 * WEIGHTS - 1e-9).ceil()).all()


@pytest.mark.parametrize("scheme", RESAMPLERS)
def test_one_certain_particle_takes_all(scheme):
    w = torch.tensor([[0.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    assert (copies(scheme, w, 100) == torch.tensor([0, 4, 0, 0])).all()


def test_variance_is_ordered():
    spread = {scheme: float(copies(scheme, WEIGHTS[:1]).double().var(0).sum()) for scheme in RESAMPLERS}
    assert spread["multinomial"] > spread["residual"] > spread["systematic"]
    assert spread["multinomial"] > spread["stratified"] > spread["ssp"] * 0.99


def test_inverse_cdf_never_draws_probability_zero():
    """A uniform number on an edge, 0 above all, belongs to the next category."""
    log_probs = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]], dtype=torch.float64).log().expand(3, -1)
    u = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert pick(log_probs, u).tolist() == [1, 3, 3]
    weights = torch.tensor([[0.0, 0.5, 0.0, 0.5]], dtype=torch.float64)
    for scheme in RESAMPLERS.values():
        assert set(scheme(weights, torch.zeros(1, 4, dtype=torch.float64)).flatten().tolist()) <= {1, 3}
