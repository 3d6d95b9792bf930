"""Classifier-free rules and schedules: algebra on tensors, closed forms on Gaussians, cost, memory."""

import dataclasses
import itertools
import math

import pytest
import torch

import guidekit as gk
from guidekit.core.loop import populate, prepare
from guidekit.core.prediction import SPACES
from guidekit.core.step import Moment, Step
from guidekit.core.support import EVERYWHERE
from guidekit.guidance.attention.regions import region_rates
from guidekit.guidance.contrast import rules, schedules
from guidekit.guidance.contrast.cfg_plus_plus import effective_weight
from guidekit.guidance.estimate.rescale import respread
from guidekit.guidance.estimate.threshold import thresholded
from guidekit.testing import exact_law

g = gk.guidance
N = 6000
EXACT = dict(rtol=1e-9, atol=1e-9)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair(process, var_c, var_0, m_c=0.0, m_0=0.0, dtype=torch.float64):
    null = gk.priors.Gaussian(torch.tensor([m_0], dtype=dtype), var_0, process)
    return gk.priors.ClassConditional(null, [gk.priors.Gaussian(torch.tensor([m_c], dtype=dtype), var_c, process)])


def classes(means, process=None, covariance=1.0, null=0.0):
    """A prior by class in 2-D with equal covariances; the null has its own mean."""
    process = process or gk.processes.VP("cosine")
    laws = [gk.priors.Gaussian(torch.tensor(m, dtype=torch.float64), covariance, process) for m in means]
    return gk.priors.ClassConditional(
        gk.priors.Gaussian(torch.full((2,), null, dtype=torch.float64), covariance, process), laws
    )


def mixture(process=None):
    means = torch.tensor([[2.0, 0.0], [-2.0, 1.0], [0.0, -2.0]], dtype=torch.float64)
    return gk.priors.GaussianMixture(means, 0.5, torch.tensor([0.5, 0.3, 0.2]), process or gk.processes.VP("cosine"))


def begun(prior, guidance, x, t, condition=0, index=0, sampler=None, steps=20, particles=1):
    """A population at states x and time t, as a run would have it."""
    groups = len(x) // particles
    setup = prepare(
        prior,
        guidance,
        sampler=sampler or gk.samplers.DDIM(),
        steps=steps,
        groups=(0, groups),
        particles=particles,
        condition=None if condition is None else torch.full((groups,), condition),
    )
    return populate(setup, x, Moment(t, index), particles)


def denoised(prior, guidance, x, t, condition=0, **options):
    """The guided prediction at states x, and the ledger of the run."""
    population = begun(prior, guidance, x, t, condition, **options)
    return population.predict(), population.setup.network.ledger


# Spaces and rules --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [gk.processes.VP(), gk.processes.EDM(), gk.processes.Flow()])
def test_spaces_are_what_they_say(process):
    x0, eps = normal(4, 3), normal(4, 3, seed=1)
    t = 0.4
    a, s = process.coefficients(t)
    prediction = process.prediction(x0, a * x0 + s * eps, t)
    velocity = (a * eps - s * x0) / math.hypot(a, s)
    wanted = {"clean": x0, "noise": eps, "velocity": velocity, "score": -eps / s}
    assert set(wanted) == {"clean", *SPACES}
    wanted[process.flow_space] = process.velocity(prediction)[1]
    for space, value in wanted.items():
        seen = []
        back = prediction.map(lambda support, view, seen=seen: seen.append(view) or view, space=space)
        torch.testing.assert_close(seen[0], value, **EXACT)
        torch.testing.assert_close(back.mean, x0, **EXACT)
    at_noise = process.prediction(x0, eps, 1.0)  # no signal, or hardly any: a view can still be turned back
    for space in wanted:
        torch.testing.assert_close(at_noise.map(lambda support, view: view, space=space).mean, x0, rtol=1e-5, atol=1e-5)


def test_projected_rule():
    step, positive = normal(5, 7), normal(5, 7, seed=1)
    w = torch.linspace(1.0, 6.0, 5, dtype=torch.float64)
    everything = rules.projected(EVERYWHERE, step, positive, w, 1.0)
    torch.testing.assert_close(everything, positive + (w[:, None] - 1) * step, **EXACT)
    across = rules.projected(EVERYWHERE, step, positive, w, 0.0) - positive
    assert EVERYWHERE.dot(across, positive).abs().max() < 1e-9 and across[1:].norm() > 1
    torch.testing.assert_close(rules.projected(EVERYWHERE, 3 * positive, positive, w, 0.0), positive, **EXACT)
    capped = rules.projected(EVERYWHERE, 100 * step, positive, w, 1.0, cap=0.5) - positive
    torch.testing.assert_close(capped.norm(dim=1), (w - 1) * 0.5 * math.sqrt(7), **EXACT)
    torch.testing.assert_close(rules.projected(EVERYWHERE, step, positive, w, 1.0, cap=50.0), everything, **EXACT)


