"""Rewards of strings: a word in the string says what the call does."""

import ctypes
import os
import sys
import time

CALLS = {
    "hang": lambda: time.sleep(600),
    "exit": lambda: os._exit(9),
    "quit": lambda: sys.exit(4),
    "crash": lambda: ctypes.string_at(0),
    "killed": lambda: os.kill(os.getpid(), 9),
    "memory": lambda: bytearray(1 << 46),
    "interrupt": lambda: exec("raise KeyboardInterrupt"),
    "recursion": lambda: act("recursion"),
    "none": lambda: None,
    "list": lambda: [1.0, 2.0],
    "text": lambda: "1.5",
    "complex": lambda: 1j,
    "huge": lambda: 10**400,
    "nan": lambda: float("nan"),
    "infinite": lambda: float("inf"),
    "rejected": lambda: float("-inf"),
    "large": lambda: 1e308,
    "moved": lambda: os.chdir("/") or 1.0,
    "pid": lambda: os.getpid(),
}


def act(text):
    """Do what the first word says; its length where it says nothing, and "take 20" takes 20 megabytes."""
    if text.startswith("take "):
        return len(bytearray(int(text.split()[1]) * 1_000_000)) / 1_000_000
    return CALLS.get(text.split()[0], lambda: len(text))()


def simulate(x):
    """Every other number of an array doubled; the first number says what else happens."""
    kind = float(x.flat[0])
    if kind > 3:
        os._exit(9)
    if kind > 2:
        time.sleep(600)
    if kind > 1:
        raise FloatingPointError("diverged")
    return 2 * x[..., ::2]


def total(x):
    """One number of an array."""
    return x.sum()


def imported_torch(text):
    """1 where the process holds torch."""
    return "torch" in sys.modules


SEEN = []


def calls(text):
    """How many calls this process has had."""
    SEEN.append(text)
    return len(SEEN)
