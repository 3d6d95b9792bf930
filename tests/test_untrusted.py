"""Code and text that lie in files: none of the code runs, none of the text is obeyed by the terminal."""

import io
import json
import pickle
import sys
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from guidekit import cli
from guidekit.cli import main
from guidekit.cli.compose import compose, refuse_choices, refuse_hydra
from guidekit.domains.audio.files import read as read_audio
from guidekit.domains.images import Images
from guidekit.domains.images.data import pictures
from guidekit.domains.images.files import read as read_images
from guidekit.guidance.values import MonteCarlo
from guidekit.objectives import Reward
from guidekit.objectives.torch_model import load_module
from guidekit.priors.adapters.diffusers_folder import load_diffusers
from guidekit.priors.checkpoints import load_any_prior
from guidekit.reporting.console import Console, plain
from guidekit.reporting.panels import Layout, Panel, draw
from guidekit.running.build import build_guidance, build_sampler
from guidekit.running.independence import networks_of

MARK = "mark"


class Payload:
    """Writes the mark where it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, "w")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, with a module in it that leaves a mark when it is imported; no test may find the mark."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "payload_of_another", raising=False)
    source = f"from pathlib import Path\n\ndef mark(*_, **__):\n    Path({str(tmp_path / MARK)!r}).touch()\n\nmark()\n"
    (tmp_path / "payload_of_another.py").write_text(source)
    yield tmp_path
    assert not (tmp_path / MARK).exists(), "code from a file has run"


def refused(capsys, *arguments):
    """The one line in which the command refuses."""
    assert main(list(arguments)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "Traceback" not in lines[0], lines
    return lines[0]


EVIL = "payload_of_another.mark"
NAMED = [
    ["sample", "guidance=svdd", f"guidance._target_={EVIL}"],
    ["sample", "guidance=svdd", "guidance._target_=os.abort"],
    ["sample", "guidance=svdd", "guidance._target_=guidekit.guidance.SVDD"],
    ["sample", "guidance=svdd", f"guidance.name={EVIL}"],
    ["sample", "guidance=svdd", "guidance.name=[os.abort]"],
    ["sample", "reward=qed", "guidance=svdd", f"guidance.value={{name: {EVIL}}}"],
    ["sample", "reward=qed", "guidance=chain", f"guidance.of=[{EVIL}]"],
    ["sample", "condition=1", "guidance=cfg", f"guidance.schedule={{name: {EVIL}}}"],
    ["sample", "sampler=first_hitting", f"sampler.name={EVIL}"],
    ["sample", "sampler=each", f"sampler.parts={{a: {EVIL}}}"],
    ["sample", "reward=qed", f"reward.name={EVIL}"],
    ["sample", "guidance=svdd", "guidance._target_=[os.abort]"],
    ["sample", "reward=qed", "guidance=svdd", f"guidance.value={{_target_: {EVIL}}}"],
    ["sample", "reward=qed", "guidance=svdd", f"guidance.value={{a: [3, {{b: {{_target_: {EVIL}}}}}]}}"],
    ["sample", "reward=qed", "guidance=chain", f"guidance.of=[{{name: svdd, _target_: {EVIL}}}]"],
    ["sample", "reward=qed", "guidance=chain", f"guidance.of=[{{name: svdd, value: {{_target_: {EVIL}}}}}]"],
    ["sample", "reward=qed", "guidance=chain", f"guidance.of=[{{_target_: {EVIL}}}]"],
    ["sample", "sampler=first_hitting", f"sampler._target_={EVIL}"],
    ["sample", f"+reward._target_={EVIL}"],
    ["sample", "reward=sum", f"reward.terms=[{{_target_: {EVIL}}}]"],
    ["sample", "reward=qed", "guidance=svdd", f"guidance.value=${{oc.create:'{{_target_: {EVIL}}}'}}"],
    ["sample", f"domain={{_target_: {EVIL}}}"],
    ["sample", "+guidance=../../payload"],
    ["train", f"+trainer._target_={EVIL}", "output=a.safetensors"],
    ["train", f"trainer.network={{_target_: {EVIL}}}", "output=a.safetensors"],
    ["train", f"trainer.process={{name: masked, alpha: {{_target_: {EVIL}}}}}", "output=a.safetensors"],
    ["evaluate", "samples=a.smi", f"+domain._target_={EVIL}"],
    ["bench", "suite=guidance", f"guidances=[{{name: svdd, _target_: {EVIL}}}]"],
    ["bench", "suite=guidance", f"guidances=[{{name: svdd, value: {{_target_: {EVIL}}}}}]"],
    ["bench", "suite=guidance", f"guidances=[{{name: {EVIL}}}]"],
    ["train", "trainer=refiner", "domain=images", f"trainer.teacher=[{{name: {EVIL}}}]", "output=a.safetensors"],
    ["sample", "--multirun", f"+hydra.callbacks.a._target_={EVIL}"],
    ["sample", "--multirun", f"hydra.launcher._target_={EVIL}"],
    ["sample", "--multirun", "hydra.searchpath=[file://.]"],
    ["sample", "--config-dir=.", "--multirun"],
    ["sample", "--experimental-rerun=config.pickle"],
    ["sample", "--cfg", "job", f"+hydra.job_logging.handlers.a={{(): {EVIL}}}"],
]


@pytest.mark.parametrize("arguments", NAMED, ids=lambda arguments: " ".join(arguments)[:80])
def test_settings_name_what_is_registered_and_nothing_else(arguments, capsys, folder):
    (folder / "config.pickle").write_bytes(pickle.dumps(Payload(folder / MARK)))
    (folder / "a.smi").write_text("CCO\n")
    assert refused(capsys, *arguments)
    assert {path.name for path in folder.iterdir()} <= {
        "payload_of_another.py",
        "__pycache__",
        "config.pickle",
        "a.smi",
    }


@pytest.mark.parametrize(
    "setting",
    [
        *("hydra.searchpath=[file:///a]", "+hydra.callbacks={a: {_target_: b}}", "hydra.launcher={_target_: a}"),
        *("hydra.sweeper.sampler._target_=a", "hydra/launcher=../a", "+guidance@hydra.callbacks.a=svdd"),
        *(" hydra.searchpath=a", "hydra.run.dir=${oc.decode:a}", "hydra.launcher.a=${oc.create:a}"),
        *("-cd", "--config-d", "--config-path=a", "-cn=a", "--experimental-r"),
    ],
)
def test_hydra_reads_nothing_else(setting):
    with pytest.raises(ValueError):
        refuse_hydra([setting])


def test_what_hydra_is_asked_for_goes_on_working():
    refuse_hydra(["--multirun", "-m", "--cfg", "hydra", "--shell-completion", "install=bash", "hydra/launcher=joblib"])
    refuse_hydra(["hydra.sweep.dir=runs/${now:%Y-%m-%d}/${now:%H}", "hydra.launcher.n_jobs=4", "hydra.verbose=true"])
    refuse_choices(["guidance=svdd,cfg", "guidance=choice(svdd, cfg)", "guidance=glob(*)", "+guidance=svdd"])
    for wrong in ("guidance=choice(svdd, cgf)", "+guidance=../a", "guidance@b=/a"):
        with pytest.raises(ValueError, match="no guidance named"):
            refuse_choices([wrong])


def test_what_is_registered_can_be_named_within_settings():
    config = compose("sample", ["reward=qed", "guidance=svdd", "guidance.value={name: monte_carlo, draws: 3}"])
    made = build_guidance(config["guidance"], Reward(lambda states: torch.zeros(len(states))))
    (value,) = made.judge.estimates
    assert isinstance(value, MonteCarlo) and value.draws == 3
    for group, build in (("guidance", lambda config: build_guidance(config, None)), ("sampler", build_sampler)):
        for name in ("fit_linear", "interval", "monte_carlo", "os.abort", EVIL, "../svdd", "SVDD", ""):
            with pytest.raises(ValueError, match=f"no {group} named"):
                build({"name": name})
    with pytest.raises(ValueError, match="no setting of guidance=cfg named '_target_'"):
        build_guidance({"name": "cfg", "_target_": "guidekit.guidance.CFG"}, None)


def test_evaluate_builds_nothing_from_what_lies_beside_the_samples(folder, capsys):
    np.savez("samples.npz", images=pictures("fashion_mnist", "test").images[:8])
    reward = {
        "name": "sum",
        "weights": None,
        "terms": ["payload_of_another:mark", {"name": "image_model", "model": "a.pt2"}],
    }
    card = {"reward": "payload_of_another:mark"}
    description = {"format": 1, "kind": "value", "domain": "images", "network": {"name": "unet", "options": {}}}
    save_file({"a": torch.zeros(1)}, "value.safetensors", {"guidekit": json.dumps({**description, "card": card})})
    for guidance in (
        {"name": "slcd", "value": "value.safetensors"},
        {"name": EVIL, "_target_": EVIL},
        {"name": "chain", "of": [{"name": "svdd", "value": {"_target_": EVIL}}]},
    ):
        config = {"domain": {"name": "images"}, "reward": reward, "guidance": guidance}
        guides = [{"setting": "reward", "file": "payload_of_another:mark", "sha256": EVIL}]
        text = json.dumps({"config": config, "guided_by": guides})
        for name in ("run.json", "config.json", "state.json"):
            (folder / name).write_text(text)
        asked = ["evaluate", "domain=images", "samples=samples.npz", "training=samples.npz", "reference=samples.npz"]
        assert main(asked) == 0 and "guided these" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Two programs that leave a mark as soon as they are loaded: exported, and TorchScript."""
    place = tmp_path_factory.mktemp("programs")

    class Network(torch.nn.Module):
        def forward(self, x):
            return x.sum(1)

    torch.export.save(torch.export.export(Network(), (torch.zeros(2, 4),)), place / "good.pt2")
    stream = io.BytesIO()
    torch.save(Payload(place / MARK), stream)
    with zipfile.ZipFile(place / "good.pt2") as good, zipfile.ZipFile(place / "evil.pt2", "w") as evil:
        for name in good.namelist():
            evil.writestr(name, stream.getvalue() if "sample_inputs" in name else good.read(name))
    torch.save(Payload(place / MARK), place / "pickled.pt")
    (place / "nothing.pt2").write_bytes(b"PK\x03\x04 no archive")
    return place


