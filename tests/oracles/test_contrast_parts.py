"""Contrasts on states of several parts and in recurrences; what each setting does, so that none may be ignored."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.core.loop import populate, prepare
from guidekit.core.step import Moment, Step
from guidekit.core.support import Places
from guidekit.guidance.contrast import Contrast, formal, rules, upsample
from guidekit.testing import check_guidance

g = gk.guidance
EXACT = dict(rtol=1e-9, atol=1e-9)
LAW = torch.tensor([[[0.30, 0.05], [0.02, 0.13]], [[0.10, 0.05], [0.15, 0.20]]], dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixture(process=None):
    means = torch.tensor([[2.0, 0.0], [-2.0, 1.0], [0.0, -2.0]], dtype=torch.float64)
    return gk.priors.GaussianMixture(means, 0.5, torch.tensor([0.5, 0.3, 0.2]), process or gk.processes.VP("cosine"))


def molecules(**options):
    """Positions and types of one to three places, with classes."""
    chain = gk.priors.CategoricalChain(LAW, conditionals=torch.stack([LAW.flip(0), LAW.flip(1)]))
    return gk.priors.PositionsAndTypes(chain, 0.7, smallest=2, class_stds=[0.3, 1.1], **options)


def begun(prior, guidance, x, t, condition=0, index=0, sampler=None):
    rows = len(x) if isinstance(x, torch.Tensor) else len(x.mask)
    given = None if condition is None else torch.full((rows,), condition)
    setup = prepare(prior, guidance, sampler=sampler or gk.samplers.DDIM(), steps=20, groups=(0, rows), condition=given)
    return populate(setup, x, Moment(t, index), 1)


def stepped(population, u):
    index = population.moment.index
    return population.setup.move(population, Step(population.moment, Moment(u, index + 1), (index,)))


# Several parts -----------------------------------------------------------------------------------------------------

ON_PARTS = [
    g.CFG(3.0),
    g.CFG(3.0, negative=1, rescale=0.5),
    g.GuidanceInterval(3.0, 0.2, 2.0),
    g.APG(3.0, cap=0.5),
    g.TCFG(3.0),
    g.CFGZero(3.0),
    g.MagnitudeAware(3.0),
    g.CFGRenorm(3.0),
    g.Compose(2.0, also=[1]),
    g.PerpNeg(2.0, negatives=[1]),
    g.ConceptDivergence(2.0, concepts=[0, 1]),
    g.ICG(2.0),
    g.AdaptiveGuidance(3.0, threshold=0.95, first=4),
    g.chain(g.CFG(3.0), g.Rescale(0.5), g.DynamicThreshold(0.8)),
]


@pytest.mark.parametrize("plug", ON_PARTS, ids=lambda plug: "+".join(each.name for each in plug.members))
def test_contrasts_work_part_by_part(plug):
    """Rows do not depend on their batch, nothing appears where there is no place, and the center of mass stays."""
    result = check_guidance(molecules(), plug, num_samples=5, steps=6, condition=0)
    x = result.samples
    assert not x.parts["types"][~x.mask].any() and not x.parts["positions"][~x.mask].any()
    assert x.parts["positions"].sum(1).abs().max() < 1e-5
    assert not torch.equal(
        x.parts["positions"], gk.sample(molecules(), None, 5, 6, condition=0).samples.parts["positions"]
    )


def noisy(prior, t, rows=6):
    """States at t, all types hidden."""
    setup = prepare(prior, None, sampler=gk.samplers.Ancestral(), steps=4, groups=(0, rows))
    return setup.begin().at(setup.begin().state, Moment(t, 0)).state


@pytest.mark.parametrize("w", [0.0, 0.6, 3.0])
def test_cfg_of_parts_is_cfg_of_each(w):
    """Positions are combined as numbers, types as logarithms; each as it would be alone."""
    prior, c = molecules(), torch.zeros(6, dtype=torch.long)
    x = noisy(prior, 0.6)
    guided = begun(prior, g.CFG(w), x, 0.6, sampler=gk.samplers.Ancestral()).predict()
    null, given = prior.predict(x, 0.6), prior.predict(x, 0.6, c)
    a, b = (p.parts["positions"].mean for p in (null, given))
    torch.testing.assert_close(guided.parts["positions"].mean, a + w * (b - a))
    a, b = (p.parts["types"].log_probs for p in (null, given))
    wanted = torch.log_softmax(torch.where(b.isneginf(), b, a + w * (b - a)), -1)
    torch.testing.assert_close(guided.parts["types"].log_probs[x.mask], wanted[x.mask])


def test_apg_of_parts_sees_no_padding():
    """Each part has its own projection, over its places alone, and its own momentum, which goes with its row."""
    prior, c, w, beta = molecules(), torch.zeros(6, dtype=torch.long), 4.0, -0.6
    plug, x = g.APG(w, eta=1.0, momentum=beta, cap=0.05), noisy(molecules(), 0.6)
    population = begun(prior, plug, x, 0.6, sampler=gk.samplers.Ancestral())
    guided = population.predict()
    null, given = prior.predict(x, 0.6).parts["positions"], prior.predict(x, 0.6, c).parts["positions"]
    support = Places(x.mask, True)
    step = given.mean - null.mean
    wanted = rules.projected(support, step, given.mean, w, 1.0, 0.05)
    torch.testing.assert_close(guided.parts["positions"].mean, wanted)
    longest = 0.05 * (2 * (x.mask.sum(1) - 1)).double().sqrt()  # degrees of freedom of n places without their mean
    part = guided.parts["positions"].mean - given.mean
    length = support.norm(step).double()
    assert (length > longest).any()
    torch.testing.assert_close(
        support.norm(part).double(), (w - 1) * torch.minimum(length, longest), rtol=1e-5, atol=1e-6
    )
    assert part[~x.mask].abs().max() == 0 and [len(leaf) for leaf in guided.note(plug)] == [6, 6]
    after = stepped(population, 0.5)
    chosen = torch.zeros(6, 1, dtype=torch.long)
    assert all(torch.equal(a, b) for a, b in zip(after.select(chosen).recall(plug), guided.note(plug), strict=True))
    again, kept = after.predict(), guided.note(plug)[0]
    step = (
        prior.predict(after.state, 0.5, c).parts["positions"].mean
        - prior.predict(after.state, 0.5).parts["positions"].mean
    )
    torch.testing.assert_close(again.note(plug)[0], step + beta * kept)


@pytest.mark.parametrize(
    "plug",
    [
        g.CharacteristicGuidance(),
        g.CFGPlusPlus(),
        g.FrequencyCFG(),
        g.RegionalCFG(regions=None),
        g.UpsampleGuidance(),
        g.ClampCleanEstimate(0.0, 1.0),
        g.LinearCFG(None),
    ],
    ids=lambda plug: plug.name,
)
def test_what_needs_one_kind_of_state_says_so(plug):
    with pytest.raises(gk.GuidanceError, match="positions and types"):
        gk.sample(molecules(), plug, 2, steps=4, condition=0)


# Recurrences -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeats", [1, 3])
def test_steps_are_those_of_the_grid_however_often_they_are_gone_through(repeats):
    """Guided in the first 10 of 20 steps, each three times: every visit of these is guided, and no other."""
    prior, seen = mixture(), []

    def formula(support, w, base, own):
        return base + w * (own - base)

    plug = Contrast(g.CFG().branches, formal(formula), g.CFG(3.0, schedule=g.Steps(0, 10)).weight, "Spy")
    spied = type("Spied", (Spy,), {})(seen)
    result = gk.sample(prior, g.chain(plug, spied, g.TimeTravel(repeats)), 4, 20, condition=0)
    guided = [index for index, weight in seen if weight]
    visits = {index: [i for i, _ in seen].count(index) for index in range(20)}
    assert set(guided) == set(range(10)) and len(guided) == sum(visits[index] for index in range(10))
    assert visits[5] == repeats and len(seen) == sum(visits.values())
    assert result.ledger.network_rows == 4 * (len(seen) + len(guided))


class Spy(gk.Guidance):
    """Notes the step of every question and whether it was guided; draws would be the same."""

    layer = 2

    def __init__(self, seen):
        self.seen = seen

    def denoise(self, inner, question):
        prediction = inner(question)
        self.seen.append((question.moment.index, prediction.branches is not None))
        return prediction


@pytest.mark.parametrize(
    "plug", [g.APG(3.0), g.ICG(3.0), g.AdaptiveGuidance(3.0, threshold=0.98)], ids=lambda p: p.name
)
def test_contrasts_with_memory_or_draws_in_a_recurrence(plug):
    options = dict(num_samples=4, steps=8, condition=0)
    check_guidance(mixture(), g.chain(plug, g.TimeTravel(2)), **options)


def test_who_agreed_stays_so_where_somebody_wants_both_branches():
    """Then all rows are asked for both, and those that had agreed keep the conditional prediction."""
    plug, x = g.AdaptiveGuidance(3.0, threshold=1.1), normal(6, 2)
    agreed = torch.tensor([True, False] * 3)
    population = begun(mixture(), g.chain(plug, g.Rescale(0.5)), x, 0.5).remember(plug, agreed)
    guided = population.predict()
    assert torch.equal(guided.note(plug), agreed) and population.setup.network.ledger.network_rows == 12
    own = mixture().predict(x, 0.5, torch.zeros(6, dtype=torch.long)).mean
    torch.testing.assert_close(guided.mean[agreed], own[agreed])
    assert (guided.mean[~agreed] - own[~agreed]).abs().max() > 1e-2


def test_the_kernel_of_cfg_plus_plus_is_the_law_that_is_wanted():
    """A filter around it does not weigh its noise against that of another sampler."""
    filtered = g.chain(
        g.CFGPlusPlus(0.6), g.FKSteering(lambda x: 0 * x[:, 0], particles=4, temperature=1.0, output="all")
    )
    options = dict(num_samples=3, steps=8, condition=0, sampler=gk.samplers.Ancestral())
    result = gk.sample(mixture(), filtered, **options)
    assert result.log_weights.abs().max() < 1e-9 and result.log_normalizer.abs().max() < 1e-9


# Settings that something must notice -------------------------------------------------------------------------------


def test_renorm_caps_the_velocity_of_the_flow():
    """No longer than `most` times the conditional one, and exactly CFG where that is not met."""
    prior, t, w = mixture(), 0.6, 3.0
    x = prior.process.noise(prior.means[:1], t, normal(40, 2))
    angle = lambda p: prior.process.velocity(p)[1]  # noqa: E731
    base, own = prior.predict(x, t), prior.predict(x, t, torch.zeros(40, dtype=torch.long))
    cfg = angle(base) + w * (angle(own) - angle(base))
    for most in (0.8, 1.0, 2.0):
        guided = angle(begun(prior, g.CFGRenorm(w, most=most), x, t).predict())
        factor = (most * angle(own).norm(dim=1) / cfg.norm(dim=1)).clamp_max(1.0)
        torch.testing.assert_close(guided, cfg * factor[:, None], **EXACT)
    assert 0 < (factor < 1).sum() < 40


@pytest.mark.parametrize("share", [0.4, 1.0])
@pytest.mark.parametrize("make", [lambda s: g.CFG(6.0, rescale=s), lambda s: g.chain(g.CFG(6.0), g.Rescale(s))])
def test_rescale_acts_in_v_space(make, share):
    """The formula of the source in v, which differs from that in x_0; as a setting and as a guidance of its own."""
    process = gk.processes.EDM()
    prior, x, t = mixture(process), 3 * normal(12, 2), 0.4
    a, s = process.coefficients(t)
    size = math.hypot(a, s)
    base, own = prior.predict(x, t), prior.predict(x, t, torch.zeros(12, dtype=torch.long))
    view = lambda mean: (a * (x - a * mean) / s - s * mean) / size  # noqa: E731
    deviation = lambda v: v.std(1, correction=0)[:, None]  # noqa: E731
    cfg = base.mean + 6 * (own.mean - base.mean)
    guided = begun(prior, make(share), x, t).predict()
    factor = share * deviation(view(own.mean)) / deviation(view(cfg)) + 1 - share
    torch.testing.assert_close(view(guided.mean), factor * view(cfg), **EXACT)
    clean = cfg * (share * deviation(own.mean) / deviation(cfg) + 1 - share)
    assert (guided.mean - clean).abs().max() > 1e-2 and guided.branches.weight is None


def test_terms_of_linear_guidance_have_weights_of_their_own():
    spread = lambda k: normal(3, 3, seed=k)  # noqa: E731
    laws = [
        gk.priors.Gaussian(normal(3, seed=k), spread(k) @ spread(k).T + 0.3 * torch.eye(3), gk.processes.EDM())
        for k in (1, 2)
    ]
    prior, x, t = gk.priors.ClassConditional(laws[1], laws[:1]), normal(5, 3), 0.4
    model = g.LinearModel(laws[0].means[0], laws[1].means[0], laws[0].covariances[0], laws[1].covariances[0])
    terms = g.decomposition(model, x, prior.process.coefficients(t)[1])
    own = prior.predict(x, t, torch.zeros(5, dtype=torch.long)).mean
    for name, setting in (("mean shift", "mean"), ("positive", "positive"), ("negative", "negative")):
        weights = {"mean": 0.0, "positive": 0.0, "negative": 0.0, setting: 2.5}
        guided = begun(prior, g.LinearCFG(model, **weights), x, t).predict()
        torch.testing.assert_close(guided.mean, own + 2.5 * terms[name], **EXACT)
        assert terms[name].abs().max() > 1e-2


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_pooled_states_have_the_noise_of_a_mean(dims):
    """The mean of factor^dims noises deviates factor^(dims / 2) times less: that is the time it is told."""
    process, factor, t = gk.processes.VP("cosine"), 2, 0.6
    a, s = process.coefficients(t)
    x = s * torch.randn(400, 1, *[8] * dims, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pooled, low = upsample.pooled_state(process, x, t, factor)
    b, r = process.coefficients(low)
    assert r / b == pytest.approx(s / a / factor ** (dims / 2), rel=1e-9)
    assert float(pooled.std()) == pytest.approx(r, rel=4 / math.sqrt(2 * pooled.numel()))


@pytest.mark.parametrize("weight", [1.0, 3.0])
@pytest.mark.parametrize("power", [0.0, 1.0, 3.0])
def test_the_wrong_time_spreads_with_the_power_of_the_time(power, weight):
    """The time told is t + noise t^power n, kept within [0, 1]."""
    plug, t, noise = g.TSG(2.0, 0.05, power, weight=weight), 0.5, 0.05
    population = begun(mixture(), plug, normal(20_000, 2), t)
    told = plug.branches[-1](population.question(), plug).t
    assert float(told.mean()) == pytest.approx(t, abs=4 * noise / math.sqrt(20_000))
    assert float(told.std()) == pytest.approx(noise * t**power, rel=4 / math.sqrt(40_000))
    at_end = begun(mixture(), plug, normal(1000, 2), 1.0)
    told = plug.branches[-1](at_end.question(), plug).t
    assert told.max() == 1 and 0.3 < float((told == 1).double().mean()) < 0.7


def test_a_weaker_prior_that_looks_at_the_time_is_asked_again():
    """Unchanged rows keep their answer only where every prior that is asked does without the time."""
    law = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    prior = gk.priors.CategoricalChain(law)
    weak = gk.priors.CategoricalChain(law.flip(0))
    assert g.Autoguidance(weak).timeless
    weak.timeless = False
    assert not g.Autoguidance(weak).timeless and not g.APG(2.0).timeless and g.APG(2.0, momentum=0.0).timeless
    assert g.CFG(2.0).timeless and not g.CFG(2.0, schedule=[0, 1]).timeless and not g.ICG().timeless
    assert not g.TSG(1.0).timeless and not g.CFG(lambda t: 2.0).timeless
    steps = gk.sample(prior, g.Autoguidance(weak, 2.0), 50, 6, sampler=gk.samplers.Ancestral()).ledger
    assert steps.cached_rows == 0


# Characteristic guidance -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", [True, False])
@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("w", [2.0, 5.0])
def test_characteristic_guidance_converges_and_is_finite(direction, warm, w):
    """Three components, where CFG's field bends: shifts that were not found leave no trace in the next step."""
    plug = g.CharacteristicGuidance(w, direction=direction, warm=warm, iterations=20)
    options = dict(num_samples=60, steps=30, condition=0, sampler=gk.samplers.DDIM())
    result = gk.sample(mixture(), plug, **options)
    assert result.samples.isfinite().all()
    share = result.info["characteristic converged"].mean()
    assert share > (0.9 if w == 2 else 0.85)