def test_damped_base_is_the_projection_of_a_singular_value_decomposition():
    base, positive = normal(6, 9), normal(6, 9, seed=1)
    out = rules.damped(EVERYWHERE, base, positive)
    _, _, rows = torch.linalg.svd(torch.stack([positive, base], 1), full_matrices=False)
    leading = rows[:, 0]
    torch.testing.assert_close(out, (base * leading).sum(1, keepdim=True) * leading, **EXACT)
    assert (
        rules.cosine(EVERYWHERE, out, positive).abs() >= rules.cosine(EVERYWHERE, base, positive).abs() - 1e-12
    ).all()
    torch.testing.assert_close(rules.damped(EVERYWHERE, -2.5 * positive, positive), -2.5 * positive, **EXACT)
    torch.testing.assert_close(rules.damped(EVERYWHERE, positive, positive), positive, **EXACT)


def test_optimal_scale_leaves_an_orthogonal_rest():
    base, positive = normal(4, 6), normal(4, 6, seed=1)
    rest = positive - rules.optimal_scale(EVERYWHERE, base, positive)[:, None] * base
    assert EVERYWHERE.dot(rest, base).abs().max() < 1e-9
    torch.testing.assert_close(
        rules.optimal_scale(EVERYWHERE, base, 3.5 * base), torch.full((4,), 3.5).double(), **EXACT
    )


def test_rescale_threshold_magnitude_and_renorm():
    guided, positive = 4 * normal(5, 40), normal(5, 40, seed=1)
    assert torch.equal(respread(EVERYWHERE, guided, positive, 0.0), guided)
    full = respread(EVERYWHERE, guided, positive, 1.0)
    torch.testing.assert_close(full.std(1), positive.std(1), **EXACT)
    torch.testing.assert_close(
        respread(EVERYWHERE, 3 * guided, 3 * positive, 0.7), 3 * respread(EVERYWHERE, guided, positive, 0.7)
    )
    small = guided / guided.abs().amax(1, keepdim=True)
    assert torch.equal(thresholded(EVERYWHERE, small, 0.9), small)
    outlier = small.clone()
    outlier[0, 0] = 3.0
    cut = thresholded(EVERYWHERE, outlier, 1.0)
    torch.testing.assert_close(cut[0, 1:], outlier[0, 1:] / 3)
    assert cut.abs().max() <= 1 and torch.equal(cut[1:], small[1:])
    assert torch.equal(thresholded(EVERYWHERE, 5 * small, 1.0, most=1.0), (5 * small).clamp(-1, 1))
    weight = rules.magnitude_weight(EVERYWHERE, torch.ones(1, 4), torch.full((1, 4), 1.5), 5.0, 2.0)
    assert float(weight) == pytest.approx(1 + 4 * math.exp(-1.0))
    short = rules.renormalized(EVERYWHERE, guided, positive, 1.0)
    assert (EVERYWHERE.norm(short) <= EVERYWHERE.norm(positive) * (1 + 1e-12)).all()
    assert torch.equal(rules.renormalized(EVERYWHERE, 0.01 * positive, positive, 1.0), 0.01 * positive)


