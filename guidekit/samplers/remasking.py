"""Remasking samplers: masked diffusion that may take back what it has revealed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from guidekit.core.kernels import UnmaskingKernel
from guidekit.core.population import Population
from guidekit.core.prediction import CategoricalPrediction
from guidekit.core.prior import Prior
from guidekit.processes import Masked
from guidekit.processes.discrete import remasking_bound
from guidekit.samplers.base import Sampler

SCHEDULES = ("cap", "rescale", "loop", "forward_backward")


@dataclasses.dataclass(frozen=True)
class ReMDM(Sampler):
    """Revealed tokens are masked again with probability sigma; the marginals are those of the masked process.

    With bound = min(1, (1 - a_u) / a_t) the schedules are
      cap:              sigma = min(eta, bound);
      rescale:          sigma = eta bound;
      forward_backward: sigma = min((a_u - a_t) / a_t, bound), noising forward after each backward step;
      loop:             reveal up to a share `plateau` by `window[0]`, hold it there until `window[1]` with sigma = eta,
                        then reveal the rest.
    eta = 0 is the ancestral sampler, bit for bit (cap, rescale). On an exact model remasking does not help; its gain is
    the repair of a network's mistakes, which grows with the number of steps.

    Args:
        schedule: "cap", "rescale", "loop" or "forward_backward".
        eta: strength, in [0, 1].
        by_confidence: sigma is shared out over the revealed tokens by softmax(-p), p the probability a token had when
            it was revealed.
        window: (from, to) times within which tokens are masked again; None is (0.55, 0.05) for a loop, else all times.
        plateau: share of revealed tokens of schedule "loop".

    Raises:
        ValueError: an unknown schedule, eta outside [0, 1], a loop whose eta exceeds (1 - plateau) / plateau or whose
            window leaves no time before or behind it.

    Source: Wang et al. 2025, arXiv:2503.00307, section 4 (authors' settings: cap .008, rescale .015, loop .02 with
    window (.55, .05) and plateau .9, 1,024 tokens).
    """

    schedule: str = "cap"
    eta: float = 0.02
    by_confidence: bool = False
    window: tuple[float, float] | None = None
    plateau: float = 0.9
    processes = (Masked,)

    @property
    def changes(self) -> tuple[str, ...]:
        """A changed law would forget how probable the revealed tokens were."""
        return () if self.by_confidence else Sampler.changes

    def __post_init__(self) -> None:
        """Refuse settings outside their bounds."""
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule={self.schedule!r}; accepted: {', '.join(SCHEDULES)}")
        if self.window is not None and (not isinstance(self.window, Sequence) or len(self.window) != 2):
            raise ValueError(f"window={self.window}; two times are needed, such as (0.55, 0.05)")
        high, low = self.times
        if not 0 <= self.eta <= 1 or not 0 < self.plateau < 1 or not 0 <= low <= high <= 1:
            raise ValueError(
                f"eta={self.eta}, plateau={self.plateau}, window={(high, low)}: eta lies in [0, 1], plateau "
                "between 0 and 1, and the window runs from a time to a cleaner one"
            )
        bound = remasking_bound(self.plateau, self.plateau)
        if self.schedule == "loop" and self.eta > bound:
            raise ValueError(f"eta={self.eta} is above {bound:.4g}, the bound of a loop at plateau={self.plateau}")
        if self.schedule == "loop" and not 0 < low <= high < 1:
            raise ValueError(f"window={(high, low)}: a loop reveals before it and behind it, as with (0.55, 0.05)")

    @property
    def times(self) -> tuple[float, float]:
        """The window in force."""
        if self.window is None:
            return (0.55, 0.05) if self.schedule == "loop" else (1.0, 0.0)
        return tuple(self.window)

    def survival(self, prior: Prior, t: float) -> float:
        """Share of revealed tokens aimed at, at time t."""
        if self.schedule != "loop":
            return float(prior.process.survival(t))
        on, off = self.times
        if t > on:
            return self.plateau * (1 - t) / (1 - on)
        if t >= off:
            return self.plateau
        return 1 - t * (1 - self.plateau) / off

    def sigma(self, a: float, b: float, t: float) -> float:
        """Probability of masking a revealed token again, from survival a at time t to survival b."""
        bound = remasking_bound(a, b)
        high, low = self.times
        if self.schedule == "loop":
            return self.eta if a == b == self.plateau else 0.0
        if not low <= t <= high:
            return 0.0
        if self.schedule == "cap":
            return min(self.eta, bound)
        if self.schedule == "rescale":
            return self.eta * bound
        return min((b - a) / a, bound) if a > 0 else 0.0

    def propose(self, population: Population, t: float, u: float) -> UnmaskingKernel:
        """See `Sampler.propose`."""
        prior, prediction = population.run.prior, population.predict(t)
        a, b = self.survival(prior, t), self.survival(prior, u)
        sigma: Tensor | float = self.sigma(a, b, t)
        if not self.by_confidence:
            return prior.process.remasking_kernel(prediction, a, b, sigma)
        known = prediction.z != prior.process.mask_id
        confidence = population.memory.get("confidence", torch.ones_like(known, dtype=torch.float64))
        share = torch.softmax((-confidence).masked_fill(~known, -torch.inf), 1).nan_to_num(0.0)
        kernel = prior.process.remasking_kernel(prediction, a, b, sigma * share)
        return ConfidentKernel(**vars(kernel), confidence=confidence)


@dataclasses.dataclass(frozen=True)
class ConfidentKernel(UnmaskingKernel):
    """`UnmaskingKernel` that remembers how probable each token was when it was revealed.

    Args:
        confidence: (B, L) probabilities so far, 1 where nothing has been revealed.
    """

    confidence: Tensor | None = None

    def memory(self, state: Tensor) -> dict[str, Tensor]:
        """The confidence in every token of the next state."""
        return super().memory(state) | {"confidence": remembered(self.prediction, state, self.confidence, self.mask_id)}


def remembered(prediction: CategoricalPrediction, state: Tensor, confidence: Tensor, mask_id: int) -> Tensor:
    """Probability (B, L) that each token of `state` had when it was revealed, given that of the tokens before."""
    hidden = state == mask_id
    fresh = (prediction.z == mask_id) & ~hidden
    now = prediction.log_probs.gather(-1, state.masked_fill(hidden, 0)[..., None])[..., 0].double().exp()
    return torch.where(fresh, now, confidence).masked_fill(hidden, 1.0)
