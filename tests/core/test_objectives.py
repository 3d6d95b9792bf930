"""Rewards: combinations, black boxes that fail, likelihood training loss."""

import itertools
import math

import pytest
import torch

from guidekit.core.ledger import Ledger
from guidekit.objectives import Negation, ObjectReward, Product, Sum, score
from guidekit.training.objectives import MaskedLikelihood


def test_combinations_and_their_floors():
    a, b = (lambda x: 2.0 * x), (lambda x: x + 1.0)
    assert Sum([a, b], [1.0, 0.5])(3.0) == 8.0
    assert Product([a, b])(3.0) == 24.0
    assert Negation(a)(3.0) == -6.0
    assert Sum([Product([a])], [2.0]).floor == 0.0 and Sum([Negation(a)]).floor is None
    with pytest.raises(ValueError, match="Negation can be negative"):
        Product([a, Negation(a)])
    with pytest.raises(ValueError, match="2 weights for 1"):
        Sum([a], [1.0, 2.0])


def test_object_reward_scores_each_object_once_and_counts_failures():
    seen = []

    def function(obj):
        seen.append(obj)
        if obj == 2:
            raise RuntimeError("no")
        return math.nan if obj == 3 else float(obj)

    reward = ObjectReward(function, lambda states: [None if row[0] == 9 else row[0] for row in states.tolist()])
    states, ledger = torch.tensor([[1], [2], [1], [3], [9], [9]]), Ledger()
    with pytest.warns(UserWarning, match="raised RuntimeError: no"):
        values = reward(states, ledger)
    assert values.tolist() == [1.0, -math.inf, 1.0, -math.inf, -math.inf, -math.inf]
    assert sorted(seen) == [1, 2, 3]
    assert (ledger.reward_calls, ledger.reward_failures, ledger.reward_invalid) == (3, 2, 1)
    assert reward(states, ledger).tolist() == values.tolist() and sorted(seen) == [1, 2, 3]


def test_memory_of_a_black_box_is_bounded():
    reward = ObjectReward(float, lambda states: [row[0] for row in states.tolist()], memory=5)
    for start in range(0, 40, 4):
        states = torch.arange(start, start + 4)[:, None]
        assert reward(states).tolist() == states[:, 0].tolist()
    assert len(reward.scores()) <= 5 + 4


def test_nan_and_infinity_of_a_tensor_reward_are_counted():
    ledger = Ledger()
    values = score(lambda x: torch.tensor([1.0, math.nan, math.inf, -math.inf]), torch.zeros(4, 1), ledger)
    assert values.tolist() == [1.0, -math.inf, -math.inf, -math.inf]
    assert ledger.reward_reasons == {"returned NaN": 1, "returned plus infinity": 1} and ledger.reward_failures == 2


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
