"""Path-integral control without gradients: of several noises of a step the one that leads to the best is taken."""

from __future__ import annotations

from guidekit.core.objective import Objective
from guidekit.core.requirements import GuidanceError
from guidekit.errors import UnknownNameError
from guidekit.guidance.candidates.choices import OneOfEach
from guidekit.guidance.candidates.engine import CandidateSearch
from guidekit.guidance.candidates.judges import Judge, Pieces, Whole
from guidekit.guidance.candidates.svdd import checked
from guidekit.guidance.candidates.votes import VOTES, Vote
from guidekit.guidance.values import Estimate, estimate_of
from guidekit.objectives.reward import objective_of
from guidekit.registry import register


@register("guidance", "stochastic_control_guidance")
def StochasticControlGuidance(  # noqa: N802 - a preset
    reward: Objective,
    candidates: int = 16,
    window: tuple[float, float] = (0.75, 0.0),
    pieces: int = 1,
    axis: int = -1,
    value: Estimate | Objective | None = None,
) -> CandidateSearch:
    """Stochastic control (SCG): n noises for each step within a window of times, the one of highest reward is taken.

    Outside the window steps are the sampler's own. With `pieces` the clean estimate is cut along an axis, each piece
    is judged by itself, and the next state is put together of the pieces that won: long rolls, whose bars are good in
    different candidates. What is put together was no candidate, so a step costs a network row more then. Several rules
    are a sum of rewards.

    Args:
        reward: of clean states, higher is better; minus the loss of a rule. Needs no gradient.
        candidates: n, at least 1.
        window: (from, to) times; 1 is noise.
        pieces: equal parts of a state that are chosen one by one, at least 1.
        axis: that is cut, counted from the last one, -1.
        value: of noisy states, see `guidekit.guidance.values.estimate_of`; None is the reward of the clean estimate.

    Raises:
        ValueError: settings outside their range.
        GuidanceError: pieces with a value of whole states.

    Source: Huang et al. 2024, arXiv:2402.14285, algorithm 1; pieces: its section 4.
    """
    reward = objective_of(reward, "StochasticControlGuidance")
    if pieces < 1:
        raise ValueError(f"pieces must be at least 1, got {pieces}")
    if pieces > 1 and value is not None:
        raise GuidanceError("StochasticControlGuidance judges pieces by the reward itself: leave value= or pieces= out")
    judge: Judge = Whole((estimate_of("StochasticControlGuidance", reward, value, 1.0),))
    if pieces > 1:
        judge = Pieces(reward, pieces, axis)
    return CandidateSearch(judge=judge, choice=OneOfEach(greedy=True), candidates=candidates, window=window)


@register("guidance", "path_integral_guidance")
def PathIntegralGuidance(  # noqa: N802 - a preset
    reward: Objective,
    candidates: int = 8,
    combine: str = "sum",
    temperature: float = 0.0,
    interval: int = 1,
    window: tuple[float, float] = (1.0, 0.0),
    value: Estimate | Objective | None = None,
) -> CandidateSearch:
    """Path-integral control by black boxes (Free2Guide): n next states, an ensemble of rewards chooses among them.

    The terms of a sum of rewards are the ensemble. "sum" adds them with their weights; "normalized" adds the z-score
    of each among the n candidates of a sample, and "consensus" Borda's count (how many of the others a candidate
    beats): there a term counts as much as any other, whatever its unit and weight; a negative weight turns it round.

    Args:
        reward: higher is better; a sum of several, or one. Needs no gradient.
        candidates: n, at least 1; 1 is the unguided sampler, bit for bit.
        combine: "sum", "normalized" or "consensus".
        temperature: candidates are drawn with probability prop. to exp(vote / temperature); in the unit of the votes,
            0 keeps the best.
        interval: steps between choices.
        window: (from, to) times; early steps decide on layout and motion.
        value: of noisy states, with "sum", see `guidekit.guidance.values.estimate_of`; None is the reward of the clean
            estimate.

    Raises:
        ValueError: settings outside their choices.
        GuidanceError: a value beside votes.

    Source: Kim et al. 2024, arXiv:2411.17041, sections 3.2 and 3.3.
    """
    reward, who = objective_of(reward, "PathIntegralGuidance"), "PathIntegralGuidance"
    if combine not in VOTES:
        raise UnknownNameError("combine", combine, VOTES)
    if combine != "sum" and value is not None:
        raise GuidanceError(f"{who}: value= is one value, and combine={combine} takes the vote of each reward")
    warmth = checked(temperature, "temperature") or 1.0
    judge, vote = Whole((estimate_of(who, reward, value, warmth),)), VOTES["sum"]
    if combine != "sum":
        terms = [(weight, term) for weight, term in reward.terms if weight]
        signs = tuple(1 if weight > 0 else -1 for weight, _ in terms)
        judge = Whole(tuple(estimate_of(who, term, None, 1.0) for _, term in terms), signs)
        vote = warmed(VOTES[combine], warmth)
    choice = OneOfEach(greedy=temperature == 0, vote=vote)
    return CandidateSearch(judge=judge, choice=choice, candidates=candidates, interval=interval, window=window)


def warmed(vote: Vote, temperature: float) -> Vote:
    """A vote in units of a temperature."""
    return lambda values: vote(values) / temperature
