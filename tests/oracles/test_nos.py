"""NOS: what one step of Adagrad does is known exactly, and so is what it must not do."""

from types import SimpleNamespace

import pytest
import torch

import guidekit as gk
from guidekit.core.loop import populate, prepare
from guidekit.core.step import Moment
from guidekit.guidance import NOS
from guidekit.networks import SequenceTransformer
from guidekit.priors.tokens import TokenPrior

OPTIONS = {"vocab_size": 4, "max_length": 5, "width": 16, "depth": 1, "heads": 2, "pad_id": 0}


@pytest.fixture
def prior():
    torch.manual_seed(0)
    made = TokenPrior(SequenceTransformer(**OPTIONS), 4, [0, 0, 0, 1, 1, 2])
    torch.nn.init.normal_(made.network.head.weight, std=0.5)
    return made


class Direction:
    """The mean over positions of features times a vector."""

    def __init__(self, prior, vector):
        self.network, self.vector = SimpleNamespace(trunk=prior.network), vector

    def of_features(self, h, x):
        return (h * self.vector).sum((1, 2))


STATE = torch.tensor([[4, 1, 4, 4, 0], [4, 4, 4, 4, 4], [2, 1, 3, 0, 0]])


def asked(prior, guidance):
    """The guided prediction at STATE."""
    setup = prepare(prior, guidance, sampler=gk.samplers.FirstHitting(), steps=4, groups=(0, 3))
    with torch.no_grad():
        return populate(setup, STATE, Moment(0.5, 2), 1).predict(), setup.network.ledger


def test_one_step_moves_every_feature_by_the_rate_up_the_value(prior):
    vector = torch.linspace(-1, 1, 16)
    prediction, ledger = asked(prior, NOS(Direction(prior, vector), None, rate=0.2))
    h = prior.features(STATE, 0.5) + 0.2 * vector.sign()  # at d = 0 the divergence is flat
    torch.testing.assert_close(prediction.log_probs, prior.from_features(h, STATE, 0.5).log_probs)
    assert (ledger.network_calls, ledger.network_rows) == (1, 2)  # the last row is finished


def test_features_read_back_are_the_prediction(prior):
    h = prior.features(STATE, 0.5)
    torch.testing.assert_close(prior.from_features(h, STATE, 0.5).log_probs, prior.predict(STATE, 0.5).log_probs)


def test_many_steps_reach_the_trade_off(prior):
    """At the optimum the gradients of kl * divergence and of the value are equal; a larger kl stays closer."""
    vector = 0.1 * torch.linspace(-1, 1, 16)
    divergences = []
    old = prior.predict(STATE, 0.5)
    for kl in (1.0, 10.0, 1e6):
        new, _ = asked(prior, NOS(Direction(prior, vector), None, kl=kl, steps=200, rate=0.05))
        change = torch.where(old.log_probs.isfinite(), new.log_probs - old.log_probs, 0.0)
        divergences.append(float((new.probs * change).sum()))
    assert divergences[0] > 2 * divergences[1] > 4 * divergences[2]
    assert min(divergences) > -1e-6 and divergences[2] < 1e-3


def test_no_steps_is_unguided_and_position_matters(prior):
    guidance = NOS(Direction(prior, torch.ones(16)), None, steps=0)
    assert torch.equal(gk.sample(prior, guidance, 6, steps=5).samples, gk.sample(prior, None, 6, steps=5).samples)
    with pytest.raises(gk.GuidanceError, match="put it first"):
        gk.sample(prior, gk.guidance.chain(gk.guidance.Sharpen(0.5), guidance), 2)
    other = TokenPrior(SequenceTransformer(**OPTIONS), 4, [0, 0, 0, 1, 1, 2])
    with pytest.raises(gk.GuidanceError, match="this prior's features"):
        gk.sample(other, guidance, 2)


class Expected(Direction):
    """The expected number of tokens 3 under the prediction that features mean: the exact value of that reward."""

    def __init__(self, prior):
        super().__init__(prior, None)
        self.prior = prior

    def of_features(self, h, x):
        return self.prior.from_features(h, x, 0.5).probs[..., 3].sum(1)


def test_the_exact_value_of_features_raises_the_reward(prior):
    n = 400
    guidance = NOS(Expected(prior), None, rate=0.3)
    plain, guided = (gk.sample(prior, one, n, steps=5).samples for one in (None, guidance))
    rise = ((guided == 3).sum(1) - (plain == 3).sum(1)).double()
    assert rise.mean() > 4 * rise.std() / n**0.5
    assert torch.equal(gk.sample(prior, guidance, n, steps=5, batch_size=64).samples, guided)


def test_a_value_of_features_is_learned_without_touching_them(prior):
    from guidekit.training.values import Schedule, train_value

    amount = Schedule(rounds=0, base=512, sampling_steps=5, updates=600, batch_size=64)
    value = train_value(prior, lambda x: (x == 3).sum(1).double(), "prior", amount, bins=6)
    for name, weight in value.network.trunk.named_parameters():
        assert torch.equal(weight, prior.network.get_parameter(name))
    few, many = torch.tensor([[4, 1, 1, 4, 0]]), torch.tensor([[4, 3, 3, 4, 0]])
    expected = [float(value.log_law(z, 0.5)[0, 1:].double().exp() @ value.centers[1:]) for z in (few, many)]
    assert expected[1] > expected[0] + 0.5
