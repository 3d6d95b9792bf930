"""`guidekit examples` fills a folder once, all or nothing, and answers what it cannot do in one line."""

import pytest

import guidekit.commands.examples as command
from guidekit.cli import main
from guidekit.examples import MADE, Example
from guidekit.extras import MissingExtraError
from guidekit.installed import domain_names, load_domain


def test_examples_are_there_once_and_small(tmp_path, capsys):
    assert main(["examples", str(tmp_path / "new" / "try")]) == 0
    told = capsys.readouterr().out
    examples = [one for name in domain_names() for one in load_domain(name).examples()]
    names = [one.name for one in examples]
    assert sorted(names) == sorted(path.name for path in (tmp_path / "new" / "try").iterdir())  # and so none twice
    for one in examples:
        assert one.what and one.license and one.name in told and one.command in told
        assert f"={one.name}" in one.command or one.name.removesuffix(".py") in one.command
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 2 << 20


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "weak.fasta").write_text("mine")
    assert main(["examples", str(tmp_path), "domain=proteins,dna"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "weak.fasta" in line and "give another folder" in line
    assert [path.name for path in tmp_path.iterdir()] == ["weak.fasta"]
    assert (tmp_path / "weak.fasta").read_text() == "mine"


def test_files_that_cannot_be_made_leave_nothing(tmp_path):
    def broken(path):
        raise OSError("no space left")

    good = Example("a", "", "", MADE, lambda path: path.write_text("a"))
    with pytest.raises(OSError, match="no space"):
        command.write(tmp_path, [good, Example("b", "", "", MADE, broken)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "one folder"),
        (["a", "b"], "one folder"),
        ([""], "one folder"),
        (["try", "domain=dnaa"], "did you mean 'dna'"),
        (["try", "domain="], "no domain named ''"),
        (["try", "force=true"], "accepted: domain=NAME"),
        (["try", "--force"], "accepted: domain=NAME"),
        (["file"], "file is a file"),
        (["file/try"], "file/try"),
    ],
)
def test_bad_input_is_answered_in_a_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert main(["examples", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_domain_without_its_libraries_is_left_out(tmp_path, monkeypatch, capsys):
    def load(name):
        if name == "molecules":
            raise MissingExtraError("install guidekit[molecules]")
        return load_domain(name)

    monkeypatch.setattr(command, "load_domain", load)
    assert main(["examples", str(tmp_path / "try")]) == 0
    assert "molecules is left out: install guidekit[molecules]" in capsys.readouterr().out
    assert not (tmp_path / "try" / "rings.py").exists() and (tmp_path / "try" / "photo.png").exists()
    assert main(["examples", str(tmp_path / "one"), "domain=molecules"]) == 2


def test_help(capsys):
    assert main(["examples", "--help"]) == 0
    assert "domain=dna" in capsys.readouterr().out
