"""Row 10: guidance by the similarity of embeddings of noisy states, towards a reference for every sample."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import guidekit as gk
from guidekit.evaluation.kernel import kernel_distance
from guidekit.evidence.claim import Check, Claim
from guidekit.objectives.operators.transforms import along, cosines
from guidekit.objectives.similarity import cosine, noise_aware

WEIGHTS, EACH, STEPS, DATA = (0.0, 10.0, 40.0), {"images": 16, "audio": 10}, 18, 600
"""The last weight is the chosen one."""


def images() -> tuple[Any, Tensor, Tensor, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Prior, training and test states, the hidden layer of the classifier that guides and of the one that judges."""
    domain: Any = gk.load_domain("images")
    prior = domain.load_prior()
    from guidekit.domains.images.by_reference import hidden, seen_by

    parts = [prior.codec.encode(domain.reference(split=split)[:4000]) for split in ("train", "test")]
    return prior, *parts, hidden(seen_by(None, (1, 28, 28))), lambda x: domain.classifier(prior).judged(x)[0]


def audio() -> tuple[Any, Tensor, Tensor, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """The same for log-mel pictures: mean over time and over bands guides, slow waves along both judge."""
    domain: Any = gk.load_domain("audio")
    prior = domain.load_prior()
    parts = [prior.codec.encode(domain.reference(split=split)) for split in ("train", "test")]

    def profiles(x: Tensor) -> Tensor:
        return torch.cat([x[:, 0].mean(2), x[:, 0].mean(1)], 1)

    def waves(x: Tensor) -> Tensor:
        base = cosines(64).to(x)
        return along(along(x[:, 0], base, 1), base, 2)[:, :8, :8].flatten(1)

    return prior, *parts, profiles, waves


def guided(kind: str, parts: Any, seed: int) -> dict[str, float]:
    """Cosines to the reference of each sample and distance to the data, for every weight."""
    prior, train, test, encoder, judge = parts
    field = gk.priors.GaussianField.fit(train, basis="cosine", process=prior.process)
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    number = EACH[kind]
    reference, data = test[order[:number]], test[order[number : number + DATA]]
    with torch.no_grad():
        middle = encoder(train).mean(0)
        judged, real = judge(reference), judge(data)

    def centered(x: Tensor) -> Tensor:
        return encoder(x) - middle.to(x)

    target = centered(reference).detach()
    sampler = gk.samplers.DPMSolver(times="karras")
    found: dict[str, float] = {}
    for weight in WEIGHTS:
        objective = gk.objectives.Similarity(noise_aware(centered, field), target, "cosine", "noisy")
        guidance = gk.guidance.ClassifierGuidance(objective, weight) if weight else None
        x = gk.sample(prior, guidance, number, STEPS, seed, sampler).samples.clamp(-1, 1)
        with torch.no_grad():
            seen = judge(x)
            found |= {
                f"cosine, {kind}, w={weight:g}": float(cosine(centered(x), target).mean()),
                f"judged cosine, {kind}, w={weight:g}": float(
                    cosine(seen - real.mean(0), judged - real.mean(0)).mean()
                ),
                f"distance, {kind}, w={weight:g}": kernel_distance(*standardized(seen, real))[0],
            }
    return found


def standardized(x: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    """Features in standard deviations of the data."""
    middle, spread = data.mean(0), data.std(0).clamp_min(1e-6)
    return (x - middle) / spread, (data - middle) / spread


def classifier(seed: int) -> float:
    """Numbers that differ from classifier guidance, where the embedding is the exact noisy classifier."""
    prior = gk.priors.GaussianMixture(torch.tensor([[2.0, 0.0], [-2.0, 1.0], [0.0, -2.0]]), 0.5)

    def logits(x: Tensor, t: Any) -> Tensor:
        a, s = (torch.as_tensor(c, dtype=x.dtype) for c in prior.process.coefficients(t))
        gap = x[:, None] - a.reshape(-1, 1, 1) * prior.means.to(x)
        return (-0.5 * gap.square().sum(2) / (0.25 * a**2 + s**2).reshape(-1, 1)).log_softmax(1)

    embedding = gk.objectives.Similarity(logits, torch.tensor([0.0, 1.0, 0.0]), "dot", "noisy")
    value = gk.objectives.Value(lambda x, t: logits(x, t)[:, 1])
    draws = [
        gk.sample(prior, gk.guidance.ClassifierGuidance(one), 500, 30, seed, "heun").samples
        for one in (embedding, value)
    ]
    return float((draws[0] != draws[1]).sum())


def measure(seed: int) -> dict[str, float]:
    """Rises of the cosine from weight to weight, and how far the chosen weight is from the data."""
    found = {"numbers that differ": classifier(seed)}
    for kind, parts in (("images", images), ("audio", audio)):
        found |= guided(kind, loaded(parts), seed)
        risen = [found[f"judged cosine, {kind}, w={weight:g}"] for weight in WEIGHTS]
        found[f"least rise, {kind}"] = min(after - before for before, after in zip(risen, risen[1:], strict=False))
        own = [max(found[f"distance, {kind}, w={weight:g}"], 0.0) for weight in (WEIGHTS[-1], 0.0)]
        found[f"excess of twice, {kind}"] = own[0] - 2 * own[1]
    return found


@functools.cache
def loaded(make: Callable[[], Any]) -> Any:
    """Priors and data, once."""
    return make()


CLAIM = Claim(
    row=10,
    method="SDG",
    provides=("objectives.Similarity", "objectives.NoisedReference"),
    tier="A",
    says="Guided by a noise-aware embedding towards a reference picture or sound of its own, each sample gets nearer to"
    " it with the weight, as another embedding judges, and at the chosen weight the kernel distance to the data is at"
    " most twice the unguided one; with an exact noisy classifier it is classifier guidance bit for bit (16 images and"
    " 10 sounds a weight and seed, weights 0, 10, 40, 18 steps).",
    domains=("exact", "images", "audio"),
    checks=(
        Check("numbers that differ from classifier guidance", "numbers that differ", most=0),
        Check("rise of the judged cosine from weight to weight, images", "least rise, images", least=0),
        Check("rise of the judged cosine from weight to weight, sounds", "least rise, audio", least=0),
        Check("squared distance to the data beyond twice the unguided one, images", "excess of twice, images", most=0),
        Check("squared distance to the data beyond twice the unguided one, sounds", "excess of twice, audio", most=0),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_feature_objectives.py::test_with_an_exact_noisy_classifier_it_is_classifier_guidance",
        "tests/oracles/test_feature_objectives.py::test_similarity_gradients_of_a_linear_encoder",
    ),
    longer="200 samples a weight, an hour",
)
