"""Learned values and guidance by them, against tilted laws known exactly."""

import itertools
import math

import pytest
import torch

import guidekit as gk
from guidekit.guidance import SLCD, ClassifierGuidance
from guidekit.guidance.values import LearnedValue, NoisyValue
from guidekit.processes import Masked, Uniform
from guidekit.samplers import Ancestral
from guidekit.testing import exact_law
from guidekit.training.collected import Batches, Collected, bin_edges, bin_means, bin_of
from guidekit.training.values import Schedule, roll_out, train_value

LAW = torch.tensor([[0.30, 0.05, 0.05], [0.02, 0.20, 0.08], [0.10, 0.05, 0.15]], dtype=torch.float64)
REWARD = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, -1.0], [2.0, 1.0, 1.0]], dtype=torch.float64)
CENTERS = torch.tensor([-1.0, 0.0, 1.0, 2.0], dtype=torch.float64)


class ExactLaw(torch.nn.Module):
    """log p(reward | z_t) of a chain by enumeration; for log-linear alpha the level is the time."""

    def __init__(self, chain):
        super().__init__()
        self.chain = chain

    def forward(self, z, level):
        t = float(level[0])
        laws = [self.chain.expectation((c == REWARD).double(), z, t) for c in CENTERS]
        return torch.stack(laws, -1).clamp_min(1e-300).log()


@pytest.mark.parametrize("process", [Masked(), Uniform()])
@pytest.mark.parametrize("eta", [0.5, 2.0])
def test_exact_law_of_the_reward_gives_the_tilted_law_at_any_temperature(process, eta):
    chain = gk.priors.CategoricalChain(LAW, process)
    value = LearnedValue(ExactLaw(chain), chain.process, CENTERS)
    target = LAW * (eta * REWARD).exp()
    target = target / target.sum()

    def error(plug, steps):
        law = exact_law(chain, Ancestral(), plug, steps)
        return float((law / law.sum() - target).abs().sum() / 2)

    plug = SLCD(value, eta, first_order=False)
    coarse, fine = error(plug, 32), error(plug, 128)
    assert fine < 0.02 and 3 < coarse / fine < 5.5  # the error of the steps, of first order
    assert error(SLCD(value, eta, 0.0, False), 32) > 5 * coarse
    assert error(SLCD(value, eta / 2, first_order=False), 128) > 3 * fine


def test_event_of_a_learned_law_is_a_classifier():
    chain = gk.priors.CategoricalChain(LAW)
    value = LearnedValue(ExactLaw(chain), chain.process, CENTERS).above(1.0)
    z = chain.states()
    expected = chain.expectation((REWARD >= 1).double(), z, 0.4)
    torch.testing.assert_close(value(z, 0.4).exp(), expected, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="end at 2"):
        value.above(3.0)


class NormalLaw(torch.nn.Module):
    """log p(x_0 in bin | x_t) for x_0 ~ N(0, 1) and a variance-preserving process, whose scaled input is x_t itself."""

    def __init__(self, process, edges):
        super().__init__()
        self.process, self.edges = process, edges

    def forward(self, x, level):
        a, s = (torch.as_tensor(c).double() for c in self.process.coefficients(level))
        normal = torch.distributions.Normal((a * x[:, 0])[:, None], s[:, None])
        cdf = normal.cdf(self.edges)
        return (cdf[:, 1:] - cdf[:, :-1]).clamp_min(1e-12).log()


def test_gaussian_tilted_by_its_law_over_bins():
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP("cosine"))
    edges = torch.linspace(-5, 7, 121, dtype=torch.float64)
    value = LearnedValue(NormalLaw(prior.process, edges), prior.process, (edges[1:] + edges[:-1]) / 2)
    n = 4000
    for eta in (1.0, 2.0):
        x = gk.sample(prior, SLCD(value, eta), n, steps=100, sampler=Ancestral()).samples[:, 0]
        # N(eta, 1) up to the steps and the width .1 of the bins
        assert abs(float(x.mean()) - eta) < 4 / math.sqrt(n) + 0.03
        assert abs(float(x.std()) - 1) < 4 / math.sqrt(2 * n) + 0.03