@pytest.mark.parametrize("name", ["evil.pt2", "good.pt2", "pickled.pt", "nothing.pt2"])
def test_a_program_is_not_even_opened_without_trust(name, programs, capsys):
    path = programs / name
    said = refused(capsys, "sample", "domain=images", "reward=image_model", f"reward.model={path}", "guidance=dps")
    assert "reward.trust=true" in said and name in said
    said = refused(
        capsys, "sample", "domain=dna", "reward=sum", f"reward.terms=[{{name: onehot_model, model: {path}}}]"
    )
    assert "reward.trust=true" in said
    assert not (programs / MARK).exists()


def test_a_trusted_program_is_loaded_and_a_bad_one_told(programs):
    assert torch.equal(load_module(programs / "good.pt2", trust=True)(torch.ones(2, 4)), torch.full((2,), 4.0))
    with pytest.raises(ValueError, match="neither TorchScript nor an exported program"):
        load_module(programs / "nothing.pt2", trust=True)
    with pytest.raises(ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load_module(programs / "evil.pt2", trust=True)
    assert (programs / MARK).exists(), "the payload is none: the tests above show nothing"
    (programs / MARK).unlink()


def test_other_files_hold_no_code_that_runs(folder):
    evil = Payload(folder / MARK)
    torch.save({"state_dict": evil}, "model.safetensors")
    with pytest.raises(ValueError):
        load_any_prior("model.safetensors")
    for name in ("images", "sounds", "rolls", "samples", "labels"):
        np.savez(f"{name}.npz", **{name: np.array([evil, None], object)})
        for read in (read_images, read_audio):
            with pytest.raises(ValueError):
                read(f"{name}.npz")
    diffusers = folder / "model"
    for part in ("unet", "scheduler"):
        (diffusers / part).mkdir(parents=True)
    (diffusers / "model_index.json").write_text(json.dumps({"unet": ["payload_of_another", "mark"]}))
    (diffusers / "scheduler" / "scheduler_config.json").write_text(json.dumps({"_class_name": "DDPMScheduler"}))
    torch.save(evil, diffusers / "unet" / "diffusion_pytorch_model.bin")
    for name in ("UNet2DModel", EVIL):
        (diffusers / "unet" / "config.json").write_text(json.dumps({"_class_name": name}))
        with pytest.raises((ValueError, ImportError)):
            load_diffusers(diffusers)


def test_states_and_prepared_folders_hold_no_code_that_runs(folder):
    import yaml

    from guidekit.training import loop, token_job
    from guidekit.training.states import read_state

    torch.save(Payload(folder / MARK), "a.ckpt")
    with pytest.raises(ValueError):
        read_state(folder / "a.ckpt")
    (folder / "train.yaml").write_text(f"output: !!python/object/apply:{EVIL} []\n")
    with pytest.raises(yaml.YAMLError):
        loop.main(token_job.fit, str(folder / "train.yaml"))


STEERING = "\x1b[2J\x1b]0;a\x07\x9b31m\x08\r\u202e\u2066\x7f\udc80"


def test_text_is_shown_and_not_obeyed():
    assert plain(STEERING) == r"\x1b[2J\x1b]0;a\x07\x9b31m\x08\r\u202e\u2066\x7f\udc80"
    assert plain("Å, β-D-glucose, 中文, a\tb\nc") == "Å, β-D-glucose, 中文, a\tb\nc"
    stream = io.StringIO()
    console = Console(file=stream, width=200)
    from guidekit.reporting.table import comparison

    name = f"[/red][bold]:smile:{STEERING}"
    console.print(comparison({name: {name: 1.0, "b": name}}, name))
    console.print(name)
    assert not set(STEERING) & set("\x1b\x07\x9b\x08\r\u202e\u2066\x7f\udc80") & set(stream.getvalue())
    assert stream.getvalue().count(plain(name)) == 5


NAME = "a[red]\x1b[31mb[bold]c.smi"


def test_names_of_files_and_objects_reach_the_terminal_escaped(folder, capsys):
    (folder / NAME).write_text(f"CCO {NAME}\nC1CC \x1b[2J\nno\x1b[31mne[/b]\n")
    assert main(["evaluate", f"samples='{NAME}'", f"reference='{NAME}'", "on_error=skip"]) == 0
    assert r"a[red]\x1b[31mb[bold]c.smi" in "".join(capsys.readouterr().out.split())
    assert main(["evaluate", f"samples='{NAME}'", f"reference='{NAME}'"]) == 2
    printed = capsys.readouterr()
    assert "\x1b" not in printed.err and r"\x1b[31m" in printed.err
    assert r"\x1b" in refused(capsys, "sample", "prior='\x1b[31m.safetensors'")
    assert r"\x1b" in refused(capsys, "\x1b[31m")
    fasta = f">{NAME}\nACGT\n>\x1b[2J[/red]\nAC!T\n"
    (folder / "a.fasta").write_text(fasta)
    assert main(["evaluate", "domain=dna", "samples=a.fasta"]) in (0, 2)
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err


def test_warnings_are_escaped():
    shown = cli._warning(f"reward raised\n{STEERING}", UserWarning, "a.py", 3)
    assert shown.startswith(r"warning: reward raised \x1b[2J")
    assert shown.rstrip("\n").isprintable()


def test_figures_draw_dollars_as_they_are(folder):
    layout = Layout(2, (1.0, 1.0), {}, note=r"$\frac{$")
    panel = Panel(r"$\undefined{$", [np.zeros((4, 4))], [0.5])
    assert draw([panel], layout, folder / "a.png").startswith(b"\x89PNG")


def test_networks_of_a_reward_are_told_by_name_and_content():
    domain = Images()
    reward = domain.rewards.make("classifier", label="bag")
    (found,) = networks_of(reward)
    assert found["file"] == "fashion_mnist_reward.safetensors" and len(found["sha256"]) == 64
    assert networks_of(None) == networks_of(Reward(lambda images: images.sum((1, 2, 3)))) == []
