"""Settings of registered methods: what a configuration holds of them, and how its values become arguments.

Both follow from the types in a method's signature, never from the names of its arguments:

  `Objective` without a default, or `Goal`         what the run obeys (reward= or task=); no setting
  `Prior`                                          the name of a prior of the domain, or the file of a checkpoint
  `LearnedValue`, `Objective | None`               the file of a learned value
  `Estimate`                                       {name: monte_carlo, draws: 4}
  `Refiner`                                        the file of a refiner
  `Verifier`                                       the setting `forbidden`, which goes to `Domain.verifier`
  `Schedule`                                       {name: ramp, start: 2}; [low, high] where a list is taken as well
  functions, tensors and all other classes         given from Python
  bool, int, float, str, lists, tuples, mappings   as they are
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from guidekit import registry
from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.objective import GOAL, Objective
from guidekit.core.prior import Prior
from guidekit.core.sampler import Sampler
from guidekit.errors import UnknownNameError
from guidekit.guidance.contrast.schedules import Schedule
from guidekit.guidance.starts.checkpoints import load_refiner
from guidekit.guidance.starts.refined_noise import Refiner
from guidekit.guidance.values.checkpoints import load_value
from guidekit.guidance.values.estimates import Estimate
from guidekit.objectives.verifiers import Verifier
from guidekit.priors.checkpoints import load_any_prior
from guidekit.registry import Setting
from guidekit.running.groups import MISSING
from guidekit.running.kinds import (
    LISTS,
    accepted,
    is_listed,
    is_protocol,
    members,
    of_objectives,
    plain,
    read_from_files,
)

FORBIDDEN = "forbidden"
"""The setting of whatever takes a verifier."""

OWN = "reward"
"""The setting of whatever obeys the run: a reward that it obeys instead, as reward= has it."""

BASES = {"guidance": Guidance, "sampler": Sampler, "estimate": Estimate, "schedule": None}
"""What members of a group make; None is anything."""


@dataclasses.dataclass(frozen=True)
class Context:
    """What a run gives to methods that ask for it.

    Args:
        objective: reward, or likelihood of the task; None where there is none.
        prior: by name or path of a checkpoint.
        verifier: makes a verifier, given what is forbidden; None where no domain could.
        reward: makes an objective of what reward= takes; None where no domain could.
    """

    objective: Objective | None = None
    prior: Callable[[str], Prior] = load_any_prior
    verifier: Callable[[Sequence[str]], Any] | None = None
    reward: Callable[[Any], Objective | None] | None = None


def is_goal(setting: Setting) -> bool:
    """Whether the run says what it is."""
    found = members(setting.annotation)
    if any(GOAL in getattr(member, "__metadata__", ()) for member in found):
        return True
    return setting.required and all(map(of_objectives, found)) and not any(map(read_from_files, found))


def takes_verifier(setting: Setting) -> bool:
    """Whether the domain's verifier is what it wants."""
    return Verifier in members(setting.annotation)


def configuration(kind: Callable[..., Any]) -> dict[str, Any]:
    """The settings of a method with their defaults, as a configuration has them; `MISSING` for those without one."""
    found: dict[str, Any] = {}
    for setting in registry.settings(kind):
        if takes_verifier(setting):
            found[FORBIDDEN] = []
        elif not is_goal(setting):
            found[setting.name] = MISSING if setting.required else plain(setting.default)
    return found


def build(group: str, config: str | Mapping[str, Any], context: Context, place: str = "") -> Any:
    """What a configuration of a group stands for: a guidance, a sampler, an estimate or a schedule.

    Args:
        group: of the registry.
        config: its name, or {name: ..., settings}.
        context: of the run.
        place: of its settings on the command line, such as "guidance."; empty within lists.

    Raises:
        UnknownNameError: no such name or setting.
        ValueError: a value that is none of those accepted, or out of range.
        GuidanceError: something is needed that the run has not.
    """
    options = dict(config) if isinstance(config, Mapping) else {"name": config}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(f"{config!r} names no {group}; write its name, or {{name: ..., setting: ...}}")
    kind, where = registry.get(group, name), f"{group}={name}"
    given = arguments(kind, options, context, where, place)
    try:
        made = kind(**given)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error
    base = BASES[group]
    if base is not None and not isinstance(made, base):
        raise GuidanceError(f"{where} makes a {type(made).__name__}, which is no {group}")
    return made


def arguments(
    kind: Callable[..., Any], options: Mapping[str, Any], context: Context, where: str, place: str = ""
) -> dict[str, Any]:
    """The arguments of a method, from its settings and the run; raises as `build`."""
    check(kind, options, where, place)
    given: dict[str, Any] = {}
    for setting in registry.settings(kind):
        name, optional = setting.name, type(None) in members(setting.annotation)
        if is_goal(setting):
            objective = _own(options[OWN], context, where) if OWN in options else context.objective
            if objective is None and not optional:
                raise GuidanceError(f"{where} needs something to obey: give reward=")
            given[name] = objective
        elif takes_verifier(setting):
            words = options.get(FORBIDDEN) or []
            if context.verifier is None:
                if optional and not words:
                    continue
                raise GuidanceError(f"{where} needs a verifier, and there is no domain that could give one")
            given[name] = context.verifier(list(words))
        elif _is_given(setting, options):
            given[name] = converted(setting, options[name], context, f"{place}{name}")
    return given


def _own(config: Any, context: Context, where: str) -> Objective | None:
    """The reward that a guidance obeys in place of that of the run."""
    if context.reward is None:
        raise GuidanceError(f"{where} names a reward of its own, {config!r}, and there is no domain that could give it")
    return context.reward(config)


