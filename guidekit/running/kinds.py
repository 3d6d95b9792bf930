"""Types of settings: what kinds of values they take, and how that is said."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from guidekit import registry
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.guidance.contrast.schedules import Schedule
from guidekit.guidance.starts.refined_noise import Refiner
from guidekit.guidance.values.estimates import Estimate
from guidekit.guidance.values.learned import LearnedValue
from guidekit.registry import Setting

LISTS = (Sequence, Set, set)
"""Types that a list is taken for; text is none of them here."""


def members(annotation: Any) -> tuple[Any, ...]:
    """The types of a union, None among them as NoneType; one type by itself."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(member for one in typing.get_args(annotation) for member in members(one))
    return (annotation,)


def plain(value: Any) -> Any:
    """A default as a configuration has it; a mapping without entries is null, as it could not be filled."""
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value if isinstance(value, bool | int | float | str) else None


def is_listed(value: Any) -> bool:
    """Whether a value is a list, or the like, and no text."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def is_protocol(kind: Any) -> bool:
    """Whether a type says what an object can do, and nothing is an instance of it."""
    return bool(getattr(kind, "_is_protocol", False))


def of_objectives(kind: Any) -> bool:
    """Whether a type is one of objectives."""
    return inspect.isclass(kind) and issubclass(kind, Objective)


def read_from_files(kind: Any) -> bool:
    """Whether what a run obeys is never of this type: it has a name or a file."""
    return kind in (Estimate, LearnedValue)


PLAIN = {
    type(None): "null",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Any: "anything",
}


FUNCTION = "a function, from Python"


def accepted(setting: Setting) -> str:
    """What a setting may be, in words; objects that only Python can make are named where nothing else is accepted."""
    found = list(dict.fromkeys(_words(member) for member in members(setting.annotation)))
    made = [words for words in found if words.endswith("from Python") and words != FUNCTION]
    found = [words for words in found if words not in made] or found
    found.sort(key=lambda words: (words == "null", words.endswith("from Python")))
    return " or ".join(found) + ("" if setting.required else f" (default: {_shown(setting.default)})")


def _shown(value: Any) -> str:
    told = plain(value)
    return "null" if told is None else str(told).lower() if isinstance(told, bool) else str(told)


def _words(member: Any) -> str:
    """One type, in words."""
    origin, inner = typing.get_origin(member) or member, typing.get_args(member)
    if origin in PLAIN:
        return PLAIN[origin]
    if origin is tuple and Ellipsis not in inner:
        return f"a list of {len(inner)} {'numbers' if set(inner) <= {int, float} else 'values'}"
    if origin is typing.Literal:
        return ", ".join(map(str, inner))
    if inspect.isclass(origin) and issubclass(origin, Prior):
        return "a prior (its name, or the file of a checkpoint)"
    if origin is Refiner:
        return "a refiner (a file made by guidekit train trainer=refiner)"
    if origin is LearnedValue:
        return "a value (a file made by guidekit train trainer=value)"
    if of_objectives(origin):
        return "a value (a file made by guidekit train trainer=value or trainer=energy)"
    if origin is Estimate:
        return f"an estimate ({_named('estimate')})"
    if origin is Schedule:
        return f"a schedule ({_named('schedule')})"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return "a mapping"
    if inspect.isclass(origin) and issubclass(origin, LISTS):
        return "a list"
    if origin is Callable:
        return FUNCTION
    return f"a {getattr(origin, '__name__', origin)}, from Python"


def _named(group: str) -> str:
    """How a member of a group is written."""
    return " | ".join(f"{{name: {name}, ...}}" for name in registry.entries(group))
