"""`guidekit train` from the outside: what signals leave, what the same command does then, and what is said."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from guidekit.cli import main
from guidekit.domains import images
from guidekit.networks import UNet
from guidekit.priors.checkpoints import save_checkpoint
from guidekit.running.signals import Stopped
from guidekit.training import refiner, values
from guidekit.training.denoising import DenoisingModule

NETWORK = "trainer.network={name: unet, options: {width: 8, multipliers: [1], attention: [], heads: 1}}"
TINY = [
    "trainer.validation=4",
    "trainer.batch_size=4",
    "trainer.steps=4",
    "trainer.validate_every=2",
    "trainer.early=0",
]


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder to work in, with pictures to train on and folders for what is written and for temporary files."""
    (tmp_path / "made").mkdir()
    (tmp_path / "temporary").mkdir()
    pixels = np.random.default_rng(0).integers(256, size=(80, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "mine.npz", images=pixels, labels=np.arange(80) % 2)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return tmp_path


def command(folder):
    chosen = [f"data={folder / 'mine.npz'}", f"output={folder / 'made' / 'prior.safetensors'}"]
    return ["train", "domain=images", *chosen, NETWORK, *TINY]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_says_how_to_go_on(pictures, monkeypatch, capsys, number, code):
    step = DenoisingModule.training_step

    def stopped(self, *arguments):
        if self.updates == 2:
            os.kill(os.getpid(), number)
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(DenoisingModule, "training_step", stopped)
        assert main(command(pictures)) == code
    state = pictures / "made" / "prior.safetensors.ckpt"
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("guidekit:")]
    assert told == [f"guidekit: stopped; the same command goes on from {state} (3 updates)"]
    assert names(state.parent) == [state.name] and not names(pictures / "temporary")
    assert main([*command(pictures), "trainer.learning_rate=0.5"]) == 2
    assert "trainer.learning_rate was 0.001 and is 0.5" in capsys.readouterr().err
    assert main(command(pictures)) == 0
    assert "updates 4" in capsys.readouterr().out
    assert main(command(pictures)) == 0
    assert "already done" in capsys.readouterr().out
    assert main([*command(pictures), "resume=never"]) == 2
    assert main([*command(pictures), "overwrite=true", "trainer.steps=2"]) == 0
    assert names(state.parent) == [state.stem, state.name] and not names(pictures / "temporary")


def slowly(folder, moment):
    """A training that takes its time at a moment."""
    if moment == "preparing":
        images.preparation.os.replace = lambda *arguments: time.sleep(99)
    else:
        step = DenoisingModule.training_step
        DenoisingModule.training_step = lambda self, *rest: (time.sleep(0.2 * self.updates), step(self, *rest))[1]
    main([*command(folder), "trainer.steps=20"])


@pytest.mark.parametrize("moment", ["preparing", "training"])
def test_a_kill_leaves_nothing_but_what_the_next_command_uses(pictures, moment):
    made = pictures / "made"
    process = multiprocessing.get_context("fork").Process(target=slowly, args=(pictures, moment))
    process.start()
    sign, end = {"preparing": "*/prepared.npz.part", "training": "*.ckpt"}[moment], time.monotonic() + 120
    while not list(made.glob(sign)) and process.is_alive() and time.monotonic() < end:
        time.sleep(0.05)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    left = {"preparing": [".prior.safetensors.work"], "training": ["prior.safetensors.ckpt"]}[moment]
    assert [name for name in names(made) if not name.endswith((".lock", ".part"))] == left
    assert not names(pictures / "temporary")
    assert main([*command(pictures), "trainer.steps=20"]) == 0
    assert names(made) == ["prior.safetensors", "prior.safetensors.ckpt"]


def test_the_output_is_tried_before_anything_is_prepared(pictures, monkeypatch, capsys):
    monkeypatch.setattr("guidekit.domains.images.Images.prepare_training", lambda *arguments: pytest.fail("prepared"))
    (pictures / "made" / "prior.safetensors").write_text("a thesis")
    for more in (
        [],
        ["overwrite=true"],
        ["output=mine.npz/prior.safetensors"],
        ["resume=nevr", "output=x.safetensors"],
    ):
        monkeypatch.chdir(pictures)
        assert main([*command(pictures), *more]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert (pictures / "made" / "prior.safetensors").read_text() == "a thesis"


VALUE = ["trainer=value", "reward=brightness", "trainer.base=16", "trainer.collected=8", "trainer.sampling_steps=3"]
VALUE += ["trainer.updates=3", "trainer.rounds=2"]
REFINER = ["trainer=refiner", "trainer.pairs=6", "trainer.validation=2", "trainer.sampling_steps=3", "trainer.rounds=2"]
REFINER += ["trainer.updates=2", "trainer.batch_size=2", NETWORK, "reward=brightness"]
REFINER += ["trainer.teacher=[{name: dps, scale: 0.5}]"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A prior with random weights, and what was learned from it without being cut."""
    folder = tmp_path_factory.mktemp("whole")
    options = {"width": 8, "multipliers": [1], "attention": [], "heads": 1, "channels": 1}
    network = UNet(**options)
    torch.nn.init.normal_(network.head.weight, std=0.1)
    made = {"domain": "images", "event_shape": [1, 8, 8], "sigma_data": 0.5, "card": {}}
    save_checkpoint(folder / "prior.safetensors", network, made | {"network": {"name": "unet", "options": options}})
    for name, settings in (("value", VALUE), ("refiner", REFINER)):
        assert main([*learning(folder, settings), f"output={folder / name}.safetensors"]) == 0
    return folder


def learning(folder, settings):
    return ["train", "domain=images", f"prior={folder / 'prior.safetensors'}", *settings]


@pytest.mark.parametrize(("place", "name", "moment"), [(values, "fit", 1), (values, "fit", 2), (refiner, "gain_of", 2)])
def test_what_learns_from_samples_goes_on_behind_its_last_round(
    whole, tmp_path, monkeypatch, capsys, place, name, moment
):
    """Cut at a call of a part of a round; the file is that of a training that was not cut."""
    kind, settings = ("value", VALUE) if place is values else ("refiner", REFINER)
    chosen = learning(whole, settings)
    part, calls = getattr(place, name), []

    def cut(*arguments, **options):
        calls.append(name)
        if len(calls) == moment:
            raise Stopped(signal.SIGTERM)
        return part(*arguments, **options)

    mine = tmp_path / "cut.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(place, name, cut)
        assert main([*chosen, f"output={mine}"]) == 143
    kept = name != "fit" or moment > 1
    told = "goes on from" if kept else "nothing was reached that could be kept"
    assert told in capsys.readouterr().err and mine.with_name("cut.safetensors.ckpt").exists() == kept
    if kept:
        assert main([*chosen, f"output={mine}", "seed=1"]) == 2
        assert "seed was 0 and is 1" in capsys.readouterr().err
    calls.clear()
    assert main([*chosen, f"output={mine}"]) == 0
    one, two = load_file(mine), load_file(whole / f"{kind}.safetensors")
    assert one.keys() == two.keys() and all(one[key].equal(two[key]) for key in one)
    capsys.readouterr()
    assert main([*chosen, f"output={mine}"]) == 0
    assert "already done" in capsys.readouterr().out
    assert names(tmp_path) == ["cut.safetensors"]
