"""A training that is cut anywhere ends as one that was not, and what lies at its output is never taken for another."""

import json
import os
import shutil
import signal
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import guidekit
from guidekit.networks.graph_transformer import GraphTransformer
from guidekit.priors.checkpoints import read_description
from guidekit.priors.weights import CheckpointError
from guidekit.running.folder import OutputError
from guidekit.running.identity import flat
from guidekit.running.lock import LockedError
from guidekit.running.signals import Stopped
from guidekit.training import array_job, loop, progress, token_job
from guidekit.training.denoising import DenoisingModule
from guidekit.training.place import Place, claimed
from guidekit.training.states import KEY, read_state

STEPS = 12
SHARED = {
    "steps": STEPS,
    "batch_size": 8,
    "validation": 16,
    "learning_rate": 3e-3,
    "warmup": 2,
    "decay": 0.5,
    "ema": 0.9,
    "label_dropout": 0.5,
    "precision": "32-true",
    "accelerator": "cpu",
    "threads": None,
    "minutes": None,
    "validate_every": 4,
}
SEQUENCES = {"name": "sequence_transformer", "options": {"width": 8, "depth": 1, "heads": 1, "max_length": 6}}
PICTURES = {"name": "unet", "options": {"width": 8, "multipliers": [1], "attention": [], "heads": 1}}
GAUSSIAN = {"process": {"name": "edm", "options": {}}, "parametrization": "edm", "levels": [-1.2, 1.2], "early": 0.5}


def sequences(window=None):
    """Labelled sequences of three to six tokens, and what trains on them."""
    rng = np.random.default_rng(0)
    offsets = np.cumsum([0, *rng.integers(3, 7, 64)])
    tokens, labels = rng.integers(1, 5, offsets[-1]), rng.integers(2, size=(64, 1))
    description = {
        "domain": "toy",
        "vocab_size": 5,
        "pad_id": 0,
        "length_counts": [0] * 6 + [1],
        "codec": "",
        "card": {},
    }
    description |= {"labels": [{"name": "kind", "values": ["a", "b"]}], "window": window, "complement": None}
    parts = {"tokens": tokens, "offsets": offsets, "labels": labels}
    parts |= {f"val_{name}": value for name, value in parts.items()}
    return token_job.fit, parts | {"description": np.array(json.dumps(description))}, {"network": SEQUENCES, **SHARED}


def arrays():
    """Labelled pictures of 4 x 4 pixels, and what trains on them."""
    rng = np.random.default_rng(0)
    parts = {"images": rng.integers(256, size=(64, 4, 4)).astype(np.uint8), "labels": rng.integers(2, size=(64, 1))}
    parts |= {f"val_{name}": value for name, value in parts.items()}
    description = {"domain": "toy", "event_shape": [1, 4, 4], "card": {}}
    description["labels"] = [{"name": "class", "values": ["dark", "bright"]}]
    made = parts | {"description": np.array(json.dumps(description))}
    return array_job.fit, made, {"network": PICTURES, **SHARED, **GAUSSIAN}


KINDS = {"sequences": sequences, "windows": lambda: sequences(3), "arrays": arrays}


class Killed(Exception):
    """Stands for the end of the process."""


def cut(monkeypatch, how, update):
    """The process is ended at the begin of an update, by a signal or at once."""
    step = DenoisingModule.training_step

    def training_step(self, *arguments):
        if self.updates == update and how == "kill":
            raise Killed
        if self.updates == update:
            os.kill(os.getpid(), how)
        return step(self, *arguments)

    monkeypatch.setattr(DenoisingModule, "training_step", training_step)


def compared(place):
    """All that a training was, of its files."""
    state = read_state(place.state)
    found = dict(flat({key: state[key] for key in ("state_dict", "optimizer_states", "updates")}))
    with safe_open(place.output, "pt") as file:
        found |= {f"output.{name}": file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    return {key: value.tolist() if isinstance(value, torch.Tensor) else value for key, value in found.items()}


@pytest.fixture(scope="module", params=KINDS)
def whole(request, tmp_path_factory):
    """A training that was not interrupted: its job and its files."""
    fit, data, trainer = KINDS[request.param]()
    place = Place(tmp_path_factory.mktemp(request.param) / "prior.safetensors")
    fit(data, trainer, place, None, 3)
    return (fit, data, trainer), place


@pytest.mark.parametrize("cuts", [[(signal.SIGTERM, 5), (signal.SIGINT, 9)], [("kill", 7)], [(signal.SIGTERM, 0)]])
def test_a_training_that_was_cut_ends_as_one_that_was_not(whole, tmp_path, monkeypatch, cuts):
    (fit, data, trainer), place = whole
    mine = Place(tmp_path / "prior.safetensors")
    for how, update in cuts:
        with monkeypatch.context() as patch:
            cut(patch, how, update)
            with pytest.raises(Killed if how == "kill" else Stopped) as stopped:
                fit(data, trainer, mine, None, 3)
        assert how == "kill" or stopped.value.code == 128 + how
        assert not mine.output.exists()
        assert read_state(mine.state)["updates"] == (4 if how == "kill" else update + 1)  # the last one, the update's
    assert fit(data, trainer, mine, None, 3)["updates"] == STEPS
    assert compared(mine) == compared(place)
    cards = [read_description(one.output)["card"] for one in (mine, place)]
    for card in cards:
        card.pop("seconds of the last session")
    assert cards[0] == cards[1]
    assert mine.early.exists() == place.early.exists() == ("early" in trainer)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in place.output.parent.iterdir()}


