"""Rules that every sample keeps (keep=) and its length, from configuration, beside whatever else guides."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from guidekit.core.guidance import Fact, Guidance, GuidanceError, chain, overrides
from guidekit.core.prior import Prior
from guidekit.core.requirements import Layer
from guidekit.domain import Domain
from guidekit.errors import UnknownNameError


def build_keep(domain: Domain, rules: Mapping[str, Any] | None, prior: Prior) -> Guidance | None:
    """The guidance that keeps rules, see `Domain.keep`; None without rules.

    Raises:
        UnknownNameError: the domain has no such rule.
        ValueError: rules that cannot be read or kept, with the setting in front; a domain without rules.
    """
    if rules is None:
        return None
    known = [
        name
        for name, parameter in inspect.signature(domain.keep).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    if not rules and known:
        raise ValueError(f"keep={{}} names no rule; accepted: {', '.join(known)}")
    for name in rules:
        if known and name not in known:
            raise UnknownNameError("rule of keep", str(name), known)
    try:
        return domain.keep(prior, **{str(name): value for name, value in rules.items()})
    except ValueError as error:
        raise ValueError(f"keep: {error}") from error


def of_length(domain: Domain, config: Mapping[str, Any], prior: Prior) -> Prior:
    """The prior with samples of `length`, or of `min_length` to `max_length`, where a configuration asks for that.

    Raises:
        ValueError: length beside a limit, or lengths that the prior's samples cannot have.
    """
    exact, least, most = (config.get(name) for name in ("length", "min_length", "max_length"))
    if exact is least is most is None:
        return prior
    if exact is not None:
        if least is not None or most is not None:
            raise ValueError(f"length={exact} says all; leave min_length= and max_length= out")
        least = most = exact
    return domain.sized(prior, least, most)


def keeping(rules: Guidance | None, guidance: Guidance | None) -> Guidance | None:
    """Both guidances: the rules where the last word on a step is had, inside searches and filters.

    Raises:
        GuidanceError: a guidance that changes finished samples, which the rules could not prevent.
    """
    if rules is None or guidance is None:
        return rules or guidance
    for member in guidance.members:
        if overrides(member, "finish") and Fact.MASKED in member.requires:
            raise GuidanceError(f"{member.name} changes finished samples, which then break the rules: leave keep= out")
    inside = [member for member in guidance.members if member.layer <= Layer.PROPOSAL]
    outside = [member for member in guidance.members if member.layer > Layer.PROPOSAL]
    return chain(*inside, rules, *outside)


__all__ = ["build_keep", "keeping", "of_length"]
