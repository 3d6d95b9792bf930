"""Sampling from a noised sample against its closed form on a Gaussian."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.guidance import FromSample, GuidanceError

N, SPREAD, SAMPLE = 4000, 0.7, torch.tensor([[1.5]])


@pytest.mark.parametrize("process", [gk.processes.VP("cosine"), gk.processes.EDM(), gk.processes.Flow()])
@pytest.mark.parametrize("time", [0.2, 0.5])
@pytest.mark.parametrize("sampler", [gk.samplers.Ancestral(), gk.samplers.DDIM()])
def test_closed_form(process, time, sampler):
    steps, prior = 400, gk.priors.Gaussian(torch.zeros(1), SPREAD**2, process)
    a, s = process.coefficients(next(t for t in process.grid(steps) if t <= time))
    m = a * a * SPREAD**2 + s * s
    if isinstance(sampler, gk.samplers.Ancestral):
        mean = a * a * SPREAD**2 * 1.5 / m
        std = math.sqrt((a * SPREAD**2 * s / m) ** 2 + SPREAD**2 * s * s / m)
    else:
        mean, std = SPREAD * a * 1.5 / math.sqrt(m), SPREAD * s / math.sqrt(m)
    made = gk.sample(prior, FromSample(SAMPLE, time), N, steps, sampler=sampler)
    # Monte-Carlo error, and one per cent for the steps
    assert made.samples.mean() == pytest.approx(mean, abs=4 * std / math.sqrt(N) + 0.01)
    assert made.samples.std() == pytest.approx(std, rel=4 / math.sqrt(2 * N) + 0.01)
    assert made.ledger.network_calls < 0.6 * steps


def test_a_grid_that_does_not_start_at_noise():
    process = gk.processes.VP("cosine")
    prior = gk.priors.Gaussian(torch.zeros(1), SPREAD**2, process)
    times = [0.6, *process.grid(40)[17:]]
    full = gk.sample(prior, FromSample(SAMPLE, 0.5), N, 40).samples
    short = gk.sample(prior, FromSample(SAMPLE, 0.5), N, sampler=gk.samplers.Ancestral(times=times)).samples
    assert short.std() == pytest.approx(float(full.std()), rel=0.05)


def test_from_noise_alone_and_refusals():
    prior = gk.priors.Gaussian(torch.zeros(1), SPREAD**2, gk.processes.EDM())
    plain = gk.sample(prior, None, 5, 20).samples
    assert torch.equal(gk.sample(prior, FromSample(torch.zeros(1, 1), 1.0), 5, 20).samples, plain)
    with pytest.raises(ValueError, match="time=0.0; above 0"):
        FromSample(SAMPLE, 0.0)
    with pytest.raises(GuidanceError, match=r"has shape \(1, 2\); states of this prior"):
        gk.sample(prior, FromSample(torch.zeros(1, 2)), 2, 5)
    with pytest.raises(GuidanceError, match="adds Gaussian noise"):
        gk.sample(gk.priors.CategoricalChain(torch.ones(2, 2)), FromSample(SAMPLE), 2, 8)
    with pytest.raises(GuidanceError, match="take more steps"):
        gk.sample(gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP("cosine")), FromSample(SAMPLE, 0.1), 2, 5)
