"""Row 46: a policy of action chunks steered by examples of outcomes, through a learned model of the dynamics."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

import guidekit as gk
from guidekit.evidence.claim import Check, Claim

GOALS, STEPS_OF_PLAN, TIME, DRAG, NEAR = 5, 16, 0.1, 0.3, 0.35
CHUNKS, SAMPLES, STEPS, SCALE, BANDWIDTH, EXAMPLES = 2048, 400, 30, 1.0, 0.3, 20


def goals() -> Tensor:
    """(5, 2) on a circle of radius 2."""
    angle = torch.arange(GOALS) * 2 * math.pi / GOALS
    return 2 * torch.stack([angle.cos(), angle.sin()], 1)


def ends(actions: Tensor) -> Tensor:
    """Where a point of mass 1 with quadratic drag is after a chunk of accelerations (B, 32), (B, 2)."""
    place = speed = torch.zeros(len(actions), 2).to(actions)
    for push in actions.unflatten(1, (STEPS_OF_PLAN, 2)).unbind(1):
        speed = speed + TIME * (push - DRAG * speed * speed.norm(dim=1, keepdim=True))
        place = place + TIME * speed
    return place


def policy() -> Any:
    """Action chunks that go to one of the goals, all alike: a mixture, whose denoiser is exact."""
    mean = goals()[:, None].expand(GOALS, STEPS_OF_PLAN, 2).reshape(GOALS, -1)
    size = torch.ones(GOALS, 1)
    for _ in range(30):  # the acceleration that ends at the goal
        size = size * 2 / ends(size * mean).norm(dim=1, keepdim=True)
    return gk.priors.GaussianMixture(size * mean, 0.3)


def model(prior: Any, seed: int) -> Any:
    """h(x_t, t) = E[end | noisy chunk], learned from chunks of the policy and where they led."""
    generator = torch.Generator().manual_seed(seed)
    chunks = gk.sample(prior, None, CHUNKS, 30, 900 + seed).samples
    led = ends(chunks)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(34, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 2))
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)

    def h(x: Tensor, t: Any) -> Tensor:
        a, s = (
            torch.as_tensor(c, dtype=x.dtype).reshape(-1, 1).expand(len(x), 1) for c in prior.process.coefficients(t)
        )
        return network(torch.cat([x / (a**2 + s**2).sqrt(), a / s.clamp_min(0.05) / 10, s], 1))

    for _ in range(1200):
        rows = torch.randint(CHUNKS, (128,), generator=generator)
        t = torch.rand(128, generator=generator).clamp(0.002, 0.998)
        x = prior.process.noise(chunks[rows], t, torch.randn(128, 32, generator=generator))
        loss = (h(x, t) - led[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.requires_grad_(False)
    return h


def measure(seed: int) -> dict[str, float]:
    """Shares of chunks that end near a goal."""
    prior = policy()
    h, generator = model(prior, seed), torch.Generator().manual_seed(100 + seed)

    def shown(which: list[int]) -> Tensor:
        """Where example chunks ended, near the goals."""
        return torch.cat([goals()[k] + 0.1 * torch.randn(EXAMPLES, 2, generator=generator) for k in which])

    def hits(guidance: Any) -> tuple[Tensor, Tensor]:
        x = gk.sample(prior, guidance, SAMPLES, STEPS, seed, "ddim").samples
        near = torch.cdist(ends(x), goals()) < NEAR
        return near.double().mean(0), x

    def steer(positive: list[int], negative: list[int] | None, scale: float) -> Any:
        examples = gk.objectives.Examples(h, shown(positive), shown(negative) if negative else None, BANDWIDTH, "noisy")
        return gk.guidance.ClassifierGuidance(examples, scale)

    base, plain = hits(None)
    steered, _ = hits(steer([0], None, SCALE))
    both, _ = hits(steer([0, 1], [2, 3], SCALE))
    _, still = hits(steer([0], None, 0.0))
    return {
        "times the base rate": float(steered[0] / base[0]),
        "times the base rate, of two with negatives": float(both[:2].sum() / base[:2].sum()),
        "rate of negatives, share of base": float(both[2:4].sum() / base[2:4].sum()),
        "numbers that differ": float((still != plain).sum()),
        "base rate": float(base[0]),
        "steered rate": float(steered[0]),
        "success without steering": float(base.sum()),
        "success steered": float(steered.sum()),
    }


CLAIM = Claim(
    row=46,
    method="DynaGuide",
    provides=("objectives.Examples",),
    tier="A",
    says="A policy of 16 accelerations of a point mass that goes to one of five goals is steered by 20 examples of"
    " outcomes through a learned model of what noisy chunks lead to: it ends at the wanted goal at least twice as"
    " often; with positive examples of two goals and negative ones of two others it ends at the former twice as often,"
    " and at scale 0 nothing changes (400 chunks a seed).",
    domains=("exact",),
    checks=(
        Check("rate of the wanted goal over the base rate", "times the base rate", least=2),
        Check("rate of two wanted goals over theirs", "times the base rate, of two with negatives", least=2),
        Check("rate of unwanted goals, share of theirs", "rate of negatives, share of base", most=0.5),
        Check("numbers that differ at scale 0", "numbers that differ", most=0),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_feature_objectives.py::test_examples_by_hand_and_limits",
        "tests/oracles/test_feature_objectives.py::"
        "test_two_examples_share_samples_and_a_negative_one_takes_its_half_away",
    ),
)
