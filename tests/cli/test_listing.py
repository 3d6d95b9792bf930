"""Help and lists do not wait for torch, and say what the code says."""

import re
import subprocess
import sys

import pytest

import guidekit
from guidekit import registry
from guidekit.cli import main
from guidekit.cli.compose import compose
from guidekit.core.requirements import Layer
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


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("smaple", "sample"),
        ("list rewards domain=molecule", "molecules"),
        ("list gudance", "guidance"),
        ("sample domian=molecules", "domain"),
        ("sample domain=molecules prior=defualt", "default"),
        ("sample domain=molecules sampler=maskgitt", "maskgit"),
        ("sample domain=molecules guidance=svd", "svdd"),
    ],
)
def test_typos_are_answered_before_anything_large_is_loaded(typo, meant):
    code = f"from guidekit.cli import main; print('code:', main({typo.split()!r}))\nimport sys"
    code += (
        "\nprint('loaded:', [name for name in ('torch', 'rdkit', 'lightning', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "code: 2" in done.stdout and "loaded: []" in done.stdout and done.stderr.count("\n") == 1
    assert f"(did you mean '{meant}'" in done.stderr


def test_lists_of_one_domain_fit_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["list", "rewards", "domain=molecules"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    first = {line.split()[1] for line in printed.splitlines() if line.startswith("│ ") and line[2] != " "}
    assert {"qed", "similarity_window", "module:function", "sum"} <= first and not {"gc", "classifier"} & first
    assert """'reward.smarts="[#7]c1ccccc1"'""" in " ".join(printed.split())  # how it is quoted
    assert compose("sample", ["domain=molecules", "reward=smarts", 'reward.smarts="[#7]c1ccccc1"'])["reward"][
        "smarts"
    ] == ("[#7]c1ccccc1")
    assert main(["list", "domain=dna"]) == 0
    printed = capsys.readouterr().out
    assert "motif_pair" in printed and "qed" not in printed
    assert main(["list", "samplers", "domain=dna"]) == 2
    assert "samplers is of no domain" in capsys.readouterr().err


def test_lists_in_a_pipe_break_no_words(monkeypatch, capsys):
    """In 80 columns a table of six columns broke "conditional" into three pieces."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["list"]) == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    told = catalog.catalog()
    for group in ("guidance", "samplers"):
        assert all(f" {name} {one['what'].split()[0]} " in f"{printed} " for name, one in told[group].items())
    assert "a conditional prior and a condition" not in printed and "(a wider terminal shows what each needs" in printed
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["list", "guidance"]) == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "a conditional prior and a condition" in printed and "a wider terminal" not in printed
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["list", "tasks", "domain=images"]) == 0
    assert "threshold=0.3" in capsys.readouterr().out


def test_version_and_help_of_a_command(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"guidekit {guidekit.__version__}\n"
    code = "import sys; from guidekit.cli import main; sys.exit(main(sys.argv[1:]))"
    for words, there in (
        (["estimate"], {"domain", "reward", "sampler"}),
        (["train", "seed=1"], {"domain", "reward", "trainer"}),
    ):
        done = subprocess.run([sys.executable, "-c", code, *words, "--help"], capture_output=True, text=True)
        groups = {line.partition(": ")[0] for line in done.stdout.partition("== All")[0].splitlines() if ": " in line}
        assert done.returncode == 0 and groups == there and "\nseed: " in done.stdout


def test_names_that_are_not_there():
    assert set(guidekit.__all__) <= set(dir(guidekit)) and not hasattr(guidekit, "nothing")
    with pytest.raises(ImportError):
        from guidekit import nothing  # noqa: F401


def test_the_catalog_is_of_this_code():
    fresh = "run python -m guidekit.running.catalog"
    kept, made = catalog.catalog(), catalog.made()
    assert kept["domains"].keys() == made["domains"].keys() and kept == made, fresh
    page = catalog.PAGE.read_text()
    assert catalog.with_table(page, made) == page, fresh
    rows = page.partition(catalog.MARKS[0])[2].partition(catalog.MARKS[1])[0].splitlines()[2:]
    assert all("](" in row.split("|")[3] for row in rows), "link every guidance to its page"


def test_chains_of_the_documentation_are_in_an_order_that_works():
    """Every chain(A, B) of registered guidances: places never fall from inside to outside."""
    entries = registry.entries("guidance")
    places = {
        entry.attribute: catalog.shipped()["guidance"][name]["place"].split(", ") for name, entry in entries.items()
    }
    order, found = [layer.name.lower() for layer in Layer], 0
    for page in sorted(catalog.PAGE.parents[1].rglob("*.md")):
        for chain in re.findall(r"\bchain\(((?:[^()]|\([^()]*\))*)\)", page.read_text()):
            members = [re.sub(r".*\.", "", one) for one in re.findall(r"([\w.]+)(?:\([^()]*\))?(?:,|$)", chain)]
            if len(members) > 1 and all(member in places for member in members):
                found += 1
                ends = [[order.index(place) for place in places[member]] for member in members]
                assert all(a[0] <= b[-1] for a, b in zip(ends, ends[1:], strict=False)), f"{page.name}: chain({chain})"
    assert found > 10


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
    monkeypatch.setattr("guidekit.installed.entry_points", lambda group: [mine])
    assert (
        list(catalog.catalog()["domains"]) == ["mine"]
        and "classifier" in catalog.catalog()["domains"]["mine"]["rewards"]
    )
