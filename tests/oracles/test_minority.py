"""Rare samples: the score tells them apart where the denoiser is exact, and guidance by a learned value finds them."""

import pytest
import torch

import guidekit as gk
from guidekit.guidance.learned.minority import MinorityGuidance, MinorityScore
from guidekit.guidance.values.learned import LearnedValue
from guidekit.networks import ValueNetwork
from guidekit.training.collected import Collected, bin_edges
from guidekit.training.values import Schedule, fit, train_value

RARE = gk.priors.GaussianMixture(
    torch.tensor([[-2.0], [2.0]]), 0.3, torch.tensor([0.95, 0.05]), gk.processes.VP("cosine")
)


def spearman(a, b):
    ranks = torch.stack([a.argsort().argsort(), b.argsort().argsort()]).double()
    return float(torch.corrcoef(ranks)[0, 1])


def test_the_score_is_higher_for_what_is_rare():
    score = MinorityScore(RARE, 0.6, 256)
    x = RARE.sample(4000, torch.Generator().manual_seed(0))
    rare = x[:, 0] > 0
    values = score(x)
    assert float(values[rare].mean()) > 3 * float(values[~rare].mean())
    # the same by the definition: noise and restore, here with fresh noise for every state
    t, (a, s) = 0.6, RARE.process.coefficients(0.6)
    total = torch.zeros(4000)
    generator = torch.Generator().manual_seed(1)
    for _ in range(64):
        noisy = a * x + s * torch.randn(x.shape, generator=generator)
        total += (x - RARE.predict(noisy, t).mean).square()[:, 0] / 64
    for part in (rare, ~rare):  # 256 draws that all states share
        assert float(values[part].mean()) == pytest.approx(float(total[part].mean()), rel=0.5)
    assert torch.equal(score(x[:3]), values[:3])


FIVE = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0], [-3.0, 0.0], [0.0, -3.0]])
FIVE = gk.priors.GaussianMixture(FIVE, 0.3, torch.tensor([0.6, 0.2, 0.1, 0.06, 0.04]), gk.processes.VP("cosine"))


@pytest.mark.parametrize("mixture", [RARE, FIVE], ids=["two", "five"])
def test_scores_rise_as_the_density_falls(mixture):
    x = mixture.sample(2000, torch.Generator().manual_seed(0))
    surprise = -mixture.marginal(0.0).log_prob(x.double())
    # measured .93 and .89; .7 is what was asked for
    assert spearman(MinorityScore(mixture, 0.6, 64)(x), surprise) > 0.8


def test_scores_of_tokens_rise_as_the_probability_falls():
    generator = torch.Generator().manual_seed(0)
    law = torch.rand(3, 3, 3, 3, generator=generator) ** 3
    states = torch.cartesian_prod(*[torch.arange(3)] * 4)
    scores, surprise = MinorityScore(gk.priors.CategoricalChain(law), 0.6, 64)(states), -(law / law.sum()).log()
    rows = torch.multinomial(law.flatten(), 2000, True, generator=generator)
    # measured .93 over all sequences and .81 over samples
    assert spearman(scores, surprise.flatten()) > 0.8
    assert spearman(scores[rows], surprise.flatten()[rows]) > 0.7


class Codec:
    """Reads all sequences but one."""

    def decode(self, states):
        """See the class."""
        return [None if row == [0, 1] else row for row in states.tolist()]


def test_large_batches_are_scored_in_parts_and_broken_sequences_are_not_rare():
    mixture = gk.priors.GaussianMixture(torch.zeros(1, 2), 1.0, process=gk.processes.VP("cosine"))
    x = torch.randn(7, 2)
    whole = MinorityScore(mixture)(x)
    mixture.network_batch = 3
    assert torch.allclose(MinorityScore(mixture)(x), whole)
    chain = gk.priors.CategoricalChain(torch.ones(2, 2))
    states = torch.tensor([[0, 0], [0, 1], [1, 1]])
    chain.codec = mixture.codec = Codec()
    values = MinorityScore(chain)(states)
    assert values[1] == -torch.inf and values[[0, 2]].isfinite().all()
    assert MinorityScore(mixture)(x).isfinite().all()  # of tokens only
    for wrong in ({"t": 0.0}, {"t": 1.5}, {"draws": 0}):
        with pytest.raises(ValueError, match="t must be above 0 and at most 1, draws at least 1, got"):
            MinorityScore(chain, **wrong)


