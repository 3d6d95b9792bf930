"""Rewards: combinations, black boxes that fail, likelihood training loss."""

import dataclasses
import itertools
import math

import pytest
import torch

import guidekit as gk
from guidekit.core.ledger import Ledger
from guidekit.core.objective import ScoreError
from guidekit.core.state import Composite
from guidekit.objectives import ObjectReward, Reward, score, weighted
from guidekit.objectives.reward import objective_of
from guidekit.priors import Prior
from guidekit.training.objectives import MaskedLikelihood


def function(call, **said):
    """A function of objects that says something of itself."""
    for key, value in said.items():
        setattr(call, key, value)
    return call


def test_combinations_and_their_floors():
    a, b = ObjectReward(lambda x: 2.0 * x, "a"), ObjectReward(lambda x: x + 1.0, "b")
    assert weighted([a, b], [1.0, 0.5])([3.0]).tolist() == [8.0]
    assert (a * b)([3.0]).tolist() == [24.0] and (a * b * a)([3.0]).tolist() == [144.0] and (a * b).on == "objects"
    assert (-a)([3.0]).tolist() == [-6.0] and (a - 2 * b)([3.0]).tolist() == [-2.0]
    assert math.isnan((2 * (a + b)).floor) and (a * b).floor == 0.0 and (-a).floor is None and (a - b).floor is None
    assert (a * b + 3 * a).name == "a x b + 3 a" and (a * b + 3 * a).members == (a, b)
    low = ObjectReward(function(lambda x: x, floor=-2.0), "low")
    assert low.floor == -2.0 and (low + 2 * low).floor == -6.0
    for negative, name in ((-a, "-1 a"), (low, "low"), (ObjectReward(function(lambda x: x, floor=None), "c"), "c")):
        with pytest.raises(ValueError, match=f"{name} can be negative: use a sum"):
            a * negative
    with pytest.raises(ValueError, match="2 weights for 1"):
        weighted([a], [1.0, 2.0])
    with pytest.raises(ValueError, match="finite weights"):
        weighted([a], [math.nan])
    with pytest.raises(ValueError, match="a sum needs terms"):
        weighted([])


