"""`guidekit train trainer=value` and the guidance that reads its file."""

import json

import pytest

from guidekit.cli import main
from guidekit.guidance.values.checkpoints import load_value
from guidekit.priors.checkpoints import read_description

TINY = ["trainer.base=48", "trainer.collected=16", "trainer.sampling_steps=8", "trainer.updates=5", "trainer.rounds=1"]


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    folder = tmp_path_factory.mktemp("values")
    for network, name in (("null", "small"), ("prior", "features")):
        output = f"output={folder / name}.safetensors"
        assert main(["train", "trainer=value", "reward=qed", f"trainer.network={network}", output, *TINY]) == 0
    return folder


@pytest.mark.parametrize(
    ("guidance", "name"),
    [("slcd", "small"), ("dcbg", "small"), ("svdd", "small"), ("fk_steering", "small"), ("nos", "features")],
)
def test_a_trained_value_guides(values, tmp_path, guidance, name):
    chosen = [f"guidance={guidance}", f"guidance.value={values / name}.safetensors"]
    sizes = ["num_samples=2", "steps=4", "baseline=false"]
    if guidance == "dcbg":
        chosen.append("guidance.first_order=true")
    assert main(["sample", "reward=qed", *chosen, *sizes, f"output={tmp_path / 'run'}"]) == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["ledger"]["guided"]["value_calls"] > 0


def test_a_trained_energy_guides_at_its_temperature(tmp_path, capsys, monkeypatch):
    path, run = tmp_path / "energy.safetensors", tmp_path / "run"
    tiny = ["trainer.base=32", "trainer.sampling_steps=4", "trainer.updates=4", "trainer.batch_size=32"]
    learn = ["train", "domain=images", "trainer=energy", "reward=brightness", f"output={path}", *tiny]
    with monkeypatch.context() as cut:  # in its fit, behind which its samples are kept
        cut.setattr("guidekit.training.energies.trained", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(learn) == 130
    assert main(learn) == 0
    told = capsys.readouterr().out
    assert "samples were drawn before" in told and "temperature 0.1" in told
    assert main(learn) == 0 and "already done" in capsys.readouterr().out
    guided = ["sample", "domain=images", "reward=brightness", "guidance=classifier", f"guidance.value={path}"]
    assert main([*guided, "num_samples=2", "steps=4", "baseline=false", f"output={run}"]) == 0
    assert json.loads((run / "run.json").read_text())["ledger"]["guided"]["value_calls"] == 2 * 4
    filtered = ["sample", "domain=images", "reward=brightness", "guidance=fk_steering", f"guidance.value={path}"]
    assert main([*filtered, "guidance.temperature=1", f"output={tmp_path / 'other'}"]) == 2
    assert "learned for temperature=0.1" in capsys.readouterr().err
    assert main(["train", "domain=images", "trainer=energy", f"output={tmp_path / 'none.safetensors'}"]) == 2


def test_real_objects_in_place_of_unguided_samples(tmp_path):
    path, output = tmp_path / "mine.smi", tmp_path / "value.safetensors"
    long = "C" * 700  # more tokens than the prior's sequences have
    path.write_text("\n".join(["CCO", "c1ccccc1O", "CC(=O)N", long]) + "\n")
    chosen = ["trainer=value", "reward=qed", f"data={path}", f"output={output}"]
    assert main(["train", *chosen, *TINY, "trainer.rounds=0", "trainer.base=4"]) == 0
    assert read_description(output)["card"]["data"] == str(path)
    path.write_text(long)
    assert main(["train", *chosen, "overwrite=true"]) == 2


def test_values_of_pictures_have_files_too(tmp_path):
    path, run = tmp_path / "bright.safetensors", tmp_path / "run"
    chosen = ["domain=images", "reward=brightness", "data=fashion_mnist:train", f"output={path}", "trainer.rounds=0"]
    assert main(["train", "trainer=value", *chosen, *TINY[:-1]]) == 0
    guided = ["domain=images", "reward=brightness", "guidance=slcd", f"guidance.value={path}", "sampler=ddim"]
    assert main(["sample", *guided, "num_samples=2", "steps=4", "baseline=false", f"output={run}"]) == 0
    assert json.loads((run / "run.json").read_text())["ledger"]["guided"]["value_calls"] == 2 * 4


def test_an_event_in_place_of_a_temperature(values):
    path = values / "small.safetensors"
    value = load_value(path, above=0.7)
    assert set(value.log_weights.exp().tolist()) == {0.0, 1.0}
    with pytest.raises(ValueError, match="end at 0"):
        load_value(path, above=2.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "trainer=value"], "give reward="),
        (["train", "trainer=value", "reward=qed", "trainer.eta=[3,1]"], "eta=[3, 1]"),
        (["train", "trainer=value", "reward=qed", "trainer.network=prio"], "did you mean 'prior'"),
        (["train", "trainer=value", "reward=qed", "data=x.smi"], "x.smi"),
        (["train", "trainer=value", "reward=qed", "resume=true"], "resume=true; one of auto, never is needed"),
        (["sample", "reward=qed", "guidance=slcd"], "guidance=slcd needs guidance.value="),
        (["sample", "reward=qed", "guidance=slcd", "guidance.value=no.safetensors"], "there is no checkpoint"),
        (["sample", "reward=qed", "guidance=nos", "guidance.value={small}"], "trainer.network=prior"),
        (["sample", "reward=qed", "prior=qm9", "guidance=svdd", "guidance.value={small}"], "was trained on Masked"),
        (["sample", "reward=qed", "prior=qm9", "guidance=dcbg", "guidance.value={small}"], "was trained on Masked"),
        (["sample", "reward=qed", "guidance=svdd", "guidance.alpha=much"], "alpha='much'; accepted: a number"),
        (
            ["sample", "reward=qed", "guidance=fk_steering", "guidance.temperature=hot"],
            "temperature='hot'; accepted: a number",
        ),
        (["train", "reward=qed"], "reward= is for values"),
        (["sample", "reward=qed", "prior={small}"], "holds a value, not a prior"),
    ],
)
def test_bad_input(values, tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    arguments = [argument.format(small=values / "small.safetensors") for argument in arguments]
    if arguments[0] == "train":
        arguments.append("output=value.safetensors")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())
