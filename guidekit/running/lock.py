"""Locks: held while their process lives, and whatever ends that process lets go of them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

UNSUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""Errors of file systems without locks (some Lustre and NFS mounts)."""

_held: set[Path] = set()


class LockedError(ValueError):
    """Another process holds the lock; the message says which one."""


@contextlib.contextmanager
def locked(path: Path, said: str) -> Iterator[None]:
    """While one process writes a file; the lock lies beside it, as a hidden file.

    Args:
        path: that is written.
        said: what the error says of the other process.

    Raises:
        LockedError: another process holds it.
    """
    lock = Lock(path.with_name(f".{path.name}.lock"), said)
    try:
        yield
    finally:
        lock.release()


class Lock:
    """A file, locked, that names the process and the machine which hold it.

    Record locks belong to a process and are not inherited, so a worker that outlives its parent does not keep them. On
    file systems without locks the process named in the file decides.

    Args:
        path: of the lock file, in a folder that exists.
        said: what the error says of the other process.

    Raises:
        LockedError: another process holds it.
    """

    def __init__(self, path: Path, said: str) -> None:
        self.path, self.said = Path(os.path.realpath(path)), said
        if self.path in _held:
            raise LockedError(f"{said} (this very process)")
        self._handle = self._locked()
        _held.add(self.path)
        try:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()} {socket.gethostname()}".encode(), 0)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Remove the file and let go."""
        if self.path in _held:
            _held.discard(self.path)
            try:
                with contextlib.suppress(OSError):
                    self.path.unlink()
            finally:
                os.close(self._handle)

    def _locked(self) -> int:
        while True:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._take(handle)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(handle), self.path.stat()):
                        return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)  # its holder removed the file meanwhile

    def _take(self, handle: int) -> None:
        process, _, host = os.pread(handle, 1000, 0).decode(errors="replace").partition(" ")
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                if not process.isdigit() or (host == socket.gethostname() and not _alive(int(process))):
                    return
            elif error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            who = f"process {process} on {host}" if host else "another process"
            raise LockedError(f"{self.said} ({who}; lock file {self.path})") from None


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()