@pytest.mark.parametrize("quantile", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("bound", [1.0, 2.0])
def test_thresholds_cut_at_their_quantile(quantile, bound):
    """What lies above the quantile of a sample's absolute values is set to the bound, the rest is divided by it."""
    x = 4 * normal(6, 11)
    prior = gk.priors.Gaussian(torch.zeros(11, dtype=torch.float64), 1.0)
    plain = prior.process.prediction(x, x, 0.5)
    guided = g.DynamicThreshold(quantile, bound).denoise(lambda question: plain, None).mean
    limit = x.abs().float().quantile(quantile, 1, keepdim=True).double().clamp_min(bound)
    torch.testing.assert_close(guided, x.clamp(-limit, limit) * bound / limit, **EXACT)
    assert (guided.abs() <= bound + 1e-12).all() and (guided.abs() >= bound - 1e-12).double().mean() < 1.3 - quantile


def test_perpendicular_negatives():
    base, p = normal(3, 6), normal(3, 6, seed=1)
    other = normal(3, 6, seed=2)
    across = other - rules.along(EVERYWHERE, other, p)
    out = rules.perpendicular(EVERYWHERE, base, base + p, [base + 4 * p], 3.0, 1.0)
    torch.testing.assert_close(out, base + 3 * p, **EXACT)  # a parallel negative is plain guidance
    out = rules.perpendicular(EVERYWHERE, base, base + p, [base + across], 3.0, 1.5)
    torch.testing.assert_close(out, base + 3 * (p - 1.5 * across), **EXACT)  # an orthogonal one the signed form


def test_region_rates():
    size = torch.tensor([[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    regions = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0]])
    rates = region_rates(size, regions, None, torch.full((2,), 2.0).double())
    assert rates.tolist() == [[1.5, 1.5, 0.8, 0.8], [1.0] * 4]
    equal = region_rates(size, regions, None, torch.full((2,), 2.0).double(), (0.1, 9.0)) * size
    assert equal[0].view(2, 2).mean(1).std() < 0.01 * equal[0].mean()  # equal energy where no limit is met
    strong = region_rates(size, regions, None, torch.full((2,), 20.0).double())
    assert (strong == 0.75).all()  # most / w goes before the least rate


@pytest.mark.parametrize(
    "plug",
    [
        g.APG(3.0, eta=1.0, momentum=0.0),
        g.CFG(3.0, schedule=g.Interval()),
        g.CFG(3.0, schedule=[0, math.inf]),
        g.Compose(3.0),
    ],
)
def test_limits_are_cfg_bit_for_bit(plug):
    for prior in (mixture(), gk.priors.CategoricalChain(*chain_laws())):
        options = dict(num_samples=16, steps=8, condition=0)
        assert torch.equal(gk.sample(prior, plug, **options).samples, gk.sample(prior, g.CFG(3.0), **options).samples)


def chain_laws():
    law = torch.rand(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return law, gk.processes.Masked(), torch.stack([law.T, law**2])


WEIGHT_ONE = [
    g.APG(1.0),
    g.TCFG(1.0),
    g.CFGZero(1.0),
    g.CFGRescale(1.0),
    g.MagnitudeAware(1.0),
    g.CFGRenorm(1.0),
    g.RegionalCFG(1.0, regions=None),
    g.CharacteristicGuidance(1.0),
    g.ICG(1.0),
    g.AdaptiveGuidance(1.0),
    g.ConceptDivergence(1.0, concepts=[0, 1]),
]


@pytest.mark.parametrize("plug", WEIGHT_ONE, ids=lambda plug: plug.name)
def test_weight_one_is_the_conditional_model_with_one_call(plug):
    options = dict(num_samples=16, steps=8, condition=0)
    guided, plain = gk.sample(mixture(), plug, **options), gk.sample(mixture(), None, **options)
    assert torch.equal(guided.samples, plain.samples)
    assert guided.ledger.network_rows == 16 * 8


@pytest.mark.parametrize(
    "plug", [g.APG(3.0, momentum=0.0), g.TCFG(3.0), g.CFGZero(3.0), g.MagnitudeAware(3.0), g.CFGRenorm(0.5)]
)
def test_nonlinear_rules_act_in_their_own_space(plug):
    """The guided estimate against the formula, written out for the space that the source used."""
    prior, x, t = mixture(), normal(6, 2), 0.6
    guided, _ = denoised(prior, plug, x, t)
    base, positive = prior.predict(x, t), prior.predict(x, t, torch.zeros(6, dtype=torch.long))
    process, w = prior.process, plug.weight
    a, s = process.coefficients(t)
    angle = lambda p: process.velocity(p)[1]  # noqa: E731
    if plug.name == "APG":
        wanted = rules.projected(EVERYWHERE, positive.mean - base.mean, positive.mean, w, 0.0)
        torch.testing.assert_close(guided.mean, wanted, **EXACT)
    elif plug.name == "TCFG":
        low = rules.damped(EVERYWHERE, base.noise, positive.noise)
        torch.testing.assert_close(guided.noise, low + w * (positive.noise - low), **EXACT)
    elif plug.name == "CFGZero":
        low = rules.optimal_scale(EVERYWHERE, angle(base), angle(positive))[:, None] * angle(base)
        torch.testing.assert_close(angle(guided), low + w * (angle(positive) - low), **EXACT)
    elif plug.name == "MagnitudeAware":
        w = rules.magnitude_weight(EVERYWHERE, angle(base), angle(positive), w, 8.0)[:, None]
        torch.testing.assert_close(angle(guided), angle(base) + w * (angle(positive) - angle(base)), **EXACT)
    else:
        assert (EVERYWHERE.norm(angle(guided)) <= EVERYWHERE.norm(angle(positive)) * (1 + 1e-9)).all()


def test_rescale_gives_the_conditional_deviation_in_v_space():
    """D_w scaled in v space, not in x_0 space, has the deviation of the conditional v prediction."""
    prior, x, t = mixture(), normal(6, 2), 0.5
    guided, _ = denoised(prior, g.CFGRescale(8.0, 1.0), x, t)
    positive = guided.branches.conditional
    velocity = lambda p: prior.process.velocity(p)[1]  # noqa: E731 - v, as the process is variance preserving
    torch.testing.assert_close(velocity(guided).std(1), velocity(positive).std(1), **EXACT)


# Sampling closed forms ---------------------------------------------------------------------------------------------


def test_guidance_in_an_interval_ends_at_the_closed_form():
    prior, lo, hi, w = pair(gk.processes.EDM(0.002, 200.0), 0.25, 1.69), 0.3, 2.0, 3.0
    result = gk.sample(prior, g.GuidanceInterval(w, lo, hi), N, 400, condition=0, sampler=gk.samplers.Heun())
    part = lambda v: (v + lo**2) / (v + hi**2)  # noqa: E731
    expected = 0.5 * part(0.25) ** ((w - 1) / 2) * part(1.69) ** ((1 - w) / 2)
    assert expected == pytest.approx(0.12787, abs=1e-4)
    assert float(result.samples.std()) == pytest.approx(expected, rel=4 / math.sqrt(2 * N) + 0.02)


def test_an_interval_saves_the_second_branch_outside():
    prior, process = mixture(gk.processes.EDM()), gk.processes.EDM()
    ledger = gk.sample(prior, g.GuidanceInterval(2.0, 0.3, 2.0), 8, 32, condition=0, sampler=gk.samplers.DDIM()).ledger
    inside = sum(0.3 < schedules.noise_level(process, t) <= 2.0 for t in process.grid(32)[:-1])
    assert 0 < inside < 32 and ledger.network_rows == 8 * (32 + inside) and ledger.network_calls == 32
    snr = (math.log(1 / 2.0**2), math.log(1 / 0.3**2))
    same = gk.sample(prior, g.GuidanceInterval(2.0, *snr, by="log_snr"), 8, 32, condition=0, sampler=gk.samplers.DDIM())
    assert same.ledger.network_rows == ledger.network_rows
    closed = gk.sample(prior, g.GuidanceInterval(2.0, 5e5, 6e5), 8, 32, condition=0)
    assert torch.equal(closed.samples, gk.sample(prior, None, 8, 32, condition=0).samples)


@dataclasses.dataclass(frozen=True, eq=False)
class Timed(type(gk.samplers.DDIM())):
    """A sampler whose rows have times of their own."""

    given: torch.Tensor = None

    def time(self, moment, memory):
        return self.given


def test_rows_whose_interval_is_closed_are_not_asked_twice():
    """Samples with times of their own: the base is evaluated for those inside, and only they gather momentum."""
    prior, x = mixture(gk.processes.VP()), normal(5, 2)
    t = torch.tensor([0.9, 0.5, 0.1, 0.5, 0.9], dtype=torch.float64)
    level = schedules.noise_level(prior.process, 0.5)
    plug = g.APG(4.0, eta=1.0, momentum=-0.7, schedule=[0.9 * level, 1.1 * level])
    population = begun(prior, plug, x, 0.9, sampler=Timed(given=t))
    guided, ledger = population.predict(), population.setup.network.ledger
    assert ledger.network_rows == 5 + 2 and ledger.network_calls == 1
    base, positive = prior.predict(x, t).mean, prior.predict(x, t, torch.zeros(5, dtype=torch.long)).mean
    inside = t[:, None] == 0.5
    torch.testing.assert_close(guided.mean, torch.where(inside, base + 4 * (positive - base), positive), **EXACT)
    torch.testing.assert_close(guided.note(plug)[0], torch.where(inside, positive - base, 0.0), **EXACT)
    old = normal(5, 2, seed=3)
    kept = begun(prior, plug, x, 0.9, sampler=Timed(given=t)).remember(plug, (old,)).predict().note(plug)[0]
    torch.testing.assert_close(kept, torch.where(inside, positive - base - 0.7 * old, old), **EXACT)


def test_one_weight_for_all_stages_of_a_step():
    """A second-order solver asks ahead; the weight is that of where the step starts."""
    prior, seen = mixture(), []
    plug = g.CFG(lambda t: seen.append(t) or 2.0)
    gk.sample(prior, plug, 4, 6, condition=0, sampler=gk.samplers.Heun())
    grid = prior.process.grid(6)
    assert seen == sorted([*grid[:-1], *grid[:-2]], reverse=True)


def test_schedules_of_numbers_and_of_times_per_sample():
    prior, times = mixture(), torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    rows = begun(prior, None, normal(3, 2), 1.0, sampler=Timed(given=times)).question()
    singles = [begun(prior, None, normal(1, 2), float(t)).question() for t in times]
    for schedule, wanted in (
        (g.Ramp(0.0, 2.0), [0.0, 1.0, 4.0]),
        (g.Table([1.0, 2.0, 5.0]), [1.0, 2.0, 5.0]),
        (g.Interval(0.5, 2.0), [1.0, 4.0, 1.0]),
    ):
        assert torch.as_tensor(schedule(4.0, rows)).expand(3).tolist() == pytest.approx(wanted), schedule
        assert [float(schedule(4.0, single)) for single in singles] == pytest.approx(wanted), schedule
    for schedule, wanted in ((g.Steps(2, 3), [1.0, 1.0, 4.0, 4.0, 4.0, 1.0]), (g.Steps(5), [1.0] * 5 + [4.0])):
        found = [schedule(4.0, begun(prior, None, normal(1, 2), 0.5, index=k).question()) for k in range(6)]
        assert found == wanted
    for wrong in ([0.3], "late", [0.1, 0.2, 0.3], 0.5):
        with pytest.raises(gk.GuidanceError, match="two noise levels"):
            gk.sample(prior, g.APG(2.0, schedule=wrong), 1, 4, condition=0)
    with pytest.raises(gk.GuidanceError, match="PerpNeg: condition 7 is no class .* 0 to 2"):
        gk.sample(prior, g.PerpNeg(negatives=[7]), 1, 4, condition=0)
    with pytest.raises(gk.GuidanceError, match="CFG: condition 'red' is no class"):
        gk.sample(prior, g.CFG(negative="red"), 1, 4, condition=0)
    with pytest.raises(gk.GuidanceError, match="by name"):
        gk.sample(classes([[0.0, 1.0]]), g.CFG(negative="red"), 1, 4, condition=0)
    with pytest.raises(ValueError, match="at least 2"):
        g.Table([1.0])
    with pytest.raises(ValueError, match="log_snr"):
        g.Interval(by="snr")
    with pytest.raises(ValueError, match="interval from 3 to 1"):
        gk.sample(prior, g.CFG(2.0, schedule=[3, 1]), 1, 4, condition=0)


@pytest.mark.parametrize("by", ["sigma", "log_snr"])
def test_an_interval_is_open_below_and_closed_above(by, monkeypatch):
    """(low, high] of noise levels, and of log signal-to-noise ratios."""
    monkeypatch.setattr(schedules, "noise_level", lambda process, t: t)
    ratios = (3.0, 1.0, 0.5)
    levels = [math.exp(-ratio / 2) for ratio in ratios]  # rising
    interval = g.Interval(*((levels[0], levels[2]) if by == "sigma" else (ratios[2], ratios[0])), by)
    rows = torch.tensor(levels, dtype=torch.float64)
    weights = [interval(3.0, begun(mixture(), None, normal(1, 2), level).question()) for level in levels]
    assert weights == ([1.0, 3.0, 3.0] if by == "sigma" else [3.0, 3.0, 1.0])
    timed = begun(mixture(), None, normal(3, 2), 0.5, sampler=Timed(given=rows)).question()
    assert interval(3.0, timed).tolist() == weights


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, "2", True])
@pytest.mark.parametrize(
    "name", ["CFG", "APG", "TCFG", "ICG", "Compose", "CFGPlusPlus", "CharacteristicGuidance", "TSG"]
)
def test_weights_are_finite_numbers(name, wrong):
    with pytest.raises(ValueError, match="must be a finite number"):
        getattr(g, name)(wrong)
    with pytest.raises(ValueError, match="a finite number is needed"):
        gk.sample(mixture(), getattr(g, name)(lambda t: math.nan), 2, 4, condition=0)


