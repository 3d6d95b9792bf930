"""Latent diffusion in folders of diffusers: an autoencoder around the prior, texts or tensors as conditions."""

import json

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit._compat import mended
from guidekit.cli import main
from guidekit.core.requirements import GuidanceError
from guidekit.priors.checkpoints import CheckpointError
from guidekit.testing import check_guidance

diffusers = mended("test", "diffusers")
transformers = mended("test", "transformers")
WORDS = ["<|startoftext|>", "<|endoftext|>", "a</w>", "bag</w>", "red</w>", *"abdegr", *(f"{c}</w>" for c in "bdegr")]


def parts(folder):
    """(U-Net, autoencoder, scheduler) of a tiny pipeline, written to a folder."""
    torch.manual_seed(0)
    blocks = {"down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"]}
    blocks |= {"up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"], "block_out_channels": [8, 16]}
    unet = diffusers.UNet2DConditionModel(
        sample_size=4, in_channels=4, out_channels=4, cross_attention_dim=12, attention_head_dim=4, norm_num_groups=4,
        layers_per_block=1, **blocks,
    ).eval()  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=[4, 8], down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
        latent_channels=4, norm_num_groups=2, sample_size=8, scaling_factor=0.3, shift_factor=0.1,
    ).eval()  # fmt: skip
    scheduler = diffusers.DDIMScheduler(100, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    scheduler.save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"unet": ["diffusers", "x"], "vae": ["diffusers", "x"]}))
    return unet, vae, scheduler


