"""Objects from resolved configuration: domain, prior, reward, guidance, sampler."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from torch import Tensor

from guidekit import objectives
from guidekit.core.guidance import Guidance, GuidanceError, chain
from guidekit.domain import Domain, UnknownNameError, user_function
from guidekit.guidance import MinorityScore, load_value
from guidekit.guidance.starts import load_refiner
from guidekit.objectives.verifiers import Verifier
from guidekit.core.prior import Prior
from guidekit.priors.checkpoints import load_any_prior
from guidekit.running.groups import check_types, group_choices, load_group
from guidekit.samplers import Sampler

OBJECTIVES = ("reward", "objective", "likelihood")
"""Names under which a guidance takes what it should obey."""

FUNCTIONS = ("planner", "score", "classifier", "spatial_weight")
"""Settings that are functions: null, or given from Python."""

PRIORS = ("weak", "reference", "synthetic", "pretrained")
"""Settings of a guidance that are a second prior: in a configuration, its name or the path of its checkpoint."""

VERIFYING = ("forbidden",)
"""Settings of a guidance that go to its domain's verifier."""

FILES = {"value": load_value, "refiner": load_refiner}
"""Settings of a guidance that are learned: in a configuration, the path of a file."""

OF_PRIORS = {"minority": MinorityScore}
"""Rewards of states that every domain has: made of the prior, and of what decodes its states."""


def build_reward(domain: Domain, config: Mapping[str, Any] | str | None, prior: Prior | None = None) -> Callable | None:
    """A reward of states from configuration; None without one.

    Args:
        domain: whose objects are judged.
        config: of the reward group.
        prior: that is sampled, for rewards that look at it.

    Raises:
        UnknownNameError: no such reward.
        ValueError: options it does not take, an unreadable reference, or no prior where one is needed.
    """
    if config is None or (isinstance(config, Mapping) and config.get("name") is None):
        return None
    function = reward_function(domain, config, prior)
    return _bound(domain, function, config if isinstance(config, str) else reward_title(config))


@dataclasses.dataclass(frozen=True)
class Combined:
    """A combination of rewards of states with one of the prior, itself one; minus infinity where a term is infinite.

    Args:
        function: sum, product or negation of rewards of states.
        name: for tables.
    """

    function: Callable[[Tensor], Tensor]
    name: str
    of_states = True
    differentiable = False

    def __call__(self, states: Tensor) -> Tensor:
        """Rewards (B,) of clean states."""
        values = self.function(states)
        return values.where(values.isfinite(), -math.inf)


def _bound(domain: Domain, function: Callable, title: str) -> Callable:
    """The reward of states behind a function of objects, a reward of the prior, or a combination of both."""
    if not _of_prior(function):
        return domain.bind(function, title)
    if isinstance(function, objectives.Negation):
        return Combined(objectives.Negation(_bound(domain, function.term, title)), title)
    if isinstance(function, objectives.Sum | objectives.Product):
        terms = [_bound(domain, term, title) for term in function.terms]
        return Combined(dataclasses.replace(function, terms=terms), title)
    return function


def _of_prior(function: Callable) -> bool:
    terms = [getattr(function, "term", None), *getattr(function, "terms", ())]
    return isinstance(function, tuple(OF_PRIORS.values())) or any(_of_prior(term) for term in terms if term is not None)


def reward_title(config: Mapping[str, Any]) -> str:
    """A short name of a reward for tables."""
    return str(config.get("path", config["name"])).rpartition(":")[2]


def reward_function(
    domain: Domain, config: Mapping[str, Any] | str, prior: Prior | None = None
) -> Callable[[Any], float]:
    """A reward from configuration: by name, a user's function, or a combination of others.

    It is of decoded objects, but for those `OF_PRIORS`, which are of states.
    """
    if isinstance(config, str):
        config = {"name": "function", "path": config} if ":" in config else {"name": config}
    options = {key: value for key, value in config.items() if key != "name"}
    name = config["name"]
    if name == "function":
        if options.get("path") in ("???", None):
            raise ValueError("reward=function needs reward.path=module:function")
        return user_function(options["path"])
    if name in ("sum", "product"):
        terms = [reward_function(domain, term, prior) for term in options.pop("terms", None) or []]
        if not terms:
            raise ValueError(f"reward={name} needs terms: reward.terms=[qed,sa]")
        return objectives.Sum(terms, options["weights"]) if name == "sum" else objectives.Product(terms)
    if name == "negation":
        if options.get("term") is None:
            raise ValueError("reward=negation needs a term: reward.term=drd2")
        return objectives.Negation(reward_function(domain, options["term"], prior))
    shipped = load_group("reward", name) if name in group_choices("reward") else {}
    missing = [key for key, value in shipped.items() if value == "???" and options.get(key, value) in ("???", None)]
    if missing:
        raise ValueError(f"reward={name} needs reward.{missing[0]}=")
    check_types(shipped, options, f"reward {name}: ")
    if name in OF_PRIORS and prior is None:
        raise ValueError(f"reward={name} is a reward of a prior's states, and none was given")
    try:
        if name in OF_PRIORS:
            return OF_PRIORS[name](prior, **options, decode=domain.decode)
        return domain.rewards.function(name, **options)
    except TypeError as error:
        raise ValueError(f"reward {name}: {error}") from error


