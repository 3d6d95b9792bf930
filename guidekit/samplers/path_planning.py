"""Samplers that choose which tokens to reveal by how sure the model is of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.core.random import Draw
from guidekit.core.token_kernels import TokenKernel, reveal
from guidekit.registry import register
from guidekit.samplers.base import Fact, Here, TimedSampler, at_least
from guidekit.samplers.remasking import Revealed, remembered

PER_TOKEN = 25.0
"""Tokens by unit of the temperature where none is given: 10 for 256 residues, 1 for short sequences."""
Planner = Callable[[Tensor, Tensor, float], Tensor]
"""(present tokens (B, L), all of them filled in (B, L), t) -> score of every token (B, L); the highest are kept."""


@register("sampler", "path_planning")
@dataclasses.dataclass(frozen=True, eq=False)
class PathPlanning(TimedSampler[Revealed]):
    """Every step fills in all masked tokens, scores all tokens and masks the n_u with the lowest scores again.

    n_u = ceil(n share(u)) with share(u) = sin(pi u / 2) ("cosine" in the unmasked share) or u ("linear"). A token just
    filled in scores log p plus Gumbel noise of the given temperature (which falls with t); a token revealed before
    scores `keep` times its log-probability when it was revealed. The law is not that of the ancestral sampler.

    Args:
        keep: eta, weight of the score of tokens revealed before; 0 keeps them always, larger values revise them sooner.
        temperature: of the Gumbel noise on new tokens; 0 always takes the surest, None is that of `MaskGIT`.
        schedule: "cosine" or "linear".
        planner: scores of another model in place of both, for use from Python.
        times: see `TimedSampler`.

    Raises:
        ValueError: an unknown schedule, or a negative number.

    Source: Peng et al. 2025, arXiv:2502.03540 (self-planning); Chang et al. 2022, arXiv:2202.04200, section 3.2.
    """

    keep: float = 1.0
    temperature: float | None = 1.0
    schedule: str = "cosine"
    planner: Planner | None = None
    requires = frozenset({Fact.MASKED})
    provides = frozenset({Fact.NOISE})

    def __post_init__(self) -> None:
        """Check the settings and the grid."""
        super().__post_init__()
        if self.schedule not in ("cosine", "linear"):
            raise ValueError(f"schedule={self.schedule!r}; accepted: cosine, linear")
        at_least(self.keep, 0, "keep")
        if self.temperature is not None:
            at_least(self.temperature, 0, "temperature")

    def noise(self, length: int) -> float:
        """The temperature for sequences of so many tokens."""
        return max(1.0, length / PER_TOKEN) if self.temperature is None else self.temperature

    def share(self, u: float) -> float:
        """Share of tokens still masked at time u."""
        return math.sin(math.pi * u / 2) if self.schedule == "cosine" else u

    def step(self, here: Here, memory: Revealed | None) -> tuple[PlannedKernel, Revealed | None]:
        """See `Sampler.step`."""
        process, prediction, t, planner = here.process, here.prediction, here.step.t, self.planner
        z = prediction.z
        real = torch.ones_like(z, dtype=torch.bool) if process.pinned is None else z != process.pinned
        hidden = (real.sum(1) * self.share(here.step.u) - 1e-9).ceil().long()
        score, old = None, None
        if planner is not None:
            score = lambda tokens: planner(z, tokens, t)  # noqa: E731
        elif self.keep:
            memory = remembered(prediction, memory, process.mask_id)
            old = self.keep * memory.confidence.clamp_min(1e-300).log()
        temperature = self.noise(z.shape[1]) * t
        return PlannedKernel(prediction.log_probs, z, hidden, real, old, temperature, process.mask_id, score), memory


@register("sampler", "maskgit")
def MaskGIT(temperature: float | None = None, schedule: str = "cosine") -> PathPlanning:  # noqa: N802 - a preset
    """Tokens are revealed in the order of their confidence (plus noise) and never revised.

    Args:
        temperature: of the Gumbel noise on the confidence, falling to zero with t; 0 is greedy, and long sequences then
            repeat one letter. None is a 25th of the number of tokens, at least 1, see docs/discrete.md.
        schedule: "cosine" or "linear".

    Source: Chang et al. 2022, arXiv:2202.04200, section 3.2.
    """
    return PathPlanning(0.0, temperature, schedule)


@dataclasses.dataclass(frozen=True)
class PlannedKernel(TokenKernel):
    """See `PathPlanning`; its probabilities have no closed form.

    Args:
        log_probs: of clean tokens, (B, L, V), nats.
        z: present tokens (B, L).
        hidden: (B,) number of tokens masked after the step.
        real: (B, L) positions that are not padding.
        old: (B, L) scores of tokens revealed before; None keeps them all, whatever the noise says of new ones.
        temperature: of the Gumbel noise in this step.
        mask_id: id of the mask.
        score: scores of filled-in tokens (B, L) by another model, or None.
        filled: tokens (B, L) that masked places are filled with; None draws them.
    """

    log_probs: Tensor
    z: Tensor
    hidden: Tensor
    real: Tensor
    old: Tensor | None
    temperature: float
    mask_id: int
    score: Callable[[Tensor], Tensor] | None = None
    filled: Tensor | None = None

    def belief(self, mask_id: int) -> Tensor:
        """See `TokenKernel.belief`."""
        return self.log_probs

    def revealing(self, tokens: Tensor, mask_id: int) -> PlannedKernel:
        """See `TokenKernel.revealing`; places are chosen as before, by how probable their tokens are one by one."""
        return dataclasses.replace(self, filled=tokens)

    def sample(self, draw: Draw) -> Tensor:
        """See `Kernel.sample`."""
        masked = self.z == self.mask_id
        full = self.filled
        if full is None:
            full = reveal(self.log_probs, self.z, masked, draw.named("token"))
        full = torch.where(masked, full, self.z)
        scores = self._scores(full, masked, draw) if self.score is None else self.score(full)
        rank = scores.masked_fill(~self.real, torch.inf).argsort(dim=1, stable=True).argsort(1)
        return full.masked_fill((rank < self.hidden[:, None]) & self.real, self.mask_id)

    def _scores(self, full: Tensor, masked: Tensor, draw: Draw) -> Tensor:
        new = self.log_probs.gather(-1, full[..., None])[..., 0].double()
        new = new - self.temperature * (-draw.uniform(*full.shape).clamp_min(1e-300).log()).log()
        return torch.where(masked, new, torch.inf if self.old is None else self.old)
