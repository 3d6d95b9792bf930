"""What the settings in files of configs/ may be: one declaration each, of type, range and words, and one check.

Settings of what is registered are declared by the types in its signature (`guidekit.running.settings`). Nothing here
loads torch, so that mistakes are answered at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from guidekit.errors import UnknownNameError


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a value may be.

    Args:
        words: that say it.
        fits: whether a value is of it.
        names: texts that are accepted; none where any text is, or none.
    """

    words: str
    fits: Callable[[Any], bool]
    names: tuple[str, ...] = ()

    def __or__(self, other: Kind) -> Kind:
        """One or the other."""
        words, names = f"{self.words} or {other.words}", self.names + other.names
        return Kind(words, lambda value: self.fits(value) or other.fits(value), names)


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole(least: int) -> Kind:
    """Whole numbers from one on."""
    words = f"a whole number of at least {least}"
    return Kind(words, lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least)


def real(least: float = -math.inf, most: float = math.inf, words: str = "a finite number") -> Kind:
    """Finite numbers of a range, both ends among them; infinite ends are none."""
    return Kind(words, lambda value: _is_real(value) and least <= value <= most)


def choice(*names: str) -> Kind:
    """One of some texts."""
    return Kind(f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names, names)


def listed(kind: Kind, words: str, size: int | None = None) -> Kind:
    """Lists of a kind, of any length or one."""
    return Kind(
        words,
        lambda value: (
            isinstance(value, list | tuple) and size in (None, len(value)) and all(kind.fits(one) for one in value)
        ),
    )


NULL = Kind("null", lambda value: value is None)
ANYTHING = Kind("anything", lambda value: True)
SWITCH = Kind("true or false", lambda value: isinstance(value, bool))
TEXT = Kind("a text", lambda value: isinstance(value, str) and value != "")
PATH = Kind("a path", lambda value: isinstance(value, str) and value != "")
MAPPING = Kind("a mapping", lambda value: isinstance(value, Mapping))
NUMBER = real()
FROM_0 = real(0, words="a number of at least 0")
ABOVE_0 = Kind("a number above 0", lambda value: _is_real(value) and value > 0)
STRENGTH = Kind("a number above 0 and at most 1", lambda value: _is_real(value) and 0 < value <= 1)
SHARE = real(0, 1, "a share from 0 to 1")
NAMES = listed(TEXT, "a list of names")
COUNTS = whole(1) | listed(whole(1), "a list of them")
METHOD = Kind("a name or {name: ..., setting: ...}", lambda value: TEXT.fits(value) or "name" in _keys(value))
OBJECTS = Kind(
    "a file, a folder, the number of a shipped test object, or a list of these",
    lambda value: all(TEXT.fits(one) or whole(0).fits(one) for one in _as_list(value)) and value != [],
)


def _keys(value: Any) -> Any:
    return value if isinstance(value, Mapping) else ()


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


RUN = {
    "prior": TEXT,
    "num_samples": whole(1),
    "particles": whole(1) | NULL,
    "steps": whole(1),
    "seed": whole(0),
    "condition": ANYTHING,
    "device": TEXT,
    "threads": whole(1) | NULL,
    "batch_size": whole(1) | NULL,
    "output": PATH | NULL,
    "overwrite": SWITCH,
}
"""Settings that draw."""

