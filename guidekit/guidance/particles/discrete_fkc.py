"""Feynman-Kac correctors of discrete diffusion: classifier-free guidance without its bias."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from guidekit.core.guidance import Denoiser, GuidanceError
from guidekit.core.kernels import CategoricalKernel, ChosenUnmaskingKernel, Kernel
from guidekit.core.population import Population, Time
from guidekit.core.prediction import Prediction
from guidekit.core.run import Run
from guidekit.core.state import State
from guidekit.guidance.contrast.linear import contrast, normalised
from guidekit.guidance.particles.filter import ParticleFilter
from guidekit.guidance.transition.kernel_mixing import branch_kernels, geometric, require_condition
from guidekit.samplers import FirstHitting


@dataclasses.dataclass(frozen=True)
class DiscreteFKC(ParticleFilter):
    """Weighted particles of the law proportional to p_c(x)^w p_0(x)^(1 - w), at every time of the chain.

    Mixed kernels K_c^w K_0^(1 - w) / N(z_t), as in `KernelCFG`, sample another law; weights that grow by log N(z_t) at
    every step make up for it: with exact kernels, target_t(z_t) N(z_t) K_mixed(z_u | z_t) sums to target_u(z_u). A tilt
    outside it (`DCBG`) is a proposal, which is corrected for as well.
    On first-hitting samplers (one token a step) the kernel is that of `CFG`, and the weight grows by the normaliser of
    the law of the token that is revealed. In continuous time it is the weight rate sum_y R_w(z, y) - w R_c(z, y) -
    (1 - w) R_0(z, y). No network call more than CFG.

    Args:
        weight: w; 0 and 1 have constant weights.
        particles, resampler, ess_threshold, interval, window, output: see `ParticleFilter`.

    Source: Skreta et al. 2025, arXiv:2503.02819, for diffusions; tokens: Lee et al. 2025, arXiv:2502.06079. The form
    for steps of any size follows from the telescoping product of kernels.
    """

    weight: float = 2.0
    needs = ("conditional prior and condition=", "tokens")
    contrasts = True

    def __post_init__(self) -> None:
        """Without a potential no particle is the best."""
        super().__post_init__()
        if self.output == "best":
            raise ValueError("output='best' needs a reward; accepted here: draw, all")

    def check(self, run: Run) -> None:
        """A conditional prior of tokens, a condition, and noise."""
        require_condition(self, run)
        if not isinstance(run.sampler, FirstHitting):
            run.sampler.require("categorical", "DiscreteFKC", "sampler=ancestral or sampler=first_hitting")
        super().check(run)

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """Both beliefs from one joined call; the mixed one is what others see."""
        base, positive = inner.branches(x, t, [None, condition])
        return contrast(base, positive, self.weight)

    def propose(
        self, inner: Callable[[Population, float, float], Kernel], population: Population, t: float, u: float
    ) -> Kernel:
        """The mixed kernel, which knows its normaliser."""
        kernel = inner(population, t, u)
        parts = population.predict(t).parts
        if isinstance(kernel, ChosenUnmaskingKernel):
            if kernel.base is not None:
                raise GuidanceError("DiscreteFKC weighs what is not yet tilted: write chain(DiscreteFKC, tilt)")
            law = geometric(parts["base"].log_probs.double(), parts["positive"].log_probs.double(), self.weight)
            return WeightedUnmaskingKernel(**vars(kernel), log_normalizers=torch.logsumexp(law, -1))
        base, positive = (kernel.categorical().log_probs for kernel in branch_kernels(inner, population, t, u))
        mixed = geometric(base, positive, self.weight)
        weight = torch.logsumexp(mixed, -1).sum(1)
        return WeightedKernel(normalised(mixed, positive), population.predict(t), log_normalizer=weight)


@dataclasses.dataclass(frozen=True)
class WeightedKernel(CategoricalKernel):
    """A kernel whose every draw has the same log-weight.

    Args:
        log_normalizer: (B,) nats.
    """

    log_normalizer: Tensor | None = None

    def memory(self, state: Tensor) -> dict[str, Tensor]:
        """The log-weight of the step, a tilt of the kernel undone."""
        return {"log_ratio": self.log_normalizer + super().memory(state).get("log_ratio", 0.0)}


@dataclasses.dataclass(frozen=True)
class WeightedUnmaskingKernel(ChosenUnmaskingKernel):
    """A first-hitting kernel whose revealed tokens have a log-weight each.

    Args:
        log_normalizers: (B, L) nats.
    """

    log_normalizers: Tensor | None = None

    def memory(self, state: Tensor) -> dict[str, Tensor]:
        """The time reached and the log-weight of the step, a tilt of the kernel undone."""
        memory = super().memory(state)
        weight = torch.where(state != self.prediction.z, self.log_normalizers, 0.0).sum(1)
        return memory | {"log_ratio": weight + memory.get("log_ratio", 0.0)}
