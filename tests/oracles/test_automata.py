"""Draws, marginals and normalizers given an automaton, against enumeration; and the guidance that uses them."""

import itertools

import pytest
import torch

import guidekit as gk
from guidekit.core.guidance import GuidanceError
from guidekit.core.random import Draw, KeyedRandom
from guidekit.core.token_kernels import ChosenUnmaskingKernel, UnmaskingKernel
from guidekit.guidance.particles.filter import ParticleFilter
from guidekit.guidance.transition.grammar import AcceptedKernel
from guidekit.processes import automata
from guidekit.processes.automata import Automaton
from guidekit.testing import exact_law

LENGTH, SIZE = 4, 3
SEQUENCES = torch.tensor(list(itertools.product(range(SIZE), repeat=LENGTH)))
LINE = Automaton.of_pairs(torch.tensor([[1, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=torch.bool))
RULES = {
    "neighbors": LINE,
    "words": Automaton.avoiding([[0, 0], [2, (0, 1), 2]], SIZE),
    "no token 1": LINE.without([1]),
    "even number of zeros": Automaton(torch.tensor([[1, 0, 0], [0, 1, 1]]), torch.tensor([True, False])),
}


def accepted(name, ids):
    """The rules in plain Python."""
    steps = list(itertools.pairwise(ids))
    if name == "words":
        triples = list(zip(ids, ids[1:], ids[2:], strict=False))
        return (0, 0) not in steps and not any(a == c == 2 and b != 2 for a, b, c in triples)
    if name == "even number of zeros":
        return ids.count(0) % 2 == 0
    near = all((a, b) not in [(0, 2), (2, 0), (1, 1)] for a, b in steps)
    return near and (name == "neighbors" or 1 not in ids)


def laws(seed=0):
    return torch.randn(2, LENGTH, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).log_softmax(
        -1
    )


def joint(name, log_probs):
    """The law of all sequences given the rule (81,) by enumeration, and the probability of the rule."""
    mass = log_probs[torch.arange(LENGTH), SEQUENCES].sum(1).exp()
    mass = mass * torch.tensor([accepted(name, ids) for ids in SEQUENCES.tolist()])
    return mass / mass.sum(), mass.sum()


def numbers(tokens):
    """Rows of `SEQUENCES`."""
    return (tokens * SIZE ** torch.arange(LENGTH - 1, -1, -1)).sum(1)


@pytest.mark.parametrize("name", RULES)
def test_normalizer_marginals_and_acceptance_are_those_of_enumeration(name):
    log_probs = laws()
    rule = RULES[name]
    assert rule.accepts(SEQUENCES).tolist() == [accepted(name, ids) for ids in SEQUENCES.tolist()]
    found = automata.marginals(rule, log_probs).exp()
    for row in range(2):
        law, mass = joint(name, log_probs[row])
        torch.testing.assert_close(automata.log_normalizer(rule, log_probs)[row], mass.log())
        table = torch.stack([(law[:, None] * (v == SEQUENCES)).sum(0) for v in range(SIZE)], -1)
        torch.testing.assert_close(found[row], table, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", RULES)
def test_draws_follow_the_law_given_the_rule(name):
    """Total variation within 4 times what 40,000 draws from the law itself have on average."""
    count, log_probs = 40_000, laws()[:1]
    tokens = automata.draw_accepted(
        RULES[name], log_probs.expand(count, -1, -1), Draw(KeyedRandom(0, 0, count), (0,), "x")
    )
    law, _ = joint(name, log_probs[0])
    share = numbers(tokens).bincount(minlength=len(SEQUENCES)) / count
    expected = 0.5 * (2 * law * (1 - law) / (torch.pi * count)).sqrt().sum()
    assert (share - law).abs().sum() / 2 < 4 * expected
    assert RULES[name].accepts(tokens).all()


@pytest.mark.parametrize("kind", ["unmasking", "chosen", "remasking"])
def test_the_kernel_knows_its_law(kind):
    """Probabilities of all next states, which sum to one, against the share of draws (4 standard errors)."""
    z, count = torch.tensor([[3, 3, 1, 3]]), 30_000
    certain = torch.where(z[..., None] == 3, laws()[:1], torch.nn.functional.one_hot(z % 3, 3).double().log())
    inner = (
        ChosenUnmaskingKernel(certain, z, torch.full((len(z),), 2), 3)
        if kind == "chosen"
        else UnmaskingKernel(certain, z, 0.4, 3)
    )
    if kind == "remasking":
        inner = UnmaskingKernel(certain, z, 0.4, 3, 0.2)
    states = torch.tensor(list(itertools.product(range(4), repeat=4)))
    one = AcceptedKernel(inner, z, LINE, 3)
    many = AcceptedKernel(*(_spread(each, len(states)) for each in (inner, z)), LINE, 3)
    law = many.log_prob(states).exp()
    torch.testing.assert_close(law.sum(), torch.tensor(1.0, dtype=torch.float64))
    crowd = AcceptedKernel(*(_spread(each, count) for each in (inner, z)), LINE, 3)
    drawn = crowd.sample(Draw(KeyedRandom(0, 0, count), (0,), "x"))
    share = (drawn * 4 ** torch.arange(3, -1, -1)).sum(1).bincount(minlength=len(states)) / count
    assert ((share - law).abs() <= 4 * (law * (1 - law) / count).sqrt() + 1e-9).all()
    assert one.sample(Draw(KeyedRandom(0, 0, 1), (0,), "x")).shape == z.shape


def _spread(value, count):
    if isinstance(value, torch.Tensor):
        return value.expand(count, *value.shape[1:])
    import dataclasses

    return dataclasses.replace(value, log_probs=_spread(value.log_probs, count), z=_spread(value.z, count))


PRIOR = gk.priors.CategoricalChain(torch.rand((SIZE,) * LENGTH, generator=torch.Generator().manual_seed(5)) ** 3)


@pytest.mark.parametrize("sampler", ["ancestral", "first_hitting", "remdm", "path_planning", "maskgit", "euler_ctmc"])
def test_every_sample_is_accepted_whatever_the_sampler(sampler):
    guidance = gk.guidance.Grammar(RULES["words"])
    tokens = gk.sample(PRIOR, guidance, num_samples=400, steps=5, sampler=sampler, seed=0).samples
    assert RULES["words"].accepts(tokens).all()
    free = gk.sample(PRIOR, None, num_samples=400, steps=5, sampler=sampler, seed=0).samples
    assert RULES["words"].accepts(free).double().mean() < 0.9


def test_with_a_particle_filter_the_law_is_that_of_the_prior_given_the_rule():
    """Law of the plain sampler at four steps, given the rule: weights take off what drawing given the rule adds.

    400 crowds of 100 particles that are never resampled; .03 is 3 times the distance of that many exact draws.
    """
    exact = exact_law(PRIOR, gk.samplers.Ancestral(), steps=4).flatten() * RULES["neighbors"].accepts(SEQUENCES)
    exact = exact / exact.sum()
    filtered = gk.chain(
        gk.guidance.Grammar(RULES["neighbors"]), ParticleFilter(particles=100, output="all", ess_threshold=0.0)
    )
    result = gk.sample(PRIOR, filtered, num_samples=400, steps=4, sampler="ancestral", seed=0)
    drawn, weights = numbers(result.samples.reshape(-1, LENGTH)), result.log_weights.exp().flatten()
    shares = [
        torch.zeros(len(exact), dtype=torch.float64).index_add_(0, drawn, each) / each.sum()
        for each in (weights, torch.ones_like(weights))
    ]
    weighted, plain = (float((share - exact).abs().sum() / 2) for share in shares)
    assert weighted < 0.03 < 0.1 < plain


def test_what_cannot_be_accepted_is_said_at_once():
    with pytest.raises(GuidanceError, match="no sequence of 4 tokens is accepted"):
        gk.sample(PRIOR, gk.guidance.Grammar(LINE.without([0, 1, 2])), num_samples=2, steps=3)
    with pytest.raises(GuidanceError, match="over 2 tokens, and categorical chain has 3"):
        gk.sample(PRIOR, gk.guidance.Grammar(Automaton(torch.zeros(1, 2, dtype=torch.int64))), num_samples=2, steps=3)
    with pytest.raises(GuidanceError, match="needs automaton="):
        gk.sample(PRIOR, gk.guidance.Grammar(), num_samples=2, steps=3)
    with pytest.raises(ValueError, match="a forbidden word is empty"):
        Automaton.avoiding([[]], 3)
