"""Gradients of black boxes, estimated from scores: against exact ones of linear and quadratic scores."""

import dataclasses

import pytest
import torch

import guidekit as gk
from guidekit.core.loop import prepare
from guidekit.guidance.gradient.black_box import estimated
from guidekit.guidance.gradient.probes import Differences, Probes
from guidekit.objectives import GaussianLikelihood, Reward
from guidekit.objectives.operators.base import Operator
from guidekit.testing import check_guidance

A = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([1.0, -0.5, 0.3])
PRIOR = gk.priors.Gaussian(torch.zeros(6), torch.linspace(0.5, 2, 6), gk.processes.EDM())
LINEAR = gk.objectives.LinearGaussian(A, Y, 0.3)


class BlackBox(Operator):
    """A x, without a graph; NaN where the first number is above `most`."""

    differentiable = False

    def __init__(self, most=float("inf")):
        self.most = most

    def forward(self, x):
        """See the class."""
        with torch.no_grad():
            return torch.where(x[:, :1] > self.most, torch.nan, x @ A.T)


def question_of(guidance, groups=4):
    return prepare(PRIOR, guidance, sampler=gk.samplers.Ancestral(), steps=10, groups=(0, groups)).begin().question()


def gradients(objective, draws, kind, groups=4, width=0.1):
    guidance = gk.guidance.DPSGSG(objective, draws=draws, width=width, kind=kind)
    question = question_of(guidance, groups)
    prediction = PRIOR.predict(question.x, question.t, None)
    return prediction, guidance.estimator.gradient(Probes(guidance, question, objective), prediction, "test")


@pytest.mark.parametrize("kind", ["central", "forward"])
def test_estimates_are_unbiased_for_linear_scores(kind):
    slope = torch.linspace(-1, 2, 6)
    _, found = gradients(Reward(lambda x: x @ slope, differentiable=False), 8, kind, groups=4_000)
    directions = 4 if kind == "central" else 8
    error = ((6 + 1) * float(slope.square().sum()) / directions / 4_000) ** 0.5
    assert (found.mean(0) - slope).norm() < 1.5 * error
    spread = float((found - slope).square().sum(1).mean())
    assert spread == pytest.approx((6 + 1) * float(slope.square().sum()) / directions, rel=0.1)


def test_central_differences_are_unbiased_for_quadratic_scores_at_any_width():
    prediction, found = gradients(LINEAR, 4_096, "central", width=2.0)
    exact = (Y - prediction.mean @ A.T) @ A / 0.09
    assert torch.cosine_similarity(found, exact, dim=1).min() > 0.99
    assert ((found - exact).norm(dim=1) / exact.norm(dim=1)).max() < 0.15


@pytest.mark.parametrize("kind", ["central", "forward"])
def test_the_cosine_with_the_gradient_goes_to_one(kind):
    cosines = []
    for draws in (8, 128, 8_192):
        prediction, found = gradients(LINEAR, draws, kind, groups=16, width=1e-3)
        exact = (Y - prediction.mean @ A.T) @ A / 0.09
        cosines.append(float(torch.cosine_similarity(found, exact, dim=1).mean()))
    assert cosines[0] < cosines[1] < cosines[2]
    assert cosines[2] > 0.998


def test_with_many_draws_it_is_dps_and_with_few_it_is_not_far():
    exact = gk.sample(PRIOR, gk.guidance.DPS(LINEAR, loss="residual"), 16, steps=20).samples
    likelihood = GaussianLikelihood(BlackBox(), Y[None], 0.3)
    errors = []
    for draws in (16, 4_096):
        guidance = gk.guidance.DPSGSG(
            likelihood, 1 / float(torch.linalg.matrix_norm(A, 2)) ** 2, draws, loss="residual"
        )
        errors.append(float((gk.sample(PRIOR, guidance, 16, steps=20).samples - exact).abs().mean()))
    assert errors[1] < 0.05 < errors[0]


