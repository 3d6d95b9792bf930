"""Classes that settings may name as `_target_`: those of guidekit, and those that another package has registered.

Nothing is imported to find out whether a name is one of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from guidekit.names import UnknownNameError

ENTRY_POINTS = ("guidekit.guidance", "guidekit.samplers", "guidekit.values")
"""Groups under which a package registers its own: name = "package.module:Class"."""

PLACES = ("guidance", "guidances", "sampler")
"""Settings below which a class may be named."""


def target(name: object) -> Callable[..., Any]:
    """The class behind a `_target_`.

    Raises:
        UnknownNameError: it is not registered, whatever else of that name could be imported.
    """
    name, shipped, others = str(name), _shipped(), _others()
    if name in shipped:
        return shipped[name]
    if name in others:
        return others[name].load()
    raise UnknownNameError("registered guidance, sampler or value", name, [*shipped, *others])


def refuse_targets(config: Mapping[str, Any]) -> None:
    """Refuse a `_target_` anywhere in the settings of a command that names no registered class.

    Raises:
        ValueError: with the setting; one for a class where none is expected, `UnknownNameError` for another class.
    """
    for setting, name in _named(config, ""):
        if setting.partition(".")[0] not in PLACES:
            raise ValueError(f"{setting}={name}: no class can be named here, only below {', '.join(PLACES)}")
        if name is not None:
            target(name)


def _named(value: Any, path: str) -> list[tuple[str, Any]]:
    """(dotted setting, value) of each `_target_`, in mappings and lists however nested."""
    if isinstance(value, Mapping):
        own = [(f"{path}_target_", value["_target_"])] if "_target_" in value else []
        return own + [pair for key, one in value.items() for pair in _named(one, f"{path}{key}.")]
    if isinstance(value, list | tuple):
        return [pair for i, one in enumerate(value) for pair in _named(one, f"{path}{i}.")]
    return []


@cache
def _shipped() -> dict[str, Callable[..., Any]]:
    """What the packages export under a capital letter, and `chain`; other functions may write files."""
    from guidekit import guidance, samplers

    exported = [(module, name) for module in (guidance, samplers) for name in module.__all__]
    found = {f"{module.__name__}.{name}": getattr(module, name) for module, name in exported}
    return {name: one for name, one in found.items() if one is guidance.chain or _makes(one)}


def _makes(one: Any) -> bool:
    name = getattr(one, "__name__", "")
    return callable(one) and name[:1].isupper() and not (inspect.isclass(one) and issubclass(one, Exception))


def _others() -> dict[str, EntryPoint]:
    found = [entry for group in ENTRY_POINTS for entry in entry_points(group=group)]
    return {entry.value.replace(":", "."): entry for entry in found}
