"""What pyproject.toml promises: links that resolve, and a wheel that works without the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("domains", "configs")


def run(*command: str, cwd: Path, **env: str) -> str:
    """Run a command in cwd and return its standard output; a failure shows both streams."""
    done = subprocess.run(command, cwd=cwd, env=os.environ | env, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy so that leftovers of earlier builds cannot get into it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in ("guidekit", *LINKED):
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(out))
    run(sys.executable, "-m", "pip", "wheel", ".", *options, cwd=source)
    (built,) = out.glob("guidekit-*.whl")
    return built


@pytest.fixture(scope="module")
def members(wheel) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def in_package(pattern: str, folder: str) -> set[str]:
    """Names, as the wheel should have them, of the files under ROOT/folder that match pattern."""
    prefix = "guidekit/" if folder in LINKED else ""
    files = (p for p in (ROOT / folder).glob(pattern) if p.is_file() and "__pycache__" not in p.parts)
    return {prefix + p.relative_to(ROOT).as_posix() for p in files}


@pytest.mark.parametrize("name", LINKED)
def test_link_is_relative_and_resolves(name):
    link = ROOT / "guidekit" / name
    assert link.is_symlink(), f"guidekit/{name} should be a symbolic link: ln -s ../{name} guidekit/{name}"
    assert os.readlink(link) == f"../{name}"
    assert link.resolve() == ROOT / name
    assert (link / "__init__.py").is_file()


@pytest.mark.slow
def test_wheel_has_every_module_config_and_asset(members):
    modules = {name for folder in ("guidekit", *LINKED) for name in in_package("**/*.py", folder)}
    configs, assets = in_package("**/*.yaml", "configs"), in_package("*/assets/*", "domains")
    assert "guidekit/py.typed" in members
    assert configs and assets, "nothing to compare with: configs/ or the domains' assets are empty"
    assert not (modules | configs | assets | {"guidekit/running/catalog.json"}) - members


@pytest.mark.slow
def test_wheel_has_one_top_level_package(members):
    top = {name.split("/")[0] for name in members}
    assert {name for name in top if not name.endswith(".dist-info")} == {"guidekit"}


@pytest.mark.slow
def test_wheel_works_from_another_folder(wheel, tmp_path):
    unpacked, elsewhere = tmp_path / "unpacked", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    show = "import guidekit, guidekit.configs as c; print(guidekit.__file__, c.__file__, sep='\\n')"
    for line in run(sys.executable, "-c", show, cwd=elsewhere, PYTHONPATH=str(unpacked)).splitlines():
        assert Path(line).is_relative_to(unpacked), "the checkout was imported, not the wheel"
    listing = run(sys.executable, "-m", "guidekit.cli", "list", cwd=elsewhere, PYTHONPATH=str(unpacked))
    assert "molecules" in listing
