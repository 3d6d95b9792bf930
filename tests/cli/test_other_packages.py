"""What another package brings works by name like what ships; what is broken takes down nothing but itself."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import guidekit as gk
from guidekit import registry
from guidekit.cli import main
from guidekit.running import catalog, groups

SOURCE = Path(__file__).with_name("other_package")
SIZES = ["num_samples=80", "steps=10", "baseline=false"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder into which pip has installed the package."""
    copy, target = tmp_path_factory.mktemp("copy") / "source", tmp_path_factory.mktemp("installed")
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--no-compile", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(copy)], check=True, capture_output=True)
    return target


def forget():
    """Look for names anew."""
    for remembering in (registry.entries, registry._scanned, groups.config_packages, groups._files, groups.groups):
        remembering.cache_clear()
    groups.group_choices.cache_clear()


@pytest.fixture
def beside(installed, monkeypatch, tmp_path):
    """This process, as if the package were installed; an empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.setenv("COLUMNS", "250")
    forget()
    yield tmp_path
    forget()


def record(folder):
    return json.loads((folder / "run.json").read_text())


def test_it_is_used_from_a_command_line_of_its_own(installed, tmp_path):
    """One run in another process, which has only the entry points to go by."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(installed), str(Path(gk.__file__).parents[1])])}
    chosen = ["domain=dots", "domain.spread=0.5", "guidance=nudge", "guidance.by=2", "sampler=small_steps"]
    command = [sys.executable, "-m", "guidekit.cli", "sample", *chosen, "reward=right", *SIZES, "output=run"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = record(tmp_path / "run")
    assert made["ledger"]["guided"]["network_rows"] == 80 * 2 * 10
    assert made["config"]["guidance"] == {"name": "nudge", "by": 2} and made["label"] == "dots-right-nudge"
    assert made["figures"]["guided"]["reward"] > 1.5


@pytest.mark.filterwarnings("ignore:guidance 'svdd'")
def test_each_thing_has_its_settings(beside):
    config = ["domain=dots", *SIZES]
    assert main(["sample", *config, "reward=right", "reward.scale=3", "guidance=best_of_n", "output=a"]) == 0
    assert record(beside / "a")["figures"]["guided"]["reward"] > 3
    assert main(["sample", *config, "reward=far", "output=b", "guidance=chain", "guidance.of=[nudge,svdd]"]) == 0
    assert record(beside / "b")["config"]["reward"] == {"name": "right", "scale": 10.0}
    assert (
        main(["sample", "reward=heavy", "guidance=best_of_n", "num_samples=2", "steps=4", "output=c", "baseline=false"])
        == 0
    )
    assert record(beside / "c")["figures"]["guided"]["reward"] > 1
    assert main(["sample", "--multirun", *config, "guidance=nudge", "guidance.by=1,2"]) == 0
    assert len(list((beside / "outputs").iterdir())) == 2


@pytest.mark.filterwarnings("ignore:guidance 'svdd'")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["guidance=nudg"], "did you mean 'nudge'"),
        (["guidance=nudge", "guidance.by=far"], "guidance.by='far'; accepted: a number (default: 1.0)"),
        (["domain=dot"], "did you mean 'dots'"),
        (["domain=dots", "domain.spread=wide"], "domain.spread='wide'; a finite number is needed"),
        (["domain=dots", "reward=left"], "no reward named 'left'"),
        (["reward=right"], "no reward named 'right'"),
        (
            ["guidance=broken"],
            "guidance broken cannot be loaded from other_package.broken of other-package: RuntimeError",
        ),
        (["guidance=nudge"], "guidance=nudge needs real-valued states"),
        (["sampler=small_steps", "sampler.factor=0.5"], "sampler.factor=0.5; accepted: a whole number (default: 2)"),
        (["domain=dots", "guidance=sharpen"], "guidance=sharpen needs tokens"),
    ],
)
def test_mistakes_are_answered_alike(beside, capsys, settings, said):
    assert main(["sample", *settings]) == 2
    assert said in capsys.readouterr().err and not list(beside.iterdir())


