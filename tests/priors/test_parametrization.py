"""Parametrisations of real-valued denoisers: there and back, and the same answer whatever the network predicts."""

import pytest
import torch

import guidekit as gk
from guidekit.errors import UnknownNameError
from guidekit.priors.neural import NeuralGaussian
from guidekit.priors.parametrization import PARAMETRIZATIONS, from_mean, loss_weight, noise_level, to_mean
from guidekit.processes import EDM, VE, VP, Flow

PROCESSES = {"vp": VP(), "cosine": VP("cosine"), "ve": VE(), "edm": EDM(), "flow": Flow()}


class Exact(torch.nn.Module):
    """A network that knows N(0, spread^2) data and predicts what it is asked to, told only what networks are told."""

    def __init__(self, process, kind, spread, sigma_data):
        super().__init__()
        self.process, self.kind, self.spread, self.sigma_data = process, kind, spread, sigma_data
        self.coefficients = None

    def forward(self, x, level, labels):
        """See the class."""
        a, s = (c[:, None] for c in self.coefficients)
        raw = x * (a * a * self.sigma_data**2 + s * s).sqrt()
        mean = a * self.spread**2 / (a * a * self.spread**2 + s * s) * raw
        return from_mean(self.kind, mean, raw, a[:, 0], s[:, 0], self.sigma_data)


@pytest.mark.parametrize("kind", PARAMETRIZATIONS)
@pytest.mark.parametrize("name", PROCESSES)
def test_there_and_back(kind, name):
    t = torch.linspace(0.05, 0.95, 7)
    a, s = PROCESSES[name].coefficients(t)
    x0, eps = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    x = a[:, None] * x0 + s[:, None] * eps
    size = x0.abs().max() + x.abs().max() / a.min()  # of the numbers that are subtracted
    back = to_mean(kind, from_mean(kind, x0, x, a, s), x, a, s)
    assert (back - x0).abs().max() < 1e-6 * size


def test_outputs_mean_what_they_are_called():
    x0, eps = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    a, s = torch.tensor(0.8).double(), torch.tensor(0.6).double()
    x = a * x0 + s * eps
    outputs = {"x0": x0, "eps": eps, "score": -eps / s, "v": a * eps - s * x0, "flow": eps - x0}
    # Karras' F at noise level s / a of x / a, from table 1 of the paper
    sigma, data = s / a, 0.5
    c_skip, c_out = data**2 / (sigma**2 + data**2), sigma * data / (sigma**2 + data**2).sqrt()
    outputs["edm"] = (x0 - c_skip * x / a) / c_out
    for kind, output in outputs.items():
        assert torch.allclose(to_mean(kind, output, x, a, s), x0, atol=1e-12), kind
        assert torch.allclose(from_mean(kind, x0, x, a, s), output, atol=1e-12), kind
    assert torch.allclose(loss_weight("edm", a, s), c_out**-2)
    with pytest.raises(UnknownNameError, match="did you mean 'eps'"):
        to_mean("epz", x0, x, a, s)


@pytest.mark.parametrize("kind", PARAMETRIZATIONS)
@pytest.mark.parametrize("name", PROCESSES)
def test_every_network_gives_the_exact_posterior_mean(kind, name):
    process, spread = PROCESSES[name], 0.7
    network = Exact(process, kind, spread, 0.5)
    prior = NeuralGaussian(network, process, (3,), kind)
    exact = gk.priors.Gaussian(torch.zeros(3), spread**2, process)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    for t in (torch.tensor([0.1, 0.3, 0.5, 0.9]), 0.4):
        a, s = process.coefficients(torch.as_tensor(t, dtype=torch.float32).expand(4))
        network.coefficients = (a, s)
        noisy = x * s[:, None]
        assert torch.allclose(
            prior.predict(noisy, t).mean, exact.predict(noisy, t).mean, atol=2e-5 * float(1 + s.max())
        )


def test_the_level_depends_on_the_ratio_alone():
    t = torch.linspace(0.01, 0.99, 9)
    a, s = PROCESSES["cosine"].coefficients(t)
    assert torch.allclose(noise_level(a, s), noise_level(torch.ones(9), s / a), atol=1e-6)
    assert (noise_level(a, s).diff() >= 0).all()
    assert noise_level(0.0, 1.0) == 1 and noise_level(1.0, 0.0) == 0
