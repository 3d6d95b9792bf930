"""QR codes: a real reader finds the text, correct modules have no gradient, wrong ones the one by hand."""

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.domains.images.qr import Scannable, modules, pixel_weights, scanned

pytest.importorskip("segno")


@pytest.fixture
def reward():
    return Scannable("GK 0.2", pixels=5)


def picture(code, pixels):
    """States (1, 1, H, W) of the plain code."""
    return (2 * code - 1).repeat_interleave(pixels, 0).repeat_interleave(pixels, 1)[None, None].float()


def test_a_plain_code_is_read_and_needs_nothing(reward):
    pytest.importorskip("cv2")
    x = picture(reward.code, 5).requires_grad_()
    assert scanned(np.uint8((x[0, 0].detach() + 1) * 127.5)) == "GK 0.2"
    assert float(reward(x)) == 0
    (slope,) = torch.autograd.grad(reward(x).sum(), x)
    assert slope.abs().max() == 0
    assert scanned(np.full((60, 60), 128, np.uint8)) == ""


def test_only_wrong_modules_have_a_gradient(reward):
    """One dark module turned light: 2 weight_p / modules / 2 for each of its pixels, as brightness is (x + 1) / 2."""
    code, k = reward.code, 5
    dark = (code == 0).nonzero()[7].tolist()
    x = picture(code, k)
    rows, columns = (slice(k * place, k * (place + 1)) for place in dark)
    x[0, 0, rows, columns] = 0.8
    x[0, 0, k * 10 + 1, k * 10 + 2] *= -1  # beside the middle of another, which is read correctly
    x.requires_grad_()
    (slope,) = torch.autograd.grad(reward(x).sum(), x)
    weights = pixel_weights(k)[0].reshape(k, k).float()
    torch.testing.assert_close(slope[0, 0, rows, columns], -weights / code.numel())
    rest = slope.clone()
    rest[0, 0, rows, columns] = 0
    assert rest.abs().max() == 0
    assert float(reward(x)) == pytest.approx(-2 * (0.9 - 0.45) / code.numel(), rel=1e-5)


def test_weights_are_the_published_kernel():
    """A Gaussian of deviation 1.5 pixels, scaled to [0, 1], without what is below .1; the middle of 5 is 1 x 1."""
    weights, middle = pixel_weights(5)
    grid = weights.reshape(5, 5)
    assert float(weights.sum()) == pytest.approx(1) and torch.equal(grid, grid.T)
    assert int(grid.argmax()) == 12 and float(grid[0, 0]) == 0
    assert int((middle > 0).sum()) == 1 and float(middle[12]) == 1
    d = torch.arange(9.0) - 4
    raw = torch.exp(-(d[:, None] ** 2 + d[None] ** 2) / 4.5)
    scaled = (raw - raw.min()) / (raw.max() - raw.min())
    wide = pixel_weights(9)[0].reshape(9, 9)
    assert torch.equal(wide == 0, scaled < 0.1) and 0 < int((wide == 0).sum()) < 60
    assert int((pixel_weights(9)[1] > 0).sum()) == 9  # 3 x 3


def test_wrong_sizes_and_texts_are_told(reward):
    prior = gk.load_domain("images").load_prior()
    with pytest.raises(gk.GuidanceError, match=r"pictures 145 x 145, 29 modules of 5 pixels, .* \(1, 28, 28\)"):
        gk.sample(prior, gk.guidance.DPS(reward), 1, steps=1)
    with pytest.raises(ValueError, match="no QR code of"):
        Scannable("x" * 2000)
    with pytest.raises(ValueError, match="pixels=0"):
        Scannable("x", pixels=0)
    assert modules("x").shape == (29, 29)
