"""Samplers that choose which tokens to reveal by how sure the model is of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.core.random import Draw
from guidekit.core.kernels import reveal
from guidekit.core.population import Population
from guidekit.core.prediction import CategoricalPrediction
from guidekit.processes import Masked
from guidekit.samplers.base import Sampler
from guidekit.samplers.remasking import remembered

Planner = Callable[[Population, Tensor, float], Tensor]
"""(population, candidate tokens (B, L), t) -> score of every token (B, L); the highest are kept."""


@dataclasses.dataclass(frozen=True)
class PathPlanning(Sampler):
    """Every step fills in all masked tokens, scores all tokens and masks the n_u with the lowest scores again.

    n_u = ceil(n share(u)) with share(u) = sin(pi u / 2) ("cosine" in the unmasked share) or u ("linear"). A token just
    filled in scores log p plus Gumbel noise of the given temperature (which falls with t); a token revealed before
    scores `keep` times its log-probability when it was revealed. The law is not that of the ancestral sampler.

    Args:
        keep: eta, weight of the score of tokens revealed before; 0 keeps them always, larger values revise them sooner.
        temperature: of the Gumbel noise on new tokens; 0 always takes the surest.
        schedule: "cosine" or "linear".
        planner: scores of another model in place of both, for use from Python.

    Source: Peng et al. 2025, arXiv:2502.03540 (self-planning); Chang et al. 2022, arXiv:2202.04200, section 3.2.
    """

    keep: float = 1.0
    temperature: float = 1.0
    schedule: str = "cosine"
    planner: Planner | None = None
    processes = (Masked,)
    changes = ()

    def __post_init__(self) -> None:
        """Refuse unknown schedules and negative numbers."""
        if self.schedule not in ("cosine", "linear") or self.keep < 0 or self.temperature < 0:
            raise ValueError(
                f"schedule={self.schedule!r}, keep={self.keep}, temperature={self.temperature}: schedule is cosine or "
                "linear, the others are at least 0"
            )

    def share(self, u: float) -> float:
        """Share of tokens still masked at time u."""
        return math.sin(math.pi * u / 2) if self.schedule == "cosine" else u

    def propose(self, population: Population, t: float, u: float) -> PlannedKernel:
        """See `Sampler.propose`."""
        process, prediction = population.run.prior.process, population.predict(t)
        z = prediction.z
        confidence = population.memory.get("confidence", torch.ones(z.shape, dtype=torch.float64, device=z.device))
        real = torch.ones_like(z, dtype=torch.bool) if process.pinned is None else z != process.pinned
        hidden = (real.sum(1) * self.share(u) - 1e-9).ceil().long()
        score = None if self.planner is None else lambda tokens: self.planner(population, tokens, t)
        return PlannedKernel(
            prediction, hidden, real, confidence, self.keep, self.temperature * t, process.mask_id, score
        )


def MaskGIT(temperature: float = 1.0, schedule: str = "cosine") -> PathPlanning:  # noqa: N802 - a preset
    """Tokens are revealed in the order of their confidence (plus noise) and never revised.

    Args:
        temperature: of the Gumbel noise on the confidence, falling to zero with t; 0 is greedy.
        schedule: "cosine" or "linear".

    Source: Chang et al. 2022, arXiv:2202.04200, section 3.2.
    """
    return PathPlanning(0.0, temperature, schedule)


MaskGIT.processes, MaskGIT.fits = PathPlanning.processes, PathPlanning.fits


@dataclasses.dataclass(frozen=True)
class PlannedKernel:
    """See `PathPlanning`.

    Args:
        prediction: belief about the clean tokens.
        hidden: (B,) number of tokens masked after the step.
        real: (B, L) positions that are not padding.
        confidence: (B, L) probability a token had when it was revealed.
        keep, temperature, mask_id: as in `PathPlanning`, the temperature at this step.
        score: scores of filled-in tokens (B, L) by another model, or None.
    """

    prediction: CategoricalPrediction
    hidden: Tensor
    real: Tensor
    confidence: Tensor
    keep: float
    temperature: float
    mask_id: int
    score: Callable[[Tensor], Tensor] | None = None
    deterministic = False
    base = None

    def sample(self, draw: Draw) -> Tensor:
        """One next sequence a row, (B, L) int64."""
        z = self.prediction.z
        masked = z == self.mask_id
        full = reveal(self.prediction, masked, draw.named("token"))
        scores = self._scores(full, masked, draw) if self.score is None else self.score(full)
        rank = scores.masked_fill(~self.real, torch.inf).argsort(dim=1, stable=True).argsort(1)
        return full.masked_fill((rank < self.hidden[:, None]) & self.real, self.mask_id)

    def _scores(self, full: Tensor, masked: Tensor, draw: Draw) -> Tensor:
        new = self.prediction.log_probs.gather(-1, full[..., None])[..., 0].double()
        gumbel = -(-draw.uniform(full.shape).clamp_min(1e-300).log()).log()
        new = new + self.temperature * gumbel
        if self.keep == 0:  # tokens revealed before stay, whatever the noise says of new ones
            return new.masked_fill(~masked, torch.inf)
        return torch.where(masked, new, self.keep * self.confidence.clamp_min(1e-300).log())

    def memory(self, state: Tensor) -> dict[str, Tensor]:
        """The confidence in every token of the next state."""
        return {"confidence": remembered(self.prediction, state, self.confidence, self.mask_id)}

    def log_prob(self, z: Tensor) -> Tensor:
        """There is no closed form."""
        raise ValueError("path planning has no tractable probabilities: use sampler=ancestral or sampler=first_hitting")
