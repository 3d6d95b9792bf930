"""Training a prior of real-valued arrays: it learns a law that is known, keeps an early copy, and loads."""

import json

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.priors.checkpoints import CheckpointError, load_gaussian_prior, read_description
from guidekit.training.array_job import fit
from guidekit.training.place import Place

TRAINER = {
    "network": {"name": "unet", "options": {"width": 16, "multipliers": [1], "attention": [], "heads": 1}},
    "process": {"name": "edm", "options": {}},
    "parametrization": "edm",
    "levels": [-1.2, 1.2],
    "label_dropout": 0.2,
    "early": 0.1,
    "steps": 300,
    "batch_size": 64,
    "learning_rate": 3e-3,
    "warmup": 10,
    "decay": 0.5,
    "ema": 0.95,
    "precision": "32-true",
    "accelerator": "cpu",
    "threads": None,
    "minutes": None,
    "validate_every": 100,
}
MEANS, SPREAD = (-0.5, 0.5), 0.1


def prepared(path, n=2000):
    """Images of 4 x 4 pixels of one grey, whose level depends on the class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=(n, 1))
    grey = np.clip(np.array(MEANS)[labels[:, 0]] + SPREAD * rng.standard_normal(n), -1, 1)
    images = np.broadcast_to(((grey + 1) * 127.5).round().astype(np.uint8)[:, None, None], (n, 4, 4)).copy()
    named = [{"name": "class", "values": ["dark", "bright"]}]
    description = {"domain": "toy", "event_shape": [1, 4, 4], "labels": named, "card": {"data": "greys"}}
    held = {"val_images": images[:256], "val_labels": labels[:256]}
    np.savez(path, images=images, labels=labels, description=np.array(json.dumps(description)), **held)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arrays")
    data, output = prepared(folder / "prepared.npz"), folder / "prior.safetensors"
    report = fit(np.load(data), TRAINER, Place(output), None, 0)
    assert report["updates"] == 300
    return folder


def test_training_learns_the_law_of_each_class(trained):
    prior = load_gaussian_prior(trained / "prior.safetensors", "toy")
    for name, mean in zip(("dark", "bright"), MEANS, strict=True):
        samples = gk.sample(prior, None, 128, 16, condition=name, sampler=gk.samplers.Heun()).samples
        assert samples.shape == (128, 1, 4, 4)
        grey = samples.flatten(1).mean(1)
        # a trained network, so the tolerance is that of training: an eighth of what separates the classes
        assert float(grey.mean()) == pytest.approx(mean, abs=0.12)
        assert float(samples.flatten(1).std(1).mean()) < 0.1  # one grey an image


def test_an_early_copy_is_worse(trained):
    def error(name):
        prior = load_gaussian_prior(trained / name, "toy")
        x0 = torch.full((64, 1, 4, 4), MEANS[1])
        x = x0 + 0.5 * torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
        t = next(t for t in np.linspace(0, 1, 1001) if prior.process.coefficients(float(t))[1] >= 0.5)
        return float((prior.predict(x, float(t), torch.ones(64, 1, dtype=torch.int64)).mean - x0).square().mean())

    assert error("prior_early.safetensors") > 1.5 * error("prior.safetensors")
    assert read_description(trained / "prior_early.safetensors")["card"]["updates"] == 30


def test_bad_checkpoints(trained):
    with pytest.raises(CheckpointError, match="of domain 'toy'"):
        load_gaussian_prior(trained / "prior.safetensors", "images")
