"""TSG: away from the same network when it is told a wrong time."""

from __future__ import annotations

import dataclasses

import torch

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.prior import Prior
from guidekit.core.question import Question
from guidekit.core.state import altered, batch, leaves
from guidekit.guidance.attention.plans import DRAWN, Plan, marked, sites_of
from guidekit.guidance.contrast.away import away
from guidekit.guidance.contrast.branches import Branch
from guidekit.guidance.contrast.engine import Contrast
from guidekit.guidance.contrast.schedules import Schedules, Weight
from guidekit.guidance.contrast.settings import check_finite, check_range
from guidekit.interventions.operators import Choice, NoiseEmbedding
from guidekit.registry import register


@register("guidance", "tsg")
def TSG(  # noqa: N802 - a preset
    scale: Weight = 1.0,
    noise: float = 0.1,
    power: float = 1.0,
    sites: Choice = "all",
    weight: Weight = 1.0,
    schedule: Schedules = None,
    rescale: float = 0.0,
) -> Contrast:
    """Time-step guidance: away from what the network says when noise is added to its embedding of the time.

    The embedding is tau + noise t^power n, with n standard normal, drawn anew for every sample and step: its mean is
    zero, so that the average change is of second order in the noise. Where a prior has no network with an embedding of
    the time, the time itself is t + noise t^power n, kept within [0, 1].

    Args:
        scale: s, see `PAG`; the weight of the source is 1 + s.
        noise: standard deviation at t = 1, in the unit of the embedding, or of the time in [0, 1]; 0 is the prior.
        power: alpha; of the time t in [0, 1].
        sites: embeddings of the time, see `guidekit.interventions.choose`.
        weight, schedule, rescale: see `PAG`.

    Raises:
        ValueError: noise below 0.

    Source: Sadat et al. 2024, arXiv:2407.02687, section 5.
    """
    check_range("TSG", noise=noise)
    check_finite("TSG", power=power)
    branch = WrongTime(Plan((NoiseEmbedding(noise, sites, power=power),)), noise, power)
    return away("TSG", branch, scale if noise else 0.0, weight, schedule, rescale)


@dataclasses.dataclass(frozen=True)
class WrongTime(Branch):
    """The same state at a time t + noise t^power n, n standard normal; where the network embeds it, in the embedding.

    Args:
        plan: for networks that embed the time.
        noise, power: see `TSG`.
    """

    plan: Plan
    noise: float
    power: float
    draws = True

    def __call__(self, question: Question, owner: Guidance) -> Question:
        """See `Branch`; the time itself is kept within [0, 1]."""
        if embeds_time(question.prior):
            return marked(question, self.plan, owner)
        device = leaves(question.x)[0].device
        t = torch.as_tensor(question.t, dtype=torch.float64, device=device).expand(batch(question.x))
        n = question.normal(owner, "time", t)
        return altered(question, t=(t + self.noise * t**self.power * n).clamp(0.0, 1.0))

    def alone(self, prior: Prior) -> str | None:
        """See `Branch.alone`."""
        return DRAWN if embeds_time(prior) else None

    def check(self, name: str, prior: Prior) -> None:
        """See `Branch.check`; the prior must look at the time."""
        if prior.timeless:
            raise GuidanceError(
                f"{name} tells the network a wrong time, and this prior ({prior.name}) ignores the time"
            )
        if embeds_time(prior):
            self.plan.check(name, prior)


def embeds_time(prior: Prior) -> bool:
    """Whether a prior has a network with an embedding of the time."""
    network = prior.network
    return network is not None and any("time_embedding" in site.ports for site in sites_of(network))


__all__ = ["TSG"]
