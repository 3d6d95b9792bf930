"""A judge that has guided the samples is named; any other one is not."""

import json
import shutil

import numpy as np
import pytest
import torch

from guidekit.cli import main
from guidekit.domains.images import Images
from guidekit.domains.images.data import pictures
from guidekit.domains.images.judging import shipped
from guidekit.io.files import sha256
from guidekit.priors.checkpoints import save_checkpoint
from guidekit.running.build import build_reward
from guidekit.running.independence import caution, guides_of, networks_of, recorded

JUDGE, REWARD = shipped("fashion_mnist", "judge"), shipped("fashion_mnist", "reward")
GUIDANCES = {
    "dps": {"name": "dps"},
    "cfg": {"name": "cfg", "weight": 2.0},
    "chain": {"name": "chain", "of": ["cfg", {"name": "svdd", "candidates": 2}]},
    "none": {"name": None},
}


def classifier(model=None):
    return {"name": "classifier", "label": "bag", "set": None, "model": None if model is None else str(model)}


@pytest.mark.parametrize(
    "reward, guidance, judge, told",
    [
        (classifier(JUDGE), "dps", None, True),
        (classifier(JUDGE), "chain", None, True),
        (classifier(), "dps", REWARD, True),
        ({"name": "sum", "terms": [classifier(JUDGE), {"name": "symmetry"}], "weights": [1.0, 1.0]}, "dps", None, True),
        ({"name": "negation", "term": classifier(JUDGE)}, "dps", None, True),
        (classifier(), "dps", None, False),
        (classifier(JUDGE), "dps", REWARD, False),
        (classifier(JUDGE), "cfg", None, False),  # asked for the table only
        (classifier(JUDGE), "none", None, False),
        ({"name": "symmetry"}, "dps", None, False),
        ({"name": None}, "none", None, False),
    ],
)
def test_who_judges_and_who_guided(reward, guidance, judge, told):
    domain = Images(judge=judge)
    guides = guides_of({"guidance": GUIDANCES[guidance]}, build_reward(domain, reward))
    said = caution(domain, None, guides)
    assert bool(said) == told and (not told or "has guided these samples itself (reward)" in said)


def test_a_copy_is_the_same_judge_and_values_are_asked_what_they_learned(tmp_path):
    copy = tmp_path / "mine.safetensors"
    shutil.copy(JUDGE, copy)
    assert caution(
        Images(judge=copy), None, guides_of({"guidance": GUIDANCES["dps"]}, build_reward(Images(), classifier(JUDGE)))
    )
    for model, told in ((JUDGE, True), (REWARD, False)):
        path = tmp_path / "value.safetensors"
        card = {"reward_networks": networks_of(build_reward(Images(), classifier(model)))}
        network = {"name": "value_network", "options": {}}
        description = {"kind": "value", "domain": "images", "network": network, "state": "real", "centres": [0.0]}
        save_checkpoint(path, torch.nn.Linear(1, 1), {**description, "card": card})
        guidance = {"name": "slcd", "value": str(path)}
        said = caution(Images(), None, guides_of({"guidance": guidance}, None))
        assert bool(said) == told and (not told or "by way of guidance.value=" in said)


def test_evaluate_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("samples.npz", images=pictures("fashion_mnist", "test").images[:20])
    np.savez("unguided.npz", images=pictures("fashion_mnist", "test").images[:20])
    guides = [{"setting": "reward", "file": JUDGE.name, "sha256": sha256(JUDGE)}]
    record = {"config": {"domain": {"name": "images"}}, "guided_by": guides}
    (tmp_path / "run.json").write_text(json.dumps(record))
    asked = ["evaluate", "domain=images", "training=samples.npz", "reference=samples.npz"]
    assert main([*asked, "samples=samples.npz"]) == 0
    assert "the judge fashion_mnist_judge.safetensors has guided these samples" in capsys.readouterr().out
    assert main([*asked, "samples=unguided.npz"]) == 0 and "guided these" not in capsys.readouterr().out
    assert main([*asked, "samples=samples.npz", f"domain.judge={REWARD}"]) == 0
    assert "guided these" not in capsys.readouterr().out
    assert recorded("samples.npz", "images") == guides and recorded("samples.npz", "molecules") == []
    for broken in ("{", "[]", "{}", json.dumps(record | {"guided_by": [3, {"file": 1, "sha256": [], "setting": ""}]})):
        (tmp_path / "run.json").write_text(broken)
        assert recorded("samples.npz", "images") == []
