"""Samples that vary a given object (lead=) with a strength, from configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guidekit.core.guidance import Guidance, chain
from guidekit.core.prior import Prior
from guidekit.domain import Domain
from guidekit.guidance.starts.from_sample import FromSample
from guidekit.guidance.transition.grammar import Grammar
from guidekit.priors.tokens import TokenPrior


def build_lead(domain: Domain, config: Mapping[str, Any], prior: Prior, rules: Guidance | None) -> FromSample | None:
    """The guidance that starts from `lead` noised with `strength`; None without a lead.

    Raises:
        ValueError: a lead that is no object of the prior, or breaks the rules that samples keep.
    """
    lead = config.get("lead")
    if lead is None:
        return None
    if not isinstance(prior, TokenPrior):
        raise ValueError(f"lead= is for priors of tokens, and states of this one ({prior.name}) are none")
    if any(config.get(name) is not None for name in ("length", "min_length", "max_length")):
        raise ValueError("samples have as many tokens as their lead: leave length=, min_length= and max_length= out")
    codec: Any = prior.codec
    room, reason = prior.event_shape[0], ""
    for text in domain.spellings(lead):
        try:
            state = codec.encode([text])
        except ValueError as error:
            reason = reason or str(error)
            continue
        if state.shape[1] != room:
            reason = reason or f"it has {state.shape[1]} tokens, and samples of this prior at most {room}"
            continue
        if isinstance(rules, Grammar) and not bool(rules.rule(prior).accepts(state).all()):
            reason = "it does not keep the rules of keep=, as far as they can be read from its spelling"
            continue
        return FromSample(state, float(config["strength"]))
    raise ValueError(f"lead={lead}: {reason}")


def begun(guidance: Guidance | None, lead: FromSample | None) -> Guidance | None:
    """A guidance whose samples begin at the lead."""
    if lead is None or guidance is None:
        return lead or guidance
    return chain(guidance, lead)


__all__ = ["begun", "build_lead"]
