"""Guidance of paths: what one smoothed step does, where it acts, and what a reward suggests."""

import pytest
import torch

import guidekit as gk
from guidekit.guidance.gradient.paths import KERNEL, smoothed_along
from guidekit.guidance.gradient.strength import Below

K = 12
PRIOR = gk.priors.GaussianField(torch.zeros(2, K), torch.ones(2, K), "cosine", gk.processes.EDM())
GRID = [PRIOR.process.at_level(level) for level in (20.0, 5.0, 1.5, 0.4)] + [0.0]
SAMPLER = gk.samplers.Euler(times=GRID)


class Near(gk.objectives.Objective):
    """Minus half the squared distance to a path of threes; its curvature is 1."""

    differentiable, rate = True, 0.5

    def scores(self, states, t, rows):
        return -0.5 * (states - 3.0).square().flatten(1).sum(1)


def run(guidance, **options):
    return gk.sample(PRIOR, guidance, 5, seed=0, sampler=SAMPLER, **options).samples


def test_an_impulse_is_spread_by_the_kernel_and_a_pull_along_the_path_stays():
    impulse = torch.zeros(1, 2, K)
    impulse[0, 1, 5] = 1.0
    spread = torch.zeros(1, 2, K)
    spread[0, 1, 3:8] = torch.tensor(KERNEL) / sum(KERNEL)
    torch.testing.assert_close(smoothed_along(impulse), spread)
    torch.testing.assert_close(smoothed_along(torch.ones(1, K))[0, 2:-2], torch.ones(K - 4))


@pytest.mark.parametrize("iterations", [1, 3])
def test_the_last_estimate_moves_by_smoothed_steps(iterations):
    """Only the last step (level .4) is below the level, and the step to clean data ends at the moved estimate."""
    plain = run(None)
    moved = plain.clone()
    for _ in range(iterations):
        moved = moved + 0.5 * smoothed_along(3.0 - moved)
    found = run(gk.guidance.PathGuidance(Near(), iterations=iterations, level=0.5))
    torch.testing.assert_close(found, moved, atol=1e-5, rtol=0)


def test_above_its_level_it_changes_nothing():
    assert torch.equal(run(gk.guidance.PathGuidance(Near(), level=0.3)), run(None))
    assert not torch.equal(run(gk.guidance.PathGuidance(Near(), level=1.6)), run(None))


def test_a_sum_suggests_the_rate_of_its_curvature():
    """1 / (2 / .5 + 3 / .5); a term that suggests nothing counts for nothing."""
    silent = gk.objectives.QuadraticReward(torch.zeros(2, K))
    assert (2 * Near() + 3 * Near() + silent).rate == pytest.approx(0.1)
    assert (2 * silent).rate is None and silent.rate is None
    assert gk.guidance.PathGuidance(silent).ascent.rate.value == 0.1


def test_a_level_is_noise_over_signal_whatever_the_process():
    for process in (gk.processes.EDM(), gk.processes.VP("cosine")):
        prior = gk.priors.Gaussian(torch.zeros(3), 1.0, process)
        setup = gk.sampling.prepare(prior, None, 1, 4).setup
        from guidekit.core.step import Moment

        for level, wanted in ((0.9, 7.0), (1.1, 0.0)):
            assert Below(7.0, 1.0).at(setup, Moment(process.at_level(level), 0)) == wanted


@pytest.mark.parametrize(
    ("settings", "words"), [({"iterations": 0}, "iterations must be"), ({"level": 0.0}, "a level")]
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        gk.guidance.PathGuidance(Near(), **settings)
