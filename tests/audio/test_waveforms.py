"""Waveforms: the transform the network looks at, stored samples, training from the command line."""

import json
import math

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.cli import main
from guidekit.domains.audio import Audio, AudioError, mel
from guidekit.domains.audio.preparation import prepare_sounds
from guidekit.networks import WaveformUNet
from guidekit.networks.waveform_unet import lapped, lapped_basis, unlapped
from guidekit.training.array_job import Arrays, numbers

SMALL = {"bands": 32, "width": 8, "multipliers": [1], "attention": [], "heads": 1}


@pytest.fixture
def folder(tmp_path):
    """Twelve decaying tones."""
    time = np.arange(12_000) / mel.RATE
    waves = [0.5 * np.exp(-8 * time) * np.sin(2 * np.pi * (200 + 100 * i) * time) for i in range(12)]
    np.savez(tmp_path / "tones.npz", waves=np.stack(waves).astype(np.float32), rate=mel.RATE)
    return tmp_path


def test_transform_is_orthonormal():
    basis = lapped_basis(32).double()
    waves = torch.randn(3, 2, 640, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    picture = lapped(waves, basis)
    assert picture.shape == (3, 2, 32, 20)
    assert torch.allclose(unlapped(picture, basis), waves, atol=1e-6)
    assert torch.allclose(picture.square().sum((1, 2, 3)), waves.square().sum((1, 2)), rtol=1e-6)
    other = torch.randn(3, 2, 32, 20, dtype=torch.float64)
    assert torch.allclose((picture * other).sum(), (waves * unlapped(other, basis)).sum(), rtol=1e-5)  # adjoint


def test_a_tone_is_in_its_band_and_a_click_in_its_window():
    basis = lapped_basis(64)
    tone = torch.sin(2 * math.pi * 1000 * torch.arange(4096) / 16_000)[None, None]
    energy = lapped(tone, basis)[0, 0].square()
    assert int(energy.sum(1).argmax()) in (7, 8) and energy[6:10].sum() > 0.99 * energy.sum()  # 125 Hz a band
    click = torch.zeros(1, 1, 4096)
    click[..., 1000] = 1.0
    assert set(lapped(click, basis)[0, 0].square().sum(0).nonzero()[:, 0].tolist()) == {14, 15}


def test_network():
    torch.manual_seed(0)
    network = WaveformUNet(1, labels=[3], **SMALL)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    x, level, labels = torch.randn(2, 1, 256), torch.rand(2), torch.tensor([[0], [2]])
    made = network(x, level, labels)
    assert made.shape == x.shape and not torch.allclose(made[0], network(x, level, labels - 1)[0])
    assert "basis" not in network.state_dict()
    assert torch.allclose(network(x[:1], level[:1], labels[:1]), made[:1], atol=1e-4)
    with pytest.raises(ValueError, match="250 samples; a multiple of 32"):
        network(x[..., :250], level, labels)


def test_stored_numbers():
    assert numbers(np.array([0, 255], np.uint8)).tolist() == [-1, 1]
    assert numbers(np.array([-32768, 16384], np.int16)).tolist() == [-1, 0.5]
    assert numbers(np.array([0.25], np.float16)).tolist() == [0.25]
    waves = (np.arange(40).reshape(4, 10) * 100).astype(np.int16)
    x, labels = next(iter(Arrays(waves, None, 2, 0, batches=1, axes=2)))
    assert x.shape == (2, 1, 10) and labels is None and torch.allclose(x[1, 0], torch.arange(10, 20) * 100 / 32768)


def test_prepared_waveforms(folder):
    trainer = {"network": {"name": "waveform_unet"}, "validation": 2, "variants": 3}
    prepare_sounds(folder / "out.npz", str(folder / "tones.npz"), trainer, "waveform")
    found = np.load(folder / "out.npz")
    assert found["images"].shape == (30, 16384) and found["images"].dtype == np.int16
    peaks = np.abs(found["images"].astype(float)).max(1) / 32768
    assert peaks.min() > 10 ** (-14.1 / 20) and peaks.max() <= 1
    held = np.abs(found["val_images"].astype(float)).max(1) / 32768
    assert held == pytest.approx(10 ** (-1 / 20), abs=1e-3) and (found["val_images"][:, 12_000:] == 0).all()
    assert json.loads(str(found["description"]))["event_shape"] == [1, 16384]


def test_training_from_the_command_line(folder, capsys):
    network = "{" + "bands: 32, width: 8, multipliers: [1], attention: [], heads: 1, patch: 4, blocks: 1" + "}"
    settings = [
        "domain=audio",
        "domain.state=waveform",
        f"data={folder}/tones.npz",
        f"output={folder}/mine.safetensors",
    ]
    sizes = ["trainer.validation=2", "trainer.variants=2", "trainer.steps=2", "trainer.batch_size=2"]
    options = [*sizes, f"trainer.network.options={network}", "trainer.validate_every=1", "trainer.early=0.0"]
    assert main(["train", *settings, "trainer=waveforms", *options]) == 0
    prior = Audio("waveform").load_prior(f"{folder}/mine.safetensors")
    assert prior.event_shape == (1, 16384) and gk.sample(prior, num_samples=2, steps=2).samples.shape == (2, 1, 16384)
    with pytest.raises(ValueError, match=r"of states \(1, 16384\); \(1, 64, 64\) are expected"):
        Audio().load_prior(f"{folder}/mine.safetensors")
    with pytest.raises(AudioError, match="no prior of waveforms is shipped: give prior="):
        Audio("waveform").load_prior()
    capsys.readouterr()
    assert main(["train", *settings, "overwrite=true", *sizes]) == 2
    told = capsys.readouterr().err
    assert "network unet is for domain.state=mel" in told and "take trainer=waveforms" in told and told.count("\n") == 1


@pytest.mark.parametrize("task", ["declip", "bandwidth"])
def test_tasks_of_waveforms(task, folder):
    from guidekit.priors.neural import NeuralGaussian

    torch.manual_seed(0)
    process = gk.processes.EDM(0.001, 10.0)
    prior = NeuralGaussian(WaveformUNet(**SMALL), process, (1, 16384), sigma_data=0.1)
    domain = Audio("waveform")
    x = domain.codec.encode(Audio().reference()[:1])
    from guidekit.objectives.tasks import make, observe

    made = make(domain.tasks, task, (1, 16384), {})
    y = observe(x, made)
    result = gk.sample(prior, gk.guidance.DPS(gk.objectives.GaussianLikelihood(made.operator, y), 1.0), 1, 8)
    plain = gk.sample(prior, None, 1, 8)
    assert made.judge(result.samples, y, x)["misfit"] < made.judge(plain.samples, y, x)["misfit"]
