"""Row E13: steps of FreeDoM are a share of the noise that a step takes away, and time travel adds guidance."""

from __future__ import annotations

import torch

import guidekit as gk
from guidekit.evidence.claim import Check, Claim

SCALE, STEPS = 0.3, 40


def measure(seed: int) -> dict[str, float]:
    """What the unit of the reward changes; distances to the measurement with and without time travel."""
    prior = gk.priors.GaussianMixture(torch.tensor([[2.0, 0.0], [-2.0, 1.0]], dtype=torch.float64), 0.5)
    g, options = gk.guidance, dict(num_samples=400, steps=STEPS, seed=seed, sampler="ancestral", dtype=torch.float64)

    def near(x: torch.Tensor) -> torch.Tensor:
        return -(x - torch.tensor([0.0, 2.0]).to(x)).norm(dim=1)

    def far(guidance: gk.Guidance | None) -> float:
        return -float(near(gk.sample(prior, guidance, **options).samples).mean())  # type: ignore[arg-type]

    plain, once = far(None), far(g.FreeDoM(near, SCALE))
    again = far(g.FreeDoM(near, SCALE, 4, (0.8, 0.3)))
    million = gk.sample(prior, g.FreeDoM(lambda x: 1e6 * near(x), SCALE), **options).samples  # type: ignore[arg-type]
    unit = gk.sample(prior, g.FreeDoM(near, SCALE), **options).samples  # type: ignore[arg-type]
    return {
        "difference for a reward in other units": float((million - unit).abs().max()),
        "distance, unguided": plain,
        "distance": once,
        "distance with 4 visits": again,
        "share of the distance left": once / plain,
        "4 visits over 1": again / once,
    }


CLAIM = Claim(
    row="E13",
    method="FreeDoM (2303.09833)",
    provides=("guidance.FreeDoM",),
    tier="",
    says="A reward in units a million times smaller gives the same samples to 1e-6; the distance to a point that is "
    "wanted falls by a tenth at least on a mixture (400 samples, 40 steps), and further with 4 visits of the steps "
    "between .8 and .3.",
    domains=("exact",),
    checks=(
        Check("largest difference in other units", "difference for a reward in other units", most=1e-6),
        Check("distance left of the unguided one", "share of the distance left", most=0.9),
        Check("distance with 4 visits, over that with one", "4 visits over 1", most=1),
    ),
    measure=measure,
    oracles=("tests/oracles/test_gradient.py::test_freedom_is_its_update",),
    longer="faces and a segmentation network are out of scope",
)