@pytest.mark.parametrize("direction", [True, False])
def test_a_warm_start_holds_what_was_found_along_the_present_direction(direction):
    """Nothing found is a cold start, at its cost; what does not lie along the direction would never be taken back."""
    x, options = normal(6, 2), dict(warm=True, direction=direction, iterations=30)
    cold = begun(mixture(), g.CharacteristicGuidance(3.0, **options), x, 0.5)
    wanted, rows = cold.predict(), cold.setup.network.ledger.network_rows
    prior = mixture()
    along = prior.predict(x, 0.5, torch.zeros(6, dtype=torch.long)).mean - prior.predict(x, 0.5).mean
    across = torch.stack([-along[:, 1], along[:, 0]], 1)
    for start in (torch.zeros(6, 2, dtype=torch.float64), *([3 * across] if direction else [])):
        plug = g.CharacteristicGuidance(3.0, **options)
        population = begun(prior, plug, x, 0.5).remember(plug, start)
        torch.testing.assert_close(population.predict().mean, wanted.mean, rtol=1e-6, atol=1e-6)
        assert population.setup.network.ledger.network_rows == rows
    plug = g.CharacteristicGuidance(3.0, **options)
    again = begun(prior, plug, x, 0.5).remember(plug, wanted.note(cold.setup.members[0]))
    torch.testing.assert_close(again.predict().mean, wanted.mean, rtol=1e-3, atol=1e-3)
    assert again.setup.network.ledger.network_rows < rows  # what was found here is found again at once


def test_a_past_that_says_nothing_leaves_the_plain_step():
    """Equal iterates, denormal differences: no division by what is none."""
    from guidekit.guidance.contrast.characteristic import anderson

    shift, gap = normal(4, 3), normal(4, 3, seed=1)
    for past in ((shift, gap), (shift + 1e-160, gap + 1e-160), (shift, gap + 1e-300)):
        torch.testing.assert_close(anderson([past, (shift, gap)]), shift - gap, **EXACT)
