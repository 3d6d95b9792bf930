"""What makes a run what it is: settings, and the content of the files and of the code that they name."""

import json
import sys

import pytest

from guidekit.cli.compose import compose
from guidekit.installed import load_domain
from guidekit.running.identity import changes, digest, identity

DOMAIN = load_domain("molecules")


CONFIG = compose("sample", ["reward=qed", "guidance=svdd"])


def of(**settings):
    return identity(DOMAIN, {**CONFIG, **settings})


def test_it_is_plain_json_and_the_same_every_time():
    made = of()
    assert json.loads(json.dumps(made)) == made == of()
    assert set(made["files"]) == {"prior"} and not changes(made, made)


@pytest.mark.parametrize("setting", [{"output": "x"}, {"overwrite": True}, {"resume": "never"}, {"batch_size": 3}])
def test_settings_that_sample_the_same_do_not_count(setting):
    assert not changes(of(), of(**setting)) and digest(of()) == digest(of(**setting))


def test_another_setting_counts_and_is_named():
    assert changes(of(), of(seed=1)) == "seed was 0, is 1"
    told = changes(of(), of(seed=1, steps=8, num_samples=3, particles=2))
    assert told.count(";") == 3 and told.endswith("and 1 more")


def test_every_file_that_a_setting_names_counts_by_its_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("prior", "reference"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"one")
    reward = {"name": "similarity", "reference": "reference.safetensors"}
    settings = {"prior": "prior.safetensors", "reward": reward}
    before = of(**settings)
    (tmp_path / "reference.safetensors").write_bytes(b"two")
    assert changes(before, of(**settings)) == "the file of reward.reference has changed"
    (tmp_path / "prior.safetensors").write_bytes(b"two")
    assert "the file of prior has changed" in changes(before, of(**settings))


MINE = {"name": "function", "path": "mine:f"}


@pytest.mark.parametrize("edited", ["mine.py", "beside.py", "kit/__init__.py", "kit/deep.py"])
def test_the_code_of_a_users_reward_counts_with_what_it_imports_from_beside_it(edited, tmp_path, monkeypatch):
    (tmp_path / "kit").mkdir()
    (tmp_path / "mine.py").write_text(
        "import json\nimport beside\n\ndef f(m):\n    from kit import deep\n    return 1.0\n"
    )
    (tmp_path / "beside.py").write_text("X = 1\n")
    (tmp_path / "kit" / "__init__.py").write_text("")
    (tmp_path / "kit" / "deep.py").write_text("Y = 1\n")
    (tmp_path / "unrelated.py").write_text("Z = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # of another test
    before = of(reward=MINE)
    assert set(before["code"]) == {"mine", "beside", "kit", "kit.deep"}
    (tmp_path / "unrelated.py").write_text("Z = 2\n")
    assert not changes(before, of(reward=MINE))
    (tmp_path / edited).write_text((tmp_path / edited).read_text() + "# another\n")
    name = edited.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert changes(before, of(reward=MINE)) == f"the code of {name} has changed"


def test_code_inside_a_combination_of_rewards_counts(tmp_path, monkeypatch):
    (tmp_path / "mine2.py").write_text("def f(m):\n    return 1.0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "mine2" in of(reward={"name": "sum", "terms": ["qed", "mine2:f"]})["code"]
