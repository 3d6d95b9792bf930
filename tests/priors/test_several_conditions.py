"""A list of conditions is one a sample, from the first again where there are more samples; never one condition."""

import csv

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.cli import main
from guidekit.priors.labels import Label, label_rows, several

KIND, SIZE = Label("class", ["bag", "shoe", "coat"]), Label("size", ["small", "large"])


def test_what_a_list_means():
    assert label_rows(["bag", 2, "shoe"], [KIND]).tolist() == [[0], [2], [1]]
    assert label_rows(["coat"], [KIND]).tolist() == [[2]]
    assert label_rows([{"class": "shoe"}, None], [KIND]).tolist() == [[1], [-1]]
    assert label_rows(["bag", "large"], [KIND, SIZE]).tolist() == [[0, 1]]
    assert label_rows([["bag", "large"], {"size": "small"}], [KIND, SIZE]).tolist() == [[0, 1], [-1, 0]]
    assert several(["bag", "large"], [KIND, SIZE]) is None and several("bag", [KIND]) is None
    with pytest.raises(ValueError, match="a list of lists or of {name: value}"):
        label_rows(["bag", "large", "small"], [KIND, SIZE])
    for value, said in (([], "empty list"), ([["bag", ["shoe"]]], "a list of conditions itself")):
        with pytest.raises(ValueError, match=said):
            label_rows(value, [KIND])


def test_every_sample_has_its_own_and_then_from_the_first_again():
    prior = gk.priors.GaussianMixture(torch.tensor([[6.0], [-6.0], [0.0]]), 0.1)
    for guidance in (None, gk.guidance.CFG(1.0)):
        x = gk.sample(prior, guidance, 7, 16, condition=torch.tensor([0, 2, 1])).samples[:, 0]
        assert x.round().tolist() == pytest.approx([6, 0, -6, 6, 0, -6, 6], abs=0.6)
    alone = gk.sample(prior, None, 7, 16, condition=[0, 2, 1], batch_size=2).samples[:, 0]
    assert torch.allclose(alone, gk.sample(prior, None, 7, 16, condition=[0, 2, 1]).samples[:, 0], atol=1e-5)
    crowd = gk.sample(prior, gk.guidance.FKSteering(lambda x: x[:, 0]), 2, 16, particles=3, condition=[0, 1]).samples
    assert crowd[:, 0].sign().tolist() == [1.0, -1.0]
    with pytest.raises(ValueError, match="3 conditions are given for 2 samples"):
        gk.sample(prior, None, 2, 4, condition=[0, 2, 1])


def test_from_the_command_line(tmp_path, capsys):
    run = ["domain=images", "num_samples=3", "steps=6", "sampler=ddim", "guidance=cfg", "seed=1"]
    assert main(["sample", *run, "condition=[bag,sneaker]", f"output={tmp_path / 'both'}"]) == 0
    assert main(["sample", *run, "condition=sneaker", "baseline=false", f"output={tmp_path / 'one'}"]) == 0
    both, one = (np.load(tmp_path / name / "samples.npz") for name in ("both", "one"))
    assert [str(both["classes"][i]) for i in both["labels"]] == ["bag", "sneaker", "bag"]
    assert np.abs(both["images"][1].astype(int) - one["images"][1]).max() <= 1
    assert np.abs(both["images"][0].astype(int) - one["images"][0]).max() > 20
    with open(tmp_path / "both" / "samples.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["condition"] for row in rows] == [row["asked"] for row in rows] == ["bag", "sneaker", "bag"]
    assert "judged as asked" in capsys.readouterr().out
    assert main(["sample", *run, "condition=[bag,boot]", f"output={tmp_path / 'no'}"]) == 2
    told = capsys.readouterr().err
    assert "boot" in told and "accepted" in told
