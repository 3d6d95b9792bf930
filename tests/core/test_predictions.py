"""Predictions in every space, and Gaussian kernels on a support."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.core.kernel import CompositeKernel, GaussianKernel
from guidekit.core.prediction import SPACES, GaussianPrediction
from guidekit.core.random import Draw, KeyedRandom
from guidekit.core.state import Composite, cat, put, repeat, take
from guidekit.core.support import Places

P = gk.processes
PROCESSES = {"vp": P.VP(), "edm": P.EDM(), "flow": P.Flow(), "sub-vp": P.SubVP()}
MASK = torch.tensor([[True, True, True], [True, True, False]])


def predicted(process, t=0.4, rows=2):
    x, mean = torch.randn(2, rows, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return process.prediction(mean, x, t)


@pytest.mark.parametrize("space", ["clean", *SPACES, "flow"])
@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("t", [0.4, torch.tensor([0.2, 0.7], dtype=torch.float64)], ids=["number", "rows"])
def test_rules_act_in_the_space_they_name(space, process, t):
    """What is a line through two predictions in one space is one in all; what is not, is not."""
    process = PROCESSES[process]
    own = predicted(process, t)
    other = process.prediction(own.mean.flip(0), own.x, t)
    where = process.flow_space if space == "flow" else space
    view = own.map(lambda support, value: value, space=where)
    torch.testing.assert_close(view.mean, own.mean)
    line = own.map(lambda support, a, b: a + 3.0 * (b - a), other, space=where)
    torch.testing.assert_close(line.mean, own.lerp(other, 3.0).mean)
    rows = own.lerp(other, torch.tensor([0.0, 1.0], dtype=torch.float64)).mean
    torch.testing.assert_close(rows, torch.stack([own.mean[0], other.mean[1]]))
    doubled = own.map(lambda support, value: 2 * value, space=where)
    torch.testing.assert_close(doubled.to(where), 2 * own.to(where))
    assert (space == "clean") == torch.allclose(doubled.mean, 2 * own.mean)


@pytest.mark.parametrize("process", PROCESSES)
def test_views_are_what_they_are_called(process):
    process = PROCESSES[process]
    own, (a, s) = predicted(process), process.coefficients(0.4)
    torch.testing.assert_close(a * own.mean + s * own.noise, own.x)
    torch.testing.assert_close(own.to("noise"), own.noise)
    torch.testing.assert_close(own.to("score"), own.score)
    size = math.sqrt(a * a + s * s)
    torch.testing.assert_close(own.velocity, (a * own.noise - s * own.mean) / size)
    tau, velocity = process.velocity(own)
    torch.testing.assert_close(velocity, own.to(process.flow_space))
    later = [process.coefficients(t) for t in (0.4 - 1e-6, 0.4 + 1e-6)]
    gap = process.tau(0.4 + 1e-6) - process.tau(0.4 - 1e-6)
    slope = [(new - old) / gap for old, new in zip(*later, strict=True)]
    torch.testing.assert_close(velocity, slope[0] * own.mean + slope[1] * own.noise, rtol=1e-4, atol=1e-4)
    rows = process.prediction(own.mean, own.x, torch.full((2,), 0.4, dtype=torch.float64))
    torch.testing.assert_close(process.velocity(rows)[1], velocity)
    assert process.velocity(rows)[0].shape == (2,) and float(process.velocity(rows)[0][0]) == pytest.approx(tau)


def test_rows_of_a_prediction_move_together():
    own = predicted(P.VP(), torch.tensor([0.2, 0.7], dtype=torch.float64))
    own = GaussianPrediction(own.mean, own.x, own.a, own.s, Places(MASK))
    back = take(cat([own, repeat(own, 2)]), torch.tensor([0, 5]))
    for old, new in ((own.mean, back.mean), (own.x, back.x), (own.a, back.a), (own.support.mask, back.support.mask)):
        assert torch.equal(old, new)
    changed = put(own, torch.tensor([1]), take(own, torch.tensor([0])))
    assert torch.equal(changed.mean[1], own.mean[0]) and torch.equal(changed.support.mask[1], MASK[0])


def test_kernels_live_on_their_support():
    """Noise, shifts and densities have the degrees of freedom that are there: (places - 1) * dimensions."""
    support, rows = Places(MASK.repeat(4000, 1)), 8000
    mean = support.project(torch.randn(rows, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    kernel = GaussianKernel(mean, 0.5, support)
    x = kernel.sample(Draw(KeyedRandom(0, 0, rows), (0,), "move"))
    torch.testing.assert_close(support.project(x), x, atol=1e-12, rtol=0)
    sizes = (x - mean).flatten(1).square().sum(1).view(-1, 2).mean(0) / 0.25
    assert sizes.tolist() == pytest.approx([4, 2], rel=0.06)
    gap = (x - mean).flatten(1).square().sum(1)
    freedom = torch.tensor([4.0, 2.0], dtype=torch.float64).repeat(4000)
    expected = -0.5 * (gap / 0.25 + freedom * math.log(2 * math.pi * 0.25))
    torch.testing.assert_close(kernel.log_prob(x), expected)
    shifted = kernel.shift(torch.ones_like(mean))
    torch.testing.assert_close(shifted.mean, mean, atol=1e-12, rtol=0)  # the same for all places: nothing is moved
    direction = torch.randn(mean.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    tilted = kernel.tilt(direction)
    ratio = tilted.log_prob(x) - kernel.log_prob(x) - support.dot(direction, x)
    normalizer = -support.dot(direction, mean) - 0.5 * 0.25 * support.dot(direction, direction)
    torch.testing.assert_close(ratio, normalizer)
    assert kernel.power(4.0).std == 0.25


def test_parts_without_noise_are_not_shifted_where_particles_are_weighed():
    quiet, loud = GaussianKernel(torch.zeros(3, 2)), GaussianKernel(torch.zeros(3, 2), 0.1)
    both = CompositeKernel({"quiet": quiet, "loud": loud})
    delta = Composite({"quiet": torch.ones(3, 2), "loud": torch.ones(3, 2)})
    free, weighed = both.shift(delta), both.shift(delta, reversible=True)
    assert free.parts["quiet"].mean.all() and not weighed.parts["quiet"].mean.any() and weighed.parts["loud"].mean.all()
    assert (
        not both.deterministic and quiet.deterministic and both.shift(Composite({"loud": None})).parts["loud"] is loud
    )
    point = Composite({"quiet": torch.zeros(3, 2), "loud": torch.zeros(3, 2)})
    torch.testing.assert_close(both.log_prob(point), loud.log_prob(point.parts["loud"]))
    assert both.log_prob(Composite({"quiet": torch.ones(3, 2), "loud": torch.zeros(3, 2)})).isneginf().all()


def test_rows_may_have_their_own_noise():
    std = torch.tensor([0.1, 2.0], dtype=torch.float64)
    kernel = GaussianKernel(torch.zeros(2, 4), std)
    x = kernel.sample(Draw(KeyedRandom(0, 0, 2), (0,), "move"))
    expected = torch.stack(
        [torch.distributions.Normal(0, v).log_prob(r).sum() for v, r in zip(std, x.double(), strict=True)]
    )
    torch.testing.assert_close(kernel.log_prob(x), expected)
    assert x.dtype is torch.float32 and float(x[1].abs().max()) > float(x[0].abs().max())