def test_any_gradient_guidance_can_do_without_a_gradient():
    """TFG of a reward of whole numbers, which has none; of a reward that has one it goes the same way."""
    smooth = Reward(lambda x: -(x - 1).square().sum(1))
    jumps = Reward(lambda x: -(x - 1).mul(4).round().div(4).square().sum(1), differentiable=False)
    with pytest.raises(gk.GuidanceError, match="black box"):
        gk.sample(PRIOR, gk.guidance.GradientGuidance(jumps, 0.2), 4)
    plain = gk.sample(PRIOR, gk.guidance.GradientGuidance(smooth, 0.2), 16, steps=20).samples
    guided = estimated(gk.guidance.GradientGuidance(jumps, 0.2), 256, width=0.5)
    found = gk.sample(PRIOR, guided, 16, steps=20).samples
    assert (found - plain).abs().mean() < 0.2 < (found - gk.sample(PRIOR, None, 16, steps=20).samples).abs().mean()
    with pytest.raises(ValueError, match="leave out smoothing"):
        estimated(gk.guidance.LGD(smooth))


@pytest.mark.parametrize("name", ["DPSGSG", "DiffusionPolicyGradient"])
def test_scores_that_are_none_are_left_out_and_counted(name):
    likelihood = GaussianLikelihood(BlackBox(most=0.5), Y[None], 0.3)
    result = gk.sample(PRIOR, getattr(gk.guidance, name)(likelihood), 4, steps=10)
    assert result.samples.isfinite().all()
    assert result.ledger.reward_failures > 0
    fine = gk.sample(PRIOR, getattr(gk.guidance, name)(GaussianLikelihood(BlackBox(), Y[None], 0.3)), 4, steps=10)
    assert fine.ledger.reward_failures == 0


@pytest.mark.parametrize("name", ["DPSGSG", "DiffusionPolicyGradient"])
def test_a_black_box_that_raises_on_some_is_as_one_that_gives_no_number_there(name):
    """Every state is judged alone then, so those on which it does not raise keep their scores."""

    def raising(x):
        if bool((x[:, 0] > 0.5).any()):
            raise FloatingPointError("the flow diverged")
        return BlackBox().forward(x)

    found, quiet = (
        gk.sample(PRIOR, getattr(gk.guidance, name)(GaussianLikelihood(operator, Y[None], 0.3)), 4, steps=10)
        for operator in (raising, BlackBox(most=0.5))
    )
    torch.testing.assert_close(found.samples, quiet.samples, atol=1e-5, rtol=1e-5)
    assert found.ledger.reward_failures == quiet.ledger.reward_failures > 0
    assert list(found.ledger.reward_reasons) == ["raised FloatingPointError: the flow diverged"]
    broken = GaussianLikelihood(lambda x: x.no_such_thing, Y[None], 0.3)
    with pytest.raises(gk.GuidanceError, match="raised AttributeError.*on all"):
        gk.sample(PRIOR, getattr(gk.guidance, name)(broken), 2, steps=4)


@pytest.mark.parametrize("name", ["DPSGSG", "DiffusionPolicyGradient"])
def test_samples_do_not_depend_on_others_and_calls_are_counted(name):
    likelihood = GaussianLikelihood(BlackBox(), Y[None], 0.3)
    guidance = getattr(gk.guidance, name)(likelihood, draws=70)  # two pieces
    result = check_guidance(PRIOR, guidance, 5, steps=6)
    extra = name == "DiffusionPolicyGradient"
    assert result.ledger.reward_calls == 5 * 6 * (70 + extra)
    assert result.ledger.backward_passes == 6
    check_guidance(PRIOR, guidance, 3, steps=4, particles=2)


def policy_slope(objective, draws):
    guidance = gk.guidance.DiffusionPolicyGradient(objective, draws=draws)
    question = question_of(guidance, groups=16)
    prediction = PRIOR.predict(question.x, question.t, None)
    empty = torch.full((16,), torch.nan)
    return prediction, guidance._policy(Probes(guidance, question, guidance.target), prediction, empty)


def test_the_policy_gradient_goes_the_way_of_the_gradient():
    cosines = []
    for draws in (16, 256, 8_192):
        prediction, (_, found) = policy_slope(LINEAR, draws)
        exact = (Y - prediction.mean @ A.T) @ A
        cosines.append(float(torch.cosine_similarity(found, exact, dim=1).mean()))
    assert cosines[0] < cosines[1] < cosines[2]
    assert cosines[2] > 0.98


