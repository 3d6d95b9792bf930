"""Row 91: powers, averages and products of mixtures by weighted particles, beside rules without weights; pictures."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

import guidekit as gk
from guidekit.bench.fkc import wasserstein
from guidekit.evidence.claim import Check, Claim

PARTICLES, DRAWS, STEPS, SIDE, CELLS = (1, 4, 32), 600, 40, 9.0, 700
PROBLEMS = 3
SAMPLER = gk.samplers.DPMSolver(eta=1.0)
IMAGES, STEPS_OF_IMAGES = 24, 10
Density = Callable[[Tensor], Tensor]


def mixtures(seed: int) -> tuple[gk.priors.GaussianMixture, gk.priors.GaussianMixture]:
    """Two mixtures of five Gaussians on the same places, whose weights and widths differ."""
    generator = torch.Generator().manual_seed(seed)
    means = (torch.rand(5, 2, generator=generator) - 0.5) * 8
    made = []
    for _ in range(2):
        weights, widths = 0.2 + torch.rand(5, generator=generator), 0.5 + 0.4 * torch.rand(5, generator=generator)
        made.append(gk.priors.GaussianMixture(means, widths, weights, gk.processes.EDM(0.01, 30.0)))
    return made[0], made[1]


def drawn(log_density: Density, seed: int) -> Tensor:
    """Exact draws (`DRAWS`, 2) from a density, given but for a factor, by the cells of a fine grid."""
    generator = torch.Generator().manual_seed(10_000 + seed)
    axis = ((torch.arange(CELLS, dtype=torch.float64) + 0.5) / CELLS * 2 - 1) * SIDE
    cells = torch.cartesian_prod(axis, axis)
    shares = torch.softmax(log_density(cells), 0)
    chosen = cells[torch.multinomial(shares, DRAWS, replacement=True, generator=generator)]
    return chosen + (torch.rand(DRAWS, 2, generator=generator) - 0.5) * (2 * SIDE / CELLS)


def discrepancy(x: Tensor, y: Tensor) -> float:
    """Maximum mean discrepancy with a Gaussian kernel of width 1, biased: square root of the V-statistic."""

    def mean(one: Tensor, other: Tensor) -> float:
        return float(torch.exp(-0.5 * torch.cdist(one, other).square()).mean())

    return max(mean(x, x) + mean(y, y) - 2 * mean(x, y), 0.0) ** 0.5


def errors(name: str, prior: Any, make: Callable[..., Any], rule: Any, law: Density, seed: int, condition: Any) -> Any:
    """Distances from the target by number of particles, and of the rule without weights."""
    true, figures = drawn(law, seed), {}
    for particles in (0, *PARTICLES):
        guidance = make(particles) if particles else rule
        options: dict[str, Any] = dict(seed=seed, sampler=SAMPLER, condition=condition, batch_size=DRAWS)
        found = gk.sample(prior, guidance, DRAWS, STEPS, **options)
        told = f"K = {particles}" if particles else "the rule"
        figures[f"W2, {name}, {told}"] = wasserstein(found.samples, true, 2)
        figures[f"MMD, {name}, {told}"] = discrepancy(found.samples.double(), true)
    figures[f"ESS / K, {name}"] = float(found.info["ess"].double().mean()) / PARTICLES[-1]
    for kind in ("W2", "MMD"):
        first, *_, last = (figures[f"{kind}, {name}, K = {particles}"] for particles in PARTICLES)
        figures[f"fall of {kind}, {name}"] = first - last
        figures[f"{kind} of the rule less ours, {name}"] = figures[f"{kind}, {name}, the rule"] - last
    return figures


def problem(number: int, seed: int) -> dict[str, float]:
    """Three targets made of the mixtures of a number."""
    g = gk.guidance
    prior, other = mixtures(number)
    null = gk.priors.GaussianMixture(other.means, 1.2, process=other.process)
    pair = gk.priors.ClassConditional(null, [other])
    one, two, wide = (law.marginal(0.0).log_prob for law in (prior, other, null))
    score: dict[str, Any] = dict(formulation="target_score", particles=1)

    def annealed(k: int) -> Any:
        return g.FKCAnneal(3.0, particles=k)

    def averaged(k: int) -> Any:
        return g.FKCAverage(3.0, particles=k)

    def product(k: int) -> Any:
        return g.FKCProduct(other, particles=k)

    power, both = g.FeynmanKacCorrector(3.0, **score), g.FeynmanKacCorrector(other=other, **score)
    return {
        **errors("power", prior, annealed, power, lambda x: 3 * one(x), seed, None),
        **errors("average", pair, averaged, g.CFG(3.0), lambda x: 3 * two(x) - 2 * wide(x), seed, 0),
        **errors("product", prior, product, both, lambda x: one(x) + two(x), seed, None),
    }


def measure(seed: int) -> dict[str, float]:
    """Mean distances over the problems, and pictures of three classes."""
    each = [problem(number, seed) for number in range(PROBLEMS)]
    figures = {name: fmean(one[name] for one in each) for name in each[0]}
    domain: Any = gk.load_domain("images")
    images = domain.load_prior()
    classes = ["bag", "sneaker", "coat"]
    guidance = gk.guidance.FKCAverage(2.0, particles=4, center=True, increment_clip=1.0)
    for name, one_of in (("conditional model", None), ("weighted", guidance)):
        options: dict[str, Any] = dict(seed=seed, sampler=SAMPLER, condition=classes)
        found = gk.sample(images, one_of, IMAGES, STEPS_OF_IMAGES, **options)
        asked = images.condition(classes)[:, 0].repeat(IMAGES // len(classes))
        told = domain.classifier(images).judged(found.samples)[1].argmax(1)
        figures[f"accuracy, {name}"] = float((told == asked).double().mean())
    return figures | {"ESS / K, images": float(found.info["ess"].double().mean()) / 4}


KINDS = ("power", "average", "product")
CLAIM = Claim(
    row=91,
    method="FKC",
    provides=("guidance.FKCAnneal", "guidance.FKCAverage", "guidance.FKCProduct", "guidance.FeynmanKacCorrector"),
    tier="A",
    says="Cubes, averages p_c^3 / p_0^2 and products of three pairs of mixtures of five Gaussians: the distances of "
    "600 draws from the target fall from one particle a draw to 32, and end below those of the rule without weights "
    "(three times the score, CFG, the sum of the scores); pictures of three classes are made with weights.",
    domains=("exact", "images"),
    checks=(
        *(Check(f"W2 of the {name}: one particle less 32", f"fall of W2, {name}", least=0) for name in KINDS),
        *(Check(f"MMD of the {name}: one particle less 32", f"fall of MMD, {name}", least=0) for name in KINDS),
        *(Check(f"W2 of the {name}: rule less ours", f"W2 of the rule less ours, {name}", least=0) for name in KINDS),
        *(Check(f"MMD of {name}: rule less ours", f"MMD of the rule less ours, {name}", least=0) for name in KINDS),
        Check("pictures of the class asked for, by the judge", "accuracy, weighted", least=0.9, by="mean"),
        Check("particles that count, share of 32, power", "ESS / K, power", least=0.3),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_feynman_kac.py::test_weighted_particles_have_the_law_of_the_target",
        "tests/oracles/test_transition.py::test_discrete_fkc_has_the_tempered_law_as_its_target",
    ),
    longer="products of experts of molecules, and FID of pictures over weights, an hour",
)
