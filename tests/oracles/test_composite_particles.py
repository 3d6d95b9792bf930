"""Filters on states of several parts: evidences against products of the exact ones, and which parts need noise."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.core.objective import ScoreError
from guidekit.objectives import Reward, Value

CHAIN = gk.priors.CategoricalChain(torch.rand(3, 3, 3, generator=torch.Generator().manual_seed(3)) ** 2)
STD, GROUPS = 0.7, 400
PRIOR = gk.priors.PositionsAndTypes(CHAIN, STD, smallest=3, dimensions=2)
NOISY = gk.samplers.Each({"positions": gk.samplers.DDIM(eta=1.0), "types": gk.samplers.Ancestral()})
QUIET = gk.samplers.Each({"positions": gk.samplers.DDIM(), "types": gk.samplers.Ancestral()})


def log_normal(x, mean, variance):
    return -0.5 * ((x - mean) ** 2 / variance + math.log(2 * math.pi * variance))


def near(x, t):
    t = float(t if not isinstance(t, torch.Tensor) else t.flatten()[0])
    variance = 0.25 + (0.245 * math.sin(t * math.pi / 2) ** 2 if t > 0 else 0.0)
    return log_normal(x.parts["positions"][:, 0, 0], 0.5, variance)


def second(x, t=0.0):
    return torch.where(x.parts["types"][:, 0] == 2, 0.0, math.log(0.2))


BOTH = Value(lambda x, t: near(x, t) + second(x), on="clean")
TYPES = Reward(second, differentiable=False, parts=frozenset({"types"}))
POSITIONS = Value(near, on="clean", parts=frozenset({"positions"}))
SHARE = float(CHAIN.probabilities[2].sum())
OF_TYPES = SHARE + 0.2 * (1 - SHARE)
OF_POSITIONS = math.exp(log_normal(0.5, 0.0, 0.25 + STD**2 * 2 / 3))  # of three places whose mean is zero


def evidence(guidance, **options):
    z = gk.sample(PRIOR, guidance, GROUPS, **{"steps": 60, "sampler": NOISY, **options}).log_normalizer.exp()
    return float(z.mean()), float(z.std()) / math.sqrt(GROUPS)


@pytest.mark.parametrize(
    "inside", [(), (gk.guidance.GradientGuidance(BOTH, 1.0),), (gk.guidance.SVDD(BOTH, 2, alpha=2.0),)]
)
def test_evidence_of_both_parts_is_the_product(inside):
    guidance = gk.chain(*inside, gk.guidance.FKSteering(BOTH, 1.0, particles=8, output="all"))
    found, error = evidence(guidance)
    exact = OF_TYPES * OF_POSITIONS
    assert abs(found - exact) < 4 * error + 0.015 * exact and error < 0.1 * exact


def test_a_quiet_part_is_fine_where_nobody_looks():
    found, error = evidence(gk.guidance.FKSteering(TYPES, 1.0, particles=8, output="all"), sampler=QUIET)
    assert abs(found - OF_TYPES) < 4 * error
    gk.sample(PRIOR, gk.guidance.SVDD(TYPES, 2), 2, 4, sampler=QUIET)


@pytest.mark.parametrize(
    "guidance",
    [
        gk.guidance.FKSteering(POSITIONS, 1.0),
        gk.guidance.SVDD(TYPES + POSITIONS, 2, alpha=1.0),
        gk.chain(gk.guidance.GradientGuidance(POSITIONS, 1.0), gk.guidance.FKSteering(TYPES, 1.0)),
    ],
)
def test_a_quiet_part_is_refused_where_somebody_looks_or_shifts(guidance):
    with pytest.raises(gk.GuidanceError, match="needs a sampler that draws noise in .*positions"):
        gk.sample(PRIOR, guidance, 2, 4, sampler=QUIET)


def test_an_objective_is_shown_only_its_parts():
    greedy = Reward(second, differentiable=False, parts=frozenset({"positions"}))
    with pytest.raises(ScoreError, match="second raised KeyError: 'types'"):
        gk.sample(PRIOR, gk.guidance.FKSteering(greedy, 1.0), 2, 4, sampler=NOISY)
