"""Rules on sequences as automata, against the rules in plain Python on all sequences; draws by classes of tokens."""

import itertools
import re

import pytest
import torch

import guidekit as gk
from guidekit.core.random import Draw, KeyedRandom
from guidekit.guidance.particles.filter import ParticleFilter
from guidekit.guidance.transition.grammar import Grammar
from guidekit.processes import accepted, automata, languages
from guidekit.processes.arcs import arcs_of
from guidekit.processes.automata import Automaton
from guidekit.testing import exact_law

LENGTH, SIZE = 6, 3
FREE = range(SIZE)
TEXTS = ["".join(one) for one in itertools.product("012", repeat=LENGTH)]
SEQUENCES = torch.tensor([[int(letter) for letter in text] for text in TEXTS])
GAPPED = [((0,), 1, 1), ((1, 2), 1, 2), ((0,), 1, 1)]
CODONS = languages.codons([{(0, 1, 2), (0, 0, 0)}], 2, LENGTH)
CODONS = Automaton(CODONS.moves[..., :3].contiguous(), CODONS.final, CODONS.tables)


def rules():
    """Automata and what they accept, as functions of a text."""
    one = languages.holding([GAPPED], SIZE, FREE)
    two = languages.avoiding([[((1,), 2, 2)], [((2,), 1, 1), ((0,), 1, 1)]], SIZE, FREE)
    three = languages.counting([0, 2], 2, 3, SIZE, FREE)
    four = languages.ending([((1,), 1, 1), ((0, 2), 1, 1)], 1, SIZE, FREE)
    return {
        "holding": (one, lambda text: bool(re.search("0[12]{1,2}0", text))),
        "avoiding": (two, lambda text: "11" not in text and "20" not in text),
        "counting": (three, lambda text: 2 <= len(re.findall("[02]", text)) <= 3),
        "ending": (four, lambda text: bool(re.search("1[02].$", text))),
        "codons": (CODONS, lambda text: text[2:5] in ("012", "000")),
        "two": (languages.together(one, two), lambda text: rules_hold(text, "holding", "avoiding")),
        "three": (
            languages.together(languages.together(two, CODONS), four),
            lambda text: rules_hold(text, "avoiding", "codons", "ending"),
        ),
    }


def rules_hold(text, *names):
    return all(RULES[name][1](text) for name in names)


RULES = rules()


@pytest.mark.parametrize("name", RULES)
def test_automata_accept_what_the_rule_says(name):
    automaton, holds = RULES[name]
    wanted = [holds(text) for text in TEXTS]
    assert automaton.accepts(SEQUENCES).tolist() == wanted
    assert 0 < sum(wanted) < len(TEXTS)
    assert automaton.lengths(LENGTH, None).tolist() == [False] * LENGTH + [True]


def test_the_smallest_automaton_has_no_state_too_many():
    assert languages.avoiding([[((1,), 2, 2)]], SIZE, FREE).size == 2
    assert languages.holding([[((0,), 1, 1), ((1,), 1, 1)]], SIZE, FREE).size == 3
    doubled = Automaton(torch.tensor([[1, 2, 0], [0, 2, 1], [2, 2, 2]]), torch.tensor([True, True, False]))
    assert languages.smallest(doubled).moves.tolist() == [[0, -1, 0]]


