"""Row 39: gaps in sounds and pieces filled by gradients of the fit, their seams, and a class by a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import guidekit as gk
from guidekit.core.prior import Prior
from guidekit.domains.audio.data import clips
from guidekit.domains.audio.mel import decibels
from guidekit.domains.audio.metrics import log_spectral_distance
from guidekit.evidence.claim import Check, Claim
from guidekit.objectives.tasks import observe, signal_to_noise

CALLS, NOISE, SOUNDS, PIECES = 18, 0.02, 3, 2
CLASSES, EACH, SCALE = 3, 3, 3.0
"""Bass drum, snare, cymbal; sounds of each; of the gradient of the log-probability."""
GRID = gk.samplers.Ancestral(times={"name": "karras", "low": 0.02, "high": 10.0})


def held(domain: str, prior: Prior, gap: Tensor, seed: int) -> Tensor:
    """Test sounds, of those that are loudest in the gap, or excerpts of test pieces; others for every seed."""
    known = prior.encode(list(gk.load_domain(domain).reference()))
    if domain == "chorales":
        return known[torch.arange(seed, len(known), len(known) // PIECES)[:PIECES]]
    loud = ((known + 1) * gap).flatten(1).square().sum(1)
    return known[loud.argsort(descending=True)[seed : 3 * SOUNDS : 3]]


def flux(x: Tensor, rows: tuple[int, ...], axis: int) -> float:
    """Mean rise over all bands or pitches into some frames."""
    risen = x.diff(dim=axis).clamp_min(0)
    return float(torch.stack([risen.select(axis, row - 1) for row in rows]).double().mean())


def filled(domain: str, seed: int) -> dict[str, float]:
    """Gaps by gradients and by replacement, both from the same noise on the same levels."""
    made: Any = gk.load_domain(domain)
    prior, task = made.load_prior(), made.tasks["infill"](made.shape)
    gap: Any = task.gap
    truth = held(domain, prior, gap, seed)
    y = observe(truth, task)
    fit = gk.objectives.GaussianLikelihood(task.operator, y, NOISE)
    axis = -1 if domain == "audio" else -2
    inside = gap.flatten().nonzero()[:, 0]
    seams = int(inside[0]), int(inside[-1]) + 1
    context, figures = ~gap.expand(truth.shape[1:]), {}
    for name, guidance in (("gradients", gk.guidance.DPS(fit)), ("replacement", gk.guidance.Replacement(fit))):
        x = gk.sample(prior, guidance, len(truth), CALLS, seed, GRID).samples.clamp(-1, 1)
        kept = signal_to_noise(x, truth, context, task.blank)
        figures[f"{name}, {domain}, context, dB"] = float(kept.clamp_max(100).mean())
        figures[f"{name}, {domain}, gap, dB"] = float(signal_to_noise(x, truth, gap, task.blank).mean())
        figures[f"{name}, {domain}, flux at the seams, share of the truth's"] = flux(x, seams, axis) / flux(
            truth, seams, axis
        )
    gained = figures[f"gradients, {domain}, gap, dB"] - figures[f"replacement, {domain}, gap, dB"]
    return {**figures, f"gained in the gap, {domain}, dB": gained}


def features(x: Tensor) -> Tensor:
    """Log-mel pictures (B, 1, 64, 64) in blocks of 4 x 4, (B, 256)."""
    return torch.nn.functional.avg_pool2d(x.float(), 4).flatten(1)


def classifier(states: Tensor, labels: Tensor, classes: int, seed: int) -> Callable[[Tensor], Tensor]:
    """Log-probabilities of classes, by a linear map of the features fitted to half of the training sounds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(256, classes)
    optimizer = torch.optim.Adam(head.parameters(), 1e-2, weight_decay=1e-3)
    for _ in range(150):
        loss = nn.functional.cross_entropy(head(features(states)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    head.requires_grad_(False)
    return lambda x: head(features(x)).log_softmax(1)


def classed(seed: int) -> dict[str, float]:
    """Share of sounds whose nearest one, of the half that the guide has not seen, is of the wanted class."""
    domain: Any = gk.load_domain("audio")
    prior, labels = domain.load_prior(), torch.from_numpy(clips("train").labels)
    states = prior.encode(list(domain.reference(split="train")))
    order = torch.randperm(len(states), generator=torch.Generator().manual_seed(seed))
    guide, judge = order[::2], order[1::2]
    log_p = classifier(states[guide], labels[guide], len(domain.known), seed)
    known = decibels(states[judge])

    def hits(scale: float) -> float:
        found = []
        for wanted in range(CLASSES):
            guidance = gk.guidance.GradientGuidance(lambda x, k=wanted: log_p(x)[:, k], scale, place="score")
            x = gk.sample(prior, guidance if scale else None, EACH, CALLS, seed, GRID).samples.clamp(-1, 1)
            apart = torch.stack([log_spectral_distance(one, known) for one in decibels(x)])
            found.append(labels[judge][apart.argmin(1)] == wanted)
        return float(torch.cat(found).double().mean())

    free, led = hits(0.0), hits(SCALE)
    return {"right class, unguided": free, "right class, guided": led, "right class gained": led - free}


def measure(seed: int) -> dict[str, float]:
    """Gaps of both kinds, and classes of sounds."""
    return filled("audio", seed) | filled("chorales", seed) | classed(seed)


BOTH = ("audio", "chorales")
CLAIM = Claim(
    row=39,
    method="MusicGradients",
    provides=("guidance.DPS", "guidance.Replacement"),
    tier="A",
    says="A gap of a quarter of the time is filled in 3 one-shots and 2 chorales a seed by the gradient of the fit "
    "(DPS at its defaults, noise .02, 18 calls): what is known comes back at 20 dB and more, the rise of the spectrum "
    "(of the roll) into the first frame of the gap and the first behind it is within 10 % of the truth's, and the gap "
    "is nearer to the truth than by replacement on the same levels. The gradient of a linear classifier's log-"
    "probability makes more sounds the nearest to one of the wanted class, among those that the classifier has not "
    "seen.",
    domains=BOTH,
    checks=(
        *(Check(f"known part, dB: {one}", f"gradients, {one}, context, dB", least=20.0) for one in BOTH),
        *(
            Check(
                f"flux at the seams, share of the truth's: {one}",
                f"gradients, {one}, flux at the seams, share of the truth's",
                least=0.9,
                most=1.1,
            )
            for one in BOTH
        ),
        *(
            Check(f"gained in the gap over replacement, dB: {one}", f"gained in the gap, {one}, dB", least=0.0)
            for one in BOTH
        ),
        Check("share of the right class gained by guidance", "right class gained", least=0.0),
    ),
    measure=measure,
    oracles=("tests/oracles/test_replacement.py::test_law_of_the_rest",),
    longer="continuations and transitions, 20 sounds a seed, two hours",
)
