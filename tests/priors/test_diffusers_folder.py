"""Folders that diffusers writes become priors: same noise, same beliefs, same DDIM steps."""

import copy
import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

import guidekit as gk
from guidekit._compat import mended
from guidekit.cli import main
from guidekit.core.guidance import GuidanceError
from guidekit.errors import UnknownNameError
from guidekit.priors.adapters.diffusers_folder import class_label, load_diffusers
from guidekit.priors.checkpoints import CheckpointError

diffusers = mended("test", "diffusers")


def unet(**options):
    torch.manual_seed(0)
    blocks = {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}
    sizes = {"block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 8}
    return diffusers.UNet2DModel(sample_size=8, in_channels=1, out_channels=1, **blocks, **sizes, **options)


def written(folder, network, scheduler, **index):
    """A pipeline's folder with given parts."""
    part = "unet" if isinstance(network, diffusers.UNet2DModel) else "transformer"
    network.save_pretrained(folder / part)
    scheduler.save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({part: ["diffusers", "x"], **index}))
    return folder


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_a_unet_takes_the_steps_of_its_own_library(tmp_path, prediction, schedule):
    scheduler = diffusers.DDIMScheduler(
        100, beta_schedule=schedule, prediction_type=prediction, clip_sample=False, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(10)
    network = unet().eval()
    prior = load_diffusers(written(tmp_path, network, scheduler))
    assert prior.event_shape == (1, 8, 8) and prior.null_condition is None
    states = {}
    sampler = gk.samplers.DDIM(times="trailing")
    gk.sample(prior, None, 3, 10, sampler=sampler, progress=lambda p: states.update({p.step: p.population.state}))
    for step, index in enumerate(scheduler.timesteps[1:], 1):
        with torch.no_grad():
            theirs = scheduler.step(network(states[step], index).sample, index, states[step]).prev_sample
        assert torch.allclose(states[step + 1], theirs, atol=1e-4 * float(theirs.abs().max()))


GRIDS = [
    ("DDPMScheduler", {}), ("DDPMScheduler", {"timestep_spacing": "linspace"}),
    ("DDIMScheduler", {"steps_offset": 1}), ("DDIMScheduler", {"timestep_spacing": "trailing"}),
    ("DPMSolverMultistepScheduler", {}), ("DPMSolverMultistepScheduler", {"timestep_spacing": "leading"}),
    ("UniPCMultistepScheduler", {"timestep_spacing": "trailing"}), ("DEISMultistepScheduler", {}),
    ("EulerDiscreteScheduler", {"timestep_spacing": "leading", "steps_offset": 1}),
    ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}),
]  # fmt: skip


@pytest.mark.parametrize("name, options", GRIDS)
def test_the_grid_is_the_folders_own(tmp_path, name, options):
    scheduler = getattr(diffusers, name)(1000, **options)
    prior = load_diffusers(written(tmp_path, unet(), scheduler))
    scheduler.set_timesteps(10)
    times = prior.process.grid(10)
    mine = [prior.process.schedule.index(t) for t in times[:-1]]
    assert mine == pytest.approx([float(t) for t in scheduler.timesteps], abs=1e-6) and times[-1] == 0


def test_steps_of_an_sd_scheduler_and_what_is_said_of_its_end(tmp_path):
    """Indices from 1 up (steps_offset); the last step ends clean, and the run says so."""
    scheduler = diffusers.DDIMScheduler(100, steps_offset=1, set_alpha_to_one=False, clip_sample=False)
    scheduler.set_timesteps(10)
    network = unet().eval()
    prior = load_diffusers(written(tmp_path, network, scheduler))
    states = {}
    gk.sample(prior, None, 3, 10, sampler="ddim", progress=lambda p: states.update({p.step: p.population.state}))
    for step, index in list(enumerate(scheduler.timesteps))[1:-1]:
        with torch.no_grad():
            theirs = scheduler.step(network(states[step], index).sample, index, states[step]).prev_sample
        assert torch.allclose(states[step + 1], theirs, atol=1e-4 * float(theirs.abs().max()))
    assert "set_alpha_to_one=false" in " ".join(prior.notes)
    assert not load_diffusers(written(tmp_path / "b", network, diffusers.DDIMScheduler(100))).notes


@pytest.mark.parametrize(
    "options", [{"clip_sample": True, "clip_sample_range": 0.7}, {"thresholding": True, "sample_max_value": 1.5}]
)
def test_clean_estimates_are_clipped_as_by_the_scheduler(tmp_path, options):
    scheduler = diffusers.DDIMScheduler(100, **{"clip_sample": False, **options})
    scheduler.set_timesteps(10)
    network = unet().eval()
    prior = load_diffusers(written(tmp_path, network, scheduler))
    x = 3 * torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for index in (90, 40):
        with torch.no_grad():
            theirs = scheduler.step(network(x, index).sample, index, x).pred_original_sample
        assert torch.allclose(prior.predict(x, prior.process.schedule.time(index)).mean, theirs, atol=1e-5)
    plain = load_diffusers(written(tmp_path / "b", network, diffusers.DDIMScheduler(100, clip_sample=False)))
    assert not torch.allclose(plain.predict(x, 0.9).mean, prior.predict(x, 0.9).mean, atol=0.1)


