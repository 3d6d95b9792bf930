"""Locks are held by living processes only."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from guidekit.running import lock
from guidekit.running.lock import Lock, LockedError, locked

HOLD = """
import sys, time
from pathlib import Path
from guidekit.running.lock import Lock
held = Lock(Path(sys.argv[1]), "busy")
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()


def test_another_process_is_named_and_its_death_frees_the_lock(holder, tmp_path):
    with pytest.raises(LockedError, match=f"busy .process {holder.pid} on .*lock file"):
        Lock(tmp_path / "lock", "busy")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    Lock(tmp_path / "lock", "busy").release()
    assert not (tmp_path / "lock").exists()


def test_one_process_holds_it_once(tmp_path):
    with locked(tmp_path / "file", "busy"), pytest.raises(LockedError, match="this very process"):
        Lock(tmp_path / ".file.lock", "busy")
    assert not list(tmp_path.iterdir())


def test_a_child_that_outlives_its_parent_does_not_keep_it(tmp_path):
    def parent():
        Lock(tmp_path / "lock", "busy")
        orphan = os.fork()
        if orphan == 0:
            time.sleep(30)
            os._exit(0)
        (tmp_path / "orphan").write_text(str(orphan))
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=parent)
    process.start()
    process.join()
    orphan = int((tmp_path / "orphan").read_text())
    os.kill(orphan, 0)  # it lives
    try:
        Lock(tmp_path / "lock", "busy").release()
    finally:
        os.kill(orphan, signal.SIGKILL)


@pytest.mark.parametrize("living", [True, False])
def test_without_locks_in_the_file_system_the_process_decides(living, holder, tmp_path, monkeypatch):
    def unsupported(*arguments):
        raise OSError(lock.errno.ENOLCK, "no locks available")

    monkeypatch.setattr(lock.fcntl, "lockf", unsupported)
    if living:
        with pytest.raises(LockedError, match=f"process {holder.pid}"):
            Lock(tmp_path / "lock", "busy")
    else:
        holder.kill()
        holder.wait()
        Lock(tmp_path / "lock", "busy").release()
