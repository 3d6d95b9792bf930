"""Feynman-Kac correctors of discrete diffusion: classifier-free guidance without its bias."""

from __future__ import annotations

import dataclasses

from guidekit.core.guidance import Fact, Guidance, Propose, chain
from guidekit.core.population import Population
from guidekit.core.proposal import Proposal
from guidekit.core.state import altered
from guidekit.core.step import Step
from guidekit.guidance.particles.filter import ParticleFilter
from guidekit.guidance.transition.kernel_mixing import Mixing
from guidekit.registry import register


@register("guidance", "kernel_product")
@dataclasses.dataclass(frozen=True, eq=False)
class KernelProduct(Mixing):
    """Within a particle filter: the law proportional to p_c(x)^w p_0(x)^(1 - w), at every time of the chain.

    Mixed kernels K_c^w K_0^(1 - w) / N(z_t), as in `KernelCFG`, sample another law; weights that grow by log N(z_t) at
    every step make up for it: with exact kernels, target_t(z_t) N(z_t) K_mixed(z_u | z_t) sums to target_u(z_u). A tilt
    outside it (`DCBG`) is a proposal, which is corrected for as well.
    On first-hitting samplers (one token a step) the kernel is that of `CFG`, and the weight grows by the normalizer of
    the law of the token that is revealed. In continuous time it is the weight rate sum_y R_w(z, y) - w R_c(z, y) -
    (1 - w) R_0(z, y). Noise that a sampler adds, and the reverse rates that make up for it, weigh nothing: with mixed
    rates they leave the product of the two laws as it is. No network call more than CFG.

    Args:
        weight: w; 0 and 1 have constant weights.

    Source: Skreta et al. 2025, arXiv:2503.02819, for diffusions; tokens: Lee et al. 2025, arXiv:2502.06079. The form
    for steps of any size follows from the telescoping product of kernels.
    """

    requires = (Mixing.requires - {Fact.TABLES}) | {Fact.REVERSAL, Fact.WEIGHTS}

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """See `Guidance.propose`; the base is the product itself, which is no law: what it sums to is the weight."""
        proposal = inner(population, step)
        null, conditional = self.branches(inner, population, step)
        kernel, product = null.product(conditional, self.weight)
        return altered(proposal, kernel=kernel, base=None if proposal.base is None else product)


@register("guidance", "discrete_fkc")
def DiscreteFKC(  # noqa: N802 - a preset
    weight: float = 2.0,
    *,
    particles: int = 8,
    resampler: str = "systematic",
    ess_threshold: float | None = 0.5,
    interval: int = 1,
    window: tuple[float, float] = (1.0, 0.0),
    output: str = "draw",
) -> Guidance:
    """Feynman-Kac corrector: weighted particles of the law proportional to p_c(x)^w p_0(x)^(1 - w) on tokens.

    It is chain(KernelProduct(weight), ParticleFilter(...)), see there; a tilt goes between the two.

    Args:
        weight: w; 0 and 1 have constant weights.
        particles, resampler, ess_threshold, interval, window, output: see `ParticleFilter`; without a potential no
            particle is the best.

    Raises:
        ValueError: settings outside their choices.

    Source: see `KernelProduct`.
    """
    corrected = ParticleFilter(
        particles=particles,
        resampler=resampler,
        ess_threshold=ess_threshold,
        interval=interval,
        window=window,
        output=output,
    )
    return chain(KernelProduct(weight), corrected)