@pytest.mark.filterwarnings("ignore:guidance 'svdd'")
def test_a_domain_without_a_trainer_says_so(beside, capsys):
    assert main(["train", "domain=dots", "output=a.safetensors"]) == 2
    assert "domain dots brings no trainer/dots.yaml: give trainer=adjacency or audio or " in capsys.readouterr().err


def test_all_of_it_is_listed_and_a_shipped_name_stays_what_it_is(beside, capsys):
    with pytest.warns(UserWarning, match="guidance 'svdd' of package other-package is hidden by guidekit's own"):
        assert main(["list"]) == 0
    printed = capsys.readouterr().out
    lines = {cells[1].strip(): cells for cells in (line.split("│") for line in printed.split("\n")) if len(cells) > 3}
    assert "by a constant" in lines["nudge"][2] and "real numbers" in lines["nudge"][4]
    assert "more steps" in lines["small_steps"][2] and "dots" in lines and "heavy" in lines and "right" in lines
    assert "cannot be loaded" in lines["broken"][2] and "candidate" in lines["svdd"][2]
    assert registry.get("guidance", "svdd") is gk.guidance.SVDD
    with pytest.warns(UserWarning, match="domain 'dna' from other_package:Dots is hidden by guidekit.domains.dna"):
        assert gk.load_domain("dna").objects == "sequences"


GOOD = '''
import dataclasses
from guidekit.core.guidance import Guidance
from guidekit.registry import register


@register("guidance", "{name}")
@dataclasses.dataclass(frozen=True, eq=False)
class {attribute}(Guidance):
    """Does nothing."""

    share: float = 0.5
'''
BROKEN = {
    "syntax": (GOOD.format(name="one", attribute="One") + "\n    def move(self:\n", "invalid syntax|was never closed"),
    "raises": (GOOD.format(name="one", attribute="One") + "\nraise RuntimeError('no')\n", "RuntimeError: no"),
    "imports": (
        "import nothing_at_all\n" + GOOD.format(name="one", attribute="One"),
        "No module named 'nothing_at_all'",
    ),
    "nameless": (GOOD.format(name="one", attribute="One") + "\ndel One\n", "has no attribute 'One'"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_module_of_one_method_takes_down_nothing_else(kind, tmp_path, monkeypatch, capsys):
    source, reason = BROKEN[kind]
    package = tmp_path / "broken_methods"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "one.py").write_text(source)
    (package / "two.py").write_text(GOOD.format(name="two", attribute="Two"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(registry.PACKAGES, "guidance", (*registry.PACKAGES["guidance"], "broken_methods"))
    monkeypatch.setenv("COLUMNS", "250")
    forget()
    try:
        assert main(["list", "guidance", "samplers"]) == 0
        printed = capsys.readouterr().out
        assert "two" in printed and "svdd" in printed and "cannot be loaded" in printed
        assert main(["sample", "guidance=one"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and re.search(reason, error)
        assert main(["sample", "guidance=on"]) == 2 and "did you mean 'one'" in capsys.readouterr().err
        for name in ("two", "svdd"):
            assert registry.get("guidance", name)
        assert "one" not in dict(registry.usable("guidance")) and "two" in dict(registry.usable("guidance"))
    finally:
        forget()
        for name in [name for name in sys.modules if name.startswith("broken_methods")]:
            del sys.modules[name]


def test_listing_looks_at_entry_points_and_imports_nothing_of_them(beside, monkeypatch):
    monkeypatch.setattr(metadata.EntryPoint, "load", lambda point: pytest.fail(f"{point.name} was loaded"))
    assert "nudge" in registry.entries("guidance") and "dots" in groups.group_choices("domain")
    assert {"far", "heavy"} <= set(groups.group_choices("reward"))
    real, tokens = {"audio", "chorales", "images", "inverse", "trajectories"}, {"cells", "dna", "graphs", "molecules"}
    assert catalog.shipped()["domains"].keys() == real | tokens | {"proteins"}