COMMANDS: dict[str, dict[str, Kind]] = {
    "sample": {
        **RUN,
        "unique": SWITCH,
        "keep": MAPPING | NULL,
        "lead": TEXT | NULL,
        "strength": STRENGTH,
        "length": whole(1) | NULL,
        "min_length": whole(1) | NULL,
        "max_length": whole(1) | NULL,
        "baseline": SWITCH,
        "budget.network_calls": whole(1) | NULL,
        "budget.reward_calls": whole(1) | NULL,
        "budget.seconds": ABOVE_0 | NULL,
        "resume": choice("auto", "never"),
    },
    "search": {
        **RUN,
        "keep": MAPPING | NULL,
        "search.budget": whole(1),
        "search.options": MAPPING | NULL,
        "search.metric": TEXT | NULL,
        "search.method": choice("beam", "optuna"),
        "search.keep": whole(1),
        "search.rounds": whole(1),
    },
    "evaluate": {
        "samples": PATH,
        "reference": PATH | NULL,
        "training": PATH | NULL,
        "column": TEXT | whole(1) | NULL,
        "on_error": choice("raise", "skip"),
        "prior": TEXT | NULL,
        "condition": ANYTHING,
        "draws": whole(1),
        "output": PATH | NULL,
    },
    "train": {
        "data": TEXT | NULL,
        "column": TEXT | whole(1) | NULL,
        "prior": TEXT,
        "condition": ANYTHING,
        "output": PATH | NULL,
        "init": PATH | NULL,
        "prepare": PATH | NULL,
        "resume": choice("auto", "never"),
        "overwrite": SWITCH,
        "seed": whole(0),
    },
    "estimate": {
        "prior": TEXT,
        "condition": ANYTHING,
        "at_least": NUMBER | NULL,
        "at_most": NUMBER | NULL,
        "method": choice("tilt", "splitting") | NULL,
        "num_samples": whole(40),
        "steps": whole(1),
        "seed": whole(0),
        "threads": whole(1) | NULL,
        "output": PATH | NULL,
        "overwrite": SWITCH,
    },
    "plan": {
        "prior": TEXT,
        "condition": ANYTHING,
        "num_samples": whole(1),
        "every": whole(1) | NULL,
        "near": FROM_0,
        "speed": real(0.1, 3.0, "a number from .1 to 3"),
        "steps": whole(1),
        "seed": whole(0),
        "threads": whole(1) | NULL,
        "output": PATH | NULL,
        "overwrite": SWITCH,
    },
    "bench": {
        "suite": choice("speed", "guidance", "posterior", "gmm", "fkc", "physics", "flow", "evidence"),
        "seed": whole(0),
        "repeats": whole(1),
        "guidances": listed(METHOD, "a list of names or {name: ..., setting: ...}"),
        "seeds": whole(1) | listed(whole(0), "a list of whole numbers") | NULL,
        "each": whole(1),
        "conditions": listed(ANYTHING, "a list") | NULL,
        "prior": TEXT,
        "steps": COUNTS | NULL,
        "device": TEXT,
        "figures": NAMES | NULL,
        "budget.network_calls": ABOVE_0 | NULL,
        "budget.reward_calls": ABOVE_0 | NULL,
        "output": PATH | NULL,
        "overwrite": SWITCH,
        "problems": whole(1) | NULL,
        "priors": NAMES | NULL,
        "systems": NAMES | NULL,
        "d": COUNTS | NULL,
        "dy": COUNTS | NULL,
        "particles": whole(1) | NULL,
        "groups": whole(1) | NULL,
        "variance": ABOVE_0,
        "pooled": SWITCH,
        "size": whole(1) | NULL,
        "every": COUNTS | NULL,
        "noise": FROM_0 | listed(FROM_0, "a list of numbers of at least 0") | NULL,
        "solves": whole(1) | NULL,
        "probes": whole(0),
        "temperatures": ABOVE_0 | listed(ABOVE_0, "a list of numbers above 0") | NULL,
        "row": TEXT | COUNTS | listed(TEXT | whole(1), "a list of rows") | NULL,
        "page": SWITCH,
    },
}
"""Settings of a command, by its name."""

