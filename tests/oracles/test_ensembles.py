"""Ensembles of members that move each other: against explicit covariances, and against the exact posterior."""

import pytest
import torch

import guidekit as gk
from guidekit.core.loop import prepare
from guidekit.core.objective import ScoreError
from guidekit.guidance.ensembles.kalman import Seen, descent, interactions, stochastic, transform
from guidekit.objectives import GaussianLikelihood, Reward
from guidekit.objectives.operators.base import Operator
from guidekit.testing import check_guidance

A = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.tensor([1.0, -0.5, 0.3], dtype=torch.float64)
NOISE = 0.3
PRIOR = gk.priors.Gaussian(torch.zeros(6), torch.linspace(0.5, 2, 6), gk.processes.EDM())
EXACT = gk.priors.Gaussian(torch.zeros(6).double(), torch.linspace(0.5, 2, 6).double(), gk.processes.EDM())


def measured(noise=NOISE):
    return gk.objectives.LinearGaussian(A.float(), Y.float(), noise)


def ensemble(members=20, groups=2):
    return torch.randn(groups, members, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def seen_at(x, alive=None):
    values = x @ A.T
    return Seen(values, values - Y, torch.ones(x.shape[:2], dtype=torch.bool) if alive is None else alive)


def covariance(x):
    """With 1 / J, (P, d, d)."""
    apart = x - x.mean(1, keepdim=True)
    return apart.mT @ apart / x.shape[1]


def test_moves_are_descent_preconditioned_by_the_covariance():
    x = ensemble()
    seen = seen_at(x)
    expected = -(seen.gaps @ A) @ covariance(x)
    expected = 2.0 * expected / torch.linalg.matrix_norm(interactions(seen), keepdim=True)
    torch.testing.assert_close(descent(x, seen, 2.0, torch.float64), expected, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(descent(x.float(), seen, 2.0), expected.float(), atol=1e-5, rtol=1e-5)
    assert descent(x, Seen(1e30 * seen.values, 1e30 * seen.gaps, seen.alive), 2.0).isfinite().all()


def test_in_a_run_the_first_move_is_that_descent():
    """The denoiser of a Gaussian prior is linear, so that A E[x_0 | x_t] is a linear measurement of x_t."""
    likelihood, steps = measured(), 8
    guidance = gk.guidance.EnsembleKalmanGuidance(likelihood, updates=1, most=1, particles=16, precision="float64")
    options = dict(sampler=guidance.default_sampler, steps=steps, groups=(0, 2), particles=16, dtype=torch.float64)
    plain, guided = prepare(EXACT, None, **options), prepare(EXACT, guidance, **options)
    step = plain.steps[0]
    population, ours = (setup.move(setup.begin(), step) for setup in (plain, guided))
    torch.testing.assert_close(population.state, ours.state)  # the first step is without moves
    a, s = (float(value) for value in PRIOR.process.coefficients(population.moment.t))
    variances = torch.linspace(0.5, 2, 6, dtype=torch.float64)
    h = A * (variances * a / (a * a * variances + s * s))
    x = population.state.view(2, 16, 6)
    gaps = x @ h.T - Y
    expected = -(gaps @ h) @ covariance(x)
    c = gaps @ ((x - x.mean(1, keepdim=True)) @ h.T).mT / 16
    expected = 2.0 * expected / torch.linalg.matrix_norm(c, keepdim=True)
    moved = guided.move(ours, plain.steps[1]).state
    again = plain.move(population.at((x + expected).view(32, 6)), plain.steps[1]).state
    torch.testing.assert_close(moved, again, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rule", ["descent", "transform"])
def test_one_member_is_the_unguided_sampler(rule):
    guidance = gk.guidance.EnsembleKalmanGuidance(measured(), rule=rule)
    options = dict(num_samples=3, steps=6, sampler=guidance.default_sampler)
    plain = gk.sample(PRIOR, None, **options).samples
    result = gk.sample(PRIOR, guidance, particles=1, **options)
    assert torch.equal(result.samples, plain)
    assert result.ledger.reward_calls == 0
    inversion = gk.guidance.EnsembleKalmanInversion(measured())
    assert torch.equal(gk.sample(PRIOR, inversion, particles=1, **options).samples, plain)


def rules(x, seen, order):
    noise, drawn = torch.full((len(x),), NOISE), torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(2))
    return {
        "descent": descent(x, seen, 2.0, torch.float64),
        "transform": transform(x, seen, noise),
        "stochastic": stochastic(x, seen, noise, drawn[:, order]),
    }


def test_members_in_another_order_move_as_they_did():
    x, order = ensemble(), torch.randperm(20, generator=torch.Generator().manual_seed(3))
    one, other = rules(x, seen_at(x), torch.arange(20)), rules(x[:, order], seen_at(x[:, order]), order)
    for name in one:
        torch.testing.assert_close(one[name][:, order], other[name], atol=1e-10, rtol=1e-9)


def test_who_failed_does_not_count_for_the_others():
    x = ensemble()
    alive = torch.ones(2, 20, dtype=torch.bool)
    alive[0, 3] = alive[1, 0] = alive[1, 19] = False
    seen = seen_at(x, alive)
    holes = torch.where(alive[..., None], 0.0, torch.nan)
    moved = rules(x, Seen(seen.values + holes, seen.gaps + holes, alive), torch.arange(20))
    for group in range(2):
        rest = alive[group]
        left = x[None, group, rest]
        noise, drawn = torch.full((1,), NOISE), torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(2))
        without = {
            "descent": descent(left, seen_at(left), 2.0, torch.float64),
            "transform": transform(left, seen_at(left), noise),
            "stochastic": stochastic(left, seen_at(left), noise, drawn[None, group, rest]),
        }
        for name, moves in moved.items():
            torch.testing.assert_close(moves[group, rest], without[name][0], atol=1e-10, rtol=1e-9)
            assert not moves[group, ~rest].any()


def test_noise_that_ends_above_the_published_levels_is_taken_to_its_own_end():
    prior = gk.priors.Gaussian(torch.zeros(6), 1.0, gk.processes.VE(0.05, 40.0))
    sampler = gk.guidance.EnsembleKalmanGuidance(measured()).default_sampler
    levels = [prior.process.level(t) for t in sampler.grid(prior, 10)[:-1]]
    assert levels[0] == pytest.approx(40.0) and levels[-1] == pytest.approx(0.05) and sorted(levels)[::-1] == levels


def test_nothing_to_tell_members_apart_moves_nobody():
    x = ensemble()
    seen = Seen(torch.ones(2, 20, 3), torch.ones(2, 20, 3), torch.ones(2, 20, dtype=torch.bool))
    assert not any(moves.any() for name, moves in rules(x, seen, torch.arange(20)).items() if name != "stochastic")


def test_transform_has_the_covariance_of_the_posterior_at_any_number_of_members():
    """(I + S^T S)^-1 of the differences, which is the posterior covariance of the members' own Gaussian."""
    x = ensemble(members=4)
    moved = x + transform(x, seen_at(x), torch.full((2,), NOISE))
    for group in range(2):
        c = torch.cov(x[group].T)
        gain = c @ A.T @ torch.linalg.inv(A @ c @ A.T + NOISE**2 * torch.eye(3))
        torch.testing.assert_close(torch.cov(moved[group].T), c - gain @ A @ c, atol=1e-6, rtol=1e-5)
        mean = x[group].mean(0)
        torch.testing.assert_close(moved[group].mean(0), mean + gain @ (Y - A @ mean), atol=1e-6, rtol=1e-5)


def test_shares_of_a_linear_measurement_add_up():
    x = ensemble()
    once = x + transform(x, seen_at(x), torch.full((2,), NOISE))
    for _ in range(5):
        x = x + transform(x, seen_at(x), torch.full((2,), NOISE), share=0.2)
    torch.testing.assert_close(once.mean(1), x.mean(1), atol=1e-9, rtol=1e-8)
    torch.testing.assert_close(covariance(once), covariance(x), atol=1e-9, rtol=1e-8)


@pytest.mark.parametrize(
    "made",
    [
        lambda likelihood: gk.guidance.EnsembleKalmanInversion(likelihood, particles=4_000),
        lambda likelihood: gk.guidance.EnsembleKalmanInversion(likelihood, rule="stochastic", particles=4_000),
        lambda likelihood: gk.guidance.EnsembleKalmanGuidance(likelihood, rule="transform", particles=4_000),
    ],
)
def test_many_members_are_the_posterior_of_a_gaussian(made):
    exact = EXACT.posterior(measured())
    found = gk.sample(EXACT, made(measured()), 1, steps=40, sampler="heun").samples
    mean, covariance_ = exact.means[0].double(), exact.covariance().double()
    assert ((found.mean(0) - mean).abs() / covariance_.diagonal().sqrt()).max() < 0.12
    torch.testing.assert_close(torch.cov(found.T), covariance_, atol=0.09, rtol=0.1)


def test_error_of_the_published_rule_falls_with_members():
    prior = gk.priors.Gaussian(torch.zeros(32), torch.linspace(0.5, 2, 32), gk.processes.EDM())
    draws = torch.Generator().manual_seed(0)
    a, truth = torch.randn(16, 32, generator=draws) / 32**0.5, torch.randn(32, generator=draws)
    likelihood = gk.objectives.LinearGaussian(a, a @ truth, 0.1)
    mean, errors = prior.posterior(likelihood).means[0], []
    for members in (8, 256):
        guidance = gk.guidance.EnsembleKalmanGuidance(likelihood, 0.5, particles=members)
        found = gk.sample(prior, guidance, 4, steps=20).samples.view(4, members, 32).mean(1)
        errors.append(float((found - mean).norm(dim=1).mean()))
    assert errors[1] < 0.5 * float(mean.norm()) < errors[0]


def test_a_reward_is_a_measurement_of_one_number():
    reward = Reward(lambda x: (x[:, 0] > 0).double() + x[:, 0].round(), differentiable=False)
    found = gk.sample(PRIOR, gk.guidance.EnsembleKalmanGuidance(reward, particles=32), 2, steps=10).samples
    assert found[:, 0].mean() > 2  # four deviations of .5
    with pytest.raises(gk.GuidanceError, match="has none: use rule"):
        gk.sample(PRIOR, gk.guidance.EnsembleKalmanGuidance(reward, rule="transform"), 1, steps=4)


class Failing(Operator):
    """Fails where the first number of a state is above .2: by NaN, or by an exception."""

    differentiable = False

    def __init__(self, raises):
        self.raises, self.sizes = raises, []

    def forward(self, x):
        """See the class."""
        self.sizes.append(len(x))
        wrong = x[:, 0] > 0.2
        if self.raises and wrong.any():
            raise FloatingPointError("the flow diverged")
        return torch.where(wrong[:, None], torch.nan, x @ A.to(x).T)


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("kind", ["EnsembleKalmanGuidance", "EnsembleKalmanInversion"])
def test_members_that_fail_are_counted_and_the_run_goes_on(kind, raises):
    likelihood = GaussianLikelihood(Failing(raises), Y.float()[None], NOISE)
    result = gk.sample(PRIOR, getattr(gk.guidance, kind)(likelihood, particles=24), 3, steps=6)
    assert result.samples.isfinite().all()
    assert result.ledger.reward_failures == int(result.info["failed members"].sum()) > 0
    told = "raised FloatingPointError: the flow diverged" if raises else "numbers that are not finite"
    assert all(told in reason for reason in result.ledger.reward_reasons)


def test_failures_and_results_do_not_depend_on_batches():
    likelihood = GaussianLikelihood(Failing(True), Y.float()[None], NOISE)
    for kind in (gk.guidance.EnsembleKalmanGuidance, gk.guidance.EnsembleKalmanInversion):
        one, other = (
            gk.sample(PRIOR, kind(likelihood, particles=12, at_once=at_once), 3, steps=5, batch_size=size)
            for at_once, size in ((1024, 3), (5, 1))
        )
        torch.testing.assert_close(one.samples, other.samples, atol=1e-4, rtol=1e-4)
        assert one.ledger.reward_failures == other.ledger.reward_failures > 0


def test_forward_models_are_asked_in_batches():
    operator = Failing(False)
    guidance = gk.guidance.EnsembleKalmanGuidance(GaussianLikelihood(operator, Y.float()[None], NOISE), particles=12)
    ledger = gk.sample(PRIOR, guidance, 3, steps=5).ledger
    assert set(operator.sizes) == {36}
    assert ledger.reward_calls == sum(operator.sizes)


def test_a_forward_model_that_raises_on_everything_is_told():
    likelihood = GaussianLikelihood(lambda x: x.no_such_thing, Y.float()[None], NOISE)
    with pytest.raises(gk.GuidanceError, match="raised AttributeError.*on all 4 states"):
        gk.sample(PRIOR, gk.guidance.EnsembleKalmanGuidance(likelihood, particles=4), 1, steps=4)


@pytest.mark.parametrize(
    ("forward", "told"),
    [
        (lambda x: x[:-1] @ A.to(x).T, r"gave \(3, 3\) for 4 states"),
        (lambda x: x[:, :1], r"gave \(4, 1\) for 4 states and y is \(1, 3\)"),
        (lambda x: (x @ A.to(x).T).numpy(), "type ndarray; a tensor is needed"),
    ],
)
@pytest.mark.parametrize("kind", ["EnsembleKalmanGuidance", "EnsembleKalmanInversion"])
def test_a_forward_model_of_another_shape_is_refused(kind, forward, told):
    guidance = getattr(gk.guidance, kind)(GaussianLikelihood(forward, Y.float()[None], NOISE), particles=4)
    with pytest.raises(ScoreError, match=told):
        gk.sample(PRIOR, guidance, 1, steps=4)


@pytest.mark.parametrize("kind", ["EnsembleKalmanGuidance", "EnsembleKalmanInversion"])
def test_a_group_whose_members_all_raise_at_one_update_goes_on(kind):
    calls = []

    def pausing(x):
        calls.append(len(x))
        if 2 <= len(calls) <= 6:  # the second update, all members together and then one by one
            raise FloatingPointError("the flow diverged")
        return x[:, :3]

    likelihood = GaussianLikelihood(pausing, Y.float()[None], NOISE)
    result = gk.sample(PRIOR, getattr(gk.guidance, kind)(likelihood, particles=4), 1, steps=6)
    assert result.samples.isfinite().all() and len(calls) > 7
    assert result.ledger.reward_failures == 4 and result.ledger.degenerate_groups == 1


@pytest.mark.parametrize("kind", ["EnsembleKalmanGuidance", "EnsembleKalmanInversion"])
def test_particle_filters_are_refused(kind):
    guidance = gk.chain(getattr(gk.guidance, kind)(measured()), gk.guidance.FKSteering(measured()))
    with pytest.raises(gk.GuidanceError, match="move each other.*leave out the particle filter"):
        gk.sample(PRIOR, guidance, 1, steps=4, sampler="ancestral")


@pytest.mark.parametrize("kind", ["EnsembleKalmanGuidance", "EnsembleKalmanInversion"])
def test_the_best_member_is_handed_back(kind):
    make = getattr(gk.guidance, kind)
    every = gk.sample(PRIOR, make(measured(), particles=8), 2, steps=5).samples.view(2, 8, 6)
    best = check_guidance(PRIOR, make(measured(), particles=8, output="best"), 2, steps=5).samples
    misfits = (every @ A.float().T - Y.float()).norm(dim=2)
    torch.testing.assert_close(best, every[torch.arange(2), misfits.argmin(1)])


@pytest.mark.parametrize("setting", [{"rule": "downhill"}, {"start_frac": 1.5}, {"updates": 0}, {"strength": -1.0}])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        gk.guidance.EnsembleKalmanGuidance(measured(), **setting)


@pytest.mark.parametrize("kind", ["EnsembleKalmanGuidance", "EnsembleKalmanInversion"])
def test_a_reward_has_no_noise_to_be_weighed_by_which_is_told_before_the_run(kind):
    class Spied(gk.priors.Gaussian):
        def predict(self, x, t, condition=None):
            pytest.fail("the run had begun")

    prior = Spied(torch.zeros(6), 1.0, gk.processes.EDM())
    reward = Reward(lambda x: x[:, 0])
    with pytest.raises(gk.GuidanceError, match='has none: use rule="descent"'):
        gk.sample(prior, getattr(gk.guidance, kind)(reward, rule="transform", particles=4), 1, steps=20)
