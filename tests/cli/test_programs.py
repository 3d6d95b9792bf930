"""Programs as rewards: lines in, numbers out, and what they may do wrong."""

import csv
import json
import sys
import time
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from guidekit.cli import main
from guidekit.installed import load_domain
from guidekit.objectives.command import Command, as_line, command
from guidekit.objectives.pool import Isolated
from guidekit.objectives.worker import NoScoreError, attempt_all

LENGTHS = "import sys\nfor line in sys.stdin: print(-len(line.strip()))"


def program(code, line=as_line):
    return Command((sys.executable, "-c", code), line)


def test_numbers_come_in_the_order_of_the_lines():
    assert attempt_all(program(LENGTHS), ["CCO", "C", "CC"]) == [-3.0, -1.0, -2.0]


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("print(1.5); print('-inf')", [1.5, float("-inf")]),
        ("print(1.5); print('no pose')", [1.5, "printed no number: 'no pose'"]),
        ("print(); print('nan')", ["printed no number: ''", "returned NaN"]),
        ("print(1.5)", 2 * ["printed 1 line for 2 objects; one number a line is expected"]),
        ("print('\\n'.join('123'))", 2 * ["printed 3 lines for 2 objects; one number a line is expected"]),
        ("pass", 2 * ["printed 0 lines for 2 objects; one number a line is expected"]),
        ("import sys; sys.exit('no receptor')", 2 * ["ended with exit code 1: no receptor"]),
        ("import os; os._exit(7)", 2 * ["ended with exit code 7"]),
        ("import os; os.kill(os.getpid(), 9)", 2 * ["ended with exit code -9"]),
    ],
)
def test_what_a_program_may_do(code, wanted):
    assert attempt_all(program(code), ["C", "CC"]) == wanted


def test_objects_are_lines():
    assert as_line("ACGT") == "ACGT" and as_line("") == ""
    assert json.loads(as_line(np.array([[1, 2.5]]))) == [[1, 2.5]]
    assert (
        load_domain("molecules").line(
            load_domain("molecules").codec.decode(load_domain("molecules").codec.encode(["OCC"]))[0]
        )
        == "CCO"
    )
    graph = nx.node_link_graph(json.loads(load_domain("graphs").line(nx.path_graph(3))))
    assert nx.utils.graphs_equal(graph, nx.path_graph(3))
    for wrong, told in (("A\nC", "has several"), ({"a": 1}, "not a dict")):
        with pytest.raises(NoScoreError, match=told):
            as_line(wrong)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nosuchprogram -x", "there is no program 'nosuchprogram' that can be run"),
        ("'half", "no closing quotation"),
        ("  ", "needs reward.command="),
    ],
)
def test_programs_that_cannot_be_run(text, told):
    with pytest.raises(ValueError, match=told):
        command(text, as_line)


SAMPLE = [
    "sample",
    "domain=molecules",
    "reward=command",
    "guidance=best_of_n",
    "num_samples=3",
    "steps=8",
    "output=run",
]


def test_a_program_guides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judge.py").write_text(LENGTHS)
    words = [f'reward.command="{sys.executable} judge.py"', "guidance.particles=2"]
    assert main([*SAMPLE, *words]) == 0
    rows = list(csv.DictReader((tmp_path / "run" / "samples.csv").open()))
    assert all(float(row["reward"]) == -len(row["canonical"]) for row in rows if row["valid"] == "True")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["config"]["reward"]["command"].endswith("judge.py")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "reward=command needs reward.command="),
        (["reward.command=nosuchprogram"], "there is no program 'nosuchprogram'"),
        (["reward.command=cat"], "reward cat failed on all 4 molecules it was tried on: printed no number"),
        (["reward.command=/bin/false"], "failed on all 4 molecules it was tried on: ended with exit code 1"),
        (["reward.command=cat", "reward.timeout=-1"], "reward.timeout=-1"),
        (["reward.command=cat", "reward.comand=cat"], "comand"),
        (["reward.command=3"], "reward.command=3"),
    ],
)
def test_bad_programs_are_one_line(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*SAMPLE, *words]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and not (tmp_path / "run").exists()


def test_a_program_that_hangs_is_ended(tmp_path):
    """It, and not only the process that waits for it."""
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    ((_, outcome),) = Isolated(program(code), timeout=3.0).outcomes(["C"])
    assert outcome == "took longer than 3 s"
    child = int((tmp_path / "pid").read_text())
    for _ in range(50):
        if not alive(child):
            return
        time.sleep(0.1)
    pytest.fail("the program still runs")


def alive(process):
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[:1]
    except FileNotFoundError:
        return False
