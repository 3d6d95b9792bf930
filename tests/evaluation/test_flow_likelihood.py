"""Log-likelihood by the probability flow, against exact densities."""

import pytest
import torch

import guidekit as gk
from guidekit.evaluation.flow_likelihood import divergence, estimated_divergence, flow_likelihood

pytest.importorskip("torchdiffeq")
P = gk.processes
PROCESSES = {
    "vp": P.VP(),
    "cosine": P.VP("cosine"),
    "sub-vp": P.SubVP(),
    "discrete": P.DiscreteVP(),
    "edm": P.EDM(0.002, 200.0),
    "flow": P.Flow(),
}


def mixture(process):
    means = torch.tensor([[1.5, 0.0], [-1.5, 1.0]], dtype=torch.float64)
    return gk.priors.GaussianMixture(means, 0.5, torch.tensor([0.7, 0.3]), process=process)


@pytest.mark.parametrize("process", PROCESSES)
def test_density_of_a_mixture(process):
    """Exact up to the tolerance and what the limit law neglects of the signal (VP: a(1) = .0066, EDM: 1 / 200)."""
    prior = mixture(PROCESSES[process])
    x = torch.cat(
        [prior.sample(20, torch.Generator().manual_seed(0)), torch.tensor([[0.0, 0.5], [4.0, -2.0]]).double()]
    )
    found = flow_likelihood(prior, x)
    error = (found.log_prob - prior.marginal(0.0).log_prob(x)).abs()
    print("deviation", process, float(error.max()), found.network_rows)
    assert float(error[:20].max()) < 0.01 and float(error.max()) < 0.04  # the last point lies five deviations out
    assert found.latents.shape == x.shape and found.network_rows % len(x) == 0


def test_limit_law_is_the_only_bias():
    """Without signal at t = 1 the density is exact to the tolerance of the solver."""
    prior = mixture(PROCESSES["flow"])
    x = prior.sample(10, torch.Generator().manual_seed(1))
    found = flow_likelihood(prior, x, rtol=1e-8, atol=1e-8, level=1e-4)
    assert float((found.log_prob - prior.marginal(0.0).log_prob(x)).abs().max()) < 1e-5


def test_conditions_choose_their_law():
    prior = mixture(PROCESSES["cosine"])
    x = torch.tensor([[1.0, 0.2], [-1.0, 0.7]], dtype=torch.float64)
    found = flow_likelihood(prior, x, condition=torch.tensor([0, 1])).log_prob
    for row, mean in enumerate(prior.means):
        exact = torch.distributions.Normal(mean, 0.5).log_prob(x[row]).sum()
        assert float(found[row]) == pytest.approx(float(exact), abs=2e-3)


def test_hutchinson_is_unbiased_and_depends_on_no_batch():
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    matrix = torch.tensor([[1.0, 2.0, 0.0], [0.5, -1.0, 3.0], [1.0, 0.0, 2.0]], dtype=torch.float64)
    velocity = (x @ matrix.T) * x.sum(1, keepdim=True)
    exact = divergence(velocity, x)
    expected = x.sum(1) * 2.0 + (x @ matrix.T).sum(1)
    torch.testing.assert_close(exact, expected)
    signs = torch.tensor([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], dtype=torch.float64)
    everything = signs[:, None].expand(8, 4, 3)  # all signs: the mean over them is exact
    torch.testing.assert_close(estimated_divergence(velocity, x, everything), expected)
    prior = mixture(PROCESSES["cosine"])
    states = prior.sample(3, torch.Generator().manual_seed(0))
    options = dict(trace="hutchinson", probes=4, rtol=1e-6, atol=1e-6)
    together = flow_likelihood(prior, states, **options).log_prob
    alone = flow_likelihood(prior, states, batch_size=1, **options).log_prob
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=0)
    many = flow_likelihood(prior, states, "hutchinson", probes=256, rtol=1e-3, atol=1e-3).log_prob
    assert float((many - prior.marginal(0.0).log_prob(states)).abs().max()) < 0.2


def test_single_precision_and_units():
    prior = gk.priors.GaussianMixture(torch.zeros(1, 2), 1.0, process=PROCESSES["cosine"])
    found = flow_likelihood(prior, torch.zeros(2, 2))
    assert found.log_prob.dtype == torch.float64
    assert float(found.bits_per_dimension[0]) == pytest.approx(0.5 * 1.8378770664 / 0.6931471806, abs=1e-3)


def test_refusals():
    prior = mixture(P.VP())
    for make, words in [
        (lambda: flow_likelihood(prior, torch.zeros(0, 2)), "B >= 1"),
        (lambda: flow_likelihood(prior, torch.zeros(2, 3)), "expected (B, *(2,))"),
        (lambda: flow_likelihood(prior, torch.zeros(2, 2), trace="exakt"), "exact, hutchinson"),
        (lambda: flow_likelihood(gk.priors.CategoricalChain(torch.ones(2, 2)), torch.zeros(1, 2)), "bits_per_token"),
    ]:
        with pytest.raises(ValueError) as refusal:
            make()
        assert words in str(refusal.value), refusal.value
