"""A run that is killed or interrupted anywhere, and then repeated, ends as one that was not."""

import copy
import dataclasses
import itertools
import json
import os
import shutil
import signal
import sys

import pytest
from rich.console import Console

import guidekit as gk
from guidekit.commands.sample import draw, standing
from guidekit.core.state import State
from guidekit.io.files import write_atomic
from guidekit.running.folder import RunFolder
from guidekit.sampling import prepare

pytestmark = [
    pytest.mark.filterwarnings("ignore:reward .* raised"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
VERSIONS = {"guidekit": "1", "source": "a", "torch": "2"}
IDENTITY = {"settings": {"seed": 0}, "files": {}, "code": {}, "versions": VERSIONS}


def other(**settings):
    """Another run."""
    return IDENTITY | {"settings": settings}


class Pairs:
    """A codec of token states; one pair of letters is no object."""

    language = "pairs"

    def decode(self, states: State) -> list[tuple[int, ...] | None]:
        return [None if row == [2, 2] else tuple(row) for row in states.tolist()]


def write_results(folder, results):
    """Files as a domain writes them, one of them in a folder of its own; returns the record."""
    (folder / "samples").mkdir(exist_ok=True)
    for name, result in results.items():
        text = "\n".join(map(str, result.samples.tolist()))
        (folder / f"{name}.csv").write_text(text)
        write_atomic(folder / "samples" / f"{name}.txt", text.encode())
    ledgers = {
        name: dataclasses.asdict(result.ledger) | {"seconds": 0.0, "reward_seconds": 0.0}
        for name, result in results.items()
    }
    return {"ledger": ledgers}


@dataclasses.dataclass
class Small:
    """The command under test: draw 4 groups in chunks of 2, guided and unguided, and write them.

    Attributes:
        prior: of two tokens.
        calls: objects the reward was called on, all runs together.
    """

    prior: gk.priors.Prior
    calls: list

    def __call__(self, path, identity=IDENTITY, **options):
        """Run as `commands.sample.run` does; returns the folder of the results, or None where it was done already."""

        def worth(pair):
            self.calls.append(pair)
            if pair == (0, 0):
                raise RuntimeError("no value")
            return float(sum(pair))

        reward = gk.objectives.ObjectReward(worth, "worth")
        guidance = gk.guidance.SVDD(reward, candidates=2)
        arguments = {"num_samples": 4, "steps": 2, "seed": 1, "batch_size": 2}
        parts = {"guided": prepare(self.prior, guidance, **arguments), "unguided": prepare(self.prior, **arguments)}
        console = Console(quiet=True)
        folder = RunFolder(path, identity, **options)
        if folder.finished:
            return None
        try:
            results = draw(console, folder, parts, reward, cut=True)
            folder.begin_results()
            return folder.complete(write_results(folder.results, results))
        except BaseException:
            standing(folder)
            raise


@pytest.fixture
def small(chain_a, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # a killed process loses nothing that it wrote
    prior = copy.copy(chain_a.prior)
    prior.codec = Pairs()
    return Small(prior, [])


def tree(folder):
    """Every file under a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ledgers(folder):
    return json.loads((folder / "run.json").read_text())["ledger"]


class Tripwire:
    """Counts the writing operations of this process under a folder, and acts before one of them.

    Python tells audit hooks of every file that is opened, renamed or removed; hooks stay, so this one can be disarmed.
    """

    WRITING = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "shutil.rmtree")

    def __init__(self):
        self.folder, self.at, self.seen, self.act = None, None, 0, None
        sys.addaudithook(self._hear)

    def _hear(self, event, arguments):
        if self.folder is None or event not in (*self.WRITING, "open"):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITES):
            return
        name = str(arguments[0])
        if event == "os.truncate":  # of an open file, told by its number
            name = os.path.realpath(f"/proc/self/fd/{name}")
        if self.folder in name:
            self.seen += 1
            if self.seen == self.at:
                self.disarm()
                self.act()

    def arm(self, folder, at, act):
        self.folder, self.at, self.seen, self.act = str(folder), at, 0, act

    def disarm(self):
        self.folder = None


@pytest.fixture(scope="session")
def tripwire():
    return Tripwire()


def killed_at(tripwire, folder, at, work):
    """Do some work in a child process that dies, as by kill -9, before its `at`-th writing operation.

    Returns:
        Whether it died; a child that has fewer operations ends by itself.
    """
    child = os.fork()
    if child == 0:
        code = 3
        try:
            tripwire.arm(folder, at, lambda: os.kill(os.getpid(), signal.SIGKILL))
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def finished_as(folder, reference):
    """Whether a folder holds the results of an uninterrupted run, and nothing is left beside it."""
    found, wanted = tree(folder), tree(reference)
    assert {name: data for name, data in found.items() if name != "run.json"} == {
        name: data for name, data in wanted.items() if name != "run.json"
    }
    assert ledgers(folder) == ledgers(reference)
    assert not folder.with_name(folder.name + ".partial").exists()


@pytest.fixture
def reference(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert small(folder) == folder
    assert ledgers(folder)["guided"]["reward_failures"] and ledgers(folder)["guided"]["reward_invalid"]
    return folder


def test_killed_before_any_operation_it_is_finished_by_the_same_command(small, reference, tripwire, tmp_path):
    out = tmp_path / "run"
    for at in itertools.count(1):
        killed = killed_at(tripwire, tmp_path, at, lambda: small(out))
        small(out)
        finished_as(out, reference)
        shutil.rmtree(out)
        if not killed:
            break
    assert at > 30


def test_killed_while_it_replaces_another_run_one_of_them_is_whole(small, reference, tripwire, tmp_path):
    out = tmp_path / "run"
    small(out, other(seed=7))
    old = tree(out)
    for at in itertools.count(20):  # those before are of the samples
        killed = killed_at(tripwire, tmp_path, at, lambda: small(out, overwrite=True))
        replaced = tmp_path / "run.partial" / "replaced"
        places = [tree(place) for place in (out, replaced) if place.exists()]
        assert old in places or json.loads((out / "run.json").read_text())["made_by"] == IDENTITY
        small(out, overwrite=True)
        finished_as(out, reference)
        small(out, other(seed=7), overwrite=True)
        if not killed:
            break
    assert at > 30


def test_interrupted_before_any_operation_it_is_finished_by_the_same_command(small, reference, tripwire, tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    out = tmp_path / "run"
    for at in itertools.count(1):
        tripwire.arm(tmp_path, at, interrupt)
        try:
            small(out)
            stopped = False
        except KeyboardInterrupt:
            stopped = True
        tripwire.disarm()
        small(out)
        finished_as(out, reference)
        shutil.rmtree(out)
        if not stopped:
            break


def test_finished_chunks_are_not_drawn_and_scored_again(small, reference, tripwire, tmp_path):
    scored = len(small.calls)
    small.calls.clear()
    out = tmp_path / "run"

    class Stop(Exception):
        pass

    def stop():
        raise Stop

    for at in range(20, 400, 7):  # goes on a little each time
        tripwire.arm(tmp_path, at, stop)
        try:
            small(out)
        except Stop:
            continue
        finally:
            tripwire.disarm()
        break
    finished_as(out, reference)
    assert len(small.calls) == scored  # of all sessions together


@pytest.mark.parametrize("damage", ["gone", "cut", "bit", "empty", "swapped"])
def test_a_damaged_chunk_is_drawn_again(damage, small, reference, tripwire, tmp_path):
    out = tmp_path / "run"
    assert killed_at(tripwire, "results", 1, lambda: small(out))
    chunks = sorted(next((tmp_path / "run.partial").glob("chunks-*")).iterdir())
    assert len(chunks) == 4
    bad = chunks[1]
    data = bytearray(bad.read_bytes())
    if damage == "gone":
        bad.unlink()
    elif damage == "cut":
        bad.write_bytes(data[:-5])
    elif damage == "bit":
        data[-9] ^= 1
        bad.write_bytes(data)
    elif damage == "empty":
        bad.write_bytes(b"")
    else:
        bad.write_bytes(chunks[2].read_bytes())
    small(out)
    finished_as(out, reference)


def test_a_damaged_list_of_scores_costs_calls_only(small, reference, tripwire, tmp_path):
    out = tmp_path / "run"
    assert killed_at(tripwire, "guided-000002-000004", 1, lambda: small(out))
    scores = tmp_path / "run.partial" / "scores.txt"
    lines = scores.read_bytes().splitlines(keepends=True)
    scores.write_bytes(b"".join(lines[:2]) + b"\x00\xff 12\n" + lines[2].replace(b"0", b"1") + lines[-1][:-4])
    small(out)
    finished_as(out, reference)
