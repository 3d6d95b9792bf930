"""The documentation runs as a reader would run it: page by page, Python blocks and commands in their order.

A page has a folder of its own, with the files that `guidekit examples` writes. Blocks whose first line is the comment
with a path ("# rings.py") become files there; those of CONTRIBUTING are tested by test_contributing. What is left out
says so with a reason: a block by a comment before its fence, <!-- not run: takes an hour -->, a command in COMPOSED.
"""

import contextlib
import dataclasses
import io
import re
import shlex
import shutil
import sys
import types
from pathlib import Path

import pytest

from guidekit._compat import torchaudio
from guidekit.cli import main
from guidekit.cli.compose import compose
from guidekit.installed import domain_names, load_domain

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
STEP = re.compile(
    r"(?P<reason><!-- not run: \w[^>]+-->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```|`(?P<command>guidekit [^`]*)`",
    re.DOTALL | re.MULTILINE,
)
FILE = re.compile(r"# ([\w./-]+\.\w+)\n")
MENTION = re.compile(r"guidekit( (?!list)\w+)+|.*\.\.\..*", re.DOTALL)
"""Commands in a sentence that are spoken of only: without a setting, or with "..." in the place of some."""

ELSEWHERE = ("domain=hairpins", "list channel_cfg")
"""Of commands on what CONTRIBUTING adds, which test_contributing runs."""

SMALLER = (
    ("^sample", "num_samples=2 steps=4"),
    ("^sample .*pairs: 8", "num_samples=8"),
    ("^plan", "steps=4"),
    ("^estimate", "num_samples=40 steps=4"),
    ("^bench (guidance|.*suite=guidance)", "each=2 steps=2"),
    ("^bench .*seeds=3", "seeds=1"),
    ("^bench gmm", "problems=2 steps=2 dy=1"),
    ("^bench fkc", "steps=10 seeds=2 particles=200"),
    ("^bench physics", "steps=8 seeds=1 particles=40"),
    ("^bench flow", "size=32 every=8 noise=1 problems=1 solves=128 particles=32 prior=default"),
    ("^bench posterior", "problems=10 steps=2"),
    ("^bench posterior (?!.*domain=)", "priors=[gaussian]"),
    ("^search", "steps=4 search.budget=200"),
    ("^train (?!.*trainer=(value|energy|refiner|judge|gaussian_field))", "trainer.steps=2"),
    ("^train domain=(dna|images|inverse|chorales) (?!.*(trainer=|data=))", "trainer.validation=32"),
    ("^train .*trainer=value", "trainer.base=64 trainer.updates=3 trainer.collected=16 trainer.sampling_steps=4"),
    ("^train .*trainer=energy", "trainer.base=64 trainer.updates=3 trainer.sampling_steps=4"),
    ("^train .*trainer=refiner", "trainer.pairs=8 trainer.validation=4 trainer.updates=3 trainer.sampling_steps=3"),
    ("^train .*trainer=judge", "trainer.epochs=1"),
    (
        "^train (data=qm9|.*(prepare=|data=molecules.smi))",
        "data=molecules.smi trainer.validation=20 trainer.batch_size=16",
    ),
    ("^train .*domain.kind=lobster", "trainer.graphs=20 trainer.validation=4 trainer.batch_size=4"),
    ("^train domain=audio", "trainer.variants=1 trainer.batch_size=4"),
    ("^train .*demonstrations=", "trainer.demonstrations=300 trainer.validation=20"),
)
"""Settings that commands get in the place of their own, by what is found in them; a later row wins."""

COMPOSED = {
    "bench evidence": "minutes to hours for a claim; tests/evidence runs the claims' parts",
    "bench suite=speed": "minutes of loops by hand; tests/bench/test_speed.py runs a small one",
}
"""Beginnings of commands that are read and checked and not run, and why."""


@dataclasses.dataclass(frozen=True)
class Step:
    """Something of a page that runs: a Python block, a file, or a command, and the line where it stands."""

    line: int
    kind: str
    text: str


