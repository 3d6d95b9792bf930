"""Exact posterior draws pass; draws that are too narrow, too wide, shifted or wrongly correlated are found out."""

import math

import pytest
import torch

from guidekit.evaluation import calibration, posterior_card
from guidekit.evaluation.two_samples import c2st

P, S, R, D = 400, 39, 100, 6
LAG = (torch.arange(D)[:, None] - torch.arange(D)).abs().double()
ROOT = torch.linalg.cholesky(0.6**LAG)
WRONG = torch.linalg.cholesky((-0.5) ** LAG)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


CENTERS = 3 * normal(P, D, seed=1)
"""Posterior means: those of a prior that is wide beside the posteriors N(center, ROOT ROOT^T)."""

TRUTHS = CENTERS + normal(P, D, seed=2) @ ROOT.T
EXACT = CENTERS[:, None] + normal(P, R, D, seed=3) @ ROOT.T
NOISE = normal(P, S, D, seed=4)
DRAWS = {
    "exact": CENTERS[:, None] + NOISE @ ROOT.T,
    "narrow": CENTERS[:, None] + 0.7 * NOISE @ ROOT.T,
    "wide": CENTERS[:, None] + 1.5 * NOISE @ ROOT.T,
    "shifted": CENTERS[:, None] + NOISE @ ROOT.T + 0.6,
    "rotated": CENTERS[:, None] + NOISE @ WRONG.T,
    "point": CENTERS[:, None] + 0.01 * NOISE @ ROOT.T,
}


def test_exact_draws_are_calibrated():
    draws = DRAWS["exact"]
    for level in (0.5, 0.9):
        mean, error = calibration.mean_with_error(calibration.coverage(TRUTHS, draws, level))
        assert abs(mean - level) < 3.5 * error < 0.05
    assert calibration.uniform_ranks(calibration.ranks(TRUTHS, draws), S).least > 0.01
    assert float(calibration.uniform_shares(calibration.tarp(TRUTHS, draws)).p) > 0.01
    z = calibration.z_scores(TRUTHS, draws)
    assert abs(float(z.mean())) < 4 / math.sqrt(P) and float(z.square().mean()) == pytest.approx(1, abs=0.1)
    # S and R draws of each of P problems: the mean's error squared is 0, with a standard error of (1/S + 1/R) / sqrt(P)
    assert calibration.bias(draws, EXACT) < math.sqrt(4 * (1 / S + 1 / R) / math.sqrt(P))
    assert calibration.spread(draws, EXACT) == pytest.approx(1, abs=4 / math.sqrt(2 * P * S))


@pytest.mark.parametrize("count", [1, 4, 19, 30])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_coverage_has_its_level_on_average_for_any_number_of_draws(count, level):
    rank = torch.arange(count + 1)  # every rank once
    draws = torch.arange(count, dtype=torch.float64)[None, :, None].expand(count + 1, count, 1)
    inside = calibration.coverage(rank[:, None] - 0.5, draws, level)
    assert float(inside.mean()) == pytest.approx(level, abs=1e-12) and float(inside.min()) >= 0


@pytest.mark.parametrize(("name", "factor"), [("narrow", 0.7), ("wide", 1.5)])
def test_wrong_spreads_show_in_every_figure(name, factor):
    draws = DRAWS[name]
    assert calibration.spread(draws, EXACT) == pytest.approx(factor, rel=0.02)
    z = calibration.z_scores(TRUTHS, draws)  # (truth - mean)^2 is 1 + factor^2 / S, the factor of S is for equal ones
    assert float(z.square().mean()) == pytest.approx((1 + factor**2 / S) / factor**2 / (1 + 1 / S), rel=0.08)
    expected = math.erf(factor * 1.6449 / math.sqrt(2))
    mean, error = calibration.mean_with_error(calibration.coverage(TRUTHS, draws, 0.9))
    assert abs(mean - expected) < 4 * error + 0.01
    assert calibration.uniform_ranks(calibration.ranks(TRUTHS, draws), S).least < 1e-6
    assert posterior_card.card(TRUTHS, draws, EXACT).verdict == name
    assert posterior_card.card(TRUTHS, draws).verdict == name  # without an exact posterior


def test_a_shift_is_a_bias():
    draws = DRAWS["shifted"]
    assert calibration.bias(draws, EXACT) == pytest.approx(0.6, abs=0.03)
    assert float(calibration.z_scores(TRUTHS, draws).mean()) == pytest.approx(-0.6, abs=0.08)
    assert calibration.uniform_ranks(calibration.ranks(TRUTHS, draws), S).least < 1e-6
    assert posterior_card.card(TRUTHS, draws, EXACT).verdict == "biased"


