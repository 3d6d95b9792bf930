"""Remasking samplers: masked diffusion that may take back what it has revealed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from guidekit.core.prediction import CategoricalPrediction
from guidekit.core.token_kernels import UnmaskingKernel
from guidekit.processes import Masked
from guidekit.registry import register
from guidekit.samplers.base import TOKEN_LAWS, Fact, Here, TimedSampler

SCHEDULES = ("cap", "rescale", "loop", "forward_backward")


@dataclasses.dataclass(frozen=True)
class Revealed:
    """What is remembered of tokens, so that it can be told later how sure the model was of them.

    Args:
        confidence: (B, L) probability that each token of z had when it was revealed, 1 where none was.
        z: tokens (B, L) a step ago.
        log_probs: (B, L, V) of the prediction about them.
    """

    confidence: Tensor
    z: Tensor
    log_probs: Tensor


def remembered(prediction: CategoricalPrediction, before: Revealed | None, mask_id: int) -> Revealed:
    """The memory of the tokens of a prediction, given that of a step ago; a masked token has confidence 1."""
    z = prediction.z
    if before is None:
        return Revealed(torch.ones(z.shape, dtype=torch.float64, device=z.device), z, prediction.log_probs)
    hidden = z == mask_id
    fresh = (before.z == mask_id) & ~hidden
    then = before.log_probs.gather(-1, z.masked_fill(hidden, 0)[..., None])[..., 0].double().exp()
    confidence = torch.where(fresh, then, before.confidence).masked_fill(hidden, 1.0)
    return Revealed(confidence, z, prediction.log_probs)


@register("sampler", "remdm")
@dataclasses.dataclass(frozen=True, eq=False)
class ReMDM(TimedSampler[Revealed]):
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
        times: see `TimedSampler`.

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
    requires = frozenset({Fact.MASKED})

    def __post_init__(self) -> None:
        """Check the settings and the grid."""
        super().__post_init__()
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule={self.schedule!r}; accepted: {', '.join(SCHEDULES)}")
        if self.window is not None and (not isinstance(self.window, Sequence) or len(self.window) != 2):
            raise ValueError(f"window={self.window}; two times are needed, such as (0.55, 0.05)")
        high, low = self.span
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
    def provides(self) -> frozenset[Fact]:  # type: ignore[override]
        """Steps that remember how certain former estimates were follow more than one."""
        return frozenset({Fact.NOISE} if self.by_confidence else {Fact.NOISE, Fact.ESTIMATE}) | TOKEN_LAWS

    @property
    def span(self) -> tuple[float, float]:
        """The window in force."""
        if self.window is None:
            return (0.55, 0.05) if self.schedule == "loop" else (1.0, 0.0)
        return (self.window[0], self.window[1])

    def alpha(self, process: Masked, t: float) -> float:
        """Share of revealed tokens aimed at, at time t."""
        if self.schedule != "loop":
            return float(process.alpha(t))
        on, off = self.span
        if t > on:
            return self.plateau * (1 - t) / (1 - on)
        if t >= off:
            return self.plateau
        return 1 - t * (1 - self.plateau) / off

    def sigma(self, a: float, b: float, t: float) -> float:
        """Probability of masking a revealed token again, from alpha a at time t to alpha b."""
        bound = remasking_bound(a, b)
        high, low = self.span
        if self.schedule == "loop":
            return self.eta if a == b == self.plateau else 0.0
        if not low <= t <= high:
            return 0.0
        if self.schedule == "cap":
            return min(self.eta, bound)
        if self.schedule == "rescale":
            return self.eta * bound
        return min((b - a) / a, bound) if a > 0 else 0.0

    def step(self, here: Here, memory: Revealed | None) -> tuple[UnmaskingKernel, Revealed | None]:
        """See `Sampler.step`."""
        process, prediction, step = here.process, here.prediction, here.step
        a, b = self.alpha(process, step.t), self.alpha(process, step.u)
        sigma = self.sigma(a, b, step.t)
        if not self.by_confidence:
            return remasking_kernel(process, prediction, a, b, sigma), None
        memory = remembered(prediction, memory, process.mask_id)
        doubt = (-memory.confidence).masked_fill(prediction.z == process.mask_id, -torch.inf)
        share = torch.softmax(doubt, 1).nan_to_num(0.0)
        return remasking_kernel(process, prediction, a, b, sigma * share), memory


def remasking_kernel(
    process: Masked, prediction: CategoricalPrediction, a: float, b: float, sigma: Tensor | float
) -> UnmaskingKernel:
    """Law of z_u given z_t in which a revealed token is masked again with probability sigma; marginals stay.

    A masked token is revealed with probability (b - (1 - sigma) a) / (1 - a).

    Args:
        process: of the tokens.
        prediction: at z_t.
        a, b: alpha at t and at the cleaner u.
        sigma: number, or (B, L) for one a position; sigma = 0 is `Masked.reverse_kernel`. Where positions differ,
            masked tokens count as having sigma 0, as in the authors' code, and marginals are kept approximately.

    Raises:
        ValueError: sigma outside [0, min(1, (1 - b) / a)].

    Source: Wang et al. 2025, arXiv:2503.00307, eq. 6 and 7.
    """
    bound, each = remasking_bound(a, b), torch.as_tensor(sigma, dtype=torch.float64)
    least, most = float(each.min()), float(each.max())
    if not (least >= 0 and most <= bound + 1e-9):
        raise ValueError(f"remasking probability {most:.4g} is outside [0, {bound:.4g}], its bound for this step")
    reveal = (b - (1 - (0.0 if isinstance(sigma, Tensor) else sigma)) * a) / (1 - a)
    remask = sigma if process.pinned is None else torch.where(prediction.z == process.pinned, 0.0, each)
    return UnmaskingKernel(prediction.log_probs, prediction.z, reveal, process.mask_id, remask)


def remasking_bound(a: float, b: float) -> float:
    """Largest probability of masking a revealed token again between alpha a and the cleaner b, min(1, (1 - b) / a).

    Source: Wang et al. 2025, arXiv:2503.00307, eq. 6.
    """
    return 1.0 if a <= 0 else min(1.0, (1 - b) / a)