def check(kind: Callable[..., Any], options: Mapping[str, Any], where: str, place: str = "") -> None:
    """Raise ValueError for settings of a method that it has not, that are missing or of a wrong type; reads no file."""
    known = configuration(kind)
    obeys = any(is_goal(setting) for setting in registry.settings(kind))
    for name in options:
        if name not in known and not (obeys and name == OWN):
            raise UnknownNameError(f"setting of {where}", str(name), known)
    own = [one for one in registry.settings(kind) if not is_goal(one) and not takes_verifier(one)]
    for setting in own:
        if _is_given(setting, options):
            converted(setting, options[setting.name], None, f"{place}{setting.name}")
    for setting in own:  # a wrong value is told before one that is missing
        if setting.required and not _is_given(setting, options):
            raise ValueError(f"{where} needs {place}{setting.name}=, {accepted(setting)}")
    words = options.get(FORBIDDEN)
    if words is not None and not (is_listed(words) and all(isinstance(word, str) for word in words)):
        raise ValueError(f"{place}{FORBIDDEN}={words!r}; a list of texts is needed")


def _is_given(setting: Setting, options: Mapping[str, Any]) -> bool:
    """Whether there is a value; null is none where null stands in a configuration for a default that it cannot say."""
    value = options.get(setting.name, MISSING)
    if value is None and type(None) not in members(setting.annotation) and setting.annotation is not Any:
        return plain(setting.default) is not None
    return not (isinstance(value, str) and value == MISSING)


def converted(setting: Setting, value: Any, context: Context | None, name: str) -> Any:
    """The argument behind a value of a configuration, by the type it should have.

    Args:
        setting: whose value it is.
        value: from a configuration; objects from Python pass through.
        context: of the run; None only checks, and reads no file.
        name: for messages.

    Raises:
        ValueError: a value of another kind.
    """
    if isinstance(value, float) and math.isinf(value) and value == setting.default:
        return value
    for member in sorted(members(setting.annotation), key=_rank):
        try:
            return _taken(member, value, context, name)
        except _OtherKind:
            continue
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}={value}; a finite number is needed")
    given = "null" if value is None else repr(value)
    raise ValueError(f"{name}={given}; accepted: {accepted(setting)}")


class _OtherKind(Exception):
    """A value is not of the type that was tried."""


def _rank(member: Any) -> int:
    """Exact types before open ones."""
    order = (type(None), bool, int, float, str)
    return order.index(member) if member in order else len(order) + (member is Any)


def _taken(member: Any, value: Any, context: Context | None, name: str) -> Any:
    """A value as one type has it."""
    origin = typing.get_origin(member) or member
    inner = typing.get_args(member)
    if member is Any or isinstance(member, typing.TypeVar):
        return value
    if origin in (type(None), bool, str):
        if isinstance(value, origin):
            return value
    elif origin is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif origin is float:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif origin is tuple:
        return _tuple(inner, value, context, name)
    elif inspect.isclass(origin) and issubclass(origin, Mapping):
        if isinstance(value, Mapping):
            each = inner[1] if len(inner) == 2 else Any
            return {key: _any_of(each, one, context, f"{name}.{key}") for key, one in value.items()}
    elif inspect.isclass(origin) and issubclass(origin, LISTS):
        if is_listed(value):
            each = inner[0] if inner else Any
            return tuple(_any_of(each, one, context, f"{name}[{i}]") for i, one in enumerate(value))
    elif origin is typing.Literal:
        if value in inner:
            return value
    elif isinstance(value, bool | int | float | str | Mapping | Sequence | None):
        return _read(origin, value, context, name)
    elif origin is Callable or not inspect.isclass(origin) or is_protocol(origin) or isinstance(value, origin):
        return value  # from Python, and judged there
    raise _OtherKind


def _any_of(annotation: Any, value: Any, context: Context | None, name: str) -> Any:
    return converted(Setting(name, annotation, None, True), value, context, name)


def _tuple(inner: tuple[Any, ...], value: Any, context: Context | None, name: str) -> tuple[Any, ...]:
    if not is_listed(value):
        raise _OtherKind
    if len(inner) == 2 and inner[1] is Ellipsis:
        inner = (inner[0],) * len(value)
    if len(value) != len(inner):
        raise _OtherKind
    return tuple(_any_of(each, one, context, name) for each, one in zip(inner, value, strict=True))


def _read(kind: Any, value: Any, context: Context | None, name: str) -> Any:
    """What text or a mapping stands for where an object is wanted."""
    if inspect.isclass(kind) and issubclass(kind, Prior) and isinstance(value, str):
        return value if context is None else context.prior(value)
    if kind is Refiner and isinstance(value, str):
        return value if context is None else load_refiner(value)
    if kind is Schedule and isinstance(value, str | Mapping):
        return _registered("schedule", value, context)
    if kind is Sampler and isinstance(value, str | Mapping):
        return _registered("sampler", value, context)
    if kind is Estimate and (isinstance(value, Mapping) or value in registry.entries("estimate")):
        return _registered("estimate", value, context)
    if kind is Estimate and isinstance(value, str) and not (set("./\\") & set(value) or Path(value).exists()):
        raise UnknownNameError("estimate", value, [*registry.entries("estimate"), "the file of a value"])
    if of_objectives(kind) and isinstance(value, str):
        return value if context is None else load_value(value)
    raise _OtherKind


def _registered(group: str, value: str | Mapping[str, Any], context: Context | None) -> Any:
    if context is not None:
        return build(group, value, context)
    options = dict(value) if isinstance(value, Mapping) else {"name": value}
    name = options.pop("name", None)
    if name is None:
        raise _OtherKind
    check(registry.get(group, str(name)), options, f"{group}={name}")
    return value
