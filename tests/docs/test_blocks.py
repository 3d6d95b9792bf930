"""The Python blocks of the documentation run as a reader would run them: page by page, one after the other.

A block is left out only where a comment before its fence says so, with the reason: <!-- not run: takes an hour -->.
Blocks whose first line is the comment with a path ("# ringlets/codec.py") are files; see test_contributing.
"""

import contextlib
import re
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(<!-- not run: \w[^>]+-->\n)?^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# [\w./-]+/[\w.-]+\n")


def blocks(page):
    """(line, code) of what is to be run of a page."""
    text = page.read_text()
    found = [(text[: match.start(2)].count("\n"), *match.groups()) for match in BLOCK.finditer(text)]
    return [(line, code) for line, left_out, code in found if left_out is None and not FILE.match(code)]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("a_page_of_the_documentation")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look themselves up there
    for line, code in blocks(page):
        padded = "\n" * line + code  # a failure is shown where it stands in the page
        with contextlib.redirect_stdout(None):
            exec(compile(padded, str(page), "exec"), vars(module))
