import io

import pytest
import torch
from PIL import Image

import guidekit as gk
from guidekit.domains.images import ImageError, Images
from guidekit.domains.images.data import pictures
from guidekit.domains.images.rewards import Compressibility, ImageModel
from guidekit.errors import UnknownNameError
from guidekit.objectives import score

DOMAIN = Images("fashion_mnist")
STATES = DOMAIN.codec.encode(list(pictures("fashion_mnist", "test").images[:6])) * 0.9


def smooth(rewards):
    """Rewards with a gradient, made for Fashion-MNIST."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 3), torch.nn.Tanh())
    return {
        "classifier": rewards.make("classifier", label="dress"),
        "brightness": rewards.make("brightness", low=0.9, high=1.0),
        "symmetry": rewards["symmetry"],
        "image_model": rewards.make("image_model", model=network, output=2, unit=True),
        "sum": 2 * rewards["symmetry"] - rewards.make("brightness", low=0.0, high=0.1),
    }


@pytest.mark.parametrize("name", ["classifier", "brightness", "symmetry", "image_model", "sum"])
def test_gradients_are_those_of_finite_differences(name):
    reward = smooth(DOMAIN.rewards)[name]
    assert reward.differentiable and reward.on == "clean"
    x = STATES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(reward(x).sum(), x)
    assert gradient.isfinite().all() and gradient.flatten(1).norm(dim=1).min() > 0
    direction = torch.randn(STATES.shape, generator=torch.Generator().manual_seed(0))
    direction = direction + gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1) * 28
    step = 2e-3
    with torch.no_grad():
        change = (reward(STATES + step * direction) - reward(STATES - step * direction)).double() / (2 * step)
    expected = (gradient * direction).flatten(1).sum(1).double()
    torch.testing.assert_close(change, expected, rtol=0.05, atol=2e-3)


@pytest.mark.parametrize("name", ["classifier", "brightness", "symmetry", "image_model", "sum"])
def test_one_image_and_one_batch_agree(name):
    reward = smooth(DOMAIN.rewards)[name]
    images = DOMAIN.codec.decode(STATES)
    values = reward(DOMAIN.codec.encode(images))
    assert values.shape == (6,)
    assert [float(reward(DOMAIN.codec.encode([image]))) for image in images] == pytest.approx(values.tolist(), abs=1e-4)
    assert torch.equal(reward(STATES[3:4] * 3), reward((STATES[3:4] * 3).clamp(-1, 1)))  # clipped as decoding does


def test_classifier_is_a_law_and_knows_its_classes():
    rewards = [DOMAIN.rewards.make("classifier", label=label) for label in range(10)]
    logs = torch.stack([reward(STATES) for reward in rewards], 1)
    torch.testing.assert_close(logs.exp().sum(1), torch.ones(6))
    labels = torch.from_numpy(pictures("fashion_mnist", "test").labels[:6])
    assert (logs.argmax(1) == labels).double().mean() >= 5 / 6
    assert torch.equal(DOMAIN.rewards.make("classifier", label="Ankle boot")(STATES), rewards[9](STATES))
    assert DOMAIN.rewards.make("classifier", label="food").classifier.shape == (3, 32, 32)
    with pytest.raises(UnknownNameError, match="did you mean 'sneaker'"):
        DOMAIN.rewards.make("classifier", label="snaeker")
    with pytest.raises(ValueError, match="class of fashion_mnist_reward: 10 is out of range"):
        DOMAIN.rewards.make("classifier", label=10)
    with pytest.raises(ImageError, match=r"classifier emoji_reward: states have shape \(6, 1, 28, 28\)"):
        DOMAIN.rewards.make("classifier", label=3, set="emoji")(STATES)
    with pytest.raises(ValueError, match="there is no checkpoint"):
        DOMAIN.rewards.make("classifier", label=3, model="no.safetensors")


def test_known_values():
    grey = torch.full((1, 1, 28, 28), 0.2)
    assert float(DOMAIN.rewards["brightness"](grey)) == 0.0
    assert float(DOMAIN.rewards.make("brightness", low=0.7, high=0.8)(grey)) == pytest.approx(-0.1)
    half = torch.cat([torch.full((1, 1, 28, 14), -1.0), torch.full((1, 1, 28, 14), 1.0)], 3)
    assert float(DOMAIN.rewards["symmetry"](half)) == -1.0 and float(DOMAIN.rewards["symmetry"](grey)) == 0.0
    with pytest.raises(ValueError, match="window from 0.5 to 0.4 is empty"):
        DOMAIN.rewards.make("brightness", low=0.5, high=0.4)


def test_jpeg_size_is_a_black_box_that_likes_flat_pictures():
    reward = DOMAIN.rewards["compressibility"]
    noise = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise[0] = 0.0
    values = score(Flat(), reward, noise)
    assert not reward.differentiable and values[0] > values[1] + 200 and reward.temperature == 10.0
    stream = io.BytesIO()
    Image.fromarray(DOMAIN.codec.decode(noise)[1]).save(stream, "JPEG", quality=85)
    assert values[1] == -len(stream.getvalue())
    with pytest.raises(ValueError, match="JPEG takes 1 to 95"):
        Compressibility(quality=0)


def test_functions_modules_and_combinations_are_bound():
    black = DOMAIN.bind(lambda image: float(image.max()), "peak")
    assert not black.differentiable and black(DOMAIN.codec.decode(STATES)).shape == (6,) and black.name == "peak"
    assert isinstance(DOMAIN.bind(torch.nn.Flatten()), ImageModel)
    symmetry, small = DOMAIN.rewards["symmetry"], DOMAIN.rewards["compressibility"]
    assert (DOMAIN.rewards["brightness"] - symmetry).differentiable
    both = symmetry + small
    expected = symmetry(STATES) + small(DOMAIN.codec.decode(STATES))
    assert not both.differentiable and DOMAIN.bind(both) is both
    torch.testing.assert_close(score(Flat(), both, STATES), expected.double(), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="symmetry can be negative"):
        symmetry * symmetry
    with pytest.raises(ValueError, match=r"expected \(6,\) or \(6, K\)"):
        DOMAIN.bind(torch.nn.Identity())(STATES)


class Flat(gk.priors.Prior):
    """Pixels that are independent and normal with mean -0.2 and standard deviation 0.3."""

    name, process, event_shape, codec = "flat", gk.processes.VP("cosine"), (1, 28, 28), DOMAIN.codec

    def predict(self, x, t, condition=None):
        a, s = self.process.coefficients(t)
        return self.process.prediction((a * 0.09 * x - s * s * 0.2) / (a * a * 0.09 + s * s), x, t)


def test_gradient_and_search_reach_a_reward_on_a_known_prior():
    prior = Flat()
    reward = DOMAIN.rewards.make("brightness", low=0.6, high=0.7)
    plain = reward(gk.sample(prior, None, 4, steps=10).samples).mean()
    guided = gk.sample(prior, gk.guidance.GradientGuidance(reward, scale=300.0), 4, steps=10)
    assert reward(guided.samples).mean() > plain + 0.05
    found = gk.sample(prior, gk.guidance.SVDD(DOMAIN.rewards["compressibility"], 4), 4, steps=10)
    assert found.ledger.reward_invalid == 0 and found.ledger.reward_calls > 0
