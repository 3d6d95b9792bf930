"""Objects from resolved configuration: reward, guidance, sampler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from guidekit import objectives
from guidekit.core.guidance import Guidance, chain
from guidekit.core.objective import Objective, Product
from guidekit.core.prior import Prior
from guidekit.domain import Domain
from guidekit.errors import UnknownNameError
from guidekit.guidance.learned.minority import MinorityScore
from guidekit.objectives.command import command
from guidekit.objectives.pool import Isolated
from guidekit.objectives.scoring import Batched, refuse_useless
from guidekit.priors.checkpoints import load_any_prior
from guidekit.running.declared import REWARD
from guidekit.running.functions import user_function
from guidekit.running.groups import MISSING, chained, check_types, load_group
from guidekit.running.settings import Context, arguments, build
from guidekit.samplers import Sampler
from guidekit.sampling import sample

OF_PRIORS = {"minority": MinorityScore}
"""Rewards of states that every domain has: made of the prior that is sampled."""

OF_REWARDS = {f"reward.{name}": kind for name, kind in REWARD.items()}

Config = Mapping[str, Any] | str


def build_reward(domain: Domain, config: Config | None, prior: Prior | None = None) -> Objective | None:
    """A reward from configuration: by name, a user's function, or a combination of others; None without one.

    Args:
        domain: whose objects are judged.
        config: of the reward group, or a name or "module:function".
        prior: that is sampled, for rewards that look at it, and to try a user's function on.

    Raises:
        UnknownNameError: no such reward, or setting of it.
        ValueError: values it does not take, an unreadable reference, or no prior where one is needed.
    """
    if config is None or (isinstance(config, Mapping) and config.get("name") is None):
        return None
    if isinstance(config, str):
        config = {"name": "function", "path": config} if ":" in config else {"name": config}
    options = {key: value for key, value in config.items() if key != "name"}
    name = config["name"]
    if name == "function":
        return users_reward(domain, options, prior)
    if name == "command":
        return users_program(domain, options, prior)
    if name in ("sum", "product"):
        terms = [_term(domain, term, prior) for term in options.get("terms") or []]
        if not terms:
            raise ValueError(f"reward={name} needs terms: reward.terms=[qed,sa]")
        return objectives.weighted(terms, options.get("weights")) if name == "sum" else Product(tuple(terms))
    if name == "negation":
        if options.get("term") is None:
            raise ValueError("reward=negation needs a term: reward.term=drd2")
        return -_term(domain, options["term"], prior)
    if name in OF_PRIORS:
        _settings(name, options)
        if prior is None:
            raise ValueError(f"reward={name} is a reward of a prior's states, and none was given")
        return OF_PRIORS[name](prior, **options)
    kind = domain.rewards.kind(name)
    given = arguments(kind, options, Context(), f"reward={name}", "reward.")
    try:
        made = domain.rewards.make(name, **given)
        return made if prior is None else domain.suited(made, prior)
    except TypeError as error:
        raise ValueError(f"reward={name}: {error}") from error


def _term(domain: Domain, config: Config, prior: Prior | None) -> Objective:
    """A part of a combined reward."""
    found = build_reward(domain, config, prior)
    if found is None:
        raise ValueError(f"{config!r} is no reward; write its name, module:function, or {{name: ..., option: ...}}")
    return found


def _settings(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a reward's file in configs/, with the given ones in place of what ships; unknown ones are refused."""
    shipped = load_group("reward", name)
    for key in options:
        if key not in shipped:
            raise UnknownNameError(f"setting of reward={name}", key, [key for key in shipped if key != "name"])
    check_types(shipped, options, OF_REWARDS, "reward.")
    return {**shipped, **options}


def users_reward(domain: Domain, options: Mapping[str, Any], prior: Prior | None) -> Objective:
    """A user's function, in worker processes where it is of objects, tried on a few objects of a prior first.

    Args:
        domain: of the objects.
        options: of the reward group's file `function`, without the name.
        prior: that is to be sampled; without one the function is not tried.

    Raises:
        ValueError: no such function, options out of range, or one that fails on all objects for the same reason.
    """
    settings = _settings("function", options)
    path, workers = settings["path"], settings["workers"]
    if path in (MISSING, None):
        raise ValueError("reward=function needs reward.path=module:function")
    function = user_function(path)
    listed = settings["batch"] or getattr(function, "batched", False)
    if isinstance(domain.bind(function, path), objectives.ObjectReward):
        if workers != 0:
            function = Isolated(function, path, workers, settings["timeout"], listed, settings["memory"])
        elif listed:
            function = Batched(function)
        if prior is not None:
            refuse_useless(function, examples(domain, prior), path, domain.objects)
    bound = domain.bind(function, path.rpartition(":")[2])
    return bound if prior is None else domain.suited(bound, prior)


def users_program(domain: Domain, options: Mapping[str, Any], prior: Prior | None) -> Objective:
    """A program that judges objects, in worker processes, tried on a few objects of a prior first.

    Args:
        domain: of the objects.
        options: of the reward group's file `command`, without the name.
        prior: that is to be sampled; without one the program is not tried.

    Raises:
        ValueError: no such program, options out of range, or one that fails on all objects for the same reason.
    """
    settings = _settings("command", options)
    if settings["command"] in (MISSING, None):
        raise ValueError("reward=command needs reward.command=, a program that reads one object a line")
    program = command(settings["command"], domain.line)
    function = Isolated(program, None, settings["workers"], settings["timeout"], memory=settings["memory"])
    if prior is not None:
        refuse_useless(function, examples(domain, prior), program.name, domain.objects)
    bound = objectives.ObjectReward(function, program.name)
    return bound if prior is None else domain.suited(bound, prior)


def examples(domain: Domain, prior: Prior, most: int = 4) -> list[Any]:
    """A few objects as a prior's codec gives them: real ones, or hasty samples of a prior of data that do not ship."""
    real = domain.reference(prior=prior)
    try:
        states = prior.encode(real[:: len(real) // most][:most]) if len(real) >= most else None
    except ValueError:  # not of this prior's size
        states = None
    if states is None:
        states = sample(prior, num_samples=most, steps=16).samples
    return [obj for obj in prior.decode(states) if obj is not None]


def build_guidance(
    config: Config | None,
    objective: Objective | None,
    verifier: Callable[..., Any] | None = None,
    prior: Callable[[str], Prior] = load_any_prior,
    reward: Callable[[Any], Objective | None] | None = None,
) -> Guidance | None:
    """A guidance from configuration, given what it should obey; None without one.

    Args:
        config: of the guidance group, or its name; {name: chain, of: [...]} are several, inside first.
        objective: reward, or likelihood of a task.
        verifier: makes a verifier from what is forbidden, see `Domain.verifier`.
        prior: a second prior by name, see `Domain.load_prior`.
        reward: makes rewards for those that name one of their own, see `build_reward`.

    Raises:
        GuidanceError: the guidance needs a reward or a verifier and there is none.
        ValueError: settings outside their range, or a domain without a verifier.
    """
    options = {"name": config} if isinstance(config, str) else config
    if not options or options.get("name") in (None, "none"):
        return None
    context = Context(objective, prior, verifier, reward)
    if options["name"] != "chain":
        return build("guidance", options, context, "guidance.")
    return chain(*(build("guidance", one, context) for one in chained(options)))


def build_sampler(config: Config | None) -> Sampler | None:
    """A sampler from configuration; None is the prior's default."""
    options = {"name": config} if isinstance(config, str) else config
    if not options or options.get("name") in (None, "default"):
        return None
    return build("sampler", options, Context(), "sampler.")
