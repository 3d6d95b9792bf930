"""Replacement on Gaussians: known values are exact, the law of the rest is that of the linear recursion it is."""

import math
from itertools import pairwise

import pytest
import torch

import guidekit as gk
from guidekit import GuidanceError
from guidekit.guidance import Replacement, TimeTravel
from guidekit.objectives import GaussianLikelihood
from guidekit.objectives.operators.base import Projection
from guidekit.objectives.operators.masks import Keep

N, COVARIANCE = 4000, torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
FIRST = GaussianLikelihood(Keep(torch.tensor([True, False])), torch.tensor([[1.0, 0.0]]), 0.1)
PROCESSES = {"vp": gk.processes.VP("cosine"), "edm": gk.processes.EDM(), "flow": gk.processes.Flow()}


def climbing(grid, repeats, jump):
    """Times of a grid (noise to clean) with `repeats` - 1 climbs of `jump` times from every `jump`-th but the last."""
    times, last = [grid[0]], len(grid) - 2  # the index of the last noisy time
    left = dict.fromkeys(range(last, jump - 1, -jump), repeats - 1)
    position = 0
    while position < len(grid) - 1:
        position += 1
        times.append(grid[position])
        if left.get(position, 0) > 0:
            left[position] -= 1
            for _ in range(jump):
                position -= 1
                times.append(grid[position])
    return times


def prior(process):
    return gk.priors.Gaussian(torch.zeros(2, dtype=torch.float64), COVARIANCE, process)


def exact(process, grid, limit):
    """Mean and covariance at the end of a grid that may climb, with the first number replaced by 1 after each step."""
    mean, covariance = torch.zeros(2, dtype=torch.float64), limit**2 * torch.eye(2, dtype=torch.float64)
    for t, u in pairwise(grid):
        (a, s), (b, r) = process.coefficients(t), process.coefficients(u)
        if u > t:
            mean, covariance = b / a * mean, (b / a) ** 2 * (covariance - s**2 * torch.eye(2)) + r**2 * torch.eye(2)
            continue
        gain = a * COVARIANCE @ torch.linalg.inv(a * a * COVARIANCE + s * s * torch.eye(2, dtype=torch.float64))
        variance = r * r * max(0.0, 1 - (a * r / (b * s)) ** 2)
        c = math.sqrt(max(0.0, r * r - variance)) / s
        step = (b - a * c) * gain + c * torch.eye(2, dtype=torch.float64)
        mean, covariance = step @ mean, step @ covariance @ step.T + variance * torch.eye(2)
        mean = torch.stack([torch.tensor(float(b)), mean[1]])
        covariance = torch.diag(torch.stack([torch.tensor(float(r * r)), covariance[1, 1]]))
    return mean, covariance


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("repeats, jump", [(1, 1), (3, 1), (2, 5)])
def test_law_of_the_rest(name, repeats, jump):
    process, plug = PROCESSES[name], Replacement(FIRST, repeats, jump)
    made = gk.sample(prior(process), plug, N, steps=30).samples
    assert (made[:, 0] == 1).all()
    mean, covariance = exact(process, climbing(process.grid(30), repeats, jump), process.coefficients(1.0)[1])
    std = covariance[1, 1].sqrt()
    assert abs(made[:, 1].mean() - mean[1]) < 4 * std / math.sqrt(N)
    assert abs(made[:, 1].std() / std - 1) < 4 / math.sqrt(2 * N)


def test_known_values_are_noised_to_the_time_of_the_step():
    process, seen = PROCESSES["edm"], []
    gk.sample(prior(process), Replacement(FIRST, 1), N, 8, progress=lambda now: seen.append(now.population.state[:, 0]))
    for u, known in zip(process.grid(8)[1:6], seen, strict=False):
        std = process.coefficients(u)[1]
        assert abs(known.mean() - 1) < 4 * std / math.sqrt(N) and abs(known.std() / std - 1) < 4 / math.sqrt(2 * N)