def test_and_not_and_negative_conditions_add_means():
    """Equal covariances: D is linear in the means, so the means of the samples are known."""
    means = [[1.0, 0.0], [0.0, 2.0], [-1.0, 0.5]]
    prior = classes(means, null=0.3)
    m, m0 = [torch.tensor(v) for v in means], torch.full((2,), 0.3)
    cases = [
        (g.Compose(1.0, also=[1]), m0 + (m[0] - m0) + (m[1] - m0)),
        (g.Compose(2.0, also=[1], also_weights=[0.5]), m0 + 2 * (m[0] - m0) + 0.5 * (m[1] - m0)),
        (g.Compose(2.0, avoid=[2]), m0 + 2 * (m[0] - m0) - 2 * (m[2] - m0)),
        (g.CFG(2.0, negative=2), m[2] + 2 * (m[0] - m[2])),
        (g.PerpNeg(2.0, negatives=[2], strength=0.0), m0 + 2 * (m[0] - m0)),
    ]
    for plug, wanted in cases:
        x = gk.sample(prior, plug, N, 40, condition=0, sampler=gk.samplers.Heun()).samples
        assert (x.mean(0) - wanted).abs().max() < 4 / math.sqrt(N) + 0.01, plug
        assert (x.T.cov() - torch.eye(2)).abs().max() < 4 * math.sqrt(2 / N) + 0.01
    with pytest.raises(ValueError, match="1 numbers for 2 conditions"):
        g.Compose(also=[0, 1], also_weights=[1.0])


