"""Settings in files are declared once; values of another type, empty, infinite or out of range are one line each."""

import itertools
import math

import pytest

from guidekit.cli import main
from guidekit.cli.compose import flat_keys
from guidekit.running import declared
from guidekit.running.declared import COMMANDS, GROUPS, of_command
from guidekit.running.groups import (
    MISSING,
    check_registered,
    check_types,
    group_choices,
    groups_of,
    has_file,
    load_command,
    load_group,
)

OPEN = ("options", "alpha", "guided")
"""Mappings whose entries belong to a class."""


def own(command):
    return load_command(command, {group: "none" for group in groups_of(command) if group in ("reward", "task")})


def entries(config, prefix=""):
    """Dotted names and values of what ships; a mapping without open entries counts by its entries."""
    for key, value in config.items():
        if isinstance(value, dict) and key not in OPEN:
            yield from entries(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_of_a_command_is_declared_and_what_ships_fits(command):
    shipped = {name: value for name, value in own(command).items() if name not in groups_of(command)}
    kinds = of_command(command)
    assert dict(entries(shipped)).keys() == COMMANDS[command].keys()
    for name, value in entries(shipped):
        assert value == MISSING or kinds[name].fits(value), f"{command}: {name}={value}"


def test_every_setting_of_a_trainer_is_declared_and_none_beside():
    seen = set()
    for trainer in group_choices("trainer"):
        for name, value in entries(load_group("trainer", trainer)):
            assert name in declared.TRAINER, f"{trainer}: {name}"
            assert declared.TRAINER[name].fits(value), f"{trainer}: {name}={value}"
            seen.add(name)
    assert declared.TRAINER.keys() - seen <= {"network", "process.alpha.name"}


@pytest.mark.parametrize("group", ["task", "reward"])
def test_what_is_declared_of_other_groups_is_in_their_files(group):
    files = [name for name in group_choices(group) if has_file(group, name)]
    shipped = [(name, value) for file in files for name, value in entries(load_group(group, file))]
    assert GROUPS[group].keys() <= {name for name, _ in shipped}
    for name, value in shipped:
        assert value == MISSING or name not in GROUPS[group] or GROUPS[group][name].fits(value), f"{name}={value}"


WRONG = {
    bool: (None, 3, "abc", [], math.nan),
    int: ("abc", 1.5, True, math.nan, [1], {"nam": "x"}),
    float: ("abc", True, math.nan, math.inf, [[1.0]], {"nam": "x"}),
    str: ({"nam": "x"}, [3.5, None], math.nan),
    list: ("", 3.5, math.nan, True, {"nam": "x"}),
}
"""Values that nothing could mean, by the type of what ships."""


def corpus():
    """(command, group or None, member, setting, value): what no setting of any command takes."""
    for command in COMMANDS:
        for name, value in entries({k: v for k, v in own(command).items() if k not in groups_of(command)}):
            yield from ((command, None, None, name, wrong) for wrong in WRONG.get(type(value), ()))
    of = {"guidance": "sample", "sampler": "sample", "task": "sample", "trainer": "train"}
    for group, command in of.items():
        for member in group_choices(group):
            for name, value in entries(load_group(group, member)):
                if name != "name" and value != MISSING and "options" not in name:
                    yield from ((command, group, member, name, wrong) for wrong in WRONG.get(type(value), ()))


CORPUS = list(corpus())
TAKES_MORE = (
    *("noise_std", "times", "weight", "scale", "strength", "schedule", "alpha", "rows"),
    *("interval", "width", "candidates"),
)
"""Settings whose type has a list or mapping beside a number: the signature says so."""
SCHEDULED = [("tree_search", "width"), ("tree_search", "candidates")]
"""Numbers that may be lists of them, over the steps."""


def test_the_corpus_is_large():
    assert len(CORPUS) > 1000


@pytest.mark.parametrize("command", COMMANDS)
def test_what_no_setting_takes_is_refused_in_one_line_that_names_it(command):
    kept = []
    for _, group, member, name, value in (case for case in CORPUS if case[0] == command):
        usual = own(command)
        if group is not None:
            usual |= {group: load_group(group, member)}
        given = placed(usual, name if group is None else f"{group}.{name}", value)
        try:
            check_types(usual, given, of_command(command))
            check_registered(given)
        except ValueError as error:
            assert name.rpartition(".")[2] in str(error) and "\n" not in str(error)
        else:
            kept.append(f"{group}={member} {name}={value}")
    assert not [one for one in kept if not isinstance_taken(one)], kept


def isinstance_taken(case):
    member, _, setting = case.partition("=")[2].partition("=")[0].partition(" ")
    return setting.rpartition(".")[2] in TAKES_MORE or (member, setting) in SCHEDULED


def placed(config, name, value):
    """A configuration with one value changed."""
    head, dot, rest = name.partition(".")
    return {**config, head: placed(config[head], rest, value) if dot else value}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("evaluate reward=qed", "guidekit evaluate takes no reward= (a group of sample or search or "),
        ("evaluate --multirun reward=qed", "guidekit evaluate takes no reward="),
        ("sample --multirun +nosuch=1", "no setting of guidekit sample named '+nosuch'"),
        ("sample output=3", "output=3; a path or null is needed"),
        ("sample output=''", "output=''; a path or null is needed"),
        ("sample prior=true", "prior=true; a text is needed (shipped: default)"),
        ("sample device=null", "device=null; a text is needed"),
        ("sample batch_size=1.5", "batch_size=1.5; a whole number of at least 1 or null is needed"),
        ("sample num_samples=0", "num_samples=0; a whole number of at least 1 is needed"),
        ("sample seed=-1", "seed=-1; a whole number of at least 0"),
        ("sample guidance=svdd guidance.candidates=abc", "guidance.candidates='abc'; accepted: a whole number"),
        ("sample guidance=cfg guidance.weight=nan", "guidance.weight=nan; a finite number"),
        ("sample domain.name=1.5", "domain.name=1.5; a text is needed (shipped: molecules)"),
        ("sample reward=sum reward.terms=[{nam:qed}]", "reward.terms=[{'nam': 'qed'}]; a list of names"),
        ("sample reward=sum reward.terms=[qed] reward.weights=[a,b]", "reward.weights=['a', 'b']; a list of numbers"),
        ("sample reward=negation reward.term=[]", "reward.term=[]; a name or {name: ..., setting: ...} or null"),
        ("sample domain=images domain.set=[a,b]", "domain.set=['a', 'b']; accepted: a text or null"),
        (
            "sample domain=images task=denoise task.noise_std=nan",
            "task.noise_std=nan; a number of at least 0 or a list",
        ),
        ("sample domain=images task=denoise task.input=[]", "task.input=[]; a file, a folder"),
        ("sample domain=images task=denoise task.truth=1.5", "task.truth=1.5; a file, a folder"),
        ("train output=x.safetensors trainer.learning_rate=inf", "trainer.learning_rate=inf; a number above 0"),
        ("train output=x.safetensors trainer.accelerator=0", "trainer.accelerator=0; one of auto, cpu"),
        ("train output=x.safetensors trainer.notation=sms", "no trainer.notation named 'sms'"),
        ("train output=x.safetensors trainer.network.options.width=-1", "trainer.network.options.width=-1; a whole"),
        (
            "train output=x.safetensors trainer.network.options.width=[a]",
            "trainer.network.options.width=['a']",
        ),
        (
            "train output=x.safetensors trainer.network.options.widht=8",
            "widht",
        ),
        ("train output=x.safetensors domain=images trainer.levels=[a,b]", "trainer.levels=['a', 'b']; a list of 2"),
        ("train output=x.safetensors domain=images trainer.guided={name:[3]}", "no guided loss named [3]"),
        ("bench priors=3", "priors=3; a list of names or null is needed"),
        ("bench steps=true", "steps=true; a whole number of at least 1 or a list of them or null"),
        ("bench suite=sped", "no suite named 'sped' (did you mean 'speed'?)"),
        ("search search.options=3", "search.options=3; a mapping or null"),
    ],
)
def test_bad_settings_are_one_line(line, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 2
    told = [one for one in capsys.readouterr().err.splitlines() if one.startswith("guidekit: ")]
    assert len(told) == 1 and said in told[0]
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "multirun"])


@pytest.mark.parametrize(
    ("text", "said"), [("def f(:\n", "SyntaxError"), ("x = nothing\n", "NameError"), ("1/0\n", "line 1")]
)
def test_a_users_module_that_fails_is_one_line(text, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"mine_{next(NUMBERS)}"
    (tmp_path / f"{name}.py").write_text(text)
    assert main(["sample", f"reward={name}:f"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and said in told and f"importing {name} failed" in told


NUMBERS = itertools.count()


def test_flat_keys_are_dotted():
    assert flat_keys({"a": {"b": 1}, "_c": 2}) == ["a", "a.b"]
