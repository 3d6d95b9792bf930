"""The examples of CONTRIBUTING work as they stand: a guidance in one file, a domain in a package of its own."""

import importlib
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

import guidekit.guidance.contrast
from guidekit import registry
from guidekit.cli import main
from guidekit.running import groups

PAGE = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"
FILE = re.compile(r"^```\w+\n# ([\w./-]+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
CACHES = (registry.entries, registry._scanned, groups.group_choices, groups.config_packages, groups._files)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files of the page, written; those of guidekit where guidekit finds them, the domain's as if installed."""
    found = dict(FILE.findall(PAGE.read_text()))
    for name, text in found.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for package in (guidekit.guidance, guidekit.guidance.contrast):
        folder = str(tmp_path / package.__name__.replace(".", "/"))
        monkeypatch.setattr(package, "__path__", [*package.__path__, folder])
        monkeypatch.setattr(package.__spec__, "submodule_search_locations", package.__path__)
    project = tomllib.loads(found["pyproject.toml"])["project"]
    metadata = tmp_path / f"{project['name']}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for cache in CACHES:
        cache.cache_clear()
    yield found
    for cache in CACHES:
        cache.cache_clear()
    for name in ("hairpins", "guidekit.guidance.contrast.channels"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def run_tests(name):
    """The tests of a file of the page."""
    spec = importlib.util.spec_from_file_location("a_test_of_the_page", name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tests = [value for key, value in vars(module).items() if key.startswith("test_")]
    assert tests
    for test in tests:
        test()


def test_a_guidance_is_one_file(files, capsys):
    run_tests("tests/oracles/test_channels.py")
    source = files["guidekit/guidance/contrast/channels.py"]
    assert len(source.split('"""\n\n', 1)[1].strip().splitlines()) <= 35
    assert main(["list", "channel_cfg"]) == 0
    assert "a share of 0 leaves a channel" in capsys.readouterr().out


def test_its_test_fails_on_a_broken_version(files):
    path = Path("guidekit/guidance/contrast/channels.py")
    path.write_text(path.read_text().replace("share * (own - null)", "(own - null)"))
    with pytest.raises(AssertionError):
        run_tests("tests/oracles/test_channels.py")


def test_a_domain_is_one_package(files, capsys):
    run_tests("tests/test_hairpins.py")
    command = next(line for line in PAGE.read_text().splitlines() if line.startswith("guidekit sample domain=hairpins"))
    assert main([*command.split()[1:], "output=run"]) == 0
    record = json.loads(Path("run/run.json").read_text())
    guided, unguided = (record["figures"][name] for name in ("guided", "unguided"))
    assert guided["reward"] > unguided["reward"] and guided["valid"] > unguided["valid"]
    capsys.readouterr()
    assert main(["list", "domains"]) == 0
    assert "hairpins" in capsys.readouterr().out
    assert main(["sample", "domain=hairpin"]) == 2
    assert "did you mean 'hairpins'" in capsys.readouterr().err
