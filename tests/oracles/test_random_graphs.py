"""Guidance of graphs against laws that are known: independent edges stay independent under a tilt by their number."""

import dataclasses
import math

import pytest
import torch

import guidekit as gk
from guidekit import guidance as g
from guidekit import samplers
from guidekit.priors import RandomGraphs, block_model, erdos_renyi
from guidekit.priors.random_graphs import marginal_edges
from guidekit.samplers import Ancestral, Insertion, RateMatching

N, GAIN = 5, 0.8
SBM = (3, 2), ((0.7, 0.15), (0.15, 0.5))
PROCESSES = {"absorbing": None, "marginal": marginal_edges(0.4)}


def block(process=None):
    return block_model(*SBM, process=PROCESSES.get(process, process))


def far(samples, prior, rows=-1):
    """Largest distance of the frequency of an edge to its probability, in standard errors."""
    edges, p = (samples[:, prior.nodes :] == 3).double().mean(0), prior.edges[rows]
    return float(((edges - p).abs() / (p * (1 - p) / len(samples)).sqrt()).amax())


@dataclasses.dataclass(frozen=True, eq=False)
class Edges(gk.core.objective.Objective):
    """log E[exp(gain * number of edges) | z_t], exact; multilinear in the one-hot input of independent edges."""

    prior: RandomGraphs
    on = "noisy"

    def scores(self, z, t, rows=None):
        p = self.prior.predict(z, t).log_probs[:, N:, 3].exp()
        return (1 + p * (math.exp(GAIN) - 1)).log().sum(1)

    def relaxed(self, one_hot, t):
        ids = torch.arange(one_hot.shape[-1])[:, None].expand(-1, N * (N + 1) // 2)
        p = self.prior.predict(ids.clamp(1, 3), t).log_probs[..., 3].exp()
        worth = (1 + p * (math.exp(GAIN) - 1)).log()
        return (one_hot.double() * worth.T * (torch.arange(len(ids)) >= 2)).sum((1, 2))


class Count(gk.core.objective.Objective):
    """gain times the number of edges of the clean estimate."""

    def scores(self, states, t, rows=None):
        return GAIN * (states[:, N:] == 3).double().sum(1)


@pytest.mark.parametrize(
    ("sampler", "process"),
    [(Insertion(), "absorbing"), (Ancestral(), "marginal"), (RateMatching(), "marginal"), (Ancestral(), "absorbing")],
    ids=["insertion", "ancestral marginal", "rate matching", "ancestral absorbing"],
)
def test_independent_edges_are_sampled_exactly(sampler, process):
    """Every edge within 4.5 standard errors; tokens that do not look at each other need no small steps."""
    prior = block(process)
    samples = gk.sample(prior, num_samples=1500, steps=40, sampler=sampler, seed=2).samples
    assert (samples[:, :N] == 1).all() and far(samples, prior) < 4.5
    assert far(prior.sample(1500, torch.Generator().manual_seed(0)), prior) < 4.5


CASES = {
    "d_cbg": (lambda value: g.DCBG(value=value), Ancestral(), "marginal"),
    "d_cbg, absorbing": (lambda value: g.DCBG(value=value), Ancestral(), "absorbing"),
    "d_cbg, first order": (lambda value: g.DCBG(value=value, first_order=True), Ancestral(), "marginal"),
    "predictor, insertion": (lambda value: g.PredictorGuidance(value=value), Insertion(margin=3.0), "absorbing"),
    "first order": (lambda value: g.PredictorGuidance(value=value, first_order=True), Ancestral(), "marginal"),
}


@pytest.mark.parametrize("name", CASES)
def test_classifier_guidance_by_an_exact_value_samples_the_tilted_graphs(name):
    make, sampler, process = CASES[name]
    prior = block(process)
    wanted = prior.tilted(torch.full((N, N), GAIN))
    samples = gk.sample(prior, make(Edges(prior)), num_samples=400, steps=40, sampler=sampler, seed=4).samples
    assert far(samples, wanted) < 5 and far(samples, prior) > 6


def test_classifier_free_guidance_is_the_geometric_mixture_of_independent_edges():
    low, high = torch.full((N, N), 0.25), torch.full((N, N), 0.5)
    prior = RandomGraphs(low, marginal_edges(0.3), conditionals=high[None])
    samples = gk.sample(prior, g.CFG(2.0), num_samples=1500, steps=40, sampler=Ancestral(), condition=0, seed=1).samples
    odds = (0.5 / 0.5) ** 2 / (0.25 / 0.75)  # p(c)^2 / p
    assert far(samples, erdos_renyi(N, odds / (1 + odds))) < 5


def test_particles_estimate_the_evidence_and_move_towards_the_tilt():
    prior = erdos_renyi(N, 0.4, marginal_edges(0.4))
    pairs = N * (N - 1) // 2
    evidence = pairs * math.log(1 + 0.4 * (math.exp(GAIN) - 1))
    result = gk.sample(
        prior, g.FKSteering(Count()), num_samples=60, particles=16, steps=16, sampler=Ancestral(), seed=0
    )
    z = result.log_normalizer
    estimate = float(torch.logsumexp(z, 0)) - math.log(len(z))
    spread = float((z - evidence).exp().std()) / math.sqrt(len(z))
    assert abs(math.exp(estimate - evidence) - 1) < 4 * spread + 0.02
    tilted = 0.4 * math.exp(GAIN) / (0.6 + 0.4 * math.exp(GAIN))
    svdd = gk.sample(prior, g.SVDD(Count(), candidates=8), num_samples=60, steps=32, sampler=Ancestral(), seed=0)
    share = float((svdd.samples[:, N:] == 3).double().mean())
    assert share > 0.4 + 0.5 * (tilted - 0.4)


def test_bad_tables_are_refused():
    for wrong, said in ((torch.rand(3, 3), "symmetric"), (torch.full((3, 3), 1.2), "from 0 to 1")):
        with pytest.raises(ValueError, match=said):
            RandomGraphs(wrong)
    assert samplers.Insertion().requires <= erdos_renyi(3, 0.5).provides
