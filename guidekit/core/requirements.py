"""What the parts of a run require of each other and provide: one vocabulary, checked and worded in one place."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guidekit.core.guidance import Guidance
    from guidekit.core.objective import Objective
    from guidekit.core.prior import Prior
    from guidekit.core.sampler import Sampler


class Fact(Enum):
    """The object of a sentence "<who> needs ...", and what to do without it.

    In the remedy {name} is who needs it, {prior} and {sampler} what is there, {samplers} and {guidances} what fits;
    {instead} names guidances that fit, where there are some.
    """

    REAL = ("real-valued states", "this prior ({prior}) has none{instead}")
    TOKENS = ("tokens", "this prior ({prior}) has none{instead}")
    PARTS = ("states of several parts", "those of this prior ({prior}) have one{instead}")
    WHOLE = ("states of one kind", "those of this prior ({prior}) have several parts{instead}")
    FLOW = ("a Gaussian process with a probability flow", "this prior ({prior}) has none{instead}")
    ABSORBING = ("an absorbing process", "that of this prior ({prior}) is none{instead}")
    MASKED = ("an absorbing (masked) process", "this prior ({prior}) has none{instead}")
    RATES = ("a chain in continuous time", "the process of this prior ({prior}) is none{instead}")
    SEQUENCE = ("one sequence of tokens a state", "states of this prior ({prior}) are none{instead}")
    CONDITIONAL = ("a conditional prior", "this one ({prior}) was made without conditions")
    CONDITION = ("a condition to guide towards", "give condition=...")
    NETWORK = ("a prior with a network", "this one ({prior}) shows none: a denoiser of yours must be a torch module")
    NOISE = ("a sampler that draws noise", "{sampler} does not, and copies would stay copies: use {samplers}")
    TILTS = ("a sampler whose kernels can be tilted", "those of {sampler} cannot: use {samplers}")
    JUMPS = ("a sampler whose jumps can be accelerated", "those of {sampler} cannot: use {samplers}")
    TABLES = ("a sampler whose kernels are tables of independent tokens", "those of {sampler} are not: use {samplers}")
    RATE_STEPS = ("a sampler that follows rates", "{sampler} does not: use {samplers}")
    ESTIMATE = (
        "a sampler whose step goes towards one clean estimate",
        "{sampler} looks at others as well: use {samplers}",
    )
    REVERSAL = ("a sampler that tells reversal from added noise", "{sampler} does not: use {samplers}")
    GRADIENT = (
        "a differentiable objective",
        "{objective} is a black box: search instead, with SVDD, FKSteering or BestOfN; for real numbers also "
        "EnsembleKalmanGuidance or DPSGSG",
    )
    ADJOINT = ("a linear measurement", "{objective} is none, or does not say so: use guidance={guidances}")
    PSEUDO_INVERSE = (
        "a linear measurement with a pseudo-inverse, such as task=inpaint",
        "{objective} is none, for this prior ({prior}): use guidance={guidances}",
    )
    SVD = ("a measurement whose singular values are known", "{objective} does not tell them: use guidance={guidances}")
    PARTICLES = ("more than one particle per group", "give particles=...")
    BRANCHES = ("a contrast of two branches inside it", "write chain(CFG(...), {name}(...))")
    WEIGHTS = ("a particle filter around it", "write chain({name}(...), FKSteering(...))")
    LINEAR = ("a contrast that no rule has changed", "leave out Rescale, APG and the like inside {name}")


class Layer(IntEnum):
    """Place in the onion, inside to outside."""

    CONTRAST = 1
    ESTIMATE = 2
    GRADIENT = 3
    PROPOSAL = 4
    SEARCH = 5
    RECURRENCE = 6
    REFERENCE = 7
    FILTER = 8
    START = 9


class GuidanceError(ValueError):
    """Parts of a run that do not fit together; the message says what is missing and what fits."""


def check(
    prior: Prior,
    sampler: Sampler,
    members: Sequence[Guidance],
    given: frozenset[Fact],
    known: Callable[[], Sequence[Sampler]],
    fitting: Callable[[Prior, Objective], Sequence[str]] = lambda prior, objective: (),
) -> None:
    """Raise `GuidanceError` unless all that is required is provided.

    Args:
        prior, sampler, members: of the run, members inside first.
        given: facts of the call, such as a condition or several particles.
        known: makes the samplers to be recommended.
        fitting: names the guidances that could take an objective instead.
    """
    _check_sampler(prior, sampler, known)
    weighed = any(Fact.WEIGHTS in member.provides for member in members)
    for place, guidance in enumerate(members):
        needs = guidance.requires | ({Fact.NOISE} if weighed and guidance.shifts else frozenset())
        around = {Fact.BRANCHES: members[:place], Fact.WEIGHTS: members[place + 1 :]}
        parts = together([objective.parts for objective in guidance.objectives] or [None])
        for fact in sorted(needs, key=lambda fact: list(Fact).index(fact)):
            drawn = sampler.provides if fact is not Fact.NOISE else {fact} if sampler.draws(parts) else frozenset()
            others: list[Any] = [guidance, *guidance.objectives]
            if fact is not Fact.GRADIENT:
                others += around.get(fact, members)
            if fact not in given.union(prior.provides, drawn, *(other.provides for other in others)):
                raise GuidanceError(_missing(fact, prior, sampler, guidance, parts, known, fitting))
    _check_order(members)
    for guidance in members:
        for objective in guidance.objectives:
            objective.check(prior)
        guidance.check(prior, sampler, members)


def _check_sampler(prior: Prior, sampler: Sampler, known: Callable[[], Sequence[Sampler]]) -> None:
    missing = [fact for fact in Fact if fact in sampler.requires and fact not in prior.provides]
    if missing:
        needed, _ = missing[0].value
        fits = [each.name for each in known() if suits(each, prior)]
        advice = f"samplers for it: {', '.join(fits)}" if fits else f"this prior ({prior.name}) has none"
        raise GuidanceError(f"sampler {sampler.name} needs {needed}, which this prior ({prior.name}) has not; {advice}")
    if not suits(sampler, prior):
        raise GuidanceError(
            f"sampler {sampler.name} takes steps of one kind of state, and those of this prior "
            f"({prior.name}) have several parts: give each its own with Each({{name: sampler, ...}})"
        )
    sampler.check(prior)


def suits(sampler: Sampler, prior: Prior) -> bool:
    """Whether a sampler can take steps of a prior's states."""
    return sampler.requires <= prior.provides and (sampler.takes_parts or Fact.PARTS not in prior.provides)