def build_guidance(
    config: Mapping[str, Any] | None,
    reward: Callable | None,
    verifier: Callable[..., Verifier] | None = None,
    checkpoint: Callable[[str], str | Path] = Path,
) -> Guidance | None:
    """A guidance from configuration, given the reward it should obey; None without one.

    Args:
        config: of the guidance group.
        reward: of states.
        verifier: makes a verifier from the options of `Domain.verifier`.
        checkpoint: file of a second prior by name, see `Domain.checkpoint`.

    Raises:
        GuidanceError: the guidance needs a reward or a verifier and there is none.
        ValueError: settings outside their range, or a domain without a verifier.
    """
    if not config or config.get("_target_") is None:
        return None
    if get_object(config["_target_"]) is chain:
        plugs = config.get("plugs") or []
        if not plugs:
            raise ValueError("guidance=chain needs plugs: guidance.plugs=[svdd,best_of_n]")
        return chain(*(build_guidance(named_guidance(plug), reward, verifier, checkpoint) for plug in plugs))
    return _make(config, reward, verifier, checkpoint)


def _make(
    config: Mapping[str, Any],
    reward: Callable | None,
    verifier: Callable[..., Verifier] | None = None,
    checkpoint: Callable[[str], str | Path] = Path,
) -> Any:
    """The object of a `_target_`, nested ones first; objectives are filled in with the reward."""
    target = get_object(config["_target_"])
    name = getattr(target, "__name__", str(target))
    arguments = {}
    for key, value in config.items():
        if key != "_target_":
            arguments[key] = _make(value, reward) if isinstance(value, Mapping) and "_target_" in value else value
    for key in inspect.signature(target).parameters:
        if key in FUNCTIONS and arguments.get(key) == "???":
            raise ValueError(f"{name} needs {key}=, a function: pass it from Python")
        if key in FUNCTIONS and isinstance(arguments.get(key), str):
            raise ValueError(f"{name}: {key}={arguments[key]!r} is no function; pass one from Python, or leave it null")
        if key in OBJECTIVES:
            if reward is None:
                raise GuidanceError(f"{name} needs something to obey: give reward=")
            arguments[key] = reward
        if arguments.get(key) == "???":
            raise ValueError(f"{name} needs guidance.{key}=")
        if key in FILES and isinstance(arguments.get(key), str):
            arguments[key] = FILES[key](arguments[key])
        if key in PRIORS and isinstance(arguments.get(key), str):
            arguments[key] = load_any_prior(checkpoint(arguments[key]))
        if key == "verifier":
            if verifier is None:
                raise GuidanceError(f"{name} needs a verifier, and there is no domain that could give one")
            arguments[key] = verifier(**{option: arguments.pop(option) for option in VERIFYING if option in arguments})
    try:
        return target(**arguments)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error


def named_guidance(plug: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration of a plug in a chain: a name of the guidance group, or {name: ..., options}."""
    options = dict(plug) if isinstance(plug, Mapping) else {"name": plug}
    name = options.pop("name")
    choices = [c for c in group_choices("guidance") if c not in ("none", "chain")]
    if name not in choices:
        raise UnknownNameError("guidance", name, choices)
    config = load_group("guidance", name)
    unknown = [key for key in options if key not in config]
    if unknown:
        raise UnknownNameError(f"setting of guidance {name}", unknown[0], [key for key in config if key != "_target_"])
    check_types(config, options, f"guidance {name}: ")
    return {**config, **options}


def build_sampler(config: Mapping[str, Any] | None) -> Sampler | None:
    """A sampler from configuration; None is the prior's default."""
    if not config or config.get("_target_") is None:
        return None
    return _make(config, None)
