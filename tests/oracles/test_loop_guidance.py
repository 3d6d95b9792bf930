"""Loop guidance on a joint Gaussian of a state and a property, whose every law is known."""

from __future__ import annotations

import copy
import math

import pytest
import torch

import guidekit as gk
from guidekit.core.prediction import GaussianPrediction
from guidekit.errors import UnknownNameError
from guidekit.objectives.operators.masks import Keep
from guidekit.testing import check_guidance

SCALE = 8.0
COVARIANCE = torch.tensor([[1.0, 0.2, 0.7], [0.2, 2.0, -0.6], [0.7, -0.6, 1.0]], dtype=torch.float64)
"""Of two numbers of a state and one property, in its own unit."""


class TrunkAndStem(gk.priors.Gaussian):
    """N(0, COVARIANCE) with the property times a scale; the trunk alone is told nothing of it."""

    def __init__(self, scale=SCALE, high=80.0):
        sizes = torch.tensor([1.0, 1.0, scale], dtype=torch.float64)
        process = gk.processes.VE(0.01, high)
        super().__init__(torch.zeros(3, dtype=torch.float64), sizes[:, None] * COVARIANCE * sizes, process)
        self.scale, self.shown, self.stems, self.dtype = scale, True, slice(2, 3), torch.float64

    @property
    def trunk(self):
        alone = copy.copy(self)
        alone.shown = False
        return alone

    def scaled(self, values):
        for name in values:
            if name != "y":
                raise UnknownNameError("property", name, ["y"])
        return torch.tensor([self.scale * values["y"]])

    def predict(self, x, t, condition=None):
        if self.shown:
            return super().predict(x, t, condition)
        a, s = self.process.coefficients(t)
        covariance = self.covariances[0]
        s2 = torch.as_tensor(s, dtype=x.dtype).expand(len(x))[:, None, None] ** 2
        seen = covariance[:2, :2] + s2 * torch.eye(2, dtype=x.dtype)
        mean = (covariance[:, :2] @ torch.linalg.solve(seen, x[:, :2, None]))[..., 0]
        return GaussianPrediction(mean, x, a, s)


def drawn(guidance, prior=None, count=6000, steps=120):
    return gk.sample(prior or TrunkAndStem(), guidance, count, steps, seed=1).samples


def close(found, wanted, count=6000, more=0.03):
    """Within 4 standard errors of a mean or a covariance of variances up to 2, and the error of the steps."""
    torch.testing.assert_close(found, wanted, atol=4 * 2 * math.sqrt(2 / count) + more, rtol=0)


@pytest.mark.parametrize("y", [1.5, -1.0])
def test_a_target_gives_the_conditional_law(y):
    x = drawn(gk.guidance.LoopGuidance({"y": y}))
    assert torch.equal(x[:, 2], torch.full((6000,), SCALE * y, dtype=torch.float64))
    gain = COVARIANCE[:2, 2]
    close(x[:, :2].mean(0), gain * y)
    close(x[:, :2].T.cov(), COVARIANCE[:2, :2] - gain[:, None] * gain)


def test_a_stem_as_noisy_as_the_state_gives_less_than_the_condition():
    """The bias that the docstring tells of: without a scale the mean falls short, and the scale takes that away."""
    short = drawn(gk.guidance.LoopGuidance({"y": 1.5}), TrunkAndStem(scale=1.0))[:, :2].mean(0) / (
        1.5 * COVARIANCE[:2, 2]
    )
    assert (short < 0.93).all() and (short > 0.3).all()


def test_the_loop_without_a_target_gives_the_joint_law():
    x = drawn(gk.guidance.LoopGuidance()) / torch.tensor([1.0, 1.0, SCALE], dtype=torch.float64)
    close(x.mean(0), torch.zeros(3, dtype=torch.float64))
    close(x.T.cov(), COVARIANCE)
    assert torch.equal(drawn(gk.guidance.LoopGuidance(), count=50), drawn(None, count=50))


def test_without_stems_the_target_does_not_matter():
    """w = 0: the law of the state alone, sample by sample the same whatever is wanted."""
    x = drawn(gk.guidance.LoopGuidance({"y": 1.5}, weight=0.0))
    close(x[:, :2].mean(0), torch.zeros(2, dtype=torch.float64))
    close(x[:, :2].T.cov(), COVARIANCE[:2, :2])
    other = drawn(gk.guidance.LoopGuidance(weight=0.0))
    assert torch.equal(x[:, :2], other[:, :2])


def test_existing_guidance_holds_stems_too():
    """What is known of a state is put back by Replacement, with the stem as the measurement."""
    prior = TrunkAndStem()
    operator = Keep(torch.tensor([False, False, True]))
    likelihood = gk.objectives.GaussianLikelihood(
        operator, torch.tensor([[0.0, 0.0, SCALE * 1.5]], dtype=torch.float64), 0.0
    )
    x = drawn(gk.guidance.Replacement(likelihood), prior)
    close(x[:, :2].mean(0), 1.5 * COVARIANCE[:2, 2])


def test_weights_above_one_obey_more():
    means = [drawn(gk.guidance.LoopGuidance({"y": 1.0}, weight=w), count=800)[:, 0].mean() for w in (0.0, 1.0, 2.0)]
    assert means[0] + 0.4 < means[1] < means[2] - 0.1


def test_the_weight_is_of_the_trunk():
    """One step: at w = 2 the trunk is led away from the trunk alone, and the stem is what it is at w = 1."""
    plain, more, alone = (drawn(gk.guidance.LoopGuidance(weight=w), count=20, steps=1) for w in (1.0, 2.0, 0.0))
    assert torch.equal(more[:, 2], plain[:, 2])
    torch.testing.assert_close(more[:, :2], 2 * plain[:, :2] - alone[:, :2])


def test_contract():
    check_guidance(TrunkAndStem(), gk.guidance.LoopGuidance({"y": 1.0}, weight=2.0), steps=4)


def test_what_it_cannot_do_is_refused():
    with pytest.raises(gk.GuidanceError, match="states hold properties.*gaussian"):
        gk.sample(gk.priors.Gaussian(torch.zeros(2)), gk.guidance.LoopGuidance())
    with pytest.raises(gk.GuidanceError, match="'z'"):
        gk.sample(TrunkAndStem(), gk.guidance.LoopGuidance({"z": 1.0}))
