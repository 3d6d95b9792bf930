"""What a library user loads: torch, and none of what only training and the command line need."""

import subprocess
import sys

import pytest

HEAVY = ("lightning", "hydra", "omegaconf", "rich", "matplotlib", "rdkit", "torch_geometric", "torchaudio", "Bio")
EVERYTHING = """
import importlib, pkgutil, sys
import guidekit as gk
for name in gk.__all__:
    getattr(gk, name)
names = "core processes priors networks interventions samplers inversion objectives guidance"
for package in names.split():
    package = importlib.import_module(f"guidekit.{package}")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
"""


@pytest.mark.parametrize("code", ["import guidekit", EVERYTHING], ids=["package", "all modules of the library"])
def test_nothing_heavy_is_imported_by_the_library(code):
    told = f"import sys\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{told}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