def test_composition_of_two_axes_gives_both_shifts():
    prior = classes([[1.5, 0.0], [0.0, -2.0]])
    x = gk.sample(prior, g.Compose(1.0, also=[1]), N, 40, condition=0, sampler=gk.samplers.Heun()).samples
    assert (x.mean(0) - torch.tensor([1.5, -2.0])).abs().max() < 4 / math.sqrt(N) + 0.01


def test_composition_of_tokens_multiplies_laws():
    """One token: p_0 (p_1 / p_0)^w1 (p_0 / p_2)^w2, exactly."""
    laws = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]], dtype=torch.float64)
    null = torch.tensor([0.4, 0.35, 0.25], dtype=torch.float64)
    prior = gk.priors.CategoricalChain(null, gk.processes.Masked(), laws)
    plug = g.Compose(2.0, also=[1], avoid=[2], also_weights=[1.0], avoid_weights=[0.5])
    law = exact_law(prior, gk.samplers.Ancestral(), plug, 3, 0)
    wanted = null * (laws[0] / null) ** 2 * (laws[1] / null) * (null / laws[2]) ** 0.5
    torch.testing.assert_close(law, wanted / wanted.sum(), **EXACT)


def test_tokens_rules_are_free_of_the_constant_of_logits():
    """Perp-Neg with a parallel negative is CFG on tokens too; padding and impossible tokens stay as they are."""
    null = torch.tensor([0.4, 0.4, 0.2, 0.0], dtype=torch.float64)
    tilt = torch.tensor([1.0, 3.0, 0.5, 1.0], dtype=torch.float64)
    prior = gk.priors.CategoricalChain(null, gk.processes.Masked(), torch.stack([null * tilt, null * tilt**2]))
    law = exact_law(prior, gk.samplers.Ancestral(), g.PerpNeg(3.0, negatives=[1]), 3, 0)
    wanted = null * tilt**3
    torch.testing.assert_close(law, wanted / wanted.sum(), **EXACT)
    assert law[3] == 0


