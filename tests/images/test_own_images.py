"""Images of any size: what needs no judge is told without one, what needs one says how it is trained."""

import json

import numpy as np
import pytest
from PIL import Image

from guidekit.cli import main
from guidekit.domains.images.judging import load


def disks(folder, count, seed, shape=(20, 24, 3)):
    """Pictures of two classes: a bright disk at the top or at the bottom."""
    draw = np.random.default_rng(seed)
    for name, row in (("top", 5), ("bottom", 14)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            picture = draw.integers(0, 60, shape)
            y, x = row + draw.integers(-2, 3), draw.integers(4, 20)
            picture[max(0, y - 3) : y + 3, max(0, x - 3) : x + 3] += 180
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / name / f"{i}.png")


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 3)])
def test_without_and_with_a_judge_of_ones_own(tmp_path, monkeypatch, capsys, shape):
    monkeypatch.chdir(tmp_path)
    disks(tmp_path / "data", 40, 0, shape)
    disks(tmp_path / "real", 12, 1, shape)
    disks(tmp_path / "mine", 12, 2, shape)
    asked = ["evaluate", "domain=images", "samples=mine", "reference=real", "training=data"]
    assert main([*asked, "output=plain.json"]) == 0
    plain = json.loads((tmp_path / "plain.json").read_text())
    assert {"validity", "uniqueness", "mean_pixel_reference", "nearest_mean", "copied"} <= plain.keys()
    assert "frechet_judge" not in plain and "trainer=judge" in plain["note"]
    assert main(["evaluate", "domain=images", "samples=mine", "output=alone.json"]) == 0
    assert "n_reference" not in json.loads((tmp_path / "alone.json").read_text())  # not those of a shipped set

    train = ["train", "domain=images", "trainer=judge", "data=data", "output=judge.safetensors", "trainer.epochs=12"]
    assert main(train) == 0
    assert "domain.judge=judge.safetensors" in " ".join(capsys.readouterr().out.split())
    judge = load(tmp_path / "judge.safetensors")
    assert set(judge.classes) == {"top", "bottom"} and judge.card["test accuracy"] > 0.9
    assert main(train) == 0 and "already done" in capsys.readouterr().out
    assert main([*asked, "domain.judge=judge.safetensors", "output=judged.json"]) == 0
    judged = json.loads((tmp_path / "judged.json").read_text())
    assert judged["judge_accuracy"] > 0.8 and judged["precision"] >= 0 and "trainer=judge" not in judged.get("note", "")


def test_what_cannot_be_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    disks(tmp_path / "data", 3, 0)
    disks(tmp_path / "grey", 3, 1, (20, 24))

    def refused(*words):
        capsys.readouterr()
        assert main(list(words)) == 2
        return " ".join(capsys.readouterr().err.split())

    train = ["train", "domain=images", "trainer=judge", "output=j.safetensors"]
    assert "learns classes from data=" in refused(*train)
    assert "has no labels" in refused(*train, "data=data/top")
    assert "a share from 0 to 1" in refused(*train, "data=data", "trainer.held_out=2")
    assert "two classes" in refused(*train, "data=data", "trainer.held_out=0")
    assert "no judge to train" in refused(
        "train", "domain=dna", "trainer=judge", "data=x.fasta", "output=j.safetensors"
    )
    assert "as the samples are" in refused("evaluate", "domain=images", "samples=data", "reference=grey")
    assert "28 x 28" in refused("evaluate", "domain=images", "domain.set=fashion_mnist", "samples=grey")
