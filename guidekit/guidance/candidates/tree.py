"""Search in trees: of the children of all particles of a group the best go on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from guidekit.core.objective import Objective
from guidekit.errors import UnknownNameError
from guidekit.guidance.candidates.branches import Destinations, Renoised
from guidekit.guidance.candidates.choices import BestOfAll
from guidekit.guidance.candidates.engine import CandidateSearch
from guidekit.guidance.candidates.judges import Whole
from guidekit.guidance.values import Estimate, PosteriorMean, estimate_of
from guidekit.objectives.reward import objective_of
from guidekit.registry import register

OUTPUTS = ("best", "all")


@register("guidance", "tree_search")
def TreeSearch(  # noqa: N802 - a preset
    reward: Objective,
    width: int | Sequence[int] = 4,
    candidates: int | Sequence[int] = 4,
    interval: int = 1,
    window: tuple[float, float] = (1.0, 0.0),
    value: Estimate | Objective | None = None,
    output: str = "best",
) -> CandidateSearch:
    """Beam and tree search: A states of a sample are active, each has K children, the best A of all A K go on.

    A beam with constant numbers (TreeG on states); with lists of numbers, and an interval, the width of the beam and
    its branching change from noise to data and some steps are taken without a choice (DSearch). A = K = 1 is the
    unguided sampler, A = 1 the greedy choice of SVDD. Around a gradient, as in `chain(DPS, TreeSearch)` or
    `chain(TAG, TreeSearch)`, the children are guided ones (TreeG-G). States that are equal count once.

    Args:
        reward: higher is better; need not be differentiable.
        width: A, at least 1; [8,4,2] is 8 in the first third of the steps, then 4, then 2.
        candidates: K of each, at least 1, or a list of them.
        interval: steps between choices.
        window: (from, to) times within which branches grow.
        value: of noisy states, see `guidekit.guidance.values.estimate_of`; None is the reward of the clean estimate,
            relaxed where the reward can be.
        output: "best" hands back the best of the A at the end, "all" all of them.

    Raises:
        ValueError: settings outside their range.

    Source: Guo et al. 2025, arXiv:2502.11420 (TreeG); Li et al. 2025, arXiv:2503.02039 (DSearch).
    """
    return CandidateSearch(
        judge=Whole((estimate_of("TreeSearch", objective_of(reward, "TreeSearch"), value, 1.0),)),
        choice=BestOfAll(_width(width), checked_output(output)),
        candidates=_width(candidates),
        interval=interval,
        window=window,
    )


@register("guidance", "destination_search")
def DestinationSearch(  # noqa: N802 - a preset
    reward: Objective,
    width: int | Sequence[int] = 4,
    candidates: int | Sequence[int] = 16,
    spread: float = 1.0,
    interval: int = 1,
    window: tuple[float, float] = (1.0, 0.0),
    output: str = "best",
) -> CandidateSearch:
    """Tree search over destinations (TreeG-SD): K guesses of the clean state a step, the best A of A K lead the way.

    Guesses are drawn from the predicted laws of tokens, and around the clean estimate of real numbers. They are judged
    as they are, and each of the best is what the next step of its parent goes towards. So a step costs A network rows
    and A K rewards, where `TreeSearch` costs A K of both; guesses are no samples, however, while noise is left: tokens
    are drawn independently. Works with samplers that draw no noise.

    Args:
        reward: higher is better; need not be differentiable.
        width: A, see `TreeSearch`.
        candidates: K of each, at least 1, or a list of them.
        spread: standard deviation of guesses of real numbers in units of s / sqrt(a^2 + s^2), which is what is unknown
            of data of unit variance; above 0.
        interval: steps between choices.
        window: (from, to) times within which branches grow.
        output: see `TreeSearch`.

    Raises:
        ValueError: settings outside their range.

    Source: Guo et al. 2025, arXiv:2502.11420, TreeG with sampling of destination states.
    """
    if not 0 < spread < math.inf:
        raise ValueError(f"spread must be a number above 0, got {spread}")
    return CandidateSearch(
        judge=Whole((PosteriorMean(objective_of(reward, "DestinationSearch")),)),
        choice=BestOfAll(_width(width), checked_output(output)),
        branch=Destinations(spread),
        candidates=_width(candidates),
        interval=interval,
        window=window,
    )


@register("guidance", "path_search")
def PathSearch(  # noqa: N802 - a preset
    reward: Objective,
    width: int = 2,
    candidates: int = 2,
    back: int = 2,
    interval: int = 4,
    window: tuple[float, float] = (1.0, 0.05),
    value: Estimate | Objective | None = None,
    output: str = "best",
) -> CandidateSearch:
    """Search over paths: every few steps, N states are noised up by `back` steps M times each and come down again.

    The best N of the N M go on, by the reward of the clean estimate. The noise of the process makes the candidates,
    so this searches with deterministic samplers as well, where `TreeSearch` has nothing to choose from.

    Args:
        reward: higher is better; need not be differentiable.
        width: N, at least 1.
        candidates: M, at least 1; 1 goes straight down.
        back: steps that are gone back, at least 1.
        interval: steps between choices, at least 1.
        window: (from, to) times within which paths go back.
        value, output: see `TreeSearch`.

    Raises:
        ValueError: settings outside their range.

    Source: Ma et al. 2025, arXiv:2501.09732, section 3.2 (search over paths).
    """
    if back < 1:
        raise ValueError(f"back must be at least 1, got {back}")
    return CandidateSearch(
        judge=Whole((estimate_of("PathSearch", objective_of(reward, "PathSearch"), value, 1.0),)),
        choice=BestOfAll(width, checked_output(output)),
        branch=Renoised(back),
        candidates=candidates,
        interval=interval,
        window=window,
    )


def _width(width: int | Sequence[int]) -> int | tuple[int, ...]:
    return width if isinstance(width, int) else tuple(width)


def checked_output(output: str) -> str:
    """One of `OUTPUTS`.

    Raises:
        UnknownNameError: another one.
    """
    if output not in OUTPUTS:
        raise UnknownNameError("output", output, OUTPUTS)
    return output