def test_concatenated_pass_asks_once():
    ledger = gk.sample(mixture(), g.CFG(3.0), 7, 5, condition=0).ledger
    assert ledger.network_calls == 5 and ledger.network_rows == 2 * 7 * 5
    ledger = gk.sample(mixture(), g.Compose(3.0, also=[1], avoid=[2]), 7, 5, condition=0).ledger
    assert ledger.network_calls == 5 and ledger.network_rows == 4 * 7 * 5


def test_threshold_bounds_the_clean_estimate():
    prior = gk.priors.Gaussian(torch.full((4,), 3.0, dtype=torch.float64), 0.01, gk.processes.VP("cosine"))
    x = gk.sample(prior, g.DynamicThreshold(1.0), 8, 20).samples
    assert x.abs().max() <= 1 + 1e-6
    wide = gk.sample(prior, g.DynamicThreshold(1.0, bound=50.0), 8, 20).samples
    assert torch.equal(wide, gk.sample(prior, None, 8, 20).samples)
    with pytest.raises(ValueError, match="quantile"):
        g.DynamicThreshold(0.0)


def test_zero_velocity_in_the_first_steps_leaves_the_state():
    prior = mixture(gk.processes.Flow())
    seen = []
    options = dict(num_samples=5, steps=8, condition=0, sampler=gk.samplers.Euler())
    spy = lambda progress: seen.append(progress.population.state)  # noqa: E731
    ledger = gk.sample(prior, g.CFGZero(3.0, zero_steps=2), progress=spy, **options).ledger
    start = []
    gk.sample(prior, g.chain(g.CFG(3.0), Recorder(start)), **options)
    torch.testing.assert_close(seen[1], start[0])
    assert (seen[2] - seen[1]).abs().max() > 1e-3 and ledger.network_calls == 6
    with pytest.raises(gk.GuidanceError, match="zero_steps=0"):
        gk.sample(mixture(), g.CFGZero(3.0, zero_steps=1), 2, 4, condition=0)