def _missing(
    fact: Fact,
    prior: Prior,
    sampler: Sampler,
    guidance: Guidance,
    parts: frozenset[str] | None,
    known: Callable[[], Sequence[Sampler]],
    fitting: Callable[[Prior, Objective], Sequence[str]],
) -> str:
    """The sentence that says what a guidance needs, and what to do without it."""
    fits = [each.name for each in known() if fact in each.provides and suits(each, prior)]
    needed, remedy = fact.value
    name = guidance.name
    where = "" if parts is None or fact is not Fact.NOISE else f" in {' and '.join(sorted(parts))}"
    wanted = " and ".join(dict.fromkeys(objective.name for objective in guidance.objectives)) or "what it was given"
    asked = guidance.objectives and ("{guidances}" in remedy or "{instead}" in remedy)
    others = fitting(prior, guidance.objectives[0]) if asked else ()
    named = " or ".join(filter(None, (", ".join(others[:-1]), *others[-1:])))
    advice = remedy.format(
        name=name,
        prior=prior.name,
        sampler=repr(sampler),
        samplers=" or ".join(fits) or "another",
        objective=wanted,
        guidances=named or "another",
        instead=f": use guidance={named}" if named else "",
    )
    return f"{name} needs {needed}{where}; {advice}"


def _check_order(members: Sequence[Guidance]) -> None:
    if sum(Fact.WEIGHTS in member.provides for member in members) > 1:
        raise GuidanceError("two particle filters would share one set of weights: keep one of them")
    ordered = sorted(members, key=lambda guidance: guidance.layer)
    if [id(member) for member in ordered] != [id(member) for member in members]:
        names = [name for name, _ in itertools.groupby(member.name for member in ordered)]
        if len(set(names)) < len(names):  # something belongs between the members of a preset
            names = [type(member).__name__ for member in ordered]
        raise GuidanceError(f"guidances work in a certain order, inside to outside: write chain({', '.join(names)})")


def together(parts: Sequence[frozenset[str] | None]) -> frozenset[str] | None:
    """Names of all parts that several look at; None, which is all there is, wins."""
    found: frozenset[str] = frozenset()
    for each in parts:
        if each is None:
            return None
        found |= each
    return found
