"""Priors of graphs as real numbers from the command line: trained, sampled, guided, refused."""

import pytest

from guidekit.cli import main
from guidekit.priors.adjacency import AdjacencyPrior
from guidekit.priors.checkpoints import load_any_prior

TRAIN = [
    "train",
    "domain=graphs",
    "trainer=adjacency",
    "domain.kind=community-8",
    "trainer.network.options={width: 16, pair_width: 8, depth: 1, heads: 2, global_width: 8}",
    "trainer.validation=8",
    "trainer.batch_size=8",
    "trainer.steps=3",
    "trainer.validate_every=3",
]
SAMPLE = ["sample", "domain=graphs", "domain.kind=community-8", "num_samples=3", "steps=4", "baseline=false"]


@pytest.mark.parametrize("joint", ["true", "false"])
def test_a_prior_with_properties(tmp_path, capsys, joint):
    file = tmp_path / "mine.safetensors"
    assert main([*TRAIN, f"output={file}", "trainer.properties=[density]", f"trainer.joint={joint}"]) == 0
    prior = load_any_prior(file)
    assert isinstance(prior, AdjacencyPrior) and prior.joint is (joint == "true") and len(prior.properties) == 1
    asked = (
        ["guidance=loop_guidance", "guidance.target={density: 0.4}"] if prior.joint else ["condition={density: 0.4}"]
    )
    assert main([*SAMPLE, f"prior={file}", *asked, f"output={tmp_path / 'run'}"]) == 0
    assert (tmp_path / "run" / "samples.graphml").exists()
    wrong = [part.replace("density", "densty") for part in asked]
    assert main([*SAMPLE, f"prior={file}", *wrong, f"output={tmp_path / 'other'}"]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "densty" in told and "density" in told


def test_gradients_move_it(tmp_path):
    file = tmp_path / "mine.safetensors"
    assert main([*TRAIN, f"output={file}"]) == 0
    guided = ["reward=expected_edges", "reward.target=9", "guidance=lgd"]
    assert main([*SAMPLE, f"prior={file}", *guided, f"output={tmp_path / 'run'}"]) == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["trainer.process={name: masked, options: {}}"], "no process named 'masked'"),
        (["trainer.process={name: flow, options: {}}"], "signal at t = 1"),
        (["trainer.properties=[densty]"], "did you mean 'density'"),
        (["trainer.labels=[density]", "trainer.properties=[density]"], "one of them"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(tmp_path, capsys, settings, words):
    assert main([*TRAIN, *settings, f"output={tmp_path / 'mine.safetensors'}"]) == 2
    (told,) = capsys.readouterr().err.strip().splitlines()
    assert words in told
