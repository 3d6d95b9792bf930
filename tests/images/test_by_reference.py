"""Rewards by reference pictures: what they are at the reference, and what they say of wrong ones."""

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.domains.images.by_reference import references
from guidekit.domains.images.data import pictures
from guidekit.errors import UnknownNameError
from guidekit.testing import check_reward


@pytest.fixture(scope="module")
def domain():
    return gk.load_domain("images")


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The file of a picture of a trouser, and one of another size."""
    folder = tmp_path_factory.mktemp("pictures")
    images, labels, _ = pictures("fashion_mnist", "train")
    np.savez(folder / "trouser.npz", images=images[labels == 1][:1])
    np.savez(folder / "small.npz", images=np.zeros((1, 20, 20), np.uint8) + 99)
    return folder


@pytest.mark.parametrize("name", ["spectrum", "style", "likeness", "examples"])
def test_the_reference_is_best_and_gradients_are_finite(domain, one, name):
    reward = domain.rewards.make(name, reference=str(one / "trouser.npz"))
    same = references(one / "trouser.npz")
    others = references("fashion_mnist:test")[:16]
    assert float(reward(same)) > float(reward(others).max())
    x = (0.9 * others).requires_grad_()
    (gradient,) = torch.autograd.grad(reward(x).sum(), x)
    assert gradient.isfinite().all() and gradient.flatten(1).norm(dim=1).min() > 0
    torch.testing.assert_close(reward(others)[3:4], reward(others[3:4]), rtol=1e-4, atol=1e-5)
    check_reward(domain.load_prior(), reward)


def test_styles_do_not_see_where_and_what_is_far_is_negative(domain, one):
    source = str(one / "trouser.npz")
    style = domain.rewards.make("style", reference=source, layers=1)
    moved = references(source).roll(1, 3)
    assert style(moved) > 0.1 * style(references("fashion_mnist:test")[:16]).mean()
    both = domain.rewards.make("examples", reference=source, negative="fashion_mnist:test")
    assert both(references("fashion_mnist:test")[:64]).mean() < both(references(source))


def test_wrong_references_and_encoders_are_told(domain, one):
    with pytest.raises(UnknownNameError, match="encoder of images.*fashion_mnist"):
        domain.rewards.make("likeness", encoder="fashion")
    with pytest.raises(ValueError, match=r"no shipped encoder is for pictures \(1, 20, 20\)"):
        domain.rewards.make("style", reference=str(one / "small.npz"))
    with pytest.raises(ValueError, match="reference is"):
        domain.rewards.make("likeness", reference="emoji", encoder="fashion_mnist")
    with pytest.raises(ValueError, match="one size is needed"):
        domain.rewards.make("examples", negative="emoji")
    small = domain.rewards.make("spectrum", reference=str(one / "small.npz"), bands=4)
    with pytest.raises(gk.GuidanceError, match=r"reward spectrum is of states \(1, 20, 20\)"):
        gk.sample(domain.load_prior(), gk.guidance.DPS(small), 1, steps=1)
    with pytest.raises(ValueError, match="nowhere"):
        domain.rewards.make("spectrum", reference="nowhere.png")
