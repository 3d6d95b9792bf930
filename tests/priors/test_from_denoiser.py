"""Any network as a prior: every parametrization gives the exact denoiser back, and networks stay the caller's."""

import pytest
import torch
from torch import nn

import guidekit as gk
from guidekit.priors import from_denoiser
from guidekit.priors.parametrization import from_mean
from guidekit.testing import check_guidance

PROCESSES = [gk.processes.VP("cosine"), gk.processes.EDM(), gk.processes.Flow()]
KINDS = {"clean": "x0", "noise": "eps", "velocity": "v", "score": "score", "flow": "flow"}


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("predicts", KINDS)
def test_every_parametrization_gives_the_exact_prediction(process, predicts):
    exact = gk.priors.GaussianMixture(torch.tensor([[2.0, 0.0], [-2.0, 1.0]]), 0.5, process=process)

    def network(x, t):
        a, s = process.coefficients(t)
        a = a.clamp_min(1e-6)
        return from_mean(KINDS[predicts], exact.predict(x, t).mean, x, a, s)

    mine = from_denoiser(network, process, (2,), predicts)
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    for t in (0.9, 0.5, 0.1):
        torch.testing.assert_close(mine.predict(x, t).mean, exact.predict(x, t).mean, atol=2e-3, rtol=1e-3)
    made, known = (gk.sample(prior, None, 8, 20).samples for prior in (mine, exact))
    torch.testing.assert_close(made, known, atol=5e-2, rtol=1e-2)


def test_tokens_and_conditions():
    law = torch.tensor([[0.4, 0.1], [0.2, 0.3]])
    exact = gk.priors.CategoricalChain(law, conditionals=torch.stack([law.T, law.flip(0)]))

    def network(z, t, condition):
        log_probs = exact.predict(z, float(t[0]), condition).log_probs
        return torch.cat([log_probs + 3.0, torch.full_like(log_probs[..., :1], 9.0)], -1)  # not normalized, with a mask

    mine = from_denoiser(network, gk.processes.Masked(2), (2,), "logits", null_condition=torch.tensor(-1))
    for condition in (None, 0, [0, 1, -1, 1]):
        options = dict(num_samples=4, steps=2, condition=condition)
        given = options | {"condition": torch.tensor(condition) if isinstance(condition, list) else condition}
        assert torch.equal(gk.sample(mine, **options).samples, gk.sample(exact, **given).samples)
    check_guidance(mine, gk.guidance.CFG(2.0), steps=2, condition=1)


class Trained(nn.Module):
    """A network with dropout that is being trained."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 2))
        self.asked = []

    def forward(self, x, t):
        self.asked.append((self.layers[1].training, t))
        return self.layers(x)


@pytest.mark.parametrize("wrapped", ["from_denoiser", "NeuralGaussian"])
def test_a_network_that_is_trained_is_neither_frozen_nor_switched(wrapped):
    network = Trained().train()
    network.layers[2].eval()
    if wrapped == "from_denoiser":
        prior = from_denoiser(network, gk.processes.VP("cosine"), (2,), "noise", time=lambda t: 1000 * t)
    else:
        network.forward = lambda x, level, labels: Trained.forward(network, x, level)
        prior = gk.priors.NeuralGaussian(network, gk.processes.VP("cosine"), (2,))
    first = gk.sample(prior, None, 3, 4).samples
    assert torch.equal(gk.sample(prior, None, 3, 4).samples, first)  # no dropout while sampling
    assert not any(training for training, _ in network.asked)
    assert network.training and network.layers[1].training and not network.layers[2].training
    assert all(parameter.requires_grad for parameter in network.parameters())
    if wrapped == "from_denoiser":
        assert float(network.asked[0][1][0]) == 1000.0


def test_what_is_no_prior_is_answered():
    vp = gk.processes.VP("cosine")
    with pytest.raises(
        ValueError, match="no prediction of real-valued states named 'epsilon'.*accepted: clean, flow, noise"
    ):
        from_denoiser(lambda x, t: x, vp, (2,), "epsilon")
    with pytest.raises(ValueError, match="no prediction of tokens named 'noise'.*accepted: logits"):
        from_denoiser(lambda x, t: x, gk.processes.Masked(2), (2,), "noise")
    with pytest.raises(ValueError, match="give the process its vocabulary"):
        from_denoiser(lambda x, t: x, gk.processes.Masked(), (2,), "logits")
    wrong = from_denoiser(lambda x, t: x[:, :1], vp, (2,), name="unet")
    with pytest.raises(ValueError, match=r"unet: the network gave shape \(1, 1\) for states \(1, 2\)"):
        gk.sample(wrong)
    wrong = from_denoiser(lambda x, t: {"out": x}, vp, (2,))
    with pytest.raises(ValueError, match="the network gave dict"):
        gk.sample(wrong)
    with pytest.raises(gk.GuidanceError, match="my prior. was made without conditions"):
        gk.sample(from_denoiser(lambda x, t: x, vp, (2,)), condition=1)