TRAINER = {
    "kind": TEXT,
    "validation": whole(1),
    "variants": whole(1),
    "transpose": whole(0),
    "symmetry": whole(1),
    "demonstrations": whole(1) | NULL,
    "graphs": whole(1) | NULL,
    "knots": whole(4),
    "stride": whole(1) | NULL,
    "window": whole(1),
    "both_strands": SWITCH,
    "notation": choice("smiles", "selfies"),
    "merges": whole(0) | NULL,
    "unfit": choice("skip", "flatten"),
    "labels": NAMES | NULL,
    "max_tokens": whole(1),
    "network": MAPPING | TEXT | NULL,
    "network.name": TEXT,
    "network.options": MAPPING,
    "process.name": TEXT,
    "process.options": MAPPING,
    "process.alpha": MAPPING,
    "process.alpha.name": TEXT,
    "parametrization": TEXT,
    "objective": TEXT,
    "ends": SHARE,
    "pairs_weight": ABOVE_0,
    "properties": NAMES | NULL,
    "properties_weight": FROM_0,
    "joint": SWITCH,
    "optimizer": choice("adamw", "muon"),
    "levels": listed(NUMBER, "a list of 2 numbers", 2) | NULL,
    "guided": MAPPING | NULL,
    "label_dropout": SHARE,
    "steps": whole(1),
    "early": SHARE,
    "batch_size": whole(1),
    "learning_rate": ABOVE_0,
    "warmup": whole(0),
    "decay": SHARE,
    "ema": SHARE,
    "precision": choice("32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed", "16-true"),
    "accelerator": choice("auto", "cpu", "gpu", "cuda", "mps", "tpu", "hpu"),
    "threads": whole(1) | NULL,
    "minutes": ABOVE_0 | NULL,
    "validate_every": whole(1),
    "temperature": ABOVE_0,
    "basis": choice("fourier", "cosine") | NULL,
    "uniform_mean": SWITCH,
    "role": choice("judge", "reward"),
    "epochs": whole(1),
    "held_out": SHARE,
    "teacher": listed(METHOD, "a list of names or {name: ..., setting: ...}"),
    "sampling_steps": whole(1),
    "times": ANYTHING,
    "pairs": whole(1),
    "rounds": whole(0),
    "updates": whole(1),
    "penalty": FROM_0,
    "bins": whole(2),
    "siblings": whole(2),
    "base": whole(1),
    "collected": whole(1),
    "states": whole(1),
    "eta": listed(ABOVE_0, "a list of 2 numbers above 0", 2) | NULL,
    "scale": NUMBER,
    "first_order": SWITCH,
}
"""Settings of trainers, which mean the same in all of them."""

TASK = {
    "name": TEXT | NULL,
    "input": OBJECTS | NULL,
    "second": OBJECTS | NULL,
    "truth": OBJECTS | NULL,
    "noise_std": FROM_0 | listed(FROM_0, "a list of them, one for each input"),
    "add_noise": SWITCH,
    "damaged": SWITCH,
    "known": Kind("a share above 0 and below 1", lambda value: _is_real(value) and 0 < value < 1) | NULL,
    "mask": PATH | NULL,
    "operator": TEXT | NULL,
    "workers": whole(0),
    "timeout": ABOVE_0 | NULL,
    "memory": real(16, words="a number of megabytes of at least 16") | NULL,
}
"""Settings that tasks share; those of one task have the type of what ships, and ranges that the task knows."""

REWARD = {
    "path": TEXT,
    "command": TEXT,
    "workers": whole(0),
    "timeout": ABOVE_0 | NULL,
    "memory": real(16, words="a number of megabytes of at least 16") | NULL,
    "batch": SWITCH,
    "term": METHOD | NULL,
    "terms": listed(METHOD, "a list of names, module:function or {name: ..., setting: ...}"),
    "weights": listed(NUMBER, "a list of numbers, one for each term") | NULL,
}
"""Settings of rewards that are combined, or the user's own."""

GROUPS = {"trainer": TRAINER, "task": TASK, "reward": REWARD}


def of_command(command: str) -> dict[str, Kind]:
    """What is declared of a command and of the groups of its settings, by dotted name."""
    found = dict(COMMANDS[command])
    for group, kinds in GROUPS.items():
        found |= {f"{group}.{name}": kind for name, kind in kinds.items()}
    return found


BY_DEFAULT = {
    bool: SWITCH,
    int: Kind("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    float: NUMBER,
    str: TEXT,
    list: listed(ANYTHING, "a list"),
    dict: MAPPING,
}
"""What a value may be where nothing is declared, by the type of the shipped one."""


def refuse(name: str, value: Any, kind: Kind, shipped: Any = None) -> None:
    """Raise ValueError, in one line, for a value that is not of its kind; a text is answered with the nearest name.

    Args:
        name: of the setting, in full.
        value: that was given.
        kind: that is needed.
        shipped: what stands there where nothing is given; it is told unless it is null or has to be given.
    """
    if kind.fits(value):
        return
    if kind.names and isinstance(value, str):
        raise UnknownNameError(name, value, kind.names)
    given = {None: "null", True: "true", False: "false"}.get(value) if isinstance(value, bool | None) else repr(value)
    usual = f" (shipped: {shown(shipped)})" if shipped is not None and shipped != "???" else ""
    raise ValueError(f"{name}={given}; {kind.words} is needed{usual}")


def shown(value: Any) -> str:
    """A value as it would be written on the command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)