def test_a_wrong_correlation_shows_in_projections_and_not_in_coordinates():
    draws = DRAWS["rotated"]
    assert calibration.uniform_ranks(calibration.ranks(TRUTHS, draws), S).least > 0.01
    seen, made = calibration.projected(TRUTHS), calibration.projected(draws)
    assert calibration.uniform_ranks(calibration.ranks(seen, made), S).least < 1e-6
    references = CENTERS + 3.0  # on the long axis of the posteriors
    assert float(calibration.uniform_shares(calibration.tarp(TRUTHS, draws, references)).p) < 1e-3
    assert float(calibration.uniform_shares(calibration.tarp(TRUTHS, DRAWS["exact"], references)).p) > 0.01


@pytest.mark.parametrize("name", ["narrow", "wide", "point"])
def test_tarp_sees_wrong_spreads(name):
    references = CENTERS + normal(P, D, seed=5)
    assert float(calibration.uniform_shares(calibration.tarp(TRUTHS, DRAWS[name], references)).p) < 1e-4


def test_expected_coverage_is_the_level_for_exact_draws():
    levels = torch.tensor([0.2, 0.5, 0.9])
    found = calibration.expected_coverage(calibration.tarp(TRUTHS, DRAWS["exact"]), levels)
    assert (found - levels).abs().max() < 4 * 0.5 / math.sqrt(P) + 0.5 / S


def test_words():
    assert posterior_card.card(TRUTHS, DRAWS["exact"], EXACT).verdict == "calibrated"
    assert posterior_card.card(TRUTHS, DRAWS["point"], EXACT).verdict == "point"
    word = posterior_card.word
    assert word(0.90, 1.0, 0.1) == "calibrated" and word(0.89, 1.0, 0.4) == "biased"
    assert word(0.91, 0.8, 0.1) == "narrow" and word(0.80, 1.0, 0.1) == "narrow"
    assert word(0.93, 1.0, 0.1) == "wide" and word(0.9, 2.5, 0.1) == "wide" and word(0.3, 0.01, 3.0) == "point"


def test_chi_square_and_kolmogorov_by_tables():
    rank = torch.arange(10).repeat_interleave(torch.tensor([8, 12, 10, 10, 10, 10, 10, 10, 10, 10]))[:, None]
    found = calibration.uniform_ranks(rank, 9)  # (4 + 4) / 10, 9 degrees of freedom
    assert float(found.statistic) == pytest.approx(0.8) and float(found.p) == pytest.approx(0.99976, abs=1e-4)
    shares = (torch.arange(100).double() + 0.5) / 100
    assert float(calibration.uniform_shares(shares).statistic) == pytest.approx(0.005)
    critical = calibration.uniform_shares((shares * (1 - 0.136)).clamp_max(1))  # 1.36 / sqrt(n) is the 5 % point
    assert float(critical.p) == pytest.approx(0.05, abs=0.02)


def test_c2st_tells_narrow_shifted_and_rotated_from_exact_and_exact_from_nothing():
    points = {name: (draws - CENTERS[:, None])[:, :4, :3].flatten(0, 1) for name, draws in DRAWS.items()}
    exact = (EXACT - CENTERS[:, None])[:, :4, :3].flatten(0, 1)
    share, error = c2st(points["exact"], exact)
    assert abs(share - 0.5) < 3.5 * error
    for name in ("narrow", "shifted", "rotated"):
        assert c2st(points[name], exact)[0] > 0.5 + 8 * error, name
    state = torch.random.get_rng_state()
    c2st(exact[:50], points["exact"][:50], rounds=2)
    assert torch.equal(state, torch.random.get_rng_state())


def test_failed_problems_are_left_out_and_counted():
    draws = DRAWS["exact"].clone()
    draws[3, 0, 0] = torch.nan
    found = posterior_card.card(TRUTHS, draws, EXACT)
    assert (found.failed, found.problems) == (1, P - 1) and found.coverage > 0.88 and found.verdict == "biased"
    with pytest.raises(posterior_card.DivergedError):
        posterior_card.card(TRUTHS, 1e9 * draws, EXACT)
    with pytest.raises(ValueError, match="not finite"):
        calibration.ranks(TRUTHS, draws)
    with pytest.raises(ValueError, match=r"\(problems, draws, D\)"):
        calibration.ranks(TRUTHS, draws[:, :, :2])