def test_the_bias_is_the_known_one_and_going_back_removes_it():
    # own check in specs/2, table B, at 100 steps: means .605, .814, .875 for 1, 3, 10 times; the truth is .9
    process, grid = PROCESSES["vp"], PROCESSES["vp"].grid(100)
    means = [float(exact(process, climbing(grid, repeats, 1), 1.0)[0][1]) for repeats in (1, 3, 10)]
    assert means == pytest.approx([0.605, 0.814, 0.875], abs=0.03)
    more = float(exact(process, process.grid(800), 1.0)[0][1])
    assert more == pytest.approx(means[0], abs=0.03)  # steps alone do not help


def test_a_projection_is_replaced_as_a_mask_is():
    """In rotated coordinates the operator is a projection and no mask."""

    class Along(Projection):
        direction = torch.tensor([0.6, 0.8], dtype=torch.float64)

        def forward(self, x):
            return (x @ self.direction)[:, None] * self.direction

    turned = torch.stack([Along.direction, torch.tensor([-0.8, 0.6], dtype=torch.float64)])
    process = PROCESSES["edm"]
    rotated = gk.priors.Gaussian(torch.zeros(2, dtype=torch.float64), turned.T @ COVARIANCE @ turned, process)
    made = gk.sample(
        rotated, Replacement(GaussianLikelihood(Along(), Along.direction[None]), 2, 1), N, steps=30
    ).samples
    mean, covariance = exact(process, climbing(process.grid(30), 2, 1), process.coefficients(1.0)[1])
    first, second = (made @ turned.T).unbind(1)
    assert torch.allclose(first, torch.ones_like(first), atol=1e-12)
    assert abs(second.mean() - mean[1]) < 4 * covariance[1, 1].sqrt() / math.sqrt(N)


def test_schedule_of_jumps():
    grid = gk.processes.VP("cosine").grid(250)
    times = climbing(grid, 10, 10)
    up = sum(u > t for t, u in pairwise(times))
    assert (up, len(times) - 1 - up) == (2160, 2410)  # 24 stretches, as in the paper's code
    assert climbing(grid, 1, 10) == grid and climbing(grid, 10, 250) == grid
    assert climbing([1.0, 0.5, 0.2, 0.0], 2, 1) == [1.0, 0.5, 1.0, 0.5, 0.2, 0.5, 0.2, 0.0]
    for repeats, jump, calls in ((10, 10, 2410), (1, 10, 250), (10, 250, 250)):
        plain = gk.sample(prior(PROCESSES["vp"]), TimeTravel(repeats, jump), 1, 250)
        assert plain.ledger.network_calls == calls


def test_going_back_leaves_the_law_of_a_prior_as_it_is():
    made = gk.sample(prior(PROCESSES["vp"]), TimeTravel(2, 3), N, 200).samples
    plain = gk.sample(prior(PROCESSES["vp"]), None, N, 200).samples
    assert not torch.equal(made, plain)
    for one in (made, plain):  # 4 standard errors, and the step's own bias
        torch.testing.assert_close(one.T.cov(), COVARIANCE, atol=0.13, rtol=0)


def test_nothing_known_is_unguided():
    nothing = GaussianLikelihood(Keep(torch.tensor([False, False])), torch.zeros(1, 2))
    plain = gk.sample(prior(PROCESSES["vp"]), num_samples=4, steps=5).samples
    assert torch.equal(gk.sample(prior(PROCESSES["vp"]), Replacement(nothing, 1), 4, steps=5).samples, plain)


@pytest.mark.parametrize(
    "make, sampler, message",
    [
        (
            lambda: Replacement(gk.objectives.QuadraticReward(torch.zeros(2))),
            None,
            "QuadraticReward is none, for this prior",
        ),
        (
            lambda: gk.chain(Replacement(FIRST), gk.guidance.FKSteering(FIRST, 1.0)),
            gk.samplers.Ancestral(),
            "leave out the filter",
        ),
    ],
)
def test_refusals(make, sampler, message):
    with pytest.raises(GuidanceError, match=message):
        gk.sample(prior(PROCESSES["vp"]), make(), 2, 5, sampler=sampler)
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        Replacement(FIRST, 0)