def test_classifier_guidance_samples_the_class():
    means, std = torch.tensor([[-1.0], [1.5]]), 0.8
    prior = gk.priors.GaussianMixture(means, std, process=gk.processes.VP("cosine"))

    def log_posterior(x, t):
        a, s = prior.process.coefficients(t)
        logits = -0.5 * (x - a * means[:, 0]) ** 2 / (a * a * std**2 + s * s)
        return torch.log_softmax(logits, -1)[:, 1]

    n = 20_000
    x = gk.sample(prior, ClassifierGuidance(log_posterior), n, steps=200, sampler=Ancestral()).samples[:, 0]
    assert abs(float(x.mean()) - 1.5) < 4 * std / math.sqrt(n) + 0.02
    assert abs(float(x.std()) - std) < 4 * std / math.sqrt(2 * n) + 0.02
    plain = gk.sample(prior, None, 100, steps=20).samples
    assert torch.equal(gk.sample(prior, ClassifierGuidance(log_posterior, 0.0), 100, steps=20).samples, plain)


def test_noisy_value_is_the_reward_at_the_end():
    chain = gk.priors.CategoricalChain(LAW)
    value = LearnedValue(ExactLaw(chain), chain.process, CENTERS).at(1.0)
    reward = gk.objectives.TableReward(REWARD)
    target = LAW * REWARD.exp()
    n = 4000
    plug = gk.guidance.SVDD(reward, 16, 1.0, NoisyValue(reward, value, 1.0))
    short = gk.guidance.SVDD(reward, 16, 1.0, value)  # the same, its temperature taken over
    assert torch.equal(gk.sample(chain, short, 50, steps=16).samples, gk.sample(chain, plug, 50, steps=16).samples)
    z = gk.sample(chain, plug, n, steps=16).samples
    law = torch.zeros_like(LAW).index_put_(tuple(z.T), torch.ones(n, dtype=torch.float64) / n, accumulate=True)
    # .03 is four standard errors of a total variation over nine cells, the rest the bias of 16 candidates
    assert float((law - target / target.sum()).abs().sum() / 2) < 0.05


def tokens(length):
    """Binary sequences in which ones are rare; the reward counts them."""
    law = torch.zeros((2,) * length, dtype=torch.float64)
    for x in itertools.product((0, 1), repeat=length):
        p = 1.0
        for i, v in enumerate(x):
            one = 0.12 + (0.15 if i and x[i - 1] else 0.0)
            p *= one if v else 1 - one
        law[x] = p
    reward = torch.tensor([sum(x) for x in itertools.product((0, 1), repeat=length)]).double().view(law.shape)
    return law, reward


def test_rounds_bring_the_guided_law_to_the_tilted_one():
    """Few unguided samples hardly show what is wanted; guided roll-ins do."""
    law, reward = tokens(4)
    chain, eta = gk.priors.CategoricalChain(law), 1.5
    target = law * (eta * reward).exp()
    target = target / target.sum()
    divergence = []

    def measure(step, value):
        guided = exact_law(chain, Ancestral(), SLCD(value, eta, first_order=False), steps=16)
        guided = guided / guided.sum()
        divergence.append(float((target * (target / guided).log()).sum()))

    trunk = {"name": "sequence_transformer", "options": dict(vocab_size=2, max_length=4, width=32, depth=1, heads=2)}
    amount = Schedule(2, base=48, collected=768, sampling_steps=12, states=6, eta=(0.5, 2.0), updates=300)
    # a seed whose few samples do not happen to show what is wanted
    train_value(chain, gk.objectives.TableReward(reward), trunk, amount, bins=5, after=measure, seed=1)
    assert divergence[0] > 0.15 and max(divergence[1:]) < 0.1 and divergence[2] < divergence[0] / 3, divergence


