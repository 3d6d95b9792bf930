"""Row 46, in mazes: plans without a goal, steered by examples of where others ended, through a learned model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import guidekit as gk
from guidekit.evidence.claim import Check, Claim

PLANS, STEPS, NEAR, EXAMPLES = 80, 20, 0.5, 20
SCALE, BANDWIDTH, DEMONSTRATIONS = 1.0, 0.15, 2000
START, WANTED, UNWANTED = (3.5, 2.5), ((1.5, 1.5), (1.5, 3.5)), ((3.5, 1.5), (3.5, 3.5))
"""In the U maze: the ball begins in its bend; the wanted ends are those of its arms."""


def model(domain: Any, prior: Any, seed: int) -> Any:
    """h(x_t, t), where the ball ends up, learned from noisy paths of demonstrations; in states."""
    from guidekit.domains.trajectories import demonstrate

    states = prior.encode(list(demonstrate(domain.ground, DEMONSTRATIONS, seed=50 + seed).paths))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(130, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 2))
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)

    def h(x: Tensor, t: Any) -> Tensor:
        a, s = (
            torch.as_tensor(c, dtype=x.dtype).reshape(-1, 1).expand(len(x), 1) for c in prior.process.coefficients(t)
        )
        size = (a * a * prior.sigma_data**2 + s * s).sqrt()
        level = (s / a.clamp_min(1e-6)).clamp(1e-4, 1e4).log() / 4
        return network(torch.cat([x.flatten(1) / size, level, level.sin()], 1))

    for _ in range(1000):
        rows = torch.randint(len(states), (128,), generator=generator)
        t = torch.rand(128, generator=generator).clamp(0.002, 0.998)
        x = prior.process.noise(states[rows], t, torch.randn(128, *states.shape[1:], generator=generator))
        loss = (h(x, t) - states[rows][:, :, -1]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.requires_grad_(False)
    return h


def measure(seed: int) -> dict[str, float]:
    """Shares of executed plans that end near a place."""
    from guidekit.domains.trajectories.metrics import executed

    domain: Any = gk.load_domain("trajectories", maze="u")
    prior = domain.load_prior()
    h, generator = model(domain, prior, seed), np.random.default_rng(100 + seed)

    def shown(places: Any) -> Tensor:
        """Where example paths ended, as states."""
        points = np.concatenate([place + 0.1 * generator.standard_normal((EXAMPLES, 2)) for place in places])
        return torch.from_numpy(prior.codec.unit(points)).float()

    def hits(guidance: Any) -> tuple[np.ndarray, Tensor, float]:
        """Share that ends near each place, the states, and the share that ends where the plan does."""
        result = gk.sample(prior, guidance, PLANS, STEPS, seed, condition={"start": START})
        plans = prior.codec.cells(result.samples.double()).clamp(0, 5).numpy()
        ends = executed(domain.ground, list(plans)).last(1)[:, 0]
        places = np.array([*WANTED, *UNWANTED])
        near = np.linalg.norm(ends[:, None] - places, axis=-1) < NEAR
        reached = np.linalg.norm(ends - plans[:, -1], axis=1) < 0.3
        return near.mean(0), result.samples, float(reached.mean())

    def steered(positive: Any, negative: Any, scale: float) -> Any:
        examples = gk.objectives.Examples(h, shown(positive), negative and shown(negative), BANDWIDTH, "noisy")
        return gk.guidance.ClassifierGuidance(examples, scale)

    base, plain, fine = hits(None)
    one, _, reached = hits(steered(WANTED[:1], None, SCALE))
    both, _, _ = hits(steered(WANTED, UNWANTED, SCALE))
    _, still, _ = hits(steered(WANTED[:1], None, 0.0))
    return {
        "base rate, share of the steered": float(base[0] / max(one[0], 1 / PLANS)),
        "base rate, share of the steered, of two with negatives": float(
            base[:2].sum() / max(both[:2].sum(), 1 / PLANS)
        ),
        "rate of negatives, share of base": float(both[2:].sum() / max(base[2:].sum(), 1 / PLANS)),
        "numbers that differ": float((still != plain).sum()),
        "base rate": float(base[0]),
        "steered rate": float(one[0]),
        "plans that are reached, unguided": fine,
        "plans that are reached, steered": reached,
    }


CLAIM = Claim(
    row=46,
    method="DynaGuide",
    provides=("objectives.Examples",),
    tier="A",
    says="Plans through the U maze that are told their start alone are steered by 20 examples of ends, through a"
    " learned model of where noisy paths lead: executed, they end in the wanted arm at least twice as often; with"
    " positive examples in both arms and negative ones in the bend twice as often in the arms; at scale 0"
    " nothing changes.",
    domains=("trajectories",),
    checks=(
        Check("base rate of the wanted end, share of the steered", "base rate, share of the steered", most=0.5),
        Check("that of two wanted ends", "base rate, share of the steered, of two with negatives", most=0.5),
        Check("rate of unwanted ends, share of theirs", "rate of negatives, share of base", most=0.5),
        Check("numbers that differ at scale 0", "numbers that differ", most=0),
    ),
    measure=measure,
    oracles=("tests/oracles/test_feature_objectives.py::test_examples_by_hand_and_limits",),
)
