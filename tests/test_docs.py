"""The documentation keeps step with the code: names, links and code blocks."""

import ast
import functools
import re
import shlex
from pathlib import Path

import pytest

import guidekit as gk
from guidekit.running.groups import group_choices

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUIDES = [page for page in PAGES if page.name not in ("CHANGELOG.md", "methods.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
CODE = re.compile(r"`[^`\n]*`")
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def title(page):
    return page.relative_to(ROOT).as_posix()


def blocks():
    return [
        pytest.param(code, id=f"{title(page)}-{i}")
        for page in PAGES
        for i, (language, code) in enumerate(FENCE.findall(page.read_text()))
        if language == "python" and not re.match(r"# [\w./-]+\.py\n", code)  # files, which tests/docs writes and runs
    ]


@functools.cache
def anchors(page):
    """What GitHub makes of the headings of a page."""
    headings = HEADING.findall(FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("group", ["guidance", "sampler", "reward", "domain"])
def test_every_name_of_a_group_is_documented(group):
    text = "\n".join(page.read_text() for page in GUIDES)
    names = {*group_choices(group)} - {"none", "default"}
    missing = [name for name in sorted(names) if not re.search(rf"`{name}`|\b{group}={name}\b", text)]
    assert names and not missing, f"no page in docs/ names {group}= {', '.join(missing)}"


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_resolve(page):
    for link in LINK.findall(CODE.sub("", FENCE.sub("", page.read_text()))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{title(page)} links to {link}, which does not exist"
        assert not anchor or anchor in anchors(target), f"{title(page)} links to {link}: no heading gives #{anchor}"


@pytest.mark.parametrize("code", blocks())
def test_python_blocks_compile_and_name_what_exists(code):
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("gk."):
            functools.reduce(getattr, ast.unparse(node).split("(")[0].split(".")[1:], gk)


def commands():
    """Every `guidekit ...` line of the documentation and of the comments of configs/, as its arguments."""
    texts = [page.read_text() for page in PAGES] + [path.read_text() for path in (ROOT / "configs").rglob("*.yaml")]
    whole = re.compile(r"^(?:# )?(guidekit (?:sample|train|evaluate) .*)$", re.MULTILINE)
    quoted = re.compile(r"`(guidekit (?:sample|train|evaluate) [^`]*)`")
    found = {line for text in texts for line in [*whole.findall(text.replace("\\\n", " ")), *quoted.findall(text)]}
    elsewhere = ("...", "--", "hairpins")  # the last is an example of CONTRIBUTING, which tests/docs installs
    return sorted(" ".join(line.split()) for line in found if not any(part in line for part in elsewhere))


def test_there_are_many_documented_commands():
    assert len(commands()) > 50


@pytest.mark.parametrize("line", commands())
def test_documented_commands_are_understood(line):
    from guidekit.cli.compose import compose

    _, command, *arguments = shlex.split(line, comments=True)
    compose(command, [re.sub(r":$", "", argument) for argument in arguments if "=" in argument])
