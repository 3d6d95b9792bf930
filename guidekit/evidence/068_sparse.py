"""Row 68: gradients in every third step only, used again between, against gradients in every step."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

import guidekit as gk
from guidekit.evaluation.kernel import kernel_distance
from guidekit.evidence.claim import Check, Claim

EVERY, IMAGES, STEPS = 3, 20, 18


def kinds(guidance: Any) -> dict[str, Any]:
    """Every step, every third with the last gradient between, and "all" spelled out."""
    return {
        "every": guidance,
        "sparse": dataclasses.replace(guidance, every=EVERY, reuse=True),
        "all": gk.guidance.sparse(guidance, every=1),
    }


def mixture(seed: int) -> dict[str, float]:
    """Accuracy, MMD to the wanted component and backward passes; the classifier is exact."""
    means = torch.tensor([[2.0, 0.0, 1.0], [-2.0, 1.0, 0.0]], dtype=torch.float64)
    prior = gk.priors.GaussianMixture(means, 0.8, process=gk.processes.VP())

    def logs(x: Tensor) -> Tensor:
        return torch.log_softmax(-0.5 * (x[:, None] - means.to(x)).square().sum(-1) / prior.covariances[0, 0, 0], 1)

    wanted = gk.guidance.UniversalGuidance(lambda x: logs(x)[:, 0], 2.0)
    other = means[0] + prior.covariances[0, 0, 0] ** 0.5 * torch.randn(
        2000, 3, generator=torch.Generator().manual_seed(seed)
    )
    found = {}
    for name, guidance in kinds(wanted).items():
        result = gk.sample(prior, guidance, 2000, 60, seed, "ancestral", dtype=torch.float64)
        found[f"accuracy, {name}"] = float((logs(result.samples).argmax(1) == 0).double().mean())
        found[f"mmd, {name}"] = kernel_distance(result.samples, other)[0]
        found[f"gradients, {name}"] = float(result.ledger.backward_passes)
        found[f"sum, {name}"] = float(result.samples.sum())
    return found


def images(seed: int) -> dict[str, float]:
    """The same of Fashion-MNIST dresses, guided by one classifier and judged by another."""
    domain = gk.load_domain("images")
    prior, reward = domain.load_prior(), domain.rewards.make("classifier", label="dress")
    sampler, found = gk.samplers.Ancestral(times="karras"), {}
    for name, guidance in kinds(gk.guidance.UniversalGuidance(reward, 4.0)).items():
        if name == "all":
            continue
        result = gk.sample(prior, guidance, IMAGES, STEPS, seed, sampler)
        figures = domain.evaluate(result.objects(), prior=prior, labels=[3] * IMAGES, training=[])
        found[f"accuracy, {name}"] = float(figures["judge_accuracy"])
        found[f"mmd, {name}"] = float(figures["kernel_judge"])
        found[f"gradients, {name}"] = float(result.ledger.backward_passes)
    return found


def measure(seed: int) -> dict[str, float]:
    """Both domains; differences and ratios within a seed."""
    figures: dict[str, float] = {}
    for domain, found in (("mixture", mixture(seed)), ("images", images(seed))):
        figures |= {f"{name} on {domain}": value for name, value in found.items()}
        figures[f"accuracy lost on {domain}"] = found["accuracy, every"] - found["accuracy, sparse"]
        figures[f"MMD, share on {domain}"] = found["mmd, sparse"] / found["mmd, every"]
        figures[f"gradients saved on {domain}"] = found["gradients, every"] / found["gradients, sparse"]
    figures["all differs"] = figures["sum, all on mixture"] - figures["sum, every on mixture"]
    return figures


CLAIM = Claim(
    row=68,
    method="PretrainedCond",
    provides=("guidance.sparse", "guidance.SparseGradient"),
    tier="A",
    says="With a gradient in every third step, used again between, a third of the backward passes give a class "
    "accuracy within 3 points and an MMD within 10 % of a gradient in every step (universal guidance by a "
    "classifier: 2,000 samples of a mixture, 60 steps; 20 dresses, 18 steps, judged by another classifier); "
    "every=1 is the same to the last bit.",
    domains=("exact", "images"),
    checks=(
        *(
            Check(f"gradients of every step, over sparse: {one}", f"gradients saved on {one}", least=3)
            for one in ("mixture", "images")
        ),
        *(Check(f"accuracy lost: {one}", f"accuracy lost on {one}", most=0.03) for one in ("mixture", "images")),
        *(
            Check(f"MMD over that of every step: {one}", f"MMD, share on {one}", most=1.1)
            for one in ("mixture", "images")
        ),
        Check("difference of the sum of samples with every=1", "all differs", least=0, most=0),
    ),
    measure=measure,
    oracles=("tests/oracles/test_gradient.py::test_where_the_scale_is_zero_nothing_is_differentiated",),
    longer="200 images a seed and molecules, an hour",
)
