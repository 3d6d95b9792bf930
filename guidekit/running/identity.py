"""What a run is: its settings, the files and the user's code they name, and the versions of what samples."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import modulefinder
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

import guidekit
from guidekit.domain import Domain
from guidekit.errors import UnknownNameError
from guidekit.io.files import sha256
from guidekit.priors.adapters import is_model_folder

NOT_COMPARED = ("output", "overwrite", "resume", "batch_size", "threads", "budget")
"""Settings that do not change what a sample is."""


def identity(domain: Domain, config: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides on the samples of a resolved configuration, as plain JSON.

    Args:
        domain: of the configuration.
        config: settings of `guidekit sample`.

    Returns:
        settings; files, hashes by setting of every file that a setting names, the prior's first; code, hashes of the
        user's modules that settings name and of what these import from beside them; versions.
    """
    settings = {key: value for key, value in config.items() if key not in NOT_COMPARED}
    named = dict(flat(settings))
    places = {key: place for key, value in named.items() if (place := _file(domain, value)) is not None}
    with contextlib.suppress(UnknownNameError):
        places["prior"] = domain.checkpoint(config["prior"])
    made = {
        "settings": settings,
        "files": {key: _hash(place) for key, place in sorted(places.items())},
        "code": {name: code for value in named.values() for name, code in _code(value).items()},
        "versions": {"guidekit": guidekit.__version__, "source": source(), "torch": torch.__version__},
    }
    return json.loads(json.dumps(made, default=str))


def digest(identity: Mapping[str, Any]) -> str:
    """A short name of an identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What differs between two identities, in one line; empty where nothing does."""
    said = []
    before, after = dict(flat(old.get("settings"))), dict(flat(new["settings"]))
    for key in [*after, *(key for key in before if key not in after)]:
        if repr(before.get(key)) != repr(after.get(key)):
            said.append(f"{key} was {before.get(key)}, is {after.get(key)}")
    for part, what in (("files", "the file of {}"), ("code", "the code of {}")):
        names = {**old.get(part, {}), **new[part]}
        said += [
            f"{what.format(name)} has changed"
            for name in names
            if new[part].get(name) != old.get(part, {}).get(name) and before.get(name) == after.get(name)
        ]
    was, now = old.get("versions", {}), new["versions"]
    said += [f"{n} was {was.get(n)}, is {now[n]}" for n in ("guidekit", "torch") if was.get(n) != now[n]]
    if not said and was.get("source") != now["source"]:
        said.append("the code of guidekit has changed")
    return "; ".join(said[:3]) + (f"; and {len(said) - 3} more" if len(said) > 3 else "")


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by dotted name, those in lists by number."""
    if isinstance(value, Mapping):
        items: Any = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        yield name, value
        return
    for key, one in items:
        yield from flat(one, f"{name}.{key}" if name else str(key))


@cache
def source() -> str:
    """Hash of guidekit's own Python files."""
    root = Path(guidekit.__file__).parent
    files = sorted(
        Path(folder) / name
        for folder, _, names in os.walk(root, followlinks=True)
        for name in names
        if name.endswith(".py")
    )
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()


def _file(domain: Domain, value: Any) -> Path | None:
    """The file, shipped checkpoint or model folder that a setting may name."""
    if not isinstance(value, str) or not value:
        return None
    own = Path(domain.assets or ".") / f"{value}.safetensors"
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # no name of a file
        for place in (Path(value).expanduser(), own):
            if place.is_file() or is_model_folder(place):
                return place
    return None


def _hash(place: Path) -> str:
    if place.is_file():
        return sha256(place)
    files = sorted(file for file in place.rglob("*") if file.is_file())
    return hashlib.sha256("".join(f"{file.relative_to(place)} {sha256(file)}\n" for file in files).encode()).hexdigest()


def _code(value: Any) -> dict[str, str]:
    """Hashes by module of the code behind "module:function" and of what it imports from the folder it lies in."""
    name, colon, function = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not colon or not function.isidentifier() or not all(part.isidentifier() for part in name.split(".")):
        return {}
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(name.partition(".")[0])
        if spec is not None and spec.origin is not None and Path(spec.origin).is_file():
            home = Path(spec.origin).parent
            root = home.parent if spec.submodule_search_locations else home
            finder = modulefinder.ModuleFinder([str(root)], excludes=["guidekit", "domains"])
            with contextlib.suppress(SyntaxError):  # in a module that is imported and perhaps never reached
                finder.import_hook(name)
            found = {key: getattr(module, "__file__", None) for key, module in finder.modules.items()}
            files = {key: file for key, file in found.items() if file}
            return {key: sha256(file) for key, file in sorted({name.partition(".")[0]: spec.origin, **files}.items())}
    return {}
