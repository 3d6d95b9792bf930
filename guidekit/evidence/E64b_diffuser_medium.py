"""Row E64, medium: plans through the medium maze, executed, as E64."""

from __future__ import annotations

from functools import partial

from guidekit.evidence.claim import Claim
from guidekit.evidence.plans import checks, measured, says

MAZE, PLAIN, GUIDED = "medium", 0.96, 0.98

CLAIM = Claim(
    row="E64",
    method="Diffuser, plans clamped at start and goal, costs as guides (2205.09991)",
    provides=("guidance.PathGuidance", "networks.TemporalUNet"),
    tier="",
    says=says(MAZE, PLAIN, GUIDED),
    domains=("trajectories",),
    checks=checks(PLAIN, GUIDED),
    measure=partial(measured, MAZE),
    oracles=("tests/oracles/test_path_guidance.py::test_the_last_estimate_moves_by_smoothed_steps",),
    longer="three training seeds, an hour of a core",
)
