"""Where sampling begins: boosted noise against its closed form, refined noise against the exact refinement."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.core.guidance import GuidanceError
from guidekit.guidance.starts import BoostAndSkip, RefinedNoise
from guidekit.training.refiner import guided_pairs, train_refiner, unguided

N = 4000


def spread(prior, plug, sampler, steps=400):
    return float(gk.sample(prior, plug, N, steps, sampler=sampler).samples[:, 0].std())


@pytest.mark.parametrize("skipped", [20, 80, 160])
def test_a_boost_is_remembered_where_there_is_signal(skipped):
    s0, gamma, steps = 0.7, 4.0, 400
    prior = gk.priors.Gaussian(torch.zeros(1), s0**2, gk.processes.VP("cosine"))
    a, s = prior.process.coefficients(1 - skipped / steps)
    middle = a * a * s0**2 + s * s
    stochastic = math.sqrt((a * s0**2 / middle) ** 2 * gamma**2 + s0**2 * s * s / middle)
    deterministic = gamma * s0 / math.sqrt(middle)
    plug = BoostAndSkip(gamma, skipped)
    # Monte-Carlo error of a standard deviation, and one per cent for the steps
    error = 4 / math.sqrt(2 * N) + 0.01
    assert spread(prior, plug, gk.samplers.Ancestral()) == pytest.approx(stochastic, rel=error)
    assert spread(prior, plug, gk.samplers.DDIM()) == pytest.approx(deterministic, rel=error)


def test_without_skipping_the_boost_is_forgotten_and_neutral_settings_change_nothing():
    prior = gk.priors.Gaussian(torch.zeros(1), 0.49, gk.processes.VP("cosine"))
    assert spread(prior, BoostAndSkip(4.0, 0), gk.samplers.Ancestral()) == pytest.approx(0.7, rel=0.06)
    plain = gk.sample(prior, None, 5, 20).samples
    assert torch.equal(gk.sample(prior, BoostAndSkip(1.0, 0), 5, 20).samples, plain)


def test_boosts_that_cannot_be():
    prior = gk.priors.Gaussian(torch.zeros(1))
    with pytest.raises(ValueError, match="boost=0"):
        BoostAndSkip(0.0)
    with pytest.raises(GuidanceError, match="skip=3 of 3 steps"):
        gk.sample(prior, BoostAndSkip(), 2, 3)
    with pytest.raises(GuidanceError, match="widens Gaussian noise"):
        gk.sample(gk.priors.CategoricalChain(torch.ones(2, 2)), BoostAndSkip(), 2, 8)


class Affine(torch.nn.Module):
    """gain * x + offset, zero at first."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.zeros(1))
        self.offset = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, level, labels):
        """See the class."""
        return self.gain * x + self.offset


def test_refined_noise_gives_the_guided_samples_without_guidance():
    process, steps = gk.processes.VP("cosine"), 10
    plain = gk.priors.Gaussian(torch.zeros(1), 1.0, process)
    prior = gk.priors.ByClass(plain, [gk.priors.Gaussian(torch.tensor([0.8]), 0.5, process)])
    guidance = gk.guidance.CFG(2.0)
    noise, targets = guided_pairs(prior, guidance, 500, steps, condition=0)
    rows = torch.zeros(500, dtype=torch.int64)
    refiner = train_refiner(prior, Affine(), noise, targets, steps, 600, 128, 0.02, condition=rows)
    # every map is affine: the exact refinement is that of two points
    ends = torch.tensor([[0.0], [1.0]])
    bare = unguided(prior, ends, steps, rows[:2])
    gain, offset = (bare[1] - bare[0]), bare[0]
    fit = torch.linalg.lstsq(torch.cat([noise, torch.ones_like(noise)], 1), targets).solution
    exact = torch.cat([fit[0] / gain, (fit[1] - offset) / gain])
    learned = torch.cat([1 + refiner.network.gain, refiner.network.offset]).detach()
    assert torch.allclose(learned, exact, atol=0.01)
    assert (exact - torch.tensor([1.0, 0.0])).abs().max() > 0.3  # there was something to learn
    result = gk.sample(prior, RefinedNoise(refiner), 500, steps, condition=0, sampler=gk.samplers.DDIM())
    assert torch.allclose(result.samples, targets, atol=0.02)
    assert result.ledger.network_calls == steps + 1
    guided = gk.sample(prior, guidance, 500, steps, condition=0, sampler=gk.samplers.DDIM())
    assert guided.ledger.network_rows == 2 * 500 * steps
