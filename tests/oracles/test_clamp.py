"""Clamped clean estimates against what is known: the formula, independent coordinates, networks."""

import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.core.prediction import GaussianPrediction
from guidekit.domains.audio import Chorales, forbidden, rolls
from guidekit.networks import UNet
from guidekit.priors.neural import NeuralGaussian

g = gk.guidance
PROCESSES = {"vp": gk.processes.VP("cosine"), "edm": gk.processes.EDM(), "flow": gk.processes.Flow()}


class Coins(gk.priors.Prior):
    """Independent cells that are 1 with probability p and else -1: E[x_0 | x] = tanh(logit(p) / 2 + a x / s^2)."""

    name = "coins"

    def __init__(self, p, process, shape):
        self.p, self.process, self.event_shape = torch.tensor(p, dtype=torch.float64), process, shape

    def predict(self, x, t, condition=None):
        a, s = self.process.coefficients(t)
        return GaussianPrediction(torch.tanh(self.p.logit() / 2 + a * x / s**2).to(x), x, a, s)


def gaussian(process, correlation=0.0):
    covariance = torch.full((6, 6), correlation, dtype=torch.float64).fill_diagonal_(1.0)
    return gk.priors.Gaussian(torch.linspace(-1, 1, 6, dtype=torch.float64), covariance, process)


def network(shape=rolls.SHAPE):
    torch.manual_seed(0)
    made = UNet(shape[0], width=8, multipliers=[1], attention=[], heads=2)
    torch.nn.init.normal_(made.head.weight, std=0.3)
    return NeuralGaussian(made, gk.processes.EDM(), shape)


def test_noise_is_that_of_the_paper():
    prior = gaussian(gk.processes.VP("cosine"), 0.6)
    x, t, upper = torch.randn(50, 6, dtype=torch.float64), 0.4, 0.2
    mask = torch.tensor([True, False] * 3)
    plain = prior.predict(x, t)
    a, s = prior.process.coefficients(t)
    clamped = dataclasses.replace(plain, mean=g.ClampCleanEstimate(upper=upper, mask=mask).clamped(plain.mean))
    expected = torch.where(mask, torch.maximum(plain.noise, (x - a * upper) / s), plain.noise)
    assert torch.allclose(clamped.noise, expected, atol=1e-12) and (plain.mean[:, mask] > upper).any()
    assert torch.equal(clamped.mean[:, ~mask], plain.mean[:, ~mask])


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("sampler", [None, gk.samplers.DDIM(), gk.samplers.DDIM(1.0)])
def test_independent_coordinates_keep_their_samples(name, sampler):
    prior, mask = gaussian(PROCESSES[name]), torch.tensor([False, True, True, False, True, False])
    options = dict(num_samples=200, steps=12, sampler=sampler, seed=3)
    plain = gk.sample(prior, **options).samples
    made = gk.sample(prior, g.ClampCleanEstimate(upper=0.0, mask=mask), **options).samples
    assert (made[:, mask] <= 0).all() and (plain[:, mask] > 0).any()
    assert torch.equal(made[:, ~mask], plain[:, ~mask])


def test_bounds_hold_for_correlated_ones_and_by_function():
    prior = gaussian(gk.processes.EDM(), 0.8)
    ordered = g.ClampCleanEstimate(lower=lambda d: torch.cat([d[:, :1], d[:, :-1]], 1), mask=torch.arange(6) == 1)
    made = gk.sample(prior, ordered, 300, steps=15).samples
    assert (made[:, 1] >= made[:, 0]).all() and not (made[:, 2] >= made[:, 1]).all()
    both = gk.sample(prior, g.ClampCleanEstimate(-0.5, torch.full((6,), 0.5)), 300, steps=15).samples
    assert both.abs().max() <= 0.5


@pytest.mark.parametrize("prior", [gaussian(gk.processes.EDM(), 0.5), network((1, 8, 8))], ids=["gaussian", "unet"])
def test_an_empty_rule_changes_nothing(prior):
    plain = gk.sample(prior, num_samples=4, steps=6).samples
    for rule in (g.ClampCleanEstimate(), g.ClampCleanEstimate(upper=0.0, mask=torch.tensor(False))):
        assert torch.equal(gk.sample(prior, rule, 4, steps=6).samples, plain)


@pytest.mark.parametrize("seed", range(3))
def test_forbidden_pitches_never_sound(seed):
    domain, process = Chorales(), gk.processes.VP("cosine")
    verifier = domain.verifier(["outside C major", "above 79"])
    prior = Coins(0.3, process, rolls.SHAPE)
    plain = gk.sample(prior, num_samples=6, steps=10, seed=seed).samples
    made = gk.sample(prior, g.FGG(verifier), 6, steps=10, seed=seed).samples
    assert verifier.count(plain).min() > 50 and verifier.count(made).max() == 0
    assert (verifier(made)[0] == -1).all() and (verifier(plain)[0] >= 0).all()
    assert torch.equal(made[:, :, ~verifier.cells], plain[:, :, ~verifier.cells])
    assert all((notes[:, 2] % 12 != 6).all() and notes[:, 2].max() <= 79 for notes in rolls.RollCodec().decode(made))


RHYTHM = [3, 0, None, 1]