def test_a_round_brings_the_guided_gaussian_to_the_tilted_one():
    prior, eta = gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP("cosine")), 2.0
    divergence = []

    def measure(step, value):
        x = gk.sample(prior, SLCD(value, eta), 4000, steps=32, sampler=Ancestral()).samples[:, 0].double()
        m, s = float(x.mean()), float(x.std())
        divergence.append(-math.log(s) + (s * s + (m - eta) ** 2 - 1) / 2)  # of Gaussians; the target is N(eta, 1)

    trunk = {"name": "perceptron", "options": dict(size=1, width=32, depth=2)}
    amount = Schedule(
        1, base=256, collected=1536, sampling_steps=32, eta=(0.5, 2.5), updates=700, batch_size=128, learning_rate=5e-3
    )
    train_value(prior, lambda x: x[:, 0], trunk, amount, bins=16, after=measure, seed=1)
    assert divergence[0] > 0.025 and divergence[1] < divergence[0] / 2, divergence


class Watched(torch.nn.Module):
    """Logits of a law over three bins, and a count of how often it was asked."""

    asked = 0

    def forward(self, x, level):
        self.asked += 1
        return x[:, :1] * torch.zeros(3)


def test_roll_ins_are_guided_down_to_the_switch_and_kept_from_there():
    prior, network, steps = gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP("cosine")), Watched(), 40
    value = LearnedValue(network, prior.process, torch.tensor([0.0, 1.0, 2.0]))
    amount = Schedule(collected=8, sampling_steps=steps, states=1000)  # one trajectory a stratum, all its states
    reward = gk.objectives.Reward(lambda x: x[:, 0])
    states, times, led_to, rewards = roll_out(prior, reward, value, amount, (1.0, 1.0), None, 0)
    assert network.asked + len(states) == 8 * (steps + 1)  # a state is behind the switch, or a step before it
    ends = (times == 0).nonzero()[:, 0]
    assert len(ends) == 8 and torch.equal(states[ends, 0].double(), rewards)
    for stratum in range(8):  # the law is learned of what a state led to by itself
        mine = led_to == rewards[stratum]
        low, high = (steps * edge / 8 for edge in (stratum, stratum + 1))
        assert low <= int(mine.sum()) <= high + 1 and float(times[mine].max()) <= (stratum + 1) / 8


def test_bins_keep_means_and_set_aside_what_has_no_reward():
    rewards = torch.tensor([0.0, 0.1, 1.0, -math.inf, 0.55])
    edges = bin_edges(rewards, 4)
    assert bin_of(rewards, edges).tolist() == [1, 1, 4, 0, 3]
    torch.testing.assert_close(bin_means(rewards, edges)[1:], torch.tensor([0.05, 0.375, 0.55, 1.0]).double())
    assert bin_means(rewards, edges)[0] == -math.inf
    with pytest.raises(ValueError, match="none of 2 samples"):
        bin_edges(torch.full((2,), -math.inf), 4)


def test_stored_states_are_served_with_their_own_reward():
    data = Collected(
        torch.zeros(1, 3).long(),
        torch.tensor([0.0, 1.0, 1.0, 1.0]),
        *(torch.ones(9, 3).long(), torch.full((9,), 0.5), torch.ones(9)),
    )
    (states, times), bins = next(iter(Batches(data, Masked(2), bin_edges(data.rewards, 2), 64, 0)))
    stored = (states == 1).all(1)
    assert 0.5 < float(stored.float().mean()) < 0.95  # three samples of four
    assert (bins[stored] == 2).all() and (bins[~stored] == 1).all() and (times[stored] == 0.5).all()


def test_what_was_learned_on_other_noise_is_refused():
    chain = gk.priors.CategoricalChain(LAW)
    value = LearnedValue(ExactLaw(chain), Uniform(3), CENTERS)
    with pytest.raises(gk.GuidanceError, match="was trained on Uniform"):
        gk.sample(chain, SLCD(value), 1)