def test_worths_have_the_mean_of_the_others_as_their_baseline():
    """By hand: two draws, R_1 - R_2 times the first, and the other way round."""
    prediction, (loss, found) = policy_slope(LINEAR, 2)
    guidance = gk.guidance.DiffusionPolicyGradient(LINEAR, draws=2)
    (noise,) = Probes(guidance, question_of(guidance, groups=16), guidance.target).noises(prediction, 2, "policy")
    size = float(torch.linalg.matrix_norm(A, 2))
    losses = (Y - prediction.mean @ A.T).square().sum(1) / size**2
    torch.testing.assert_close(loss, losses)
    points = prediction.mean[:, None] + (losses / 6).sqrt()[:, None, None] / 2 * noise
    there = (Y - points @ A.T).square().sum(2) / size**2
    worth = ((losses[:, None] - there) / losses[:, None]).exp()
    gap = (worth[:, 0] - worth[:, 1])[:, None]
    torch.testing.assert_close(found, gap * (noise[:, 0] - noise[:, 1]), atol=1e-5, rtol=1e-4)


def test_what_is_added_to_the_score_has_the_length_that_was_asked_for():
    scale = 0.2
    guidance = gk.guidance.DiffusionPolicyGradient(LINEAR, scale, draws=32)
    question = question_of(guidance)
    plain = PRIOR.predict(question.x, question.t, None)
    guided = guidance.denoise(lambda asked: PRIOR.predict(asked.x, asked.t, None), question)
    a, s = (float(value) for value in PRIOR.process.coefficients(question.t))
    moved = (guided.clean - plain.clean).norm(dim=1)
    expected = scale * 6**0.5 * s**2 / (a * (a * a + s * s) ** 0.5)
    torch.testing.assert_close(moved, torch.full((4,), expected), rtol=1e-4, atol=0)


def test_the_course_is_kept_from_step_to_step():
    """Momentum and the running loss: without the memory the second step would be another one."""
    guidance = gk.guidance.DiffusionPolicyGradient(LINEAR, draws=8, momentum=0.9)
    forgetful = dataclasses.replace(guidance, momentum=0.0)
    with_, without = (gk.sample(PRIOR, one, 4, steps=6).samples for one in (guidance, forgetful))
    assert not torch.allclose(with_, without)


def test_a_black_box_closer_than_the_prior():
    likelihood = GaussianLikelihood(BlackBox(), Y[None], 0.3)
    free = gk.sample(PRIOR, None, 32, steps=40).samples
    for guidance in (gk.guidance.DPSGSG(likelihood), gk.guidance.DiffusionPolicyGradient(likelihood)):
        found = gk.sample(PRIOR, guidance, 32, steps=40).samples
        assert (found @ A.T - Y).norm(dim=1).mean() < 0.7 * (free @ A.T - Y).norm(dim=1).mean()


def test_inside_a_filter_estimated_gradients_are_a_proposal():
    """The weights make up for their noise: the evidence stays exact."""
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0, gk.processes.VP("cosine"))
    likelihood = gk.objectives.LinearGaussian(torch.eye(1), torch.ones(1), 0.5)
    chain = gk.chain(gk.guidance.DPSGSG(likelihood, 0.3, draws=8), gk.guidance.FKSteering(likelihood, 1.0, particles=8))
    found = gk.sample(prior, chain, 800, 20).log_normalizer.exp() / prior.log_evidence(likelihood).exp()
    assert abs(float(found.mean()) - 1) < 4 * float(found.std()) / 800**0.5
    with pytest.raises(gk.GuidanceError, match="leave out the particle filter"):
        gk.sample(
            prior, gk.chain(gk.guidance.DiffusionPolicyGradient(likelihood), gk.guidance.FKSteering(likelihood)), 2
        )


@pytest.mark.parametrize("setting", [{"draws": 1}, {"width": 0.0}, {"kind": "backward"}])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Differences(**setting)
