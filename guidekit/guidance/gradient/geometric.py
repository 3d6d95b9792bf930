"""GeoGuide: every step along the gradient has one length."""

from __future__ import annotations

from guidekit.core.guidance import GuidanceError
from guidekit.core.objective import Goal, Objective
from guidekit.guidance.gradient.engine import GradientGuidance
from guidekit.objectives.reward import Value, objective_of
from guidekit.registry import register


@register("guidance", "geoguide")
def GeoGuide(  # noqa: N802 - a preset
    reward: Goal | None = None, scale: float = 1.0, value: Objective | None = None
) -> GradientGuidance:
    """Classifier guidance in steps of one length, scale sqrt(d) / T after each of T steps: it does not fade at the end.

    d counts the degrees of freedom of a sample (no padding, no center of mass). The length is that of a
    variance-preserving process; others take sqrt(b^2 + r^2) times it.

    Args:
        reward: of clean states, looked at through the network where no value is given.
        scale: of the length.
        value: log p(y | x_t) of noisy states, as of a classifier trained with noise: no backward pass through the
            network. An objective, or a function (x (B, *S), t) -> (B,).

    Raises:
        GuidanceError: nothing to obey.

    Source: Poleski et al. 2024, arXiv:2407.12889, eq. 9.
    """
    if value is None and reward is None:
        raise GuidanceError("GeoGuide needs something to obey: give reward=, or value= of noisy states")
    if value is None:
        objective = objective_of(reward, "GeoGuide")
        return GradientGuidance(objective, scale, rule="fixed_length", title="GeoGuide")
    if not isinstance(value, Objective) and callable(value) and not isinstance(value, type):
        value = Value(value)
    noisy = objective_of(value, "GeoGuide", "a value of noisy states")
    return GradientGuidance(noisy, scale, source="noisy", rule="fixed_length", title="GeoGuide")