def reader(folder):
    """(encoder, tokenizer) of a tiny CLIP, written to the folder."""
    torch.manual_seed(1)
    (folder / "tokenizer").mkdir()
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(WORDS)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=10, pad_token="<|endoftext|>"
    )
    tokenizer.save_pretrained(folder / "tokenizer")
    config = transformers.CLIPTextConfig(
        vocab_size=len(WORDS), hidden_size=12, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=10, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    encoder = transformers.CLIPTextModel(config).eval()
    encoder.save_pretrained(folder / "text_encoder")
    return encoder, transformers.AutoTokenizer.from_pretrained(folder / "tokenizer")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    return folder, parts(folder), reader(folder)


@pytest.fixture(scope="module")
def silent(tmp_path_factory):
    """Without a text encoder."""
    folder = tmp_path_factory.mktemp("silent")
    return folder, parts(folder)


def test_texts_and_autoencoder_are_those_of_the_library(pipeline):
    folder, (unet, vae, scheduler), (encoder, tokenizer) = pipeline
    prior = gk.load_domain("images").load_prior(str(folder))
    assert prior.event_shape == (4, 4, 4)
    asked = tokenizer(["a red bag", ""], padding="max_length", max_length=10, truncation=True, return_tensors="pt")
    with torch.no_grad():
        told = encoder(asked["input_ids"])[0]
    assert torch.allclose(prior.condition("a red bag")[0], told[0], atol=1e-6)
    assert torch.allclose(prior.null_condition, told[1], atol=1e-6) and not torch.allclose(told[0], told[1], atol=1e-3)
    x = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    scheduler.set_timesteps(10)
    for condition, words in ((prior.condition("a red bag").expand(2, -1, -1), told[:1]), (None, told[1:])):
        with torch.no_grad():
            noise = unet(x, 40, encoder_hidden_states=words.expand(2, -1, -1)).sample
            theirs = scheduler.step(noise, 40, x).pred_original_sample
        assert torch.allclose(prior.predict(x, 0.41, condition).mean, theirs, atol=1e-4)
    with torch.no_grad():
        picture = vae.decode(x / 0.3 + 0.1).sample.clamp(-1, 1)
    shown = prior.decode(x)
    assert shown[0].shape == (8, 8, 3)
    assert np.abs(shown[1] - ((picture[1] + 1) * 127.5).round().permute(1, 2, 0).numpy()).max() <= 1
    with torch.no_grad():
        latent = (vae.encode(prior.codec.inner.encode([shown[0]])).latent_dist.mean - 0.1) * 0.3
    assert torch.allclose(prior.encode([shown[0]]), latent, atol=1e-5)


def test_guidance_of_latents(pipeline):
    """Contrasts of texts; rewards of pixels, with gradients through the decoder."""
    folder, _, _ = pipeline
    domain = gk.load_domain("images")
    prior = domain.load_prior(str(folder))
    guided = check_guidance(prior, gk.guidance.CFG(3.0), 3, steps=4, sampler="ddim", condition="a red bag")
    assert guided.ledger.network_rows == 2 * 3 * 4
    plain = gk.sample(prior, None, 3, 4, sampler="ddim", condition="a red bag").samples
    assert not torch.allclose(guided.samples, plain, atol=1e-2)
    several = gk.sample(prior, None, 2, 4, sampler="ddim", condition=["a bag", "a red bag"]).samples
    assert torch.allclose(
        several[1], gk.sample(prior, None, 2, 4, sampler="ddim", condition="a red bag").samples[1], atol=1e-4
    )
    bright = domain.rewards.make("brightness", low=0.9, high=1.0)
    reward = domain.suited(bright, prior)
    result = check_guidance(prior, gk.guidance.DPS(reward, scale=5.0), 3, steps=6)
    best = gk.sample(prior, gk.guidance.SVDD(reward, candidates=8, alpha=0.01), 6, 6)
    none = gk.sample(prior, None, 6, 6)
    assert reward(best.samples).mean() > reward(none.samples).mean()
    levels = np.mean([picture.mean() for picture in best.objects()])
    assert levels > np.mean([picture.mean() for picture in none.objects()]) and len(result.samples) == 3
    other = gk.load_domain("images").load_prior(str(folder))
    with pytest.raises(GuidanceError, match="latents of another prior"):
        gk.sample(other, gk.guidance.BestOfN(reward), 2, 2)


def test_embeddings_as_tensors(silent, tmp_path):
    folder, (unet, _, _) = silent
    prior = gk.load_domain("images").load_prior(str(folder))
    words = torch.randn(77, 12, generator=torch.Generator().manual_seed(0))
    one = gk.sample(prior, gk.guidance.CFG(2.0), 2, 3, sampler="ddim", condition=words)
    np.save(tmp_path / "words.npy", words.numpy())
    same = gk.sample(prior, gk.guidance.CFG(2.0), 2, 3, sampler="ddim", condition=str(tmp_path / "words.npy"))
    assert torch.equal(one.samples, same.samples)
    with pytest.raises(ValueError, match="has no text encoder"):
        prior.condition("a bag")
    with pytest.raises(ValueError, match=r"condition of shape \(1, 5, 12\)"):
        prior.condition(words[:5])


def test_from_the_command_line(pipeline, tmp_path, capsys):
    folder, _, _ = pipeline
    run = ["domain=images", f"prior={folder}", "num_samples=2", "steps=3", "sampler=ddim"]
    told = [*run, "condition=a red bag", "guidance=cfg", f"output={tmp_path / 'run'}"]
    assert main(["sample", *told]) == 0
    assert np.load(tmp_path / "run" / "samples.npz")["images"].shape == (2, 8, 8, 3)
    told = [*run[:-1], "reward=brightness", "guidance=svdd", "guidance.candidates=2", f"output={tmp_path / 'best'}"]
    assert main(["sample", *told]) == 0
    capsys.readouterr()
    assert main(["sample", *run, "task=inpaint", "task.input=0", f"output={tmp_path / 'task'}"]) == 2
    assert "states of" in capsys.readouterr().err


def test_a_dit_of_latents_from_the_command_line(tmp_path, capsys):
    torch.manual_seed(0)
    network = diffusers.DiTTransformer2DModel(
        2, 4, in_channels=4, out_channels=8, num_layers=1, sample_size=4, num_embeds_ada_norm=3, norm_num_groups=2
    )
    folder = tmp_path / "dit"
    _, vae, scheduler = parts(folder)
    network.save_pretrained(folder / "transformer")
    names = {"0": "tench, Tinca tinca", "1": "goldfish", "2": "owl"}
    index = {"transformer": ["diffusers", "x"], "vae": ["diffusers", "x"], "id2label": names}
    (folder / "model_index.json").write_text(json.dumps(index))
    run = ["domain=images", f"prior={folder}", "num_samples=2", "steps=3", "guidance=cfg", "condition=tench"]
    assert main(["sample", *run, f"output={tmp_path / 'run'}"]) == 0
    assert (tmp_path / "run" / "samples.png").is_file()
    (folder / "vae" / "config.json").unlink()
    capsys.readouterr()
    assert main(["sample", *run, f"output={tmp_path / 'again'}"]) == 2
    assert "latents need their autoencoder" in " ".join(capsys.readouterr().err.split())


def test_what_is_not_read(tmp_path):
    parts(tmp_path)
    domain = gk.load_domain("images")
    file = tmp_path / "unet" / "config.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "addition_embed_type": "text_time"}))
    with pytest.raises(CheckpointError, match="told more than a text"):
        domain.load_prior(str(tmp_path))
    file.write_text(json.dumps({**told, "in_channels": 9}))
    with pytest.raises(ValueError):
        domain.load_prior(str(tmp_path))
    file.write_text(json.dumps(told))
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="can run code"):
        domain.load_prior(str(tmp_path))
