"""Rules that every sample keeps (keep=), from configuration, beside whatever else guides."""

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


__all__ = ["build_keep", "keeping"]