def steps(page):
    """What runs of a page, in its order."""
    text, found = page.read_text(), []
    for match in STEP.finditer(text):
        line = text[: match.start()].count("\n") + 1
        if match["command"]:
            found += [] if MENTION.fullmatch(match["command"]) else [Step(line, "command", match["command"])]
        elif match["language"] == "python" and not match["reason"]:
            found.append(Step(line, "file" if FILE.match(match["code"]) else "block", match["code"]))
        elif match["language"] in ("", "bash"):
            found += [Step(line, "command", command) for command in fenced(match["code"])]
    return [step for step in found if step.kind != "command" or not any(part in step.text for part in ELSEWHERE)]


def fenced(code):
    """Commands of guidekit in a block of shell."""
    lines = [line for line in code.replace("\\\n", " ").splitlines() if re.search("^guidekit |&& guidekit ", line)]
    return [line[line.index("guidekit ") :].split(" && ")[0] for line in lines]


def arguments(command):
    """What a command is given, cut to a size that takes seconds."""
    words = shlex.split(command, comments=True)[1:]
    for pattern, settings in SMALLER:
        if re.search(pattern, " ".join(words)):
            for setting in shlex.split(settings):
                key = setting.split("=")[0]
                words = [word for word in words if word.split("=")[0] != key] + [setting]
    return words


def run(step, page, module):
    """Run what a page has at one place; its failure is shown where it stands."""
    if step.kind == "file":
        path = Path(FILE.match(step.text)[1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(step.text)
    elif step.kind == "block":
        with contextlib.redirect_stdout(None):
            exec(compile("\n" * step.line + step.text, str(page), "exec"), vars(module))
    elif any(step.text.startswith(f"guidekit {beginning}") for beginning in COMPOSED):
        command, *settings = shlex.split(step.text)[1:]
        compose(command, [setting for setting in settings if "=" in setting])
    else:
        told = io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            code = main(arguments(step.text))
        assert code == 0, f"{page.relative_to(ROOT)}:{step.line}: {step.text}\n{told.getvalue()}"


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """A folder that `guidekit examples` has filled."""
    torchaudio()  # blocks import transformers as it is, which may need help here
    folder = tmp_path_factory.mktemp("examples")
    with contextlib.redirect_stdout(None):
        assert main(["examples", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if steps(page)], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_page_runs(page, filled, tmp_path, monkeypatch):
    folder = shutil.copytree(filled, tmp_path / "page")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    module = types.ModuleType("a_page_of_the_documentation")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look themselves up there
    for step in steps(page):
        run(step, page, module)
    for name, one in list(sys.modules.items()):  # what the page's own files made
        if str(getattr(one, "__file__", None)).startswith(str(folder)):
            sys.modules.pop(name)


def commands():
    """All commands that run, with the place where they stand."""
    return [
        (f"{page.relative_to(ROOT)}:{step.line}", step.text)
        for page in PAGES
        for step in steps(page)
        if step.kind == "command"
    ]


def test_no_two_commands_write_to_one_place():
    """Without output= a run's folder is named after its settings, and a training's file after its domain."""
    places = {}
    for where, command in commands():
        settings = dict(word.split("=", 1) for word in shlex.split(command, comments=True) if "=" in word)
        usual = (
            f"{settings.get('domain', 'molecules')}-prior.safetensors" if command.startswith("guidekit train") else None
        )
        place = settings.get("output", settings.get("prepare", usual))
        assert place not in places or place is None, f"{where} writes to {place}, as does {places[place]}"
        places[place] = where
    assert len(places) > 20


def test_commands_of_examples_are_documented():
    documented = [shlex.split(command, comments=True) for _, command in commands()]
    for name in domain_names():
        for example in load_domain(name).examples():
            assert shlex.split(example.command) in documented, f"no page has the command of {example.name}"
            assert example.name.removesuffix(".py") in example.command


def test_exceptions_are_used():
    texts = [" ".join(shlex.split(command, comments=True)[1:]) for _, command in commands()]
    for pattern in [pattern for pattern, _ in SMALLER] + [f"^{beginning}" for beginning in COMPOSED]:
        assert any(re.search(pattern, text) for text in texts), f"no command has {pattern}"