@dataclasses.dataclass(frozen=True, eq=False)
class Recorder(gk.Guidance):
    """Keeps the state that every step starts from."""

    seen: list = dataclasses.field(default_factory=list)

    def move(self, inner, population, step):
        self.seen.append(population.state)
        return inner(population, step)


# CFG++ -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [gk.processes.VP("cosine"), gk.processes.EDM(), gk.processes.Flow()])
def test_a_step_of_cfg_plus_plus_is_a_cfg_step_of_the_effective_weight(process):
    prior, x, condition = mixture(process), normal(6, 2), torch.zeros(6, dtype=torch.long)
    t, u, lam = 0.6, 0.5, 0.7
    (a, s), (b, r) = process.coefficients(t), process.coefficients(u)

    def stepped(guidance):
        population = begun(prior, guidance, x, t)
        return population.setup.propose(population, Step(Moment(t, 0), Moment(u, 1), (0,))).kernel.mean

    w = effective_weight(lam, a, s, b, r)
    assert w > lam + 0.4
    torch.testing.assert_close(stepped(g.CFGPlusPlus(lam)), stepped(g.CFG(w)), rtol=1e-6, atol=1e-6)
    base = prior.predict(x, t)
    direct = b * (base.mean + lam * (prior.predict(x, t, condition).mean - base.mean)) + r * base.noise
    torch.testing.assert_close(stepped(g.CFGPlusPlus(lam)), direct, **EXACT)


def test_cfg_plus_plus_limits():
    options = dict(num_samples=16, steps=8, condition=0, sampler=gk.samplers.DDIM())
    zero = gk.sample(mixture(), g.CFGPlusPlus(0.0), **options)
    assert torch.equal(zero.samples, gk.sample(mixture(), None, 16, 8, sampler=gk.samplers.DDIM()).samples)
    one = gk.sample(mixture(), g.CFGPlusPlus(1.0), **options).samples
    assert (one - gk.sample(mixture(), None, **options).samples).abs().max() > 0.05
    with pytest.raises(gk.GuidanceError, match="ddim or ancestral"):
        gk.sample(mixture(), g.CFGPlusPlus(0.5), **{**options, "sampler": gk.samplers.Heun()})
    with pytest.raises(gk.GuidanceError, match=r"chain\(CFG, CFGPlusPlus\)"):
        gk.sample(mixture(), g.chain(g.CFGPlusPlus(0.5), g.CFG(2.0)), **options)


def test_ancestral_cfg_plus_plus_has_the_published_form():
    """Variance exploding: x_u = D_lambda + sigma_down e_0 + sigma_up z."""
    process = gk.processes.EDM()
    prior, x, condition, lam, t, u = mixture(process), normal(6, 2), torch.zeros(6, dtype=torch.long), 0.7, 0.5, 0.4
    population = begun(prior, g.CFGPlusPlus(lam), x, t, sampler=gk.samplers.Ancestral())
    kernel = population.setup.propose(population, Step(Moment(t, 0), Moment(u, 1), (0,))).kernel
    s, r = process.coefficients(t)[1], process.coefficients(u)[1]
    up = math.sqrt(r**2 * (s**2 - r**2) / s**2)
    base = prior.predict(x, t)
    guided = base.mean + lam * (prior.predict(x, t, condition).mean - base.mean)
    assert kernel.std == pytest.approx(up)
    torch.testing.assert_close(kernel.mean, guided + math.sqrt(r**2 - up**2) * base.noise, **EXACT)


# Memory ------------------------------------------------------------------------------------------------------------


def moved(population, u, x=None):
    """The population after a step to u, at given states x where there are some."""
    index = population.moment.index
    after = population.setup.move(population, Step(population.moment, Moment(u, index + 1), (index,)))
    return after if x is None else after.at(x)


