"""Split Gibbs sampling: the prior given a noisy state and the measurement given a clean one, in turns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, Propose
from guidekit.core.kernel import GaussianKernel
from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.prediction import Prediction
from guidekit.core.prior import Prior
from guidekit.core.proposal import Proposal
from guidekit.core.random import Draw
from guidekit.core.sampler import Sampler
from guidekit.core.step import Step
from guidekit.guidance.inverse.measurement import check_own_steps
from guidekit.guidance.inverse.own_steps import check_counts, check_floor
from guidekit.guidance.inverse.proximal import Fit, Near, Round
from guidekit.guidance.inverse.walks import walked
from guidekit.processes.grids import Levels
from guidekit.registry import register
from guidekit.samplers.ancestral import Ancestral

PriorHalf = Callable[[Population, Prediction, Draw], Tensor]
"""(population, prediction, draw) -> clean states (B, *S) given the prediction's noisy ones."""

LEVELS = Levels(0.1, 10.0)
"""rho goes down to .1: what is left of it blurs the answer, and smaller ones make the turns mix slowly."""


@dataclasses.dataclass(frozen=True, eq=False)
class SplitGibbs(Guidance[None]):
    """x ~ p(x_0 | x_t = a z) and z ~ p(y | z) N(z; x, rho^2 I) in turns, rho = s / a going down with the steps.

    At a fixed rho the law of x is p(x_0) times the likelihood of x_0 plus noise rho: a posterior whose measurement is
    noisier by rho^2 A A^T. The last rho is what remains of that bias, the number of turns what remains of the start.

    Args:
        fit: how z is drawn.
        prior_half: how x is drawn.
        rounds: turns at every level.
        title: its name in messages.

    Source: Wu et al. 2024, arXiv:2405.18782, algorithm 1; Vono et al. 2019, arXiv:1804.05809 for the law.
    """

    fit: Fit
    prior_half: PriorHalf
    rounds: int = 1
    title: str = ""
    layer = Layer.PROPOSAL

    @property
    def name(self) -> str:
        """That of the preset."""
        return self.title or type(self).__name__

    @property
    def requires(self) -> frozenset[Fact]:  # type: ignore[override]
        """Real states, and a gradient where the measurement is not linear."""
        return frozenset({Fact.FLOW, Fact.WHOLE} if self.fit.linear else {Fact.FLOW, Fact.WHOLE, Fact.GRADIENT})

    @property
    def objectives(self) -> tuple[Objective, ...]:  # type: ignore[override]
        """See `Guidance.objectives`."""
        return (self.fit.likelihood,) if isinstance(self.fit.likelihood, Objective) else ()

    @property
    def default_sampler(self) -> Sampler:  # type: ignore[override]
        """The levels rho."""
        return Ancestral(times=LEVELS)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Nobody's steps may be ignored, and candidates for its steps would be copies."""
        check_own_steps(self, sampler, members)
        searching = [member for member in members if member.layer is Layer.SEARCH]
        if searching:
            raise GuidanceError(
                f"candidates of {searching[0].name} for a step of {self.name} would be copies: leave out one, or use "
                "guidance=daps"
            )

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`."""
        draw, process = population.draw(step, "turns", self), population.process
        prediction: Any = population.predict()
        a, s = process.coefficients(step.t)
        for turn in range(self.rounds - 1):
            z = self._turn(population, prediction, a, s, draw.named(str(turn)))
            prediction = population.ask(a * z, step.t)
        b, r = process.coefficients(step.u)
        z = self._turn(population, prediction, b, r, draw.named("last"))
        return Proposal(GaussianKernel(b * z, 0.0))

    def _turn(self, population: Population, prediction: Prediction, a: float, s: float, draw: Draw) -> Tensor:
        """x given the prediction's states, then z given x at rho = s / a, (B, *S); x itself where s is 0."""
        x = self.prior_half(population, prediction, draw.named("prior"))
        return x if s == 0 else self.fit.draw(population, Near(x, Round(), a, s), draw.named("measurement"))


@register("guidance", "pnp_dm")
def PnPDM(  # noqa: N802 - a preset
    likelihood: Objective, calls: int = 1, rounds: int = 1, iterations: int = 30, floor: float = 0.01
) -> Guidance:
    """Split Gibbs sampling with the network as prior: it denoises a state that the measurement has drawn near.

    Linear measurements are put in exactly, others by Metropolis-adjusted Langevin steps. One call a turn gives the best
    pictures, since x is then a mean, and much too narrow a posterior; five give one that is somewhat too wide (1.1
    times the standard deviation at 50 calls). The sampler's grid is the schedule of rho, from 10 to .1.

    Args:
        likelihood: of a measurement, or any differentiable objective in nats.
        calls: m of the network a turn: second-order steps of the reverse diffusion from rho down. Following the
            probability flow instead would leave a law that is too narrow, however many calls there are.
        rounds: turns at every level.
        iterations: of conjugate gradients where there is no closed form, or of Langevin steps where the measurement is
            not linear.
        floor: least standard deviation of the noise of linear measurements that is assumed.

    Raises:
        ValueError: settings outside their range.

    Source: Wu et al. 2024, arXiv:2405.18782, algorithm 1; their prior half-step is first-order, with 100 levels.
    """
    check_counts(calls=calls, rounds=rounds, iterations=iterations)
    check_floor(floor)

    def prior_half(population: Population, prediction: Prediction, draw: Draw) -> Tensor:
        return walked(population, prediction, calls, 2, draw)

    return SplitGibbs(Fit(likelihood, floor, iterations), prior_half, rounds, "PnPDM")


__all__ = ["PnPDM", "SplitGibbs"]
