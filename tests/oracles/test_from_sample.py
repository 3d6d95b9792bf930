"""Sampling from a noised sample against its closed form on a Gaussian."""

import itertools
import math

import pytest
import torch

import guidekit as gk
from guidekit import GuidanceError
from guidekit.guidance import FromSample

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
    assert gk.sample(prior, FromSample(torch.zeros(1, 1), 1.0), 5, 20).ledger.network_calls == 20
    alone = gk.sample(prior, None, N, 40).samples  # pure noise and the noised sample are the same at t = 1
    assert gk.sample(prior, FromSample(torch.zeros(1, 1), 1.0), N, 40).samples.std() == pytest.approx(
        float(alone.std()), rel=8 / math.sqrt(2 * N)
    )
    with pytest.raises(ValueError, match="time must be above 0"):
        FromSample(SAMPLE, 0.0)
    with pytest.raises(GuidanceError, match=r"has shape \(1, 2\); states of this prior"):
        gk.sample(prior, FromSample(torch.zeros(1, 2)), 2, 5)
    with pytest.raises(GuidanceError, match="states of this prior"):
        gk.sample(gk.priors.CategoricalChain(torch.ones(2, 2)), FromSample(SAMPLE), 2, 8)
    with pytest.raises(GuidanceError, match="take more steps"):
        gk.sample(gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP("cosine")), FromSample(SAMPLE, 0.1), 2, 5)


def test_each_sample_may_start_from_its_own():
    prior = gk.priors.Gaussian(torch.zeros(1), SPREAD**2, gk.processes.VP("cosine"))
    starts = torch.tensor([[-3.0], [0.0], [3.0]])
    whole = gk.sample(prior, FromSample(starts, 0.1), 3, 100, sampler=gk.samplers.DDIM()).samples
    assert torch.allclose(whole, starts, atol=0.6) and len(whole.round().unique()) == 3
    for options in ({"batch_size": 2}, {"batch_size": 1}):  # a chunk takes its own rows
        assert torch.equal(gk.sample(prior, FromSample(starts, 0.1), 3, 100, sampler="ddim", **options).samples, whole)
    many = gk.sample(prior, FromSample(starts, 0.1), 3, 100, sampler="ddim", particles=4, batch_size=2).samples
    assert torch.allclose(many, starts.repeat_interleave(4, 0), atol=1)
    with pytest.raises(GuidanceError, match="2 samples to start from for 3"):
        gk.sample(prior, FromSample(starts[:2], 0.1), 3, 100)


def test_a_lead_of_tokens_is_varied_with_a_strength():
    """Masked with probability 1 - a(t) and filled in again: of uniform letters a share a + (1 - a) / 4 stays."""
    chain = gk.priors.CategoricalChain(torch.ones(4, 4, 4, 4))
    lead = torch.tensor([[0, 1, 2, 3]])
    made = gk.sample(chain, FromSample(lead, 0.5), 4000, 16, sampler=gk.samplers.Ancestral()).samples
    share = 0.5 + 0.5 / 4
    assert float((made == lead).double().mean()) == pytest.approx(share, abs=4 * (share * (1 - share) / 16000) ** 0.5)


def test_the_law_of_a_varied_lead_is_the_forward_kernel_then_the_reverse():
    """Of a dependent chain: the sum over masks m of P(m) p(x | what m leaves of the lead), total variation .02."""
    table = torch.rand(3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 3
    chain, lead, time = gk.priors.CategoricalChain(table), torch.tensor([[0, 2, 1]]), 0.6
    masked = 1 - float(chain.process.alpha(time))
    every = torch.cartesian_prod(*[torch.arange(3)] * 3)
    wanted = torch.zeros(27, dtype=torch.float64)
    for mask in itertools.product([False, True], repeat=3):
        same = (every == lead)[:, ~torch.tensor(mask)].all(1)
        given = table.flatten() * same
        wanted += masked ** sum(mask) * (1 - masked) ** (3 - sum(mask)) * given / given.sum()
    for sampler in ("first_hitting", "ancestral"):
        made = gk.sample(chain, FromSample(lead, time), 20_000, 64, sampler=sampler).samples
        share = (made * torch.tensor([9, 3, 1])).sum(1).bincount(minlength=27) / len(made)
        assert (share - wanted).abs().sum() / 2 < 0.02
    with pytest.raises(GuidanceError, match="mask tokens again"):
        gk.sample(chain, FromSample(lead, time), 2, 8, sampler="remdm")
