"""TSG: away from the same network when it is told a wrong time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch

from guidekit.core.guidance import GuidanceError
from guidekit.core.run import Run
from guidekit.core.state import State, batch
from guidekit.guidance.contrast.branches import CONDITIONAL, UNCONDITIONAL, Branch
from guidekit.guidance.contrast.engine import Contrast
from guidekit.guidance.contrast.perturbed import Perturbed
from guidekit.guidance.contrast.plans import network_sites
from guidekit.guidance.contrast.schedules import Schedule
from guidekit.networks.perturbations import Choice, NoiseEmbedding, Operator


@dataclasses.dataclass(frozen=True)
class TSG(Perturbed):
    """Time-step guidance: away from what the network says when noise is added to its embedding of the time.

    The embedding is tau + noise t^power n, with n standard normal, drawn anew for every sample and step: its mean is
    zero, so that the average change is of second order in the noise. Where a prior has no network with an embedding of
    the time, the time itself is t + noise t^power n, kept within [0, 1].

    Args:
        scale: s, see `PAG`; the weight of the source is 1 + s.
        noise: standard deviation at t = 1, in the unit of the embedding, or of the time in [0, 1]; 0 is the prior.
        power: alpha; of the time t in [0, 1].
        sites: embeddings of the time, see `guidekit.networks.choose`.
        weight, schedule, rescale: see `PAG`.

    Raises:
        ValueError: noise below 0.

    Source: Sadat et al. 2024, arXiv:2407.02687, section 5.
    """

    scale: float | Callable[[Time], Time] = 1.0
    noise: float = 0.1
    power: float = 1.0
    sites: Choice = "all"
    weight: float | Callable[[Time], Time] = 1.0
    schedule: Schedule | Sequence[float] | None = None
    rescale: float = 0.0
    needs = ("prior that looks at the time",)
    per_sample = True

    def __post_init__(self) -> None:
        """Refuse what is no standard deviation."""
        if not self.noise >= 0:
            raise ValueError(f"noise={self.noise}; accepted: 0 (none) or more")

    def operators(self) -> Sequence[Operator]:
        """See `NoiseEmbedding`."""
        return (NoiseEmbedding(self.noise, self.sites, power=self.power),)

    def branches(self, run: Run) -> Sequence[Branch]:
        """The null condition, the condition, and the condition at a wrong time."""
        if embeds_time(run):
            return super().branches(run)
        wrong = NoisyTime(self.noise, self.power, f"TSG {run.position(self)}")
        return (UNCONDITIONAL, CONDITIONAL, Branch(inputs=wrong))

    def check(self, run: Run) -> None:
        """The prior must look at the time."""
        if run.prior.timeless:
            raise GuidanceError(
                f"TSG tells the network a wrong time, and this prior ({run.prior.name}) ignores the time"
            )
        if embeds_time(run):
            super().check(run)
        else:
            Contrast.check(self, run)

    def scale_at(self, t: Time, run: Run) -> Time:
        """0 where there is no noise."""
        return 0.0 if self.noise == 0 else super().scale_at(t, run)


def embeds_time(run: Run) -> bool:
    """Whether the prior that is asked now has a network with an embedding of the time."""
    if not isinstance(getattr(run.asked, "network", None), torch.nn.Module):
        return False
    return any("time_embedding" in site.ports for site in network_sites("TSG", run)[1])


@dataclasses.dataclass(frozen=True)
class NoisyTime:
    """The same state at a time t + scale t^power n, n standard normal, kept within [0, 1].

    Args:
        scale, power: see above.
        purpose: of the random numbers.
    """

    scale: float
    power: float
    purpose: str

    def __call__(self, run: Run, x: State, t: Time) -> tuple[State, torch.Tensor]:
        """(x, times (B,))."""
        size = batch(x)
        n = run.draw(self.purpose).normal((size,))
        t = torch.as_tensor(t, dtype=n.dtype, device=n.device)
        return x, (t + self.scale * t**self.power * n).clamp(0.0, 1.0)