def laws(count=1, seed=0):
    noise = torch.randn(1, LENGTH, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return noise.log_softmax(-1).expand(count, -1, -1)


def numbers(tokens):
    return (tokens * SIZE ** torch.arange(LENGTH - 1, -1, -1)).sum(1)


@pytest.mark.parametrize("name", RULES)
def test_draws_follow_the_law_given_the_rule(name):
    """Total variation within 4 times what as many draws from the law itself have on average."""
    count, automaton = 40_000, RULES[name][0]
    law = laws()[0][torch.arange(LENGTH), SEQUENCES].sum(1).exp() * automaton.accepts(SEQUENCES)
    mass, law = law.sum(), law / law.sum()
    torch.testing.assert_close(accepted.log_share(automaton, laws(2)), mass.log().expand(2))
    torch.testing.assert_close(automata.log_normalizer(automaton, laws(2)), mass.log().expand(2))
    drawn = accepted.draw_classed(automaton, laws(count), Draw(KeyedRandom(0, 0, count), (0,), "x"))
    assert automaton.accepts(drawn).all()
    share = numbers(drawn).bincount(minlength=len(TEXTS)) / count
    expected = 0.5 * (2 * law * (1 - law) / (torch.pi * count)).sqrt().sum()
    assert (share - law).abs().sum() / 2 < 4 * expected


def test_a_rule_is_kept_however_improbable_it_is():
    """Every token of the rule has probability e^-400, so that the whole has e^-2400: less than a float64 can hold."""
    rule = languages.holding([[((1,), LENGTH, LENGTH)]], SIZE, FREE)
    law = torch.tensor([0.0, -400.0, -1.0]).expand(3, LENGTH, SIZE)
    assert accepted.acceptable(rule, law).all()
    drawn = accepted.draw_classed(rule, law, Draw(KeyedRandom(0, 0, 3), (0,), "x"))
    assert (drawn == 1).all()
    assert accepted.log_share(rule, law).tolist() == pytest.approx([-2400.0] * 3)


def test_known_tokens_and_those_that_a_rule_determines():
    rule = languages.together(RULES["codons"][0], RULES["ending"][0])
    known = torch.full((2, LENGTH), -1)
    known[1, 3] = 1
    found = accepted.determined(rule, known, torch.ones(SIZE, dtype=torch.bool))
    # ..012. or ..000., of which "1 then 0 or 2 then anything" at the end leaves the first
    assert found.tolist() == [[-1, -1, 0, 1, 2, -1]] * 2
    drawn = accepted.draw_classed(rule, laws(2), Draw(KeyedRandom(0, 0, 2), (0,), "x"), known)
    assert rule.accepts(drawn).all()


def test_tokens_alike_are_classes_with_the_law_of_their_tokens():
    """Over 12 tokens of which the rule tells 3 kinds apart."""
    rule = languages.counting([0, 1, 2, 3], 1, 1, 12, range(1, 12))
    assert arcs_of(rule).kinds == 2
    count = 20_000
    law = torch.randn(1, 2, 12, generator=torch.Generator().manual_seed(1)).log_softmax(-1).expand(count, -1, -1)
    drawn = accepted.draw_classed(rule, law, Draw(KeyedRandom(0, 0, count), (0,), "x"))
    pairs = torch.cartesian_prod(torch.arange(12), torch.arange(12))
    wanted = (law[0, 0, pairs[:, 0]] + law[0, 1, pairs[:, 1]]).exp() * rule.accepts(pairs)
    wanted = wanted / wanted.sum()
    share = (12 * drawn[:, 0] + drawn[:, 1]).bincount(minlength=144) / count
    assert (share - wanted).abs().sum() / 2 < 0.03


TABLE = torch.rand((SIZE,) * LENGTH, generator=torch.Generator().manual_seed(2))


def distance(drawn, wanted, weights=None):
    weights = torch.ones(len(drawn), dtype=torch.float64) if weights is None else weights
    code = (drawn * SIZE ** torch.arange(drawn.shape[1] - 1, -1, -1)).sum(1)
    share = torch.zeros(len(wanted), dtype=torch.float64).index_add_(0, code, weights)
    return float((share / share.sum() - wanted).abs().sum() / 2)


SHORT = 4
CHAIN = TABLE[..., 0, 0] ** 3
ALL = torch.cartesian_prod(*[torch.arange(SIZE)] * SHORT)


def test_letters_at_positions_give_the_conditional_law_of_the_prior():
    """Total variation .02 from the law of a dependent chain given two tokens; 30,000 draws have .004 by chance."""
    places = torch.ones(SHORT, SIZE, dtype=torch.bool)
    places[1], places[3] = torch.tensor([False, True, False]), torch.tensor([True, False, False])
    rule = languages.placed(places)
    wanted = CHAIN.flatten().double() * rule.accepts(ALL)
    tokens = gk.sample(gk.priors.CategoricalChain(CHAIN), Grammar(rule), 30_000, steps=SHORT, seed=0).samples
    assert distance(tokens, wanted / wanted.sum()) < 0.02


def test_words_give_the_conditional_law_with_particles():
    """Total variation .02 from the law of a chain given words, by weighted particles; without them it is larger."""
    rule, prior = RULES["two"][0], gk.priors.CategoricalChain(CHAIN)
    exact = exact_law(prior, gk.samplers.Ancestral(), steps=3).flatten() * rule.accepts(ALL)
    exact = exact / exact.sum()
    steered = gk.chain(Grammar(rule), ParticleFilter(particles=100, output="all", ess_threshold=0.0))
    found = gk.sample(prior, steered, 300, steps=3, sampler="ancestral", seed=0)
    assert rule.accepts(found.samples).all()
    weighted = distance(found.samples, exact, found.log_weights.exp().flatten())
    plain = distance(found.samples, exact)
    assert weighted < 0.02 < plain


def test_what_cannot_be_kept_together_is_said():
    with pytest.raises(languages.RuleError, match="more than"):
        languages.holding([[((0,), 1, 1), ((0, 1, 2), 20, 40), ((0,), 1, 1)]], SIZE, FREE)
    never = languages.together(RULES["codons"][0], languages.avoiding([[((0,), 1, 1)]], SIZE, FREE))
    assert not never.lengths(LENGTH, None).any()
    assert not accepted.acceptable(never, laws(2)).any()
