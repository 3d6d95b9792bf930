"""What a command asks of the machine: threads, and memory that is kept, not fetched anew for every tensor."""

from __future__ import annotations

import ctypes
import os
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""Parameters of `mallopt`, see malloc.h."""

KEPT = 1 << 30
"""Bytes that are kept at the end of the heap, and size of the tensors that live in it."""

PAD = 64 << 20
"""Bytes by which the heap grows at once."""


def keep_memory() -> None:
    """Let the C library keep what is freed: large tensors otherwise cost a page fault for every 4 KiB, each time.

    Of the GNU C library only, and not where an environment variable (MALLOC_..._) says what is wanted.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version") or not hasattr(library, "mallopt"):
        return
    if not library.mallopt(MMAP_THRESHOLD, KEPT):
        library.mallopt(MMAP_THRESHOLD, 32 << 20)  # the most that older versions take
    library.mallopt(TRIM_THRESHOLD, KEPT)
    library.mallopt(TOP_PAD, PAD)


def use_threads(threads: int | None) -> None:
    """Set torch's threads; None is its own choice, at most the CPUs that this process may use.

    Raises:
        ValueError: no whole number of at least 1.
    """
    import torch

    if threads is None:
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = min(torch.get_num_threads(), allowed)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads={threads!r}; a whole number of at least 1 is needed, or null")
    torch.set_num_threads(threads)
