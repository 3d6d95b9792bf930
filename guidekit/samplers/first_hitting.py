"""First-hitting sampling of masked processes: every network call reveals a token."""

from __future__ import annotations

import dataclasses
import math

import torch

from guidekit.core.kernels import ChosenUnmaskingKernel
from guidekit.core.population import Population
from guidekit.priors.base import Prior
from guidekit.processes import Masked
from guidekit.samplers.base import Sampler


@dataclasses.dataclass(frozen=True)
class FirstHitting(Sampler):
    """Jumps to the time at which the next token is revealed; exact for an exact prediction, with L steps for L tokens.

    With fewer steps than tokens, ceil(L / steps) tokens are revealed at once, which trades calls for a bias; more steps
    than tokens are never taken.

    Source: Zheng et al. 2024, arXiv:2409.02908.
    """

    processes = (Masked,)
    changes = ("tilt",)

    def grid(self, prior: Prior, steps: int) -> list[float]:
        """Nominal times; the true ones are kept per particle."""
        length = prior.event_shape[0]
        return prior.process.grid(math.ceil(length / self.count(length, steps)))

    @staticmethod
    def count(length: int, steps: int) -> int:
        """Tokens revealed in one step."""
        return math.ceil(length / min(steps, length))

    def start(self, population: Population) -> Population:
        """Every particle starts at t = 1 and keeps its own time."""
        return population.remember(time=torch.ones(len(population), dtype=torch.float64, device=population.run.device))

    def propose(self, population: Population, t: float, u: float) -> ChosenUnmaskingKernel:
        """See `Sampler.propose`."""
        run = population.run
        count = math.ceil(run.prior.event_shape[0] / (len(run.grid) - 1))
        prediction = population.predict(t)
        return run.prior.process.first_hitting(prediction, count, population.time(t), run.draw("first hitting"))
