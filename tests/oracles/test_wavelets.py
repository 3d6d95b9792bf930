"""Wavelet likelihoods: the transform is orthonormal, the weighted likelihood a Gaussian one, blind ones mixtures."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.objectives.operators.base import Linear
from guidekit.objectives.wavelets import haar, inverse_haar

D = torch.float64


@pytest.mark.parametrize(
    ("shape", "axes", "levels"), [((3, 1, 16, 12), 2, 2), ((2, 3, 7, 9), 2, 2), ((4, 13), 1, 3), ((2, 1, 28, 28), 2, 3)]
)
def test_haar_is_orthonormal_and_inverted(shape, axes, levels):
    x = torch.randn(shape, dtype=D, generator=torch.Generator().manual_seed(0))
    bands = haar(x, axes, levels)
    assert (inverse_haar(bands, axes) - x).abs().max() < 1e-12
    power = sum(band.square().flatten(1).sum(1) for band in bands.values())
    torch.testing.assert_close(power, x.square().flatten(1).sum(1), rtol=1e-12, atol=0)
    assert sum(band[0].numel() for band in bands.values()) == x[0].numel()


def test_bands_of_known_pictures():
    """A constant has sums only; stripes along one axis have differences across it only."""
    flat = haar(torch.ones(1, 4, 4, dtype=D), 2, 2)
    assert {name for name, band in flat.items() if band.abs().max() > 1e-12} == {"LL2"}
    assert float(flat["LL2"].squeeze()) == pytest.approx(4.0)  # sum / sqrt(16)
    rows = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=D)[:, None].expand(1, 4, 4)
    assert {name for name, band in haar(rows, 2, 1).items() if band.abs().max() > 1e-12} == {"HL1"}


def test_too_many_levels_are_refused():
    with pytest.raises(ValueError, match="2\\^levels"):
        haar(torch.zeros(1, 6, 3), 2, 2)


class Blur(Linear):
    """(x_i + x_{i+1}) / 2 with a share, circular."""

    def __init__(self, share, size=8):
        self.share, self.shape = share, (size,)

    def forward(self, x):
        return (1 - self.share) * x + self.share * x.roll(1, -1)


def likelihood(share=0.3, noise=0.4):
    y = torch.linspace(-1, 1, 8, dtype=D)[None].cos()
    return gk.objectives.GaussianLikelihood(Blur(share), y, torch.tensor(noise, dtype=D))


@pytest.mark.parametrize("detail", [2.0, [2.0, 0.5]])
def test_it_is_a_gaussian_with_less_noise_in_the_bands(detail):
    """log N(y; A x, C), C = noise^2 W^T diag(1 / (1 + weight)) W, written out as a matrix; up to its volume."""
    given = likelihood()
    mine = gk.objectives.wavelet_likelihood(given, detail, coarse=0.25, levels=2)
    eye = haar(torch.eye(8, dtype=D), 1, 2)
    weights = {"H1": 2.0, "H2": 2.0 if detail == 2.0 else 0.5, "L2": 0.25}
    precision = sum((1 + weights[name]) * band @ band.T for name, band in eye.items()) / 0.16
    law = torch.distributions.MultivariateNormal(torch.zeros(8, dtype=D), precision_matrix=precision)
    x = torch.randn(5, 8, dtype=D, generator=torch.Generator().manual_seed(1))
    other = law.log_prob(given.y - given.operator.forward(x))
    torch.testing.assert_close(mine(x) - mine(x)[0], other - other[0], rtol=1e-10, atol=1e-10)


def test_the_bands_are_an_operator_with_adjoint_and_inverse():
    weighted = gk.objectives.wavelet_likelihood(likelihood(), 2.0, coarse=0.5, levels=2)
    bands, generator = weighted.operator.outer, torch.Generator().manual_seed(4)
    x, y = (torch.randn(3, 8, dtype=D, generator=generator) for _ in range(2))
    torch.testing.assert_close((bands.forward(x) * y).sum(), (x * bands.adjoint(y)).sum())
    torch.testing.assert_close(bands.pinv(bands.forward(x)), x)
    whole = (weighted.operator.forward(x) * y).sum()
    torch.testing.assert_close(whole, (x * weighted.operator.adjoint(y)).sum())


def test_equal_weights_scale_the_gradient_and_none_is_dps_bit_for_bit():
    given = likelihood()
    x = torch.randn(4, 8, dtype=D, generator=torch.Generator().manual_seed(2)).requires_grad_()
    slope = torch.autograd.grad(given(x).sum(), x)[0]
    equal = gk.objectives.wavelet_likelihood(given, 1.5, coarse=1.5, levels=3)
    torch.testing.assert_close(torch.autograd.grad(equal(x).sum(), x)[0], 2.5 * slope)
    unequal = gk.objectives.wavelet_likelihood(given, 1.5, coarse=0.0)
    assert not torch.allclose(torch.autograd.grad(unequal(x).sum(), x)[0], 2.5 * slope)
    prior = gk.priors.Gaussian(torch.zeros(8), 1.0)
    none = gk.objectives.wavelet_likelihood(given, 0.0)
    assert none is given
    plain, mine = (gk.sample(prior, gk.guidance.DPS(one, 0.3), 6, steps=10).samples for one in (given, none))
    assert torch.equal(plain, mine)
    other = gk.sample(prior, gk.guidance.DPS(unequal, 0.3), 6, steps=10).samples
    assert not torch.allclose(plain, other)


def test_an_unknown_operator_is_averaged_over():
    """p(y | x) = sum_k w_k p(y | x, k); probabilities of the operators by Bayes; gradient by finite differences."""
    blurs = [likelihood(share) for share in (0.1, 0.3, 0.5)]
    blind = gk.objectives.OneOf(blurs, [1.0, 2.0, 1.0])
    x = torch.randn(5, 8, dtype=D, generator=torch.Generator().manual_seed(3)).requires_grad_()
    each = torch.stack([blur(x).exp() for blur in blurs], 1) * torch.tensor([0.25, 0.5, 0.25], dtype=D)
    torch.testing.assert_close(blind(x).exp(), each.sum(1), rtol=1e-6, atol=0)
    torch.testing.assert_close(blind.joint(x).softmax(1), each / each.sum(1, keepdim=True), rtol=1e-6, atol=1e-9)
    assert torch.autograd.gradcheck(lambda x: blind(x), (x,))
    alone = gk.objectives.OneOf(blurs[:1])
    torch.testing.assert_close(alone(x), blurs[0](x))


def test_blind_posterior_within_a_filter_is_the_mixture_of_posteriors():
    """One number, y = k x + noise with k = 1 or -1: two modes; the share of each and the means are known."""
    y = torch.tensor([[1.0]])
    operators = {1.0: lambda x: x, -0.5: lambda x: -0.5 * x}
    blind = gk.objectives.OneOf([gk.objectives.GaussianLikelihood(f, y, 0.5) for f in operators.values()])
    evidence = {k: math.exp(-0.5 / (k * k + 0.25)) / math.sqrt(k * k + 0.25) for k in operators}
    share = evidence[1.0] / sum(evidence.values())
    mean = sum(evidence[k] * k / (k * k + 0.25) for k in operators) / sum(evidence.values())
    assert 0.5 < share < 0.8
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0)
    filtered = gk.guidance.FKSteering(blind, temperature=1.0, output="all")
    result = gk.sample(prior, filtered, 1, steps=40, particles=4000)
    weights = result.log_weights[0].softmax(0)
    assert float(weights @ result.samples[:, 0].double()) == pytest.approx(
        mean, abs=0.07
    )  # 4 errors of 4,000 draws, spread .9
