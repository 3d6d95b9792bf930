"""Classifier-free guidance of the transition itself: kernels or rates mixed instead of clean predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.core.guidance import Denoiser, Guidance, GuidanceError, overrides
from guidekit.core.kernels import CategoricalKernel, JumpKernel, Kernel
from guidekit.core.population import Population, Time
from guidekit.core.prediction import Prediction
from guidekit.core.run import Run
from guidekit.core.state import State
from guidekit.guidance.contrast.linear import contrast, normalised
from guidekit.processes import DiscreteProcess
from guidekit.samplers import Ancestral, Jumps, Sampler


def require_condition(plug: Guidance, run: Run) -> None:
    """Both branches must exist, be of tokens, and be what the plug mixes."""
    name, prior = type(plug).__name__, run.prior
    if not isinstance(prior.process, DiscreteProcess):
        raise GuidanceError(f"{name} mixes laws of tokens, and this prior ({prior.name}) is not of tokens: use CFG")
    if prior.null_condition is None or run.condition is None:
        raise GuidanceError(f"{name} needs a conditional prior and a condition=; the prior here is {prior.name}")
    for other in run.plugs[run.position(plug) + 1 :]:
        if overrides(other, "denoise"):  # it would change the mixed belief, and not the branches that are mixed
            raise GuidanceError(f"{name} mixes what is inside it: write chain({type(other).__name__}, {name})")


@dataclasses.dataclass(frozen=True)
class KernelCFG(Guidance):
    """Both branches' transitions mixed as K_c^w K_0^(1 - w): kernels (normalised), or rates of the reversed chain.

    On a masked process with one token left it equals `CFG`; on others, and where steps are coarse, it does not.

    Args:
        weight: w; 1 is the conditional model, 0 the unconditional one.
        mix: "kernel" (D-CFG for uniform noise), or "rates" (predictor-free guidance; needs sampler=jumps).

    Source: Schiff et al. 2024, arXiv:2412.10193, eq. 7; rates: Nisonoff et al. 2024, arXiv:2406.01572, eq. 4.
    """

    weight: float = 2.0
    mix: str = "kernel"
    timeless = True
    needs = ("conditional prior and condition=", "tokens")
    contrasts = True

    @property
    def default_sampler(self) -> Sampler:
        """Kernels and rates, where the caller leaves the choice."""
        return Ancestral() if self.mix == "kernel" else Jumps()

    def __post_init__(self) -> None:
        """Refuse an unknown mix."""
        if self.mix not in ("kernel", "rates"):
            raise ValueError(f"mix={self.mix!r}; accepted: kernel, rates (for clean predictions use CFG)")

    def check(self, run: Run) -> None:
        """See `require_condition`; the sampler's kernels must be tables, or have rates."""
        require_condition(self, run)
        if self.mix == "rates":
            run.sampler.require("rates", "KernelCFG with mix=rates", "sampler=jumps")
        run.sampler.require("categorical", "KernelCFG", "sampler=ancestral, or guidance=cfg with this sampler")

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """Both beliefs from one joined call; the mixed one is what others see."""
        base, positive = inner.branches(x, t, [None, condition])
        return contrast(base, positive, self.weight)

    def propose(
        self, inner: Callable[[Population, float, float], Kernel], population: Population, t: float, u: float
    ) -> Kernel:
        """See `Guidance.propose`."""
        base, positive = branch_kernels(inner, population, t, u)
        if self.mix == "rates" and u > 0:
            if not isinstance(base, JumpKernel):
                raise GuidanceError("KernelCFG with mix=rates needs a sampler that follows rates: use sampler=jumps")
            rates = geometric(base.rates.log(), positive.rates.log(), self.weight).exp()
            return dataclasses.replace(base, rates=rates)
        positive = positive.categorical().log_probs
        mixed = geometric(base.categorical().log_probs, positive, self.weight)
        return CategoricalKernel(normalised(mixed, positive), population.predict(t))


def branch_kernels(
    inner: Callable[[Population, float, float], Kernel], population: Population, t: float, u: float
) -> tuple[Kernel, Kernel]:
    """The inner kernel under each of the two beliefs that the present prediction was mixed from."""
    parts = population.predict(t).parts
    kernels = tuple(inner(population.believing(t, parts[name]), t, u) for name in ("base", "positive"))
    if not hasattr(kernels[0], "categorical"):
        kind = type(kernels[0]).__name__
        raise GuidanceError(f"a {kind} has no table to mix: use CFG with this sampler, or sampler=ancestral")
    if kernels[0].base is not None:
        raise GuidanceError("kernels are mixed before they are tilted: put DCBG and its like outside, chain(mix, tilt)")
    return kernels


def geometric(base: Tensor, positive: Tensor, weight: float) -> Tensor:
    """(1 - w) base + w positive of logarithms; what is impossible in either stays impossible."""
    dead = base.isneginf() | positive.isneginf()
    return (base + weight * (positive - base)).masked_fill(dead, -torch.inf)