def test_tokens_are_scored_by_their_likelihood_given_the_rest():
    law = torch.tensor([[0.5, 0.02], [0.03, 0.45]])
    chain = gk.priors.CategoricalChain(law)
    states = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    values = MinorityScore(chain, 0.5, 64)(states)
    assert values[1] > 2 * values[0] and values[2] > 2 * values[3]


def test_bins_of_equal_counts():
    rewards = torch.cat([torch.zeros(50), torch.linspace(1, 2, 50)])
    edges = bin_edges(rewards, 4, equal_counts=True)
    assert edges.tolist() == pytest.approx([0.0, 0.0, 0.5, 1.505, 2.0], abs=0.02)


def test_bins_of_equal_counts_are_those_of_unguided_samples():
    rewards = torch.cat([torch.linspace(0, 1, 100), torch.full((100,), 5.0)])
    x = torch.zeros(100, 1)
    noisy = (x.repeat(2, 1), torch.full((200,), 0.5), torch.full((200,), 5.0))
    trunk = {"name": "perceptron", "options": {"size": 1, "width": 8, "depth": 1}}
    value, _ = fit(RARE, Collected(x, rewards, *noisy), trunk, Schedule(updates=1), 4, 0, equal_counts=True)
    # the last bin holds a quarter of the unguided samples and all guided ones
    assert value.centers[1:4].tolist() == pytest.approx([0.125, 0.375, 0.625], abs=0.02)
    assert float(value.centers[4]) == pytest.approx((25 * 0.875 + 100 * 5.0) / 125, abs=0.05)


@pytest.mark.parametrize(("share", "bins"), [(0.01, 1), (0.1, 1), (0.25, 2), (0.5, 5), (0.99, 10)])
@pytest.mark.parametrize("process", [gk.processes.VP("cosine"), gk.processes.Masked(2)], ids=["real", "tokens"])
def test_the_event_is_the_rarest_share_of_the_bins(process, share, bins):
    centers = torch.tensor([-torch.inf, 3.0, 1.0, 2.0, 0.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0]).double()
    trunk = {"name": "perceptron", "options": {"size": 1, "width": 8, "depth": 1}}
    value = LearnedValue(ValueNetwork(trunk, 11), process, centers)
    (event,) = MinorityGuidance(value, share).objectives
    assert isinstance(event, LearnedValue)
    assert centers[event.log_weights == 0].sort().values.tolist() == [*range(10 - bins, 10)]
    assert (event.log_weights[centers < 10 - bins] == -torch.inf).all()


def test_guidance_finds_the_rare_component():
    score = MinorityScore(RARE, 0.6, 64)
    trunk = {"name": "perceptron", "options": {"size": 1, "width": 32, "depth": 2}}
    amount = Schedule(rounds=0, base=4000, sampling_steps=16, updates=800, learning_rate=5e-3)
    value = train_value(RARE, score, trunk, amount, bins=20, equal_counts=True)
    sampler = gk.samplers.Ancestral()

    def share(plug):
        return float((gk.sample(RARE, plug, 1000, 40, sampler=sampler).samples[:, 0] > 0).double().mean())

    # 5 % to within 4 standard errors of 0.7 %
    assert share(None) == pytest.approx(0.05, abs=0.028)
    assert share(MinorityGuidance(value, 0.05, scale=0.0)) == share(None)
    x = RARE.sample(20_000, torch.Generator().manual_seed(0))
    values = score(x)
    assert float((x[values >= values.quantile(0.95), 0] > 0).double().mean()) > 0.95  # what is wanted
    # With the exact classifier all samples would be of it (test_learned_values); a small learned one is less sure.
    once, twice = (share(MinorityGuidance(value, 0.05, scale)) for scale in (1.0, 2.0))
    assert once > 0.4 and twice > 0.75
    with pytest.raises(gk.GuidanceError, match="share must be between 0 and 1, got 2"):
        MinorityGuidance(value, 2)
