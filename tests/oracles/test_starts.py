"""Where sampling begins: boosted noise against its closed form, refined noise against the exact refinement."""

import dataclasses
import math

import pytest
import torch

import guidekit as gk
from guidekit.core.guidance import GuidanceError
from guidekit.core.loop import prepare
from guidekit.guidance.starts.boost_and_skip import BoostAndSkip
from guidekit.guidance.starts.refined_noise import RefinedNoise, Refiner, fingerprint
from guidekit.processes.grids import Karras
from guidekit.training.refiner import guided_pairs, refined, train_refiner, unguided

N = 4000


def spread(prior, plug, sampler, steps=400):
    return float(gk.sample(prior, plug, N, steps, sampler=sampler).samples[:, 0].std())


@pytest.mark.parametrize("process", [gk.processes.VP("cosine"), gk.processes.EDM(), gk.processes.Flow()], ids=str)
@pytest.mark.parametrize("skipped", [20, 80, 160])
def test_a_boost_is_remembered_where_there_is_signal(skipped, process):
    s0, gamma, steps = 0.7, 4.0, 400
    prior = gk.priors.Gaussian(torch.zeros(1), s0**2, process)
    a, s = process.coefficients(process.grid(steps)[skipped])
    middle, start = a * a * s0**2 + s * s, gamma**2 * (a * a + s * s)
    stochastic = math.sqrt((a * s0**2 / middle) ** 2 * start + s0**2 * s * s / middle)
    deterministic = math.sqrt(start / middle) * s0
    plug = BoostAndSkip(gamma, skipped)
    # Monte-Carlo error of a standard deviation, and one per cent for the steps
    error = 4 / math.sqrt(2 * N) + 0.01
    assert spread(prior, plug, gk.samplers.Ancestral()) == pytest.approx(stochastic, rel=error)
    assert spread(prior, plug, gk.samplers.DDIM()) == pytest.approx(deterministic, rel=error)


@pytest.mark.parametrize("skip", [0, 3])
@pytest.mark.parametrize("process", [gk.processes.VP("cosine"), gk.processes.EDM(), gk.processes.Flow()], ids=str)
def test_the_start_is_boosted_exactly(skip, process):
    prior, steps, gamma = gk.priors.Gaussian(torch.zeros(3), 1.0, process), 20, 4.0

    def begun(guidance):
        options = dict(sampler=gk.samplers.Ancestral(), steps=steps, groups=(0, 5), dtype=torch.float64)
        return prepare(prior, guidance, **options).begin().state

    a, s = process.coefficients(process.grid(steps)[skip])
    b, r = process.coefficients(1.0)
    noise = begun(None) / r  # of unit size; at the start a process hands out noise of standard deviation r
    size = math.hypot(a, s) / math.hypot(b, r) * r  # so that the standard deviation of data of unit size is kept
    torch.testing.assert_close(begun(BoostAndSkip(gamma, skip)), gamma * size * noise, rtol=1e-9, atol=0)


def test_without_skipping_the_boost_is_forgotten_and_neutral_settings_change_nothing():
    prior = gk.priors.Gaussian(torch.zeros(1), 0.49, gk.processes.VP("cosine"))
    assert spread(prior, BoostAndSkip(4.0, 0), gk.samplers.Ancestral()) == pytest.approx(0.7, rel=0.06)
    plain = gk.sample(prior, None, 5, 20).samples
    result = gk.sample(prior, BoostAndSkip(1.0, 0), 5, 20)
    assert torch.equal(result.samples, plain) and result.ledger.network_calls == 20
    assert gk.sample(prior, BoostAndSkip(4.0, 3), 5, 20).ledger.network_calls == 17


def test_boosts_that_cannot_be():
    prior = gk.priors.Gaussian(torch.zeros(1))
    with pytest.raises(ValueError, match="boost must be above 0, got 0"):
        BoostAndSkip(0.0)
    with pytest.raises(GuidanceError, match="skip=3 of 3 steps"):
        gk.sample(prior, BoostAndSkip(), 2, 3)
    with pytest.raises(GuidanceError, match="skip=3 of 2 steps"):  # a list of times has its own number of steps
        gk.sample(prior, BoostAndSkip(), 2, 20, sampler=gk.samplers.DDIM(times=[1.0, 0.5, 0.0]))
    with pytest.raises(GuidanceError, match="BoostAndSkip needs a Gaussian process"):
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


def pair(process):
    """A conditional Gaussian prior whose guided and unguided DDIM maps are affine."""
    plain = gk.priors.Gaussian(torch.zeros(1), 1.0, process)
    return gk.priors.ClassConditional(plain, [gk.priors.Gaussian(torch.tensor([0.8]), 0.5, process)] * 2)


