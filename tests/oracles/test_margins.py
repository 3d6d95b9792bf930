"""Margins: what is read correctly has no gradient, and bits are met once there is none left."""

import pytest
import torch

import guidekit as gk
from guidekit.objectives.margins import shortfall

D = torch.float64


def test_shortfall_by_hand():
    values = torch.tensor([0.3, 0.05, -0.2, -0.3])
    wanted = torch.tensor([1, 1, 1, 0])
    torch.testing.assert_close(shortfall(values, wanted, 0.1), torch.tensor([0.0, 0.05, 0.3, 0.0]))


def test_bits_with_their_margin_have_no_gradient():
    """Values are a linear map; the gradient is the mean of +-rows of what is wrong, in closed form."""
    matrix = torch.randn(6, 4, dtype=D, generator=torch.Generator().manual_seed(0))
    wanted = torch.tensor([1, 0, 1, 1, 0, 0])
    x = torch.randn(5, 4, dtype=D, generator=torch.Generator().manual_seed(1)).requires_grad_()
    objective = gk.objectives.Margin(lambda x: x @ matrix.T, wanted, 0.1)
    (slope,) = torch.autograd.grad(objective(x).sum(), x)
    sign = 2.0 * wanted.double() - 1
    wrong = (x @ matrix.T) * sign < 0.1
    torch.testing.assert_close(slope, (wrong * sign).double() @ matrix / 6)
    assert 0 < wrong.double().mean() < 1
    met = gk.objectives.Margin(lambda x: x @ matrix.T, (x.detach()[0] @ matrix.T > 0).long(), 0.0)
    (slope,) = torch.autograd.grad(met(x)[:1].sum(), x)
    assert float(met(x)[0]) == 0 and slope[0].abs().max() == 0


def test_a_watermark_is_read_after_guidance():
    """24 random projections of white noise: half of the bits by chance, all of them with guidance."""
    generator = torch.Generator().manual_seed(2)
    matrix = torch.randn(24, 64, generator=generator) / 8
    wanted = torch.randint(2, (24,), generator=generator)
    mark = gk.objectives.Margin(lambda x: x @ matrix.T, wanted, 0.3)
    prior = gk.priors.Gaussian(torch.zeros(64), 1.0)
    options = dict(num_samples=32, steps=40, sampler="ddim")

    def read(guidance):
        x = gk.sample(prior, guidance, **options).samples
        return float(((x @ matrix.T > 0) == wanted.bool()).double().mean())

    assert read(None) == pytest.approx(0.5, abs=0.08)  # 4 errors of 32 x 24 bits
    assert read(gk.guidance.GradientGuidance(mark, 8.0)) > 0.99


def test_wrong_bits_are_told():
    with pytest.raises(ValueError, match="bits 0 or 1"):
        gk.objectives.Margin(lambda x: x, torch.tensor([0.5]))
    with pytest.raises(ValueError, match="3 are wanted"):
        gk.objectives.Margin(lambda x: x, torch.tensor([1, 0, 1]))(torch.zeros(2, 4))
