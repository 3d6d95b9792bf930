"""What the page of images shows first does what it says, with the prior that ships."""

import re
import shlex
from pathlib import Path

from guidekit.cli import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "images.md"


def test_the_first_example_makes_the_class_that_is_asked_for(tmp_path, capsys):
    first = re.search(r"`(guidekit sample [^`]*)`", PAGE.read_text()).group(1)
    assert "condition=sneaker guidance=cfg" in first
    smaller = [word for word in shlex.split(first)[1:] if not word.startswith(("output=", "num_samples=", "steps="))]
    settings = ["num_samples=8", "steps=8", "baseline=false", f"output={tmp_path}/run"]
    assert main([*smaller, *settings]) == 0
    shown = re.search(r"judged sneaker\W+([\d.]+)", capsys.readouterr().out)
    assert float(shown.group(1)) >= 0.875  # .38 by the gradient of a classifier
