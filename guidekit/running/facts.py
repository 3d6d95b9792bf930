"""What guidances and samplers need, by the facts they declare: one of each is made of stand-ins and asked."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from guidekit import registry
from guidekit.core.guidance import Guidance
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.core.requirements import Fact
from guidekit.guidance.values.learned import LearnedValue
from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.objectives.verifiers import ForbiddenWords
from guidekit.priors.gaussian import Gaussian
from guidekit.priors.gaussian_field import GaussianField
from guidekit.processes import VP, Masked
from guidekit.registry import Setting
from guidekit.running.kinds import accepted, members
from guidekit.running.settings import is_goal, takes_verifier

STATES = {
    Fact.PARTS: "several parts",
    Fact.MASKED: "masked tokens",
    Fact.ABSORBING: "tokens that are absorbed",
    Fact.RATES: "tokens, in continuous time",
    Fact.SEQUENCE: "tokens",
    Fact.TOKENS: "tokens",
    Fact.FLOW: "real numbers",
    Fact.REAL: "real numbers",
    Fact.WHOLE: "all of one kind",
}
"""What is said of the states that something works on, the narrowest first."""

OF_GOALS = (Fact.GRADIENT, Fact.PSEUDO_INVERSE, Fact.ADJOINT)
"""What is said with the goal itself."""


class Anything(Objective[None]):
    """Stands in for what a run obeys."""

    def scores(self, states: Any, t: Any, rows: None) -> Tensor:
        """See `Objective.scores`."""
        return torch.zeros(len(states))


class Smooth(Anything):
    """Stands in for a differentiable objective."""

    differentiable = True

    def relaxed(self, laws: Tensor) -> Tensor:
        """Of laws of tokens."""
        return laws.sum((1, 2))


def guidance_facts(name: str, kind: Callable[..., Guidance]) -> dict[str, str]:
    """What a guidance needs, the states it works on, and its place in the onion."""
    settings = registry.settings(kind)
    found, smooth = instances(kind, settings)
    parts = [member for guidance in found for member in guidance.members]
    facts = {fact for each in found for fact in _required(each.members)}
    smooth = smooth or Fact.GRADIENT in facts
    needs = [_goal(setting, smooth) for setting in settings if is_goal(setting)]
    needs += ["a verifier" for setting in settings if takes_verifier(setting)]
    others = [one for one in settings if one.required and not is_goal(one) and not takes_verifier(one)]
    needs += [_wanted(one) for one in others]
    if {Fact.CONDITIONAL, Fact.CONDITION} <= facts:
        needs.append("a conditional prior and a condition")
        facts -= {Fact.CONDITIONAL, Fact.CONDITION}
    needs += [fact.value[0] for fact in Fact if fact in facts and fact not in (*STATES, *OF_GOALS)]
    on = dict.fromkeys(states_of(set(_required(guidance.members))) for guidance in found)
    places = dict.fromkeys(member.layer.name.lower() for member in sorted(parts, key=lambda member: member.layer))
    return {
        "needs": "; ".join(needs) or "-",
        "on": "all" if {"real numbers", "tokens"} <= set(on) else " or ".join(on),
        "place": ", ".join(places),
    }


def sampler_facts(name: str, kind: Callable[..., Any]) -> dict[str, str]:
    """The states that a sampler works on, and whether it draws noise as it is made without settings."""
    sampler = kind()
    return {"on": states_of(sampler.requires), "noise": "yes" if Fact.NOISE in sampler.provides else "no"}


def states_of(facts: typing.Collection[Fact]) -> str:
    """The states that facts are about."""
    return next((words for fact, words in STATES.items() if fact in facts), "all")


def _required(parts: Sequence[Guidance]) -> frozenset[Fact]:
    """What guidances need from outside of them."""
    provided = frozenset[Fact]().union(*(part.provides for part in parts))
    return frozenset[Fact]().union(*(part.requires for part in parts)) - provided


def _goal(setting: Setting, smooth: bool) -> str:
    if GaussianLikelihood in members(setting.annotation):
        return "a linear measurement (task=)"
    return "a differentiable objective" if smooth else "a reward or task"


def _wanted(setting: Setting) -> str:
    """A setting that has to be given."""
    if GaussianField in members(setting.annotation):
        return "a Gaussian field"
    if any(inspect.isclass(member) and issubclass(member, Prior) for member in members(setting.annotation)):
        return "a second prior"
    return accepted(setting).partition(" (")[0].removeprefix("a text or ")


def instances(kind: Callable[..., Guidance], settings: Sequence[Setting]) -> tuple[list[Guidance], bool]:
    """One of each sort that a guidance can be, and whether only a differentiable objective made it one.

    Raises:
        ValueError: nothing that is to be had here makes one.
    """
    reason: Exception | None = None
    for goal in (Anything(), Smooth()):
        found: list[Guidance] = []
        for process in (VP(), Masked(4)):
            try:
                given = {one.name: stand_in(one, goal, process) for one in settings if one.required or is_goal(one)}
                found.append(kind(**given))
            except (ValueError, TypeError, AttributeError) as error:
                reason = error
        if found:
            return found, isinstance(goal, Smooth)
    raise ValueError(f"{kind.__name__} cannot be made of stand-ins: {reason}")


def stand_in(setting: Setting, goal: Objective, process: Any) -> Any:
    """Something of a setting's type."""
    if is_goal(setting):
        return goal
    if takes_verifier(setting):
        return ForbiddenWords([[1]])
    for member in members(setting.annotation):
        kind = typing.get_origin(member) or member
        for made in _made(kind, process):
            return made
    raise ValueError(f"there is no stand-in for {setting.name}")


def _made(kind: Any, process: Any) -> Iterator[Any]:
    """At most one thing of a type."""
    if not inspect.isclass(kind):
        return
    if kind is Callable:
        yield lambda *given: given[0]
    elif issubclass(kind, LearnedValue):
        yield LearnedValue(nn.Identity(), process, torch.arange(4.0).double())
    elif issubclass(kind, Objective):
        yield Anything()
    elif issubclass(kind, Prior):
        yield Gaussian(torch.zeros(2), 1.0)
    elif issubclass(kind, Tensor):
        yield torch.zeros(1, 2)
    elif issubclass(kind, bool | int | float | str):
        yield kind()
    elif kind in (Sequence, list, tuple):
        yield (1.0,)
    elif not getattr(kind, "_is_protocol", False):
        yield object.__new__(kind)  # its methods are not called before a run
