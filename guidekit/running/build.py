"""Objects from resolved configuration: domain, prior, reward, guidance, sampler."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
from guidekit.running.targets import target
from guidekit.samplers import Sampler
from guidekit.sampling import sample

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
        return users_reward(domain, options, prior)
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


def users_reward(domain: Domain, options: Mapping[str, Any], prior: Prior | None) -> Callable[[Any], float]:
    """A user's function, in worker processes where it is of objects, tried on a few objects of a prior first.

    Args:
        domain: of the objects.
        options: of the reward group's file `function`, without the name.
        prior: that is to be sampled; without one the function is not tried.

    Raises:
        ValueError: no such function, options out of range, or one that fails on all objects for the same reason.
    """
    shipped = load_group("reward", "function")
    unknown = [key for key in options if key not in shipped]
    if unknown:
        raise UnknownNameError("setting of reward function", unknown[0], [key for key in shipped if key != "name"])
    check_types(shipped, options, "reward.")
    settings = {**shipped, **options}
    function, path = user_function(settings["path"]), settings["path"]
    if not isinstance(domain.bind(function, path), objectives.ObjectReward):
        return function
    if settings["workers"] != 0:
        function = objectives.Isolated(function, path, settings["workers"], settings["timeout"])
    if prior is not None:
        objectives.refuse_useless(function, examples(domain, prior), path, domain.objects)
    return function


def examples(domain: Domain, prior: Prior, most: int = 4) -> list[Any]:
    """A few objects as `Domain.decode` gives them: real ones, or hasty samples of a prior of data that do not ship."""
    real = domain.reference()
    try:
        states = domain.encode(real[:: len(real) // most][:most]) if len(real) >= most else None
    except ValueError:  # not of this prior's size
        states = None
    if states is None:
        states = sample(prior, num_samples=most, steps=16).samples
    return [obj for obj in domain.decode(states) if obj is not None]


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
    if target(config["_target_"]) is chain:
        plugs = config.get("plugs") or []
        if not plugs:
            raise ValueError("guidance=chain needs plugs: guidance.plugs=[svdd,best_of_n]")
        return chain(*(build_guidance(named_guidance(plug), reward, verifier, checkpoint) for plug in plugs))
    made = _make(config, reward, verifier, checkpoint)
    if not isinstance(made, Guidance):
        raise GuidanceError(f"{config['_target_']} is no guidance, but a part of one or a sampler")
    return made


def _make(
    config: Mapping[str, Any],
    reward: Callable | None,
    verifier: Callable[..., Verifier] | None = None,
    checkpoint: Callable[[str], str | Path] = Path,
) -> Any:
    """The object of a `_target_`, nested ones first; objectives are filled in with the reward."""
    kind = target(config["_target_"])
    name = getattr(kind, "__name__", str(kind))
    arguments = {}
    for key, value in config.items():
        if key != "_target_":
            arguments[key] = _make(value, reward) if isinstance(value, Mapping) and "_target_" in value else value
    for key in inspect.signature(kind).parameters:
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
        return kind(**arguments)
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
    known = [key for key in config if key != "_target_"]
    unknown = [key for key in options if key not in known]
    if unknown:
        raise UnknownNameError(f"setting of guidance {name}", unknown[0], known)
    check_types(config, options, f"guidance {name}: ")
    return {**config, **options}


def build_sampler(config: Mapping[str, Any] | None) -> Sampler | None:
    """A sampler from configuration; None is the prior's default."""
    if not config or config.get("_target_") is None:
        return None
    made = _make(config, None)
    if not isinstance(made, Sampler):
        raise ValueError(f"{config['_target_']} is no sampler")
    return made
