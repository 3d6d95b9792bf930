"""Contrastive energies: the gradient of the exact intermediate energy, not of the mean one."""

import dataclasses

import pytest
import torch

import guidekit as gk
from guidekit.guidance.values.checkpoints import load_value, save_energy
from guidekit.guidance.values.energy import LearnedEnergy
from guidekit.training.energies import Contrast, SiblingLikelihood, Siblings, train_energy

PROCESS = gk.processes.VP("cosine")
PRIOR = gk.priors.Gaussian(torch.zeros(1), 1.0, PROCESS)
TRUNK = {"name": "perceptron", "options": {"size": 1}}
TARGET, SPREAD = 1.0, 0.25


def reward(x):
    return -((x[:, 0] - TARGET) ** 2) / (2 * SPREAD)


@pytest.fixture(scope="module")
def energy():
    contrast = Contrast(1.0, base=8000, sampling_steps=30, updates=400)
    return train_energy(PRIOR, reward, TRUNK, contrast)


@pytest.mark.parametrize("t", [0.5, 0.7])
def test_gradient_is_that_of_the_exact_energy(energy, t):
    """x_0 given x_t is N(a x_t, s^2): log E exp(r) has slope a (c - a x_t) / (s^2 + v), the mean of r that over v."""
    a, s = (float(value) for value in PROCESS.coefficients(torch.tensor(t)))
    x = torch.randn(500, 1, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (found,) = torch.autograd.grad(energy.scores(x, t, None).sum(), x)
    exact = a * (TARGET - a * x.detach()) / (s * s + SPREAD)
    mean = a * (TARGET - a * x.detach()) / SPREAD
    off = float((found - exact).norm() / exact.norm())
    assert off < 0.3 and off < 0.5 * float((found - mean).norm() / mean.norm())


def test_siblings_share_time_and_not_noise():
    clean = torch.arange(6.0)[:, None]
    rewards = torch.tensor([0.0, 1.0, 2.0, -torch.inf, 0.0, 1.0])
    contrast = Contrast(0.5, siblings=4, batch_size=10)
    (states, times), shares = next(iter(Siblings(clean, rewards, PROCESS, contrast, 0)))
    assert states.shape == (8, 1) and (times.view(2, 4) == times.view(2, 4)[:, :1]).all()
    assert torch.allclose(shares.view(2, 4).sum(1), torch.ones(2).double())
    energy = LearnedEnergy(torch.nn.Identity(), PROCESS, 0.5)

    class Perfect(torch.nn.Module):
        def forward(self, x, level):
            return shares.log().clamp_min(-50)[:, None]

    best = SiblingLikelihood(energy, 4)(Perfect(), (states, times), shares).mean()
    entropy = -(shares * shares.clamp_min(1e-30).log()).sum() / 2
    torch.testing.assert_close(best, entropy)


def test_guidance_and_filters_take_it(energy):
    guidance = gk.guidance.ClassifierGuidance(energy, 1.0)
    x = gk.sample(PRIOR, guidance, 2000, 30, sampler=gk.samplers.DPMSolver(eta=1.0)).samples
    assert (
        abs(float(x.mean()) - 0.8) < 0.12 and abs(float(x.var()) - 0.2) < 0.1
    )  # posterior of N(0, 1) and variance .25
    steering = gk.guidance.FKSteering(reward, value=energy, particles=16, output="all")
    z = gk.sample(PRIOR, steering, 400, 30).log_normalizer.exp()
    exact = (0.2) ** 0.5 * torch.tensor(-0.4).exp()  # E exp(-(x - 1)^2 / .5) for N(0, 1)
    assert abs(float(z.mean() / exact) - 1) < 4 * float(z.std() / exact) / 20 + 0.03  # 30 steps are a little narrow
    with pytest.raises(gk.GuidanceError, match="learned for temperature=1, and FKSteering is asked for 0.5"):
        gk.guidance.FKSteering(reward, 0.5, value=energy)
    other = gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP())
    with pytest.raises(gk.GuidanceError, match="the energy was trained on"):
        gk.sample(other, guidance, 1, 4)


def test_file(energy, tmp_path):
    path = tmp_path / "energy.safetensors"
    save_energy(path, energy, TRUNK, "", {})
    again = load_value(path)
    x = torch.randn(5, 1)
    torch.testing.assert_close(again.scores(x, 0.4, None), energy.scores(x, 0.4, None), atol=1e-3, rtol=1e-3)
    assert again.temperature == 1.0
    with pytest.raises(ValueError, match="knows no thresholds"):
        load_value(path, above=0.5)
    with pytest.raises(ValueError, match="energy of temperature .* leave eta=3 out"):
        load_value(path, 3.0)
    with pytest.raises(ValueError, match="give one of them"):
        load_value(path, 3.0, 0.5)
    assert load_value(path, 1 / again.temperature).temperature == again.temperature


def test_what_cannot_be_is_refused():
    for bad, said in (({"temperature": 0.0}, "above 0"), ({"siblings": 1}, "at least 2"), ({"batch_size": 8}, "less")):
        with pytest.raises(ValueError, match=said):
            dataclasses.replace(Contrast(), **bad)
    with pytest.raises(ValueError, match="nothing to learn"):
        train_energy(PRIOR, lambda x: torch.ones(len(x)), TRUNK, Contrast(base=20, sampling_steps=2))
