"""SAG: away from what the prior says of its own estimate, blurred where it attends."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer
from guidekit.core.prediction import Prediction
from guidekit.core.prior import Prior
from guidekit.core.question import Denoise, Question, jointly
from guidekit.core.sampler import Sampler
from guidekit.core.state import altered, column
from guidekit.core.support import Support
from guidekit.errors import UnknownNameError
from guidekit.guidance.attention.maps import upsampled
from guidekit.guidance.attention.plans import Plan, Records, marked, network_alone
from guidekit.guidance.contrast.branches import CONDITIONS
from guidekit.guidance.contrast.schedules import Number, Scheduled, Schedules, Weight, everywhere, scheduled
from guidekit.guidance.contrast.settings import check_finite, check_range
from guidekit.interventions.operators import Record
from guidekit.interventions.sites import Site
from guidekit.interventions.smoothing import smoothed
from guidekit.registry import register


@register("guidance", "sag")
@dataclasses.dataclass(frozen=True, eq=False)
class SAG(Guidance[None]):
    """Self-attention guidance: e = e_cfg + s (e_0 - e(x_deg)), x_deg made of the clean estimate blurred and e_0.

    x_deg = a (M blur(D_0) + (1 - M) D_0) + s_t e_0 with M = 1 where a token receives more than `threshold` times the
    average attention. 0 is the null branch where there is classifier-free guidance, otherwise the only one. The second
    call follows the first.

    Args:
        scale: s; a number, or a function of t.
        sigma: standard deviation of the blur, in pixels (steps of the state's last axes).
        threshold: psi, in units of the average; null is no mask: blur guidance, which needs no attention.
        site: the self-attention that is looked at; one site, the middle of those that are chosen.
        weight, schedule: see `PAG`.
        space: "noise" as in the source, or "clean" for D = D_cfg + s (D_0 - D(x_deg)). They differ, as the two answers
            are of different states; on an exact Gaussian field the first narrows fine scales, the second widens them.

    Raises:
        ValueError: settings outside their ranges.

    Source: Hong et al. 2022, arXiv:2210.00939, algorithm 1.
    """

    scale: Weight = 0.75
    sigma: float = 1.0
    threshold: float | None = 1.0
    site: str | int = "middle"
    weight: Weight = 1.0
    schedule: Schedules = None
    space: str = "noise"
    layer = Layer.CONTRAST

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.space not in ("noise", "clean"):
            raise UnknownNameError("space of SAG", str(self.space), ("noise", "clean"))
        check_range("SAG", sigma=self.sigma)
        if self.threshold is not None:
            check_finite("SAG", threshold=self.threshold)
        scheduled("SAG", self.scale, self.schedule)
        scheduled("SAG", self.weight)

    @property
    def requires(self) -> frozenset[Fact]:  # type: ignore[override]
        """Real-valued states, and what its branches and its mask need."""
        network = frozenset() if self.threshold is None else frozenset({Fact.NETWORK})
        return network | {Fact.REAL} | (CONDITIONS if self.contrasts else frozenset())

    @property
    def provides(self) -> frozenset[Fact]:  # type: ignore[override]
        """Two branches with classifier-free guidance."""
        return frozenset({Fact.BRANCHES} if self.contrasts else ())

    @property
    def contrasts(self) -> bool:
        """Whether there is classifier-free guidance."""
        return callable(self.weight) or self.weight != 1

    @cached_property
    def recording(self) -> Plan:
        """What is recorded."""
        return Plan((RecordOne(self.site),))

    @cached_property
    def scale_of(self) -> float | Scheduled:
        """s, or what turns a question into it; the schedule acts on 1 + s."""
        return scheduled("SAG", self.scale, self.schedule, neutral=0.0)

    @cached_property
    def weight_of(self) -> float | Scheduled:
        """w, or what turns a question into it."""
        return scheduled("SAG", self.weight)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """The states must lie on one grid, and the network attend to it."""
        network_alone(self, members)
        if Fact.PARTS in prior.provides:
            raise GuidanceError(f"SAG blurs states of one part, and those of this prior ({prior.name}) have several")
        if self.threshold is not None:
            self.recording.check("SAG", prior, "; or threshold=null, which needs no attention")

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`."""
        scale = self.scale_of(question) if callable(self.scale_of) else self.scale_of
        weight = self.weight_of(question) if callable(self.weight_of) else self.weight_of
        still = everywhere(scale, 0)
        null = question.of_nobody() if self.contrasts else question
        asked = [null, question] if self.contrasts else [question]
        if not still and self.threshold is not None:  # in both branches, as they may be asked about in several calls
            asked = [marked(each, self.recording, self) for each in asked]
        answers = jointly(inner, asked)
        guided = answers[0].lerp(answers[1], weight) if self.contrasts else answers[0]
        return self.unmarked(guided) if still else self.pushed(inner, null, answers[0], guided, scale)

    def pushed(self, inner: Denoise, null: Question, base: Any, guided: Prediction, scale: Number) -> Prediction:
        """The guided prediction, led away from that of the degraded state."""
        clean, x = base.mean, base.x
        blurred = smoothed(clean, axes(clean), self.sigma)
        low = blurred if self.threshold is None else torch.where(self.mask(base, self.threshold), blurred, clean)
        noisy = column(base.a, x) * low + column(base.s, x) * base.noise
        worse = inner(altered(null, x=noisy))
        # In noise, a / s times the difference of both noises is low - D(x_deg): finite also where s is 0.
        above = clean if self.space == "clean" else low

        def step(support: Support, mean: Tensor, worse: Tensor) -> Tensor:
            return mean + column(scale, mean) * (above - worse)

        return self.unmarked(guided.map(step, worse))

    def mask(self, base: Any, threshold: float) -> Tensor:
        """Where the estimate is blurred; broadcasts against it."""
        records: Records = base.note(self.recording)
        ((name, attended),) = records.values.items()
        dims, shape = records.dims[name], [base.mean.shape[axis] for axis in axes(base.mean)]
        if len(dims) != len(shape) or math.prod(dims) != attended.shape[1]:
            raise GuidanceError(f"SAG: tokens on a grid {dims} at site {name} for states on a grid {tuple(shape)}")
        mask = upsampled((attended > threshold).to(base.mean), dims, shape) > 0
        return mask if base.mean.ndim == mask.ndim else mask[:, None]

    def unmarked(self, guided: Prediction) -> Prediction:
        """A prediction without what was recorded for it."""
        kept = {owner: note for owner, note in guided.notes.items() if owner is not self.recording}
        return altered(guided, notes=kept)


@dataclasses.dataclass(frozen=True)
class RecordOne(Record):
    """`Record` at one site of self-attention, the middle of those that are chosen."""

    ports: ClassVar[tuple[str, ...]] = ("self_attention",)

    def chosen(self, network: nn.Module, sites: Sequence[Site]) -> list[tuple[Site, str]]:
        """See `Operator.chosen`."""
        several = super().chosen(network, sites)
        return several[len(several) // 2 :][:1]


def axes(x: Tensor) -> tuple[int, ...]:
    """Axes of the grid of states (B, *S): all behind the channels, or the only one."""
    return (1,) if x.ndim == 2 else tuple(range(2, x.ndim))


__all__ = ["SAG"]