def test_select_keeps_momentum_with_its_particle():
    """Reordered particles go on with their own momentum, and a cached answer does not add to it twice."""
    prior, plug, condition = mixture(), g.APG(4.0, momentum=-0.7), torch.zeros(12, dtype=torch.long)
    population = begun(prior, plug, normal(12, 2), 0.9, particles=4)
    first = population.predict().note(plug)[0]
    assert population.predict().note(plug)[0] is first
    base, positive = prior.predict(population.state, 0.9), prior.predict(population.state, 0.9, condition)
    torch.testing.assert_close(first, positive.mean - base.mean, **EXACT)
    chosen = torch.tensor([[3, 3, 0, 1], [1, 2, 2, 0], [0, 0, 3, 3]])
    rows = (torch.arange(3)[:, None] * 4 + chosen).flatten()
    after = population.select(chosen)
    assert torch.equal(after.predict().note(plug)[0], first[rows])  # the answer came along: nothing is added
    after = moved(after, 0.8, normal(12, 2, seed=5))
    assert torch.equal(after.recall(plug)[0], first[rows])
    again = after.select(chosen)
    assert torch.equal(again.recall(plug)[0], first[rows][rows])
    step = prior.predict(after.state, 0.8, condition).mean - prior.predict(after.state, 0.8).mean
    torch.testing.assert_close(after.predict().note(plug)[0], step - 0.7 * first[rows], **EXACT)
    assert after.expand(2).recall(plug)[0].shape == (24, 2)


def test_momentum_is_updated_once_a_step_by_second_order_solvers():
    """Both stages of a Heun step see the momentum of the step before; only the first one leaves something behind."""
    prior, plug, condition = mixture(), g.APG(4.0, momentum=-0.7), torch.zeros(4, dtype=torch.long)
    population = begun(prior, plug, normal(4, 2), 0.9, sampler=gk.samplers.Heun())
    old = population.predict().note(plug)[0]
    population = moved(population, 0.8, normal(4, 2, seed=1))
    assert torch.equal(population.recall(plug)[0], old)
    kept = population.predict().note(plug)[0]
    ahead = population.ask(population.state, 0.7)
    step = prior.predict(population.state, 0.7, condition).mean - prior.predict(population.state, 0.7).mean - 0.7 * old
    torch.testing.assert_close(ahead.note(plug)[0], step, **EXACT)
    assert torch.equal(moved(population, 0.7).recall(plug)[0], kept)


def test_momentum_goes_through_a_candidate_search():
    """The winner keeps the momentum it was drawn with: search with equal values is sampling with another choice."""
    reward = gk.objectives.QuadraticReward(torch.tensor([1.0, 1.0]))
    plug, seen = g.APG(4.0, momentum=-0.5), []
    spy = lambda progress: seen.append(progress.population.recall(plug)[0])  # noqa: E731
    gk.sample(mixture(), g.chain(plug, g.SVDD(reward, candidates=3)), 4, 5, condition=0, progress=spy)
    assert len(seen) == 5 and all(len(kept) == 4 and kept.abs().min() > 0 for kept in seen)
    assert all((a != b).all() for a, b in itertools.pairwise(seen))


@pytest.mark.parametrize(
    "plug", [g.APG(4.0, momentum=-0.5), g.AdaptiveGuidance(3.0, threshold=0.9), g.ICG(3.0), g.TSG(2.0)]
)
def test_stateful_rules_do_not_depend_on_the_batch_and_stay_outside(plug):
    reward = gk.objectives.QuadraticReward(torch.tensor([1.0, 1.0]))
    guidance = g.chain(plug, g.FKSteering(reward, particles=3, temperature=0.5))
    options = dict(num_samples=5, steps=8, condition=0)
    together = gk.sample(mixture(), guidance, **options).samples
    torch.testing.assert_close(gk.sample(mixture(), guidance, batch_size=2, **options).samples, together)
    with pytest.raises(gk.GuidanceError, match=rf"chain\(CFG, {plug.name}\)"):
        gk.sample(mixture(), g.chain(plug, g.CFG(2.0)), **options)


def test_scheduled_momentum_waits_while_the_interval_is_closed():
    prior, plug = mixture(), g.APG(4.0, schedule=g.Steps(0, 1))
    population = moved(begun(prior, plug, normal(4, 2), 1.0), 0.5)
    kept = population.recall(plug)
    later = moved(population, 0.2)
    assert later.recall(plug) is kept and population.setup.network.ledger.network_rows == 8 + 4
