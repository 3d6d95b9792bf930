"""Help and lists do not wait for torch, and say what the code says."""

import subprocess
import sys

import pytest

from guidekit.running import catalog

SLOW = ("torch", "lightning", "hydra", "matplotlib", "rdkit")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import guidekit", (*SLOW, "rich", "numpy")),
        ("from guidekit.cli import main; main(['--help'])", (*SLOW, "rich", "numpy")),
        ("from guidekit.cli import main; main(['list'])", SLOW),
        ("from guidekit.cli import main; main(['sample', 'reward=qde'])", (*SLOW[:2], *SLOW[3:])),
        ("import guidekit as gk; gk.sample, gk.core.loop, gk.guidance.SVDD", (*SLOW[1:], "rich", "omegaconf")),
    ],
)
def test_what_is_not_imported(code, absent):
    code += f"\nimport sys\nprint('loaded:', [name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "loaded: []" in done.stdout.splitlines(), done.stdout[-500:] + done.stderr


def test_names_that_are_not_there():
    import guidekit

    assert set(guidekit.__all__) <= set(dir(guidekit)) and not hasattr(guidekit, "nothing")
    with pytest.raises(ImportError):
        from guidekit import nothing  # noqa: F401


def test_the_catalog_is_of_this_code():
    fresh = "run python -m guidekit.running.catalog"
    kept, made = catalog.catalog(), catalog.made()
    assert kept["domains"].keys() == made["domains"].keys() and kept == made, fresh


def test_domains_that_are_not_ours_or_not_installed_are_told(monkeypatch):
    real = catalog.distribution

    def distribution(name):
        if name in ("rdkit", "rapidfuzz"):
            raise catalog.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(catalog, "distribution", distribution)
    told = {name: domain["objects"] for name, domain in catalog.catalog()["domains"].items()}
    assert told["molecules"] == 'molecules (not installed: rdkit; pip install "guidekit[molecules]")'
    assert 'rapidfuzz; pip install "guidekit[proteins]"' in told["proteins"]  # by way of guidekit[dna]
    assert told["images"] == "images"
    mine = catalog.EntryPoint("mine", "guidekit.domains.images:Images", "guidekit.domains")
    monkeypatch.setattr(catalog, "entry_points", lambda group: [mine])
    monkeypatch.setattr("guidekit.domain.entry_points", lambda group: [mine])
    assert (
        list(catalog.catalog()["domains"]) == ["mine"]
        and "classifier" in catalog.catalog()["domains"]["mine"]["rewards"]
    )