def test_a_time_limit_ends_a_session_and_the_next_one_has_as_long(tmp_path):
    fit, data, trainer = sequences()
    place, brief = Place(tmp_path / "prior.safetensors"), {**trainer, "minutes": 1e-9}
    assert [fit(data, brief, place, None, 3)["updates"] for _ in range(3)] == [1, 2, 3]
    assert fit(data, trainer, place, None, 3)["updates"] == STEPS
    assert fit(data, brief, place, None, 3) is None


def test_a_training_that_is_done_is_not_repeated(whole):
    (fit, data, trainer), place = whole
    before = place.output.stat().st_mtime_ns, place.state.stat().st_mtime_ns
    assert fit(data, {**trainer, "threads": 1, "minutes": 5}, place, None, 3) is None
    assert (place.output.stat().st_mtime_ns, place.state.stat().st_mtime_ns) == before


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """The shortest training there is, and its folder."""
    fit, data, trainer = sequences()
    folder, trainer = tmp_path_factory.mktemp("short"), {**trainer, "steps": 1}
    fit(data, trainer, Place(folder / "prior.safetensors"), None, 3)
    return (fit, data, trainer), folder


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda data, trainer: (data, {**trainer, "steps": 13}, 3), "trainer.steps was 1 and is 13"),
        (lambda data, trainer: (data, trainer, 4), "seed was 3 and is 4"),
        (lambda data, trainer: ({**data, "val_offsets": data["offsets"][:-1]}, trainer, 3), "data has changed"),
        (
            lambda data, trainer: (data, {**trainer, "network": {**SEQUENCES, "options": {"width": 8}}}, 3),
            "trainer.network.options.depth was 1 and is None",
        ),
    ],
)
@pytest.mark.parametrize("gone", ["", "prior.safetensors", "prior.safetensors.ckpt"])
def test_another_training_is_refused_and_told_what_differs(short, tmp_path, changed, said, gone):
    (fit, data, trainer), folder = short
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    if gone:
        (tmp_path / gone).unlink()
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    other, settings, seed = changed(data, trainer)
    with pytest.raises(OutputError, match=said):
        fit(other, settings, Place(tmp_path / "prior.safetensors"), None, seed)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize("name", ["prior.safetensors", "prior.safetensors.ckpt", "prior_early.safetensors"])
@pytest.mark.parametrize("options", [{}, {"overwrite": True}])
def test_foreign_files_are_never_replaced(tmp_path, name, options):
    fit, data, trainer = arrays()
    (tmp_path / name).write_text("a thesis")
    with pytest.raises(OutputError, match="is not replaced"):
        fit(data, trainer, Place(tmp_path / "prior.safetensors", **options), None, 3)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["a thesis"]


def test_beginning_anew_has_to_be_asked_for(whole, tmp_path):
    (fit, data, trainer), place = whole
    with pytest.raises(OutputError, match="resume=never"):
        fit(data, trainer, Place(place.output, resume="never"), None, 3)
    mine = tmp_path / "prior.safetensors"
    mine.write_bytes(place.output.read_bytes())
    assert fit(data, {**trainer, "steps": 2}, Place(mine, overwrite=True), None, 3)["updates"] == 2


def test_files_have_the_users_permissions_and_need_no_folder_of_temporary_files(tmp_path, monkeypatch):
    fit, data, trainer = arrays()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    place, old = Place(tmp_path / "prior.safetensors"), os.umask(0o027)
    try:
        fit(data, {**trainer, "steps": 4}, place, None, 3)
    finally:
        os.umask(old)
    modes = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys((place.output.name, place.state.name, place.early.name), "0o640")
    assert KEY in read_state(place.state)


def test_one_training_at_a_time(tmp_path):
    name = str(tmp_path / "new" / "prior.safetensors")
    with claimed(name, "auto", False) as place, pytest.raises(LockedError, match="is being trained by another"):
        place.work.mkdir()
        with claimed(name, "auto", True):
            pass
    with claimed(name, "auto", False):  # what a kill left is taken away
        assert not place.work.exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("folder.safetensors", "is a folder"),
        ("file/a.safetensors", "irectory|exists"),
        ("x.pt", "output=<file>"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused_before_anything_is_done(tmp_path, name, said):
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises((ValueError, OSError), match=said), claimed(str(tmp_path / name), "auto", False):
        pytest.fail("it was not refused")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.safetensors"]


def test_a_file_gets_lines_where_a_terminal_has_a_bar(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0)
    fit, data, trainer = sequences()
    fit(data, trainer, Place(tmp_path / "prior.safetensors"), None, 3)
    out, err = capsys.readouterr()
    told = [line for line in err.splitlines() if line.startswith("update ")]
    assert "Epoch" not in out + err  # Lightning's own bar
    assert told[0].startswith(f"update 1 of {STEPS}, train loss ")
    assert any("update 4 of 12" in line and "val loss" in line for line in told)


def test_weights_of_another_size_are_refused_in_one_line():
    """A network of graphs of 64 nodes has more inputs a pair than one of 32."""
    shipped = Path(guidekit.__file__).parent / "domains" / "graphs" / "assets" / "tree-32.safetensors"
    network = GraphTransformer(64, 1, 1, width=64, pair_width=32, depth=5, heads=8, global_width=64)
    with pytest.raises(CheckpointError, match=r"its weights pair_in.0.weight have shape \(64, 19\), .* \(64, 20\)"):
        loop.start_from(network, str(shipped), "graphs")