def test_what_a_term_rejects_is_rejected_whatever_its_weight():
    reward = ObjectReward(lambda x: -math.inf if x == 2 else x, "r")
    plain = ObjectReward(float, "p")
    for combined in (reward + plain, plain - reward, 0 * reward + plain, reward * plain):
        found = combined([1.0, 2.0])
        assert math.isfinite(found[0]) and found[1] == -math.inf, combined.name


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Objects are the first entry of a state, 9 is none; decoded states are counted."""

    seen: list
    language: str = "numbers"

    def encode(self, objects):
        return torch.tensor(objects)[:, None]

    def decode(self, states):
        self.seen.extend(states[:, 0].tolist())
        return [None if value == 9 else value for value in states[:, 0].tolist()]


def prior_of(codec):
    prior = Prior()
    prior.codec = codec
    return prior


def test_object_reward_scores_each_object_once_and_counts_failures():
    seen = []

    def judge(obj):
        seen.append(obj)
        if obj == 2:
            raise RuntimeError("no")
        return math.nan if obj == 3 else float(obj)

    reward, prior = ObjectReward(judge), prior_of(Numbers([]))
    states = torch.tensor([[1], [2], [1], [3], [9], [9]])
    with pytest.warns(UserWarning, match="raised RuntimeError: no"):
        values = score(prior, reward, states)
    assert values.tolist() == [1.0, -math.inf, 1.0, -math.inf, -math.inf, -math.inf]
    assert sorted(seen) == [1, 2, 3] and sorted(prior.codec.seen) == [1, 2, 3, 9]
    ledger = reward.spent()
    assert (ledger.reward_calls, ledger.reward_failures, ledger.reward_invalid) == (3, 2, 1)
    assert score(prior, reward, states).tolist() == values.tolist() and sorted(seen) == [1, 2, 3]
    assert reward.spent() == dataclasses.replace(ledger, reward_repeated=ledger.reward_repeated + len(states))


def test_terms_of_a_combination_decode_a_state_once():
    codec = Numbers([])
    a, b = ObjectReward(float, "a"), ObjectReward(lambda x: 2.0 * x, "b")
    states = torch.tensor([[1], [4], [1]])
    found = score(prior_of(codec), a + b * a + Reward(lambda x: x[:, 0].double()), states)
    assert found.tolist() == [1 + 2 + 1, 4 + 32 + 4, 1 + 2 + 1] and sorted(codec.seen) == [1, 4]


def test_states_of_several_parts_have_objects():
    parts = {"x": torch.tensor([[0.5], [0.5], [1.5]]), "kind": torch.tensor([[1], [1], [2]])}
    found = []
    reward = ObjectReward(lambda obj: found.append(obj) or obj[0])
    prior = prior_of(type("Codec", (), {"decode": lambda self, s: [(float(x), 0) for x in s.parts["x"][:, 0]]})())
    assert score(prior, reward, Composite(parts)).tolist() == [0.5, 0.5, 1.5] and len(found) == 2


def test_memory_of_a_black_box_is_bounded():
    reward, prior = ObjectReward(float, memory=5), prior_of(Numbers([]))
    for start in range(10, 50, 4):
        states = torch.arange(start, start + 4)[:, None]
        assert score(prior, reward, states).tolist() == states[:, 0].tolist()
    assert len(reward.remembered()) <= 5 + 4


def test_one_reward_with_priors_of_two_languages():
    """Equal states of another codec are other objects, whatever was scored before."""
    one = prior_of(Numbers([]))
    other = prior_of(
        type("Tens", (Numbers,), {"decode": lambda self, s: [10 * v for v in s[:, 0].tolist()]})([], "tens")
    )
    reward, states = ObjectReward(float), torch.tensor([[1], [2]])
    assert [score(prior, reward, states).tolist() for prior in (one, other, one)] == [[1, 2], [10, 20], [1, 2]]


def test_nan_and_infinity_of_a_tensor_reward_are_counted():
    ledger, wrong = Ledger(), torch.tensor([1.0, math.nan, math.inf, -math.inf])
    values = score(Prior(), Reward(lambda x: wrong), torch.zeros(4, 1), ledger)
    assert values.tolist() == [1.0, -math.inf, -math.inf, -math.inf]
    assert ledger.reward_reasons == {"returned NaN": 1, "returned plus infinity": 1} and ledger.reward_failures == 2


def test_a_run_counts_scores_that_are_none():
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP())
    reward = Reward(lambda x: torch.where(x[:, 0] > 0, x[:, 0], torch.nan), differentiable=False)
    result = gk.sample(prior, gk.guidance.BestOfN(reward), 3, 8, particles=6)
    assert result.ledger.reward_failures > 0 and list(result.ledger.reward_reasons) == ["returned NaN"]
    assert (result.samples > 0).all()


@pytest.mark.parametrize("wrong", [lambda x: x.sum(), lambda x: x, lambda x: [1.0] * len(x), lambda x: x[:1, 0]])
def test_scores_of_a_wrong_shape_are_refused(wrong):
    with pytest.raises(ScoreError, match="for 3 states: give one number a state"):
        score(Prior(), Reward(wrong), torch.zeros(3, 2))
    with pytest.raises(ScoreError, match="for 3 states"):
        score(Prior(), 2 * Reward(wrong) + Reward(lambda x: x[:, 0]), torch.zeros(3, 2))


def test_a_function_of_objects_that_met_tokens_is_told_how_it_becomes_a_reward():
    def atoms(molecule):
        return molecule.GetNumHeavyAtoms()

    told = r"atoms raised AttributeError: .* clean states, a tensor \(2, 3\) of torch.int64; .*domain.bind\(atoms\)"
    with pytest.raises(ScoreError, match=told) as refused:
        score(Prior(), objective_of(atoms, "SVDD"), torch.zeros(2, 3, dtype=torch.long))
    assert isinstance(refused.value.__cause__, AttributeError)
    with pytest.raises(ScoreError, match="clean states, a Composite;"):
        score(Prior(), objective_of(atoms, "SVDD"), Composite({"x": torch.zeros(2, 1)}, None))
    with pytest.raises(AttributeError):  # a function of real states is one of states, and its mistakes are its own
        score(Prior(), objective_of(atoms, "SVDD"), torch.zeros(2, 3))


class ExactNetwork(torch.nn.Module):
    """Logits of the exact conditional marginals of a law over (V,) * L, as a network gives them."""

    def __init__(self, law):
        super().__init__()
        self.law = law

    def forward(self, tokens, select=None, labels=None):
        size, length = self.law.shape[0], self.law.ndim
        rows = []
        for row in tokens.tolist():
            fixed = self.law.clone()
            for axis, token in enumerate(row):
                if token < size:
                    keep = torch.zeros(size, dtype=torch.float64)
                    keep[token] = 1
                    fixed = fixed * keep.view([-1 if i == axis else 1 for i in range(length)])
            axes = range(length)
            rows.append(torch.stack([fixed.sum([j for j in axes if j != i]) for i in axes]))
        logits = torch.stack(rows).log()
        return logits if select is None else logits[select]


def test_masked_likelihood_of_an_exact_network_is_the_negative_log_likelihood():
    """For exact conditionals every order of revealing tokens gives log p(x), so the mean over masks does as well."""
    law = torch.rand(3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    law /= law.sum()
    loss = MaskedLikelihood(mask_id=3)
    x = torch.tensor([2, 0, 1])
    n = 6000
    values = loss(ExactNetwork(law), x.expand(n, 3), torch.Generator().manual_seed(1)).double()
    exact = -float(law[2, 0, 1].log())
    assert float(values.mean()) == pytest.approx(exact, abs=4 * float(values.std()) / math.sqrt(n))
    orders = [
        sum(_conditional(law, x, order[:i], order[i]) for i in range(3)) for order in itertools.permutations(range(3))
    ]
    assert all(value == pytest.approx(-exact) for value in orders)


def _conditional(law, x, known, position):
    index = [int(x[i]) if i in known else slice(None) for i in range(3)]
    with_token = list(index)
    with_token[position] = int(x[position])
    return float((law[tuple(with_token)].sum() / law[tuple(index)].sum()).log())


def test_padding_is_neither_masked_nor_scored():
    seen = {}

    class Spy(torch.nn.Module):
        def forward(self, tokens, select=None, labels=None):
            seen["tokens"], seen["select"] = tokens, select
            return torch.zeros(int(select.sum()), 5)

    tokens = torch.tensor([[1, 2, 3, 0], [4, 0, 0, 0]])
    values = MaskedLikelihood(5, pad_id=0)(Spy(), tokens)
    assert not (seen["select"] & (tokens == 0)).any() and (seen["tokens"][tokens == 0] == 0).all()
    torch.testing.assert_close(values, torch.tensor([3.0, 1.0]) * math.log(5))  # uniform: log V a real token