@pytest.mark.parametrize(
    ("process", "times"),
    [(gk.processes.VP("cosine"), None), (gk.processes.EDM(), None), (gk.processes.EDM(), Karras(high=20.0))],
    ids=["preserving", "exploding", "starting late"],
)
def test_refined_noise_gives_the_guided_samples_without_guidance(process, times):
    prior, steps, sampler = pair(process), 10, gk.samplers.DDIM(times=times)
    guidance = gk.guidance.CFG(2.0)
    noise, targets = guided_pairs(prior, guidance, 500, steps, condition=0, sampler=sampler)
    rows = torch.zeros(500, dtype=torch.int64)
    options = dict(rounds=3, updates=200, batch_size=128, learning_rate=0.02, condition=rows, sampler=sampler)
    refiner = train_refiner(prior, Affine(), noise, targets, steps, **options)
    # every map is affine: the exact refinement is that of two points, in units of the noise
    std = float(process.coefficients(refiner.times[0])[1])
    ends = torch.tensor([[0.0], [std]])
    bare = unguided(prior, ends, refiner.times, rows[:2])
    gain, offset = (bare[1] - bare[0]), bare[0]
    fit = torch.linalg.lstsq(torch.cat([noise / std, torch.ones_like(noise)], 1), targets).solution
    exact = torch.cat([fit[0] / gain, (fit[1] - offset) / gain])
    learned = torch.cat([1 + refiner.network.gain, refiner.network.offset]).detach()
    assert torch.allclose(learned, exact, rtol=0.05, atol=0.01)
    assert (exact - torch.tensor([1.0, 0.0])).abs().max() > 0.1  # there was something to learn
    result = gk.sample(prior, RefinedNoise(refiner), 500, steps, condition=0)  # its own steps
    assert torch.allclose(result.samples, targets, atol=0.02)
    assert result.ledger.network_rows == 500 * steps and result.ledger.value_calls == 500
    assert torch.equal(refined(refiner, noise, rows), refiner(noise, rows))
    guided = gk.sample(prior, guidance, 500, steps, condition=0, sampler=sampler)
    assert guided.ledger.network_rows == 2 * 500 * steps


def refiner_of(prior, steps=4, conditions=None):
    """Any refiner of a prior's states."""
    times = tuple(prior.process.grid(steps))
    return Refiner(Affine(), prior.process, tuple(prior.event_shape), times, conditions, fingerprint(prior))


def test_a_penalty_keeps_noise_where_it_was():
    prior, steps, rows = pair(gk.processes.VP("cosine")), 6, torch.zeros(200, dtype=torch.int64)
    noise, targets = guided_pairs(prior, gk.guidance.CFG(2.0), 200, steps, condition=0)
    options = dict(rounds=1, updates=150, batch_size=100, learning_rate=0.05, condition=rows)
    free, held = (
        train_refiner(prior, Affine(), noise, targets, steps, penalty=penalty, **options) for penalty in (0.0, 1.0)
    )
    # the least of (c - w)^2 + c^2 is half of the least of (c - w)^2
    assert torch.allclose(held(noise, rows) - noise, 0.5 * (free(noise, rows) - noise), atol=0.02)


def test_large_populations_are_refined_in_parts():
    prior = pair(gk.processes.VP("cosine"))
    plug = RefinedNoise(refiner_of(prior, conditions=torch.tensor([0])))
    plug.refiner.network.offset.data += 0.3
    whole = gk.sample(prior, plug, 7, condition=0)
    prior.network_batch = 3
    parts = gk.sample(prior, plug, 7, condition=0)
    assert torch.allclose(whole.samples, parts.samples) and parts.ledger.value_calls == 7


class WithNetwork(gk.priors.Gaussian):
    """A Gaussian that also has weights."""

    def __init__(self, weight):
        super().__init__(torch.zeros(1), 1.0, gk.processes.VP("cosine"))
        self.network = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(self.network.weight, weight)
        torch.nn.init.zeros_(self.network.bias)


def test_refiners_of_other_priors_steps_and_conditions_are_refused():
    prior = pair(gk.processes.VP("cosine"))
    made = refiner_of(prior, 4, torch.tensor([0]))
    cases = [
        (made, dict(steps=5, sampler=gk.samplers.DDIM()), "trained for 4 steps, not 5: steps=4"),
        (made, dict(sampler=gk.samplers.DDIM(times=[1.0, 0.6, 0.5, 0.2, 0.0])), "trained for other times"),
        (made, dict(sampler=gk.samplers.DDIM(eta=0.5)), "sampler=ddim steps=4"),
        (made, dict(sampler=gk.samplers.Ancestral()), "sampler=ddim steps=4"),
        (made, dict(condition=1), "not trained with condition 1; it knows 0"),
        (made, dict(condition=None), "give condition="),
        (dataclasses.replace(made, conditions=None), {}, "leave condition= out"),
        (dataclasses.replace(made, process=gk.processes.VP("linear")), {}, "trained on GaussianProcess"),
        (dataclasses.replace(made, event_shape=(2,)), {}, r"states \(2,\)"),
    ]
    for refiner, options, said in cases:
        with pytest.raises(GuidanceError, match=said):
            gk.sample(prior, RefinedNoise(refiner), 2, **{"condition": 0, **options})
    with pytest.raises(GuidanceError, match="RefinedNoise needs a Gaussian process"):
        gk.sample(gk.priors.CategoricalChain(torch.ones(2, 2)), RefinedNoise(made), 2, 8)
    own = RefinedNoise(refiner_of(WithNetwork(0.5)))
    gk.sample(WithNetwork(0.5), own, 2)
    with pytest.raises(GuidanceError, match="for another prior than this one"):
        gk.sample(WithNetwork(0.25), own, 2)


def test_pairs_are_of_noise_and_what_the_steps_make_of_it():
    prior, steps = pair(gk.processes.VP("cosine")), 6
    noise, targets = guided_pairs(prior, None, 300, steps, seed=3, condition=0)  # more than are drawn together
    times = prior.process.grid(steps)
    assert torch.allclose(unguided(prior, noise, times, torch.zeros(300, dtype=torch.int64)), targets, atol=1e-5)
    reward = gk.objectives.Reward(lambda x: x[:, 0])
    with pytest.raises(GuidanceError, match="BestOfN chooses among several"):
        guided_pairs(prior, gk.guidance.BestOfN(reward, 4), 3, steps, condition=0)
