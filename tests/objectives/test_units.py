"""Operators see the objects' own units: what a published code gets wrong by a factor of 2 is asserted here."""

import pytest
import torch

import guidekit as gk
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.units import Units
from guidekit.objectives import GaussianLikelihood, in_units
from guidekit.objectives.operators import blur, masks, resampling, saturation
from guidekit.objectives.operators.base import Operator
from guidekit.testing import check_operator

PIXELS = Units(0.5, 0.5, "", 0.0, 1.0)
SHAPE = (1, 8, 8)


class Flat(gk.priors.Prior):
    """Independent numbers of mean 0 and variance 0.3."""

    name, process = "flat", gk.processes.VP()

    def __init__(self, shape):
        self.event_shape = shape

    def predict(self, x, t, condition=None):
        a, s = self.process.coefficients(t)
        return GaussianPrediction(0.3 * a / (0.3 * a * a + s * s) * x, x, a, s)


def states(*shape, seed=0):
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


def test_values_and_back():
    x = states(2, *SHAPE)
    torch.testing.assert_close(PIXELS.states(PIXELS.values(x)), x)
    assert PIXELS.values(torch.tensor([-1.0, 1.0])).tolist() == [0, 1] and PIXELS.range == 1
    assert Units().plain and Units(1000.0, -4000.0, "m").range is None
    with pytest.raises(ValueError, match="a scale that is not 0"):
        Units(0.0)


@pytest.mark.parametrize("center", [0.0, 0.5])
def test_exposure_of_pixels_is_not_that_of_states(center):
    """clip(2 p, 0, 1) of pixels; a code that doubles the states of [-1, 1] instead saturates at p = 3/4, not 1/2."""
    x = states(2, *SHAPE)
    operator = saturation.HighDynamicRange(2.0, center)
    y = operator.forward((x + 1) / 2)
    likelihood = in_units(GaussianLikelihood(operator, y, 0.05), PIXELS, SHAPE)
    assert float(likelihood.distance(x).max()) == 0
    wrong = GaussianLikelihood(operator, y, 0.05)
    assert float(wrong.distance(x).min()) > 0.5
    bright = torch.full((1, *SHAPE), 0.25, dtype=torch.float64)  # p = 0.625
    seen = likelihood.operator.forward(bright)
    assert torch.allclose(seen, torch.full_like(seen, 1.0 if center == 0 else 0.75))
    assert float(likelihood.operator.violation(x, y).max()) == 0


@pytest.mark.parametrize(
    "operator",
    [
        masks.Keep(masks.random_pixels(SHAPE)),
        resampling.BlockMean(SHAPE, 4),
        blur.CircularBlur(SHAPE, blur.gaussian_kernel(0.7)),
    ],
)
def test_linear_operators_stay_linear_with_all_they_offer(operator):
    x, y = states(2, *SHAPE), operator.forward((states(2, *SHAPE, seed=1) + 1) / 2)
    likelihood = in_units(GaussianLikelihood(operator, y, 0.05), PIXELS, SHAPE)
    gap = (y - operator.forward((x + 1) / 2)).flatten(1)
    torch.testing.assert_close(likelihood.residual(x), gap)
    torch.testing.assert_close(likelihood(x), GaussianLikelihood(operator, y, 0.05)((x + 1) / 2))  # density of y
    assert likelihood.operator.linear and likelihood.provides == GaussianLikelihood(operator, y, 0.05).provides
    check_operator(likelihood.operator, SHAPE)
    assert type(operator).__name__ in likelihood.name


def test_a_measurement_of_everything_pins_the_states():
    truth = states(1, *SHAPE).float()
    y = masks.Keep(torch.ones(SHAPE, dtype=torch.bool)).forward(PIXELS.values(truth))
    likelihood = in_units(GaussianLikelihood(masks.Keep(torch.ones(SHAPE, dtype=torch.bool)), y, 0.01), PIXELS, SHAPE)
    found = gk.sample(Flat(SHAPE), gk.guidance.Replacement(likelihood), 2, steps=4).samples
    torch.testing.assert_close(found, truth.expand(2, *SHAPE), atol=1e-5, rtol=0)


def test_black_boxes_and_shapes():
    class Counts(Operator):
        differentiable = False

        def forward(self, x):
            return (100 * x).round()

    likelihood = in_units(GaussianLikelihood(Counts(), torch.full((1, *SHAPE), 50.0), 1.0), PIXELS, SHAPE)
    assert not likelihood.differentiable and float(likelihood.distance(torch.zeros(1, *SHAPE))) == 0
    square = in_units(GaussianLikelihood(lambda p: p**2, torch.ones(1, *SHAPE), 1.0), PIXELS, SHAPE)
    assert square.differentiable and float(square.distance(torch.ones(1, *SHAPE))) == 0
    other = GaussianLikelihood(resampling.BlockMean((1, 4, 4), 4), torch.zeros(1, 1, 1, 1), 1.0)
    with pytest.raises(gk.GuidanceError, match=r"BlockMean is of states \(1, 4, 4\), and those of this prior"):
        gk.sample(Flat(SHAPE), gk.guidance.DPS(other))
    for wrong in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match="has 1 entries that are NaN or infinite"):
            GaussianLikelihood(Counts(), torch.tensor([[0.0, wrong]]), 1.0)
