"""Row 70: guidance of tokens against enumerated laws, for masked and for uniform noise."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

import guidekit as gk
from guidekit.core.objective import Objective
from guidekit.evidence.claim import Check, Claim
from guidekit.testing import exact_law

PROCESSES = {"masked": gk.processes.Masked(), "uniform": gk.processes.Uniform()}


@dataclasses.dataclass(frozen=True, eq=False)
class ExactValue(Objective):
    """log p(y | z_t) by enumeration."""

    chain: gk.priors.CategoricalChain
    table: Tensor
    on = "noisy"

    def scores(self, z: Tensor, t: Any, rows: object) -> Tensor:
        """See `Objective.scores`."""
        return self.chain.expectation(self.table, z, t).log()


def distance(a: Tensor, b: Tensor) -> float:
    """Total variation of a, made a law, from b."""
    return float((a / a.sum() - b).abs().sum() / 2)


def bayes_error(process: gk.processes.DiscreteProcess, law: Tensor) -> float:
    """Of the reverse step of one token from .7 to .4, against Bayes' rule from the forward transitions."""
    chain = gk.priors.CategoricalChain(law, process)
    known = chain.process.states
    start = torch.cat([chain.probabilities, torch.zeros(known - len(law), dtype=torch.float64)])
    joint = torch.einsum("x,xu,ut->ut", start, chain.process.transition(0.4, 0.0), chain.process.transition(0.7, 0.4))
    return float((chain.kernel_matrix(0.7, 0.4) - (joint / joint.sum(0)).T).abs().max())


def measure(seed: int) -> dict[str, float]:
    """Laws, classes and rewards drawn by the seed; everything else is exact."""
    generator = torch.Generator().manual_seed(seed)
    law = torch.rand(3, 3, dtype=torch.float64, generator=generator) + 0.05
    label = 0.05 + 0.9 * torch.rand(3, 3, dtype=torch.float64, generator=generator)
    posterior = law * label / (law * label).sum()
    null, given = (torch.softmax(torch.randn(4, dtype=torch.float64, generator=generator), 0) for _ in range(2))
    figures = {}
    for name, process in PROCESSES.items():
        chain = gk.priors.CategoricalChain(law, process)
        guidance = gk.guidance.DCBG(value=ExactValue(chain, label))
        coarse, fine = (
            distance(exact_law(chain, gk.samplers.Ancestral(), guidance, steps), posterior) for steps in (32, 128)
        )
        figures[f"D-CBG, {name}"], figures[f"order, {name}"] = fine, coarse / fine
        figures[f"posterior, {name}"] = bayes_error(process, law.sum(1))
    # one masked token is drawn once, by the guided law itself
    chain = gk.priors.CategoricalChain(null, conditionals=given[None])
    wanted = given**3 * null**-2
    found = exact_law(chain, gk.samplers.FirstHitting(), gk.guidance.CFG(3.0), condition=0)
    return {**figures, "D-CFG": float((found - wanted / wanted.sum()).abs().max())}


CLAIM = Claim(
    row=70,
    method="D-CFG / D-CBG / UDLM",
    provides=("guidance.CFG", "guidance.DCBG", "processes.Uniform"),
    tier="A",
    says="By enumeration, on laws drawn by the seed: reverse steps are Bayes' rule, classifier-free guidance "
    "samples one masked token by p_c^w p_0^(1 - w) at w = 3, and classifier guidance by the exact value "
    "ends within .01 of the conditional law in 128 steps, with an error of first order in the step.",
    domains=("exact",),
    checks=tuple(
        check
        for name in PROCESSES
        for check in (
            Check(f"posterior, {name} noise: largest error", f"posterior, {name}", most=1e-6),
            Check(f"D-CBG, {name} noise: distance from p(x | y) at 128 steps", f"D-CBG, {name}", most=0.01),
            Check(f"D-CBG, {name} noise: error at 32 over 128 steps", f"order, {name}", least=3, most=5.5),
        )
    )
    + (Check("D-CFG of one token: largest error", "D-CFG", most=1e-6),),
    measure=measure,
    oracles=(
        "tests/oracles/test_chain_a.py::test_uniform_posterior_is_bayes",
        "tests/oracles/test_chain_a.py::test_masked_posterior_is_bayes",
        "tests/oracles/test_chain_a.py::test_discrete_cfg_sharpens_one_token_exactly",
        "tests/oracles/test_transition.py::test_classifier_guidance_samples_the_conditional_law",
    ),
    longer="the frontier of control and quality on DNA and molecule strings, masked and uniform, several hours",
)