@pytest.mark.parametrize("seed", range(2))
def test_exactly_so_many_notes_begin(seed):
    verifier, prior = Chorales().verifier(["outside C major"]), Coins(0.05, gk.processes.VP("cosine"), rolls.SHAPE)
    options = dict(num_samples=6, steps=10, seed=seed)
    free = gk.sample(prior, g.FGG(verifier), **options).samples
    made = gk.sample(prior, g.FGG(verifier, RHYTHM), **options).samples
    begun = [(one[:, 0] > 0).sum(2).view(6, -1, 4) for one in (free, made)]
    assert all((begun[1][..., i] == n).all() for i, n in enumerate(RHYTHM) if n is not None)
    assert all((begun[0][..., i] != n).any() for i, n in enumerate(RHYTHM) if n is not None)
    assert verifier.count(made).max() == 0
    assert torch.equal(made[:, 0, 2::4], free[:, 0, 2::4]) and torch.equal(made[:, 1], free[:, 1])  # independent cells
    notes = rolls.RollCodec().decode(made)[0]
    assert np.bincount(notes[:, 0] % 4, minlength=4)[[0, 1, 3]].tolist() == [48, 0, 16]


def test_cells_that_begin_are_the_likely_ones():
    """Where one pitch begins notes more often, it is chosen, and beside it each of those that are alike."""
    p = torch.full(rolls.SHAPE, 0.05, dtype=torch.float64)
    p[0, :, 20] = 0.9
    prior = Coins(0.5, gk.processes.VP("cosine"), rolls.SHAPE)
    prior.p = p
    made = gk.sample(prior, g.FGG(Chorales().verifier(), [2]), 40, steps=10).samples[:, 0] > 0
    share = made.double().mean((0, 1))
    others = torch.cat([share[:20], share[21:]])
    assert share[20] > 0.8 and abs(others.mean() - (2 - share[20]) / 55) < 1e-9
    assert others.min() > 0.005 and others.max() < 0.05


def test_bounds_of_a_rhythm_are_the_nearest():
    verifier = Chorales().verifier(["outside C major", "above 40"])
    allowed = (~verifier.cells[0]).nonzero()[:, 0]
    torch.manual_seed(0)
    mean = torch.randn(1, *rolls.SHAPE, dtype=torch.float64)
    made = g.FGG(verifier, [2]).clamped(mean)[0, 0]
    for step in range(3):
        found = (made[step] - mean[0, 0, step]).square().sum()
        moved = []
        for pair in itertools.combinations(allowed.tolist(), 2):
            other = mean[0, 0, step].clamp(max=0.0)
            other[list(pair)] = mean[0, 0, step, list(pair)].clamp(min=forbidden.LEAST)
            other[verifier.cells[0]] = mean[0, 0, step, verifier.cells[0]].clamp(max=0.0)
            moved.append((other - mean[0, 0, step]).square().sum())
        assert found == pytest.approx(float(min(moved)), rel=1e-9) and max(moved) > found


@pytest.mark.parametrize(
    "rhythm, message",
    [
        ([1, 2, 3], "rhythm of 3 steps; a number that divides 64"),
        ([1, -1], "whole numbers from 0"),
        ([1.5, 1], "whole numbers from 0"),
        ([9, 0], r"9 notes at step 0, where \d pitches may sound"),
    ],
)
def test_rhythms_that_cannot_be(rhythm, message):
    verifier = Chorales().verifier(["outside C major", "above 40"])
    with pytest.raises(ValueError, match=message):
        gk.sample(network(), g.FGG(verifier, rhythm), 2, steps=3)


def test_untrained_network_obeys_and_guidance_inside_too():
    verifier, prior = Chorales().verifier(["outside A minor"]), network()
    assert verifier.count(gk.sample(prior, num_samples=2, steps=5).samples).min() > 0
    reward = Chorales().rewards.make("polyphony", low=20.0, high=30.0)
    plugs = (g.FGG(verifier), g.chain(g.FGG(verifier), g.GradientGuidance(reward, 50.0)))
    for plug in plugs:
        assert verifier.count(gk.sample(prior, plug, 2, steps=5).samples).max() == 0


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: g.ClampCleanEstimate(upper=torch.zeros(5)), r"upper has shape \(5,\), which does not broadcast"),
        (lambda: g.FGG(Chorales().verifier(), [2]), r"bounds states \(2, 64, 56\), and this prior"),
        (lambda: g.FGG(SimpleNamespace(upper=lambda x: x), [2]), "needs a verifier with a rhythm"),
        (lambda: g.FGG(SimpleNamespace(upper=lambda x: x + torch.inf)), "no rule to keep"),
        (lambda: g.FGG(gk.objectives.ForbiddenWords([[1]])), "needs a verifier with bounds.*ForbiddenWords has none"),
        (lambda: g.FGG(Chorales().verifier(["F#"])), r"bounds states \(2, 64, 56\), and this prior"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(gk.GuidanceError, match=message):
        gk.sample(gaussian(gk.processes.EDM()), make(), 2, steps=3)


def test_bounds_without_room():
    with pytest.raises(ValueError, match="nothing lies between"):
        g.ClampCleanEstimate(1.0, 0.0)