def test_zero_signal_with_predicted_noise_is_refused(tmp_path):
    scheduler = diffusers.DDIMScheduler(50, rescale_betas_zero_snr=True)
    with pytest.raises(CheckpointError, match="predicts noise, which says nothing of the data there"):
        load_diffusers(written(tmp_path, unet(), scheduler))
    right = diffusers.DDIMScheduler(50, rescale_betas_zero_snr=True, prediction_type="v_prediction")
    prior = load_diffusers(written(tmp_path / "b", unet(), right))
    assert gk.sample(prior, None, 2, 5, sampler="ddim").samples.isfinite().all()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("schedule", ["karras", "exponential"])
def test_edm(tmp_path, prediction, schedule):
    """Every step of Euler is that of the library, on its own levels, with its preconditioning."""
    scheduler = diffusers.EDMEulerScheduler(0.01, 10.0, 0.4, schedule, prediction_type=prediction)
    scheduler.set_timesteps(8)
    network = unet().eval()
    prior = load_diffusers(written(tmp_path, network, scheduler))
    levels = [prior.process.coefficients(t)[1] for t in prior.process.grid(8)]
    assert levels == pytest.approx(scheduler.sigmas.tolist(), rel=1e-4, abs=1e-6)
    states = {}
    gk.sample(prior, None, 3, 8, sampler="euler", progress=lambda p: states.update({p.step: p.population.state}))
    for step in range(1, 8):
        scheduler._step_index, index = step, scheduler.timesteps[step]
        with torch.no_grad():
            seen = scheduler.precondition_inputs(states[step], scheduler.sigmas[step])
            theirs = scheduler.step(network(seen, index).sample, index, states[step]).prev_sample
        assert torch.allclose(states[step + 1], theirs, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_matching(tmp_path, shift):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(8)
    network = unet().eval()
    prior = load_diffusers(written(tmp_path, network, scheduler))
    assert prior.process.grid(8) == pytest.approx(scheduler.sigmas.tolist(), abs=1e-5)
    states = {}
    gk.sample(prior, None, 3, 8, sampler="euler", progress=lambda p: states.update({p.step: p.population.state}))
    for step in range(1, 8):
        scheduler._step_index, index = step, scheduler.timesteps[step]
        with torch.no_grad():
            theirs = scheduler.step(network(states[step], index).sample, index, states[step]).prev_sample
        assert torch.allclose(states[step + 1], theirs, atol=1e-4 * float(theirs.abs().max()))


def test_kinds_of_folders_are_one_prior(tmp_path):
    """A network alone, in half precision, in several files, with attention under its old names."""
    network, scheduler = unet(), diffusers.DDIMScheduler(50, beta_schedule="scaled_linear")
    whole = load_diffusers(written(tmp_path / "whole", network, scheduler))
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    said = whole.predict(x, 0.5).mean

    alone = load_diffusers(tmp_path / "whole" / "unet")
    assert torch.equal(alone.predict(x, 0.5).mean, said) and not alone.notes
    network.save_pretrained(tmp_path / "lonely")
    lonely = load_diffusers(tmp_path / "lonely")
    assert "taken for DDPM's own" in lonely.notes[0] and not torch.equal(lonely.predict(x, 0.5).mean, said)

    shards = written(tmp_path / "shards", network, scheduler)
    (shards / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    network.save_pretrained(shards / "unet", max_shard_size="10KB")
    assert len(list((shards / "unet").glob("*-of-*.safetensors"))) > 1
    assert torch.equal(load_diffusers(shards).predict(x, 0.5).mean, said)
    index = shards / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../../other.safetensors"}}))
    with pytest.raises(CheckpointError, match="a safetensors file beside it is expected"):
        load_diffusers(shards)

    half = written(tmp_path / "half", network, scheduler)
    (half / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    copy.deepcopy(network).half().save_pretrained(half / "unet", variant="fp16")
    assert torch.allclose(load_diffusers(half).predict(x, 0.5).mean, said, atol=0.02)

    old = written(tmp_path / "old", network, scheduler)
    file = old / "unet" / "diffusion_pytorch_model.safetensors"
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(file)
    renamed = {re.sub("|".join(map(re.escape, names)), lambda m: names[m[0]], name): w for name, w in weights.items()}
    assert renamed.keys() != weights.keys()
    save_file(renamed, file)
    assert torch.equal(load_diffusers(old).predict(x, 0.5).mean, said)


def test_classes_have_synonyms():
    label = class_label(["tench, Tinca tinca", "crane", "goldfish, Carassius auratus", "crane, machine", "owl"])
    assert list(label.values) == ["tench", "crane 1", "goldfish", "machine", "owl"]
    asked = ["tench", "Tinca tinca", "tench, Tinca tinca", "machine", "crane, machine", 3]
    assert [label.number(one) for one in asked] == [0, 0, 0, 3, 3, 3]
    with pytest.raises(UnknownNameError, match="tench"):
        label.number("tinch")


def test_a_unet_with_classes_has_no_null(tmp_path):
    folder = written(tmp_path, unet(num_class_embeds=3), diffusers.DDPMScheduler(50))
    prior = load_diffusers(folder)
    assert gk.sample(prior, None, 2, 4, condition=2).samples.shape == (2, 1, 8, 8)
    with pytest.raises(GuidanceError, match="without a null class"):
        gk.sample(prior, None, 2, 4)
    with pytest.raises(ValueError, match="class=3 is out of range"):
        gk.sample(prior, None, 2, 4, condition=3)


def test_a_dit_has_named_classes_and_a_null(tmp_path):
    torch.manual_seed(0)
    network = diffusers.DiTTransformer2DModel(
        2, 4, in_channels=2, out_channels=4, num_layers=1, sample_size=8, num_embeds_ada_norm=3, norm_num_groups=2
    ).eval()
    names = {"id2label": {"0": "cat", "1": "dog", "2": "owl"}, "vae": ["diffusers", "AutoencoderKL"]}
    prior = load_diffusers(written(tmp_path, network, diffusers.DDIMScheduler(50, clip_sample=False), **names))
    assert prior.card["states"].startswith("latents")
    x = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    index = 30
    t = prior.process.schedule.time(index)
    a, s = prior.process.coefficients(t)
    for condition, number in ((prior.condition("dog").expand(2, 1), 1), (None, 3)):
        noise = network(x, torch.full((2,), index), class_labels=torch.full((2,), number)).sample[:, :2]
        assert torch.allclose(prior.predict(x, t, condition).mean, (x - s * noise) / a, atol=1e-5 / a)
    guided = gk.sample(prior, gk.guidance.CFG(2.0), 2, 4, condition="dog")
    assert guided.ledger.network_rows == 2 * 2 * 4


def test_a_folder_is_a_prior_of_images(tmp_path):
    folder = written(tmp_path / "model", unet(), diffusers.DDPMScheduler(50))
    run = ["domain=images", f"prior={folder}", "sampler=ddim", "num_samples=2", "steps=4", "baseline=false"]
    assert main(["sample", *run, f"output={tmp_path / 'run'}"]) == 0
    assert (tmp_path / "run" / "samples.png").is_file()


def test_bad_folders(tmp_path):
    folder = written(tmp_path / "good", unet(), diffusers.DDPMScheduler(50))
    with pytest.raises(CheckpointError, match="there is no .*model_index.json"):
        load_diffusers(tmp_path)
    scheduler = folder / "scheduler" / "scheduler_config.json"
    told = scheduler.read_text()
    scheduler.write_text(told.replace("DDPMScheduler", "ConsistencyScheduler"))
    with pytest.raises(UnknownNameError, match="no scheduler named 'ConsistencyScheduler'"):
        load_diffusers(folder)
    scheduler.write_text("{")
    with pytest.raises(CheckpointError, match="is no JSON file"):
        load_diffusers(folder)
    scheduler.write_text(told)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    with pytest.raises(CheckpointError, match="is truncated or no safetensors file"):
        load_diffusers(folder)
    weights.write_bytes(whole[:-400] + b"\xff" * 400)
    with pytest.raises(CheckpointError, match="weight .* is not finite"):
        load_diffusers(folder)
    weights.unlink()
    with pytest.raises(CheckpointError, match="can run code"):
        load_diffusers(folder)


@pytest.mark.parametrize("file, key, value", [
    ("scheduler/scheduler_config.json", "num_train_timesteps", 10**12),
    ("scheduler/scheduler_config.json", "num_train_timesteps", "many"),
    ("scheduler/scheduler_config.json", "beta_start", "x"), ("scheduler/scheduler_config.json", "beta_end", 7.0),
    ("scheduler/scheduler_config.json", "trained_betas", [0.1, "x"]),
    ("scheduler/scheduler_config.json", "_class_name", 3), ("scheduler/scheduler_config.json", "prediction_type", 3),
    ("unet/config.json", "_class_name", None), ("unet/config.json", "in_channels", 10**9),
    ("unet/config.json", "in_channels", "x"), ("unet/config.json", "block_out_channels", [8, 16] * 900),
    ("unet/config.json", "down_block_types", ["FoggyBlock"]), ("unet/config.json", "layers_per_block", 10**9),
    ("model_index.json", "id2label", [1]),
])  # fmt: skip
def test_configurations_that_cannot_be(tmp_path, file, key, value, guarded):
    folder = written(tmp_path / "mine", unet(num_class_embeds=3), diffusers.DDPMScheduler(50))
    told = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**told, key: value}))
    with guarded(30, 1 << 30), pytest.raises(ValueError) as refusal:
        load_diffusers(folder)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 500


def test_damaged_configurations(tmp_path, withstands):
    folder = written(tmp_path / "mine", unet(), diffusers.DDPMScheduler(50))
    for file in ("model_index.json", "scheduler/scheduler_config.json", "unet/config.json"):
        whole = (folder / file).read_bytes()

        def load(changed, file=file):
            (folder / file).write_bytes(changed.read_bytes())
            load_diffusers(folder)

        withstands("x.json", whole, load, times=40)
        (folder / file).write_bytes(whole)
