"""Weak models, random conditions, noisy times, adaptive and characteristic guidance: closed forms and counts."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.core.loop import populate, prepare
from guidekit.core.step import Moment, Step
from guidekit.core.support import EVERYWHERE
from guidekit.guidance.contrast import frequency, rules, upsample
from guidekit.guidance.contrast.characteristic import anderson
from guidekit.networks import SequenceTransformer
from guidekit.priors.labels import Label
from guidekit.priors.tokens import TokenPrior
from guidekit.testing import counting

g = gk.guidance
N = 6000
EXACT = dict(rtol=1e-9, atol=1e-9)
COSINE = gk.processes.VP("cosine")


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(mean, variance, process=COSINE):
    return gk.priors.Gaussian(torch.tensor([mean], dtype=torch.float64), variance, process)


def mixture(process=COSINE, weights=(0.5, 0.3, 0.2)):
    means = torch.tensor([[2.0, 0.0], [-2.0, 1.0], [0.0, -2.0]], dtype=torch.float64)
    return gk.priors.GaussianMixture(means, 0.5, torch.tensor(weights), process)


def begun(prior, guidance, x, t, condition=0, sampler=None, steps=20):
    """A population at states x and time t, as a run would have it."""
    rows = None if condition is None else prior.condition(torch.as_tensor(condition)).expand(len(x))
    sampler = sampler or (gk.samplers.DDIM() if x.is_floating_point() else gk.samplers.FirstHitting())
    setup = prepare(prior, guidance, sampler=sampler, steps=steps, groups=(0, len(x)), condition=rows)
    return populate(setup, x, Moment(t, 0), 1)


def denoised(prior, guidance, x, t, condition=0, **options):
    """The guided prediction at states x, and the ledger of the run."""
    population = begun(prior, guidance, x, t, condition, **options)
    return population.predict(), population.setup.network.ledger


def moved(population, u, x):
    """The population after a step to u, at states x."""
    index = population.moment.index
    return population.setup.move(population, Step(population.moment, Moment(u, index + 1), (index,))).at(x)


# Other models ------------------------------------------------------------------------------------------------------


def test_autoguidance_corrects_the_strong_model_at_the_optimal_weight():
    """Stds 1.1 (strong) and 1.3 (weak) of a truth of 1: w* = ln(1.3) / ln(1.3 / 1.1) = 1.5705 gives it back."""
    process = gk.processes.EDM(0.002, 300.0)
    w = math.log(1.3) / math.log(1.3 / 1.1)
    assert w == pytest.approx(1.5705, abs=1e-4)
    strong, weak = gaussian(0.0, 1.21, process), gaussian(0.0, 1.69, process)
    guided = gk.sample(strong, g.Autoguidance(weak, w), N, 200, sampler=gk.samplers.Heun())
    assert float(guided.samples.std()) == pytest.approx(1.0, rel=4 / math.sqrt(2 * N) + 0.01)
    assert guided.ledger.network_rows == 2 * N * 399
    plain = gk.sample(strong, g.Autoguidance(weak, 1.0), 20, 10)
    assert torch.equal(plain.samples, gk.sample(strong, None, 20, 10).samples) and plain.ledger.network_rows == 200


def test_sims_extrapolates_from_the_model_of_its_own_samples():
    """Base mean m_r, synthetic m_s: (1 + omega) m_r - omega m_s; omega = 1 undoes a bias that repeats itself."""
    truth, bias = 0.7, -0.25
    base, synthetic = gaussian(truth + bias, 1.0), gaussian(truth + 2 * bias, 1.0)
    x = gk.sample(base, g.SIMS(synthetic, 1.0), N, 60, sampler=gk.samplers.Heun()).samples
    assert float(x.mean()) == pytest.approx(truth, abs=4 / math.sqrt(N) + 0.005)
    half = gk.sample(base, g.SIMS(synthetic, 0.5), N, 60, sampler=gk.samplers.Heun()).samples
    assert float(half.mean()) == pytest.approx(
        1.5 * (truth + bias) - 0.5 * (truth + 2 * bias), abs=4 / math.sqrt(N) + 0.005
    )


@pytest.mark.parametrize("weight", [0.5, 1.6])
def test_rlg_has_the_divided_kl_coefficient(weight):
    """Base N(m, s^2), reward g x: aligned N(m + s^2 g / beta, s^2), guided N(m + w s^2 g / beta, s^2)."""
    m, variance, slope, beta = 0.3, 0.8, 1.2, 2.0
    base, aligned = gaussian(m, variance), gaussian(m + variance * slope / beta, variance)
    x = gk.sample(aligned, g.RLG(base, weight), N, 60, sampler=gk.samplers.Heun()).samples
    assert float(x.mean()) == pytest.approx(m + weight * variance * slope / beta, abs=4 / math.sqrt(N) + 0.005)
    assert float(x.var()) == pytest.approx(variance, rel=4 * math.sqrt(2 / N) + 0.01)


def test_rlg_starts_with_the_aligned_model_alone():
    base, aligned = gaussian(0.0, 1.0), gaussian(1.0, 1.0)
    ledger = gk.sample(aligned, g.RLG(base, 2.0, first_steps=3), 4, 10, sampler=gk.samplers.DDIM()).ledger
    assert ledger.network_rows == 4 * (10 + 7)


def test_guidance_inside_acts_on_both_models():
    """chain(CFG, Autoguidance): each model is guided with the inner weight, then they are contrasted."""
    prior, weak = mixture(), mixture(weights=(0.2, 0.4, 0.4))
    x, t, c = normal(5, 2), 0.6, torch.zeros(5, dtype=torch.long)
    guided, ledger = denoised(prior, g.chain(g.CFG(3.0), g.Autoguidance(weak, 2.0)), x, t)
    inner = [m.predict(x, t).mean + 3 * (m.predict(x, t, c).mean - m.predict(x, t).mean) for m in (prior, weak)]
    torch.testing.assert_close(guided.mean, inner[1] + 2 * (inner[0] - inner[1]), **EXACT)
    assert ledger.network_calls == 2 and ledger.network_rows == 20
    mixed, _ = denoised(prior, g.Autoguidance(weak, 2.0, share=0.25), x, t)
    base = 0.25 * weak.predict(x, t, c).mean + 0.75 * prior.predict(x, t).mean
    torch.testing.assert_close(mixed.mean, base + 2 * (prior.predict(x, t, c).mean - base), **EXACT)


def test_priors_that_do_not_fit_are_refused():
    prior = mixture()
    for other, line in (
        (gaussian(0.0, 1.0), "states or processes differ"),
        (mixture(gk.processes.EDM()), "states or processes differ"),
        ("early", "second prior"),
    ):
        with pytest.raises(gk.GuidanceError, match=line):
            gk.sample(prior, g.Autoguidance(other), 2, 4, condition=0)


def token_prior(seed):
    torch.manual_seed(seed)
    network = SequenceTransformer(5, 4, width=8, depth=1, heads=2, pad_id=None, labels=[2])
    torch.nn.init.normal_(network.head.weight if hasattr(network, "head") else next(network.parameters()))
    return TokenPrior(network, 5, [0] * 4 + [1], pad_id=None, labels=[Label("kind", ["a", "b"])])


def test_interpolated_weights_end_at_both_models_bit_for_bit():
    tuned, pretrained = token_prior(0), token_prior(1)
    options = dict(num_samples=6, steps=4, condition=0)
    one = gk.sample(tuned, g.PersonalizationSteering(pretrained, 3.0, omega=1.0), **options).samples
    assert torch.equal(one, gk.sample(tuned, g.CFG(3.0), **options).samples)
    assert g.interpolate(pretrained, tuned, 0.0) is pretrained and g.interpolate(pretrained, tuned, 1.0) is tuned
    half = g.interpolate(pretrained, tuned, 0.25).network.state_dict()
    for name, weight in pretrained.network.named_parameters():
        torch.testing.assert_close(half[name], weight + 0.25 * (tuned.network.state_dict()[name] - weight))
    x = torch.full((3, 4), 5)
    setup = prepare(
        tuned,
        g.PersonalizationSteering(pretrained, 3.0, omega=0.0),
        sampler=gk.samplers.FirstHitting(),
        groups=(0, 3),
        condition=torch.zeros(3, 1, dtype=torch.long),
    )
    guided = populate(setup, x, Moment(1.0, 0), 1).predict()
    c = torch.zeros(3, 1, dtype=torch.long)
    base, positive = pretrained.predict(x, 1.0).log_probs, tuned.predict(x, 1.0, c).log_probs
    torch.testing.assert_close(guided.log_probs, torch.log_softmax(base + 3 * (positive - base), -1))
    with pytest.raises(gk.GuidanceError, match="has none"):
        gk.sample(mixture(), g.PersonalizationSteering(mixture()), 2, 4, condition=0)


# Without a null condition ------------------------------------------------------------------------------------------


def test_icg_averages_to_the_mean_of_the_conditional_predictions():
    """E[D] = w D_c + (1 - w) sum_k p_k D_k, which is the unconditional prediction at high noise only."""
    prior, w, n = mixture(), 3.0, 20_000
    for t in (0.97, 0.4):
        point = torch.tensor([[0.4, -0.3]], dtype=torch.float64)
        guided, _ = denoised(prior, g.ICG(w), point.expand(n, -1), t)
        by_class = torch.stack([prior.predict(point, t, torch.tensor([k])).mean[0] for k in range(3)])
        wanted = w * by_class[0] + (1 - w) * prior.weights @ by_class
        error = 4 * guided.mean.std(0) / math.sqrt(n)
        assert ((guided.mean.mean(0) - wanted).abs() < error + 1e-9).all()
        cfg, _ = denoised(prior, g.CFG(w), point, t)
        gap = float((cfg.mean[0] - wanted).abs().max())
        assert gap < 0.3 if t > 0.9 else gap > 0.5
        assert len(guided.mean[:, 0].unique()) == 3  # a condition for every sample, not one for all


def test_icg_draws_anew_every_step_and_by_the_given_weights():
    prior, plug = mixture(), g.ICG(2.0, conditions=[1, 2], weights=[3.0, 1.0])
    population, drawn = begun(prior, plug, normal(600, 2), 0.5), []
    for visit in (0, 1):
        question = population.at(population.state, key=(visit,)).question()
        drawn.append(plug.branches[0](question, plug).condition)
    assert not torch.equal(*drawn) and set(drawn[0].tolist()) == {1, 2}
    assert float((drawn[0] == 1).double().mean()) == pytest.approx(0.75, abs=4 * math.sqrt(0.1875 / 600))
    with pytest.raises(ValueError, match="2 weights for 1 conditions"):
        g.ICG(2.0, conditions=[1], weights=[1.0, 2.0])


def test_draws_do_not_depend_on_the_place_in_the_onion():
    """A guidance that passes everything through changes nothing wherever it is put, nor does another contrast."""
    options = dict(num_samples=9, steps=6, condition=0)
    alone = gk.sample(mixture(), g.ICG(3.0), **options).samples
    for through in (PassThrough(), g.CFG(1.0)):
        assert torch.equal(gk.sample(mixture(), g.chain(through, g.ICG(3.0)), **options).samples, alone)
    noisy = gk.sample(mixture(), g.TSG(3.0), **options).samples
    assert torch.equal(gk.sample(mixture(), g.chain(PassThrough(), g.TSG(3.0)), **options).samples, noisy)


class PassThrough(gk.Guidance):
    """Overrides a hook and changes nothing."""

    layer = 1

    def denoise(self, inner, question):
        return inner(question)


def test_a_step_gone_through_again_draws_again():
    """Asked twice with one step there is one answer, and with another visit of it an independent one."""
    prior, plug = mixture(), g.ICG(3.0)
    population = begun(prior, plug, normal(200, 2), 0.6)
    step = Step(population.moment, Moment(0.5, 1), (0,))
    first, again = (population.setup.move(population, each) for each in (step, step.again(1)))
    assert torch.equal(first.state, again.state)  # DDIM: the step itself draws nothing, the next question does
    drawn = [plug.branches[0](each.question(), plug).condition for each in (first, again, first)]
    assert torch.equal(drawn[0], drawn[2])
    assert float((drawn[0] == drawn[1]).double().mean()) == pytest.approx(0.38, abs=4 * math.sqrt(0.24 / 200))


def test_tsg_changes_the_mean_in_second_order():
    """E[D_s] - D = -s var(t') d^2 D / dt^2 / 2 to leading order, with that sign; a prior without a network."""
    prior, s, noise, t, n = gaussian(0.5, 0.3), 2.0, 0.02, 0.5, 400_000
    x = torch.tensor([[1.4]], dtype=torch.float64)
    guided, _ = denoised(prior, g.TSG(s, noise, power=0.0), x.expand(n, 1), t, None)
    change = guided.mean[:, 0] - prior.predict(x, t).mean[0, 0]
    at = lambda v: float(prior.predict(x, v).mean)  # noqa: E731
    second = (at(t + 0.01) - 2 * at(t) + at(t - 0.01)) / 0.01**2
    expected, error = -s * 0.5 * noise**2 * second, float(change.std()) / math.sqrt(n)
    assert abs(expected) > 8 * error and float(change.mean()) == pytest.approx(
        expected, abs=4 * error + 0.05 * abs(expected)
    )
    assert isinstance(guided.a, float)  # the prediction is one at the sample's own time
    same, _ = denoised(prior, g.TSG(s, 0.0), x, t, None)
    assert torch.equal(same.mean, prior.predict(x, t).mean)


# Adaptive ----------------------------------------------------------------------------------------------------------


def test_adaptive_guidance_counts_what_it_asks():
    prior, options = mixture(), dict(num_samples=16, steps=12, condition=0, sampler=gk.samplers.DDIM())
    never = gk.sample(prior, g.AdaptiveGuidance(3.0, threshold=1.1), **options)
    assert torch.equal(never.samples, gk.sample(prior, g.CFG(3.0), **options).samples)
    assert never.ledger.network_rows == 16 * 24
    once = gk.sample(prior, g.AdaptiveGuidance(3.0, threshold=-1.0, guide_last=True), **options)
    assert once.ledger.network_rows == 16 * (12 + 1)
    first = gk.sample(prior, g.CFG(3.0, schedule=g.Steps(0, 1)), **options)
    torch.testing.assert_close(once.samples, first.samples)
    plain = gk.sample(prior, g.AdaptiveGuidance(3.0, threshold=-1.0), **options)
    assert torch.equal(plain.samples, gk.sample(prior, None, **options).samples)
    counted = counting(prior)
    some = gk.sample(counted, g.AdaptiveGuidance(3.0, threshold=0.99, first=5), **options)
    assert 16 * 18 <= some.ledger.network_rows == counted.counts["rows"] < 16 * 24 and some.ledger.network_calls == 12


def test_adaptive_guidance_never_switches_back_and_switches_each_sample_by_itself():
    prior, plug, c = mixture(), g.AdaptiveGuidance(3.0, threshold=0.9), torch.zeros(8, dtype=torch.long)
    x = 2 * normal(8, 2, seed=3)
    population = begun(prior, plug, x, 0.6)
    seen = population.predict()
    agreed = seen.note(plug)
    base, positive = prior.predict(x, 0.6), prior.predict(x, 0.6, c)
    cosine = torch.nn.functional.cosine_similarity(base.noise, positive.noise)
    assert torch.equal(agreed, cosine >= 0.9) and 0 < agreed.sum() < 8
    wanted = torch.where(agreed[:, None], positive.mean, base.mean + 3 * (positive.mean - base.mean))
    torch.testing.assert_close(seen.mean, wanted, **EXACT)
    later, ledger = moved(population, 0.5, normal(8, 2, seed=9)), population.setup.network.ledger
    rows = ledger.network_rows
    kept = later.predict().note(plug)
    assert (kept | ~agreed).all() and ledger.network_rows - rows == 8 + int((~agreed).sum())
    known = population.setup.recorder.records["cosine"]
    torch.testing.assert_close(known[0].flatten(), cosine)
    assert torch.equal(known[1].flatten().isnan(), agreed)


def test_adaptive_guidance_by_clean_estimates_works_from_any_noise():
    """Noise predictions agree where all is noise; clean estimates, (m s^2 + v x) / (s^2 + v), in what is left of m."""
    process, v, (low, high) = gk.processes.EDM(), 0.25, (2.0, -1.0)
    laws = [gk.priors.Gaussian(torch.tensor([m, 1.0], dtype=torch.float64), v**0.5, process) for m in (low, high)]
    prior, options = gk.priors.ClassConditional(laws[0], [laws[1]]), dict(num_samples=4, steps=12, condition=0)
    options["sampler"] = gk.samplers.DDIM(times="karras")
    by_noise = gk.sample(prior, g.AdaptiveGuidance(2.0, threshold=0.99), **options)
    assert by_noise.ledger.network_rows == 4 * (12 + 1)  # at once
    plug = g.AdaptiveGuidance(2.0, threshold=0.99, space="clean")
    x = torch.tensor([[3.0, -2.0]], dtype=torch.float64)
    setup = begun(prior, plug, x, 1.0, sampler=options["sampler"], steps=12).setup
    for step in setup.steps:
        std = float(process.coefficients(step.t)[1])
        now = (torch.tensor([m, 1.0], dtype=torch.float64) * std**2 + v * x for m in (low, high))
        agrees = torch.nn.functional.cosine_similarity(*now) >= 0.99
        assert torch.equal(populate(setup, x, step.start, 1).predict().note(plug), agrees)
    by_estimate = gk.sample(prior, plug, **options)
    assert 4 * 15 < by_estimate.ledger.network_rows < 4 * 24
    with pytest.raises(gk.errors.UnknownNameError, match="accepted: clean, noise"):
        g.AdaptiveGuidance(space="x0")


def test_linear_ag_is_exact_where_branches_are_isotropic_gaussians(tmp_path):
    """There every noise is an affine function of the state with one slope: the past determines the present."""
    laws = [gk.priors.Gaussian(torch.zeros(2, dtype=torch.float64), v, COSINE) for v in (1.0, 0.3)]
    prior = gk.priors.ClassConditional(laws[0], [laws[1]])
    fit = g.fit_linear(prior, 0, 2.5, num_samples=50, steps=8)
    assert max(fit.residual[1:]) < 1e-6 and [len(row) for row in fit.conditional] == list(range(1, 9))
    options = dict(num_samples=12, steps=8, condition=0, sampler=gk.samplers.DDIM())
    guided, cfg = gk.sample(prior, g.LinearAG(fit), **options), gk.sample(prior, g.CFG(2.5), **options)
    torch.testing.assert_close(guided.samples, cfg.samples, rtol=1e-4, atol=1e-4)
    assert guided.ledger.network_rows == 12 * (8 + 4) and cfg.ledger.network_rows == 12 * 16
    fit.save(tmp_path / "fit.json")
    again = gk.sample(prior, g.LinearAG(str(tmp_path / "fit.json"), share=0.5), **options)
    assert again.ledger.network_rows == 12 * (8 + 2)
    with pytest.raises(gk.GuidanceError, match="another time grid"):
        gk.sample(prior, g.LinearAG(fit), **{**options, "steps": 7})
    with pytest.raises(ValueError, match="fit_linear"):
        gk.sample(prior, g.LinearAG(str(tmp_path / "none.json")), **options)


# Characteristic ----------------------------------------------------------------------------------------------------


def full_pair(process, dims=2):
    a, b = (0.4 * normal(dims, dims, seed=k) for k in (1, 2))
    covariances = [v @ v.T + torch.diag(torch.linspace(0.2, 1.0 + k, dims).double()) for k, v in enumerate((a, b))]
    means = [normal(dims, seed=k) for k in (3, 4)]
    c, null = (gk.priors.Gaussian(m, s, process) for m, s in zip(means, covariances, strict=True))
    return gk.priors.ClassConditional(null, [c]), c, null


def tilted(c, null, w):
    """The Gaussian proportional to p_c^w p_0^(1 - w)."""
    s_c, s_0 = (torch.linalg.inv(law.covariances[0]) for law in (c, null))
    covariance = torch.linalg.inv(w * s_c + (1 - w) * s_0)
    return gk.priors.Gaussian(
        covariance @ (w * s_c @ c.means[0] + (1 - w) * s_0 @ null.means[0]), covariance, c.process
    )


@pytest.mark.parametrize("process", [COSINE, gk.processes.EDM(), gk.processes.Flow()])
@pytest.mark.parametrize("w", [0.6, 2.0])
def test_characteristic_guidance_is_the_denoiser_of_the_tilted_law(process, w):
    prior, c, null = full_pair(process)
    exact, x = tilted(c, null, w), normal(7, 2)
    for t in (0.2, 0.5, 0.8):
        plug = g.CharacteristicGuidance(w, tolerance=1e-10, iterations=30, direction=False)
        guided, _ = denoised(prior, plug, x, t)
        torch.testing.assert_close(guided.mean, exact.predict(x, t).mean, rtol=1e-6, atol=1e-6)
        cfg, _ = denoised(prior, g.CFG(w), x, t)
        assert (cfg.mean - exact.predict(x, t).mean).abs().max() > 5e-5


def test_characteristic_guidance_equals_cfg_for_equal_covariances_and_falls_back():
    c, null = gaussian(1.0, 0.5), gaussian(-0.5, 0.5)
    prior, x = gk.priors.ClassConditional(null, [c]), normal(5, 1)
    cfg, _ = denoised(prior, g.CFG(3.0), x, 0.5)
    guided, _ = denoised(prior, g.CharacteristicGuidance(3.0, tolerance=1e-10), x, 0.5)
    torch.testing.assert_close(guided.mean, cfg.mean, rtol=1e-8, atol=1e-8)
    prior, _, _ = full_pair(COSINE)
    x = normal(5, 2)
    none, _ = denoised(prior, g.CharacteristicGuidance(2.0, iterations=1, tolerance=1e-12, direction=False), x, 0.5)
    assert torch.equal(none.mean, denoised(prior, g.CFG(2.0), x, 0.5)[0].mean)


def test_characteristic_samples_have_the_tilted_law_and_warm_starts_save_calls():
    """Where CFG ends at std .5^3 / 1.3^2 = .074 (specs), the tilted law has .304."""
    c, null = gaussian(0.0, 0.25, gk.processes.EDM(0.002, 80.0)), gaussian(0.0, 1.69, gk.processes.EDM(0.002, 80.0))
    prior, options = gk.priors.ClassConditional(null, [c]), dict(steps=60, condition=0, sampler=gk.samplers.Heun())
    warm = gk.sample(prior, g.CharacteristicGuidance(3.0, tolerance=1e-6), 2000, **options)
    assert float(warm.samples.std()) == pytest.approx(0.30406, rel=4 / math.sqrt(4000) + 0.02)
    assert (warm.info["characteristic converged"][:, 5:] == 1).all()
    few = dict(num_samples=40, steps=30, condition=0, sampler=gk.samplers.DDIM())
    rows = [
        gk.sample(mixture(), g.CharacteristicGuidance(3.0, warm=warm), **few).ledger.network_rows for warm in (1, 0)
    ]
    assert rows[0] < 0.9 * rows[1]


def test_anderson_is_exact_on_linear_problems():
    matrix, offset = torch.eye(3).double() + 0.5 * normal(3, 3), normal(2, 3, seed=1)
    function = lambda v: v @ matrix.T - offset  # noqa: E731
    history = [(torch.zeros(2, 3).double(), function(torch.zeros(2, 3).double()))]
    for _ in range(5):
        point = anderson(history)
        history = [*history, (point, function(point))][-4:]
    assert history[-1][1].abs().max() < 1e-6


# A classifier, concepts --------------------------------------------------------------------------------------------


def bayes(prior):
    """Log-probabilities of the classes of clean states under a mixture."""

    def classify(x):
        gap = (x[:, None] - prior.means).square().sum(-1) / (2 * 0.25)
        return prior.log_w - gap

    return classify


def test_gfcg_moves_away_from_the_class_it_is_taken_for():
    prior = mixture()
    x, t = torch.tensor([[2.0, 0.0], [0.0, 0.55], [0.6, -0.9]], dtype=torch.float64), 0.4
    guided, ledger = denoised(prior, g.GFCG(bayes(prior), 3.0), x, t)
    positive = prior.predict(x, t, torch.zeros(3, dtype=torch.long))
    p = torch.softmax(bayes(prior)(positive.mean), -1)
    rival = p[:, 1:].argmax(1) + 1
    h = p.gather(1, rival[:, None])[:, 0] / (p.gather(1, rival[:, None])[:, 0] + p[:, 0])
    base = prior.predict(x, t, rival).mean
    wanted = base + (1 + 2 * h)[:, None] * (positive.mean - base)
    torch.testing.assert_close(guided.mean, wanted, rtol=1e-5, atol=1e-5)
    assert ledger.backward_passes == 0 and ledger.network_calls <= 2
    sure = lambda x: torch.tensor([[60.0, 0.0, 0.0]]).expand(len(x), -1)  # noqa: E731
    certain, ledger = denoised(prior, g.GFCG(sure, 3.0), x, t)
    assert torch.equal(certain.mean, positive.mean) and ledger.network_rows == 3
    even = lambda x: torch.tensor([[0.0, 0.0, -99.0]]).expand(len(x), -1)  # noqa: E731
    boundary, _ = denoised(prior, g.GFCG(even, 3.0), x, t)  # p_r = p_c: CFG of weight 2 with negative class r
    torch.testing.assert_close(boundary.mean, denoised(prior, g.CFG(2.0, negative=1), x, t)[0].mean)
    with pytest.raises(gk.GuidanceError, match="classes="):
        denoised(prior, g.GFCG(bayes(prior), classes=[1, 2, 2]), x, t)
    scores = torch.tensor([0.5, 0.1, -0.3], dtype=torch.float64)
    p = torch.softmax(scores, 0)
    for confusion, h in (("miss", 1 - p[0]), ("ratio", p[1] / (p[0] + p[1]))):
        plug = g.GFCG(lambda x: scores.expand(len(x), -1), 3.0, confusion)
        wanted = denoised(prior, g.CFG(1 + 2 * float(h), negative=1), x, t)[0].mean
        torch.testing.assert_close(denoised(prior, plug, x, t)[0].mean, wanted, **EXACT)
    with pytest.raises(ValueError, match="ratio, miss"):
        g.GFCG(sure, confusion="sum")


def test_neglected_concepts_are_added():
    """Class 0's mean covers the axis of class 1 and not that of class 2: class 2 is added. Covering both: nothing."""
    law = lambda m: gk.priors.Gaussian(torch.tensor(m, dtype=torch.float64), 1.0, COSINE)  # noqa: E731
    concepts = [law([1.0, 0.0]), law([0.0, 3.0])]
    prior = gk.priors.ClassConditional(law([0.0, 0.0]), [law([1.0, 0.0]), *concepts, law([1.0, 1.0])])
    x, plug = normal(4, 2), g.ConceptDivergence(2.0, concepts=[1, 2], strength=0.5)
    x0 = lambda c: prior.predict(x, 0.5, torch.full((4,), c)).mean - prior.predict(x, 0.5).mean  # noqa: E731
    guided, _ = denoised(prior, plug, x, 0.5)
    added = 0.5 * 2 * x0(2) * (x0(0).norm(dim=1) / x0(2).norm(dim=1))[:, None]
    cfg, _ = denoised(prior, g.CFG(2.0), x, 0.5)
    torch.testing.assert_close(guided.mean, cfg.mean + added, **EXACT)
    both, ledger = denoised(prior, g.ConceptDivergence(2.0, concepts=[1, 2], tolerance=1e-9), x, 0.5, 3)
    torch.testing.assert_close(both.mean, denoised(prior, g.CFG(2.0), x, 0.5, 3)[0].mean, **EXACT)
    assert ledger.network_calls == 1 and ledger.network_rows == 16


# Images, analysis --------------------------------------------------------------------------------------------------


class White(gk.priors.Prior):
    """White Gaussian states of any size whose pooled law is known: variance v per pixel."""

    name = "white noise"

    def __init__(self, process, variance, shape):
        self.process, self.variance, self.event_shape = process, variance, shape
        self.null_condition = torch.tensor(-1)

    def predict(self, x, t, condition=None):
        a, s = self.process.coefficients(t)
        v = self.variance if x.shape[1:] == self.event_shape else self.variance / 4
        return self.process.prediction(a * v / (a * a * v + s * s) * x, x, t)


@pytest.mark.parametrize("process", [COSINE, gk.processes.EDM(), gk.processes.Flow()])
def test_upsampling_adds_nothing_where_both_sizes_agree(process):
    prior = White(process, 0.8, (1, 4, 4))
    x, t = normal(3, 1, 4, 4), 0.5
    guided, ledger = denoised(prior, g.UpsampleGuidance(1.0), x, t, None)
    torch.testing.assert_close(guided.mean, prior.predict(x, t).mean, rtol=1e-5, atol=1e-6)
    assert ledger.network_calls == 2


def test_pooled_estimate_is_the_small_one_at_weight_one():
    prior = White(COSINE, 0.8, (1, 8, 8))
    prior.variance = 0.8
    x, t = normal(3, 1, 8, 8), 0.5
    prior.event_shape = (2, 8, 8)  # neither size is its own: the two predictions disagree
    guided, _ = denoised(prior, g.UpsampleGuidance(1.0), x, t, None)
    small = prior.predict(*upsample.pooled_state(COSINE, x, t, 2))
    torch.testing.assert_close(upsample.pooled(guided.mean, 2), small.mean, **EXACT)
    a, s = COSINE.coefficients(t)
    low = upsample.time_of_level(COSINE, s / a / 2)
    b, r = COSINE.coefficients(low)
    assert r / b == pytest.approx(s / a / 2, rel=1e-9)
    signal = upsample.pooled_state(COSINE, a * torch.ones(1, 1, 8, 8).double(), t, 2)[0]
    torch.testing.assert_close(signal, torch.full_like(signal, b))


def test_frequencies_have_weights_of_their_own():
    image, base = normal(2, 1, 8, 8), normal(2, 1, 8, 8, seed=1)
    levels = frequency.pyramid(image, 2)
    assert [level.shape[-1] for level in levels] == [8, 4, 2]
    torch.testing.assert_close(frequency.unfolded(levels), image, **EXACT)
    rule = lambda fine, w: frequency.by_level(fine, (1, 1, 1))(EVERYWHERE, w, base, image)  # noqa: E731
    torch.testing.assert_close(rule((3.0, 3.0), 3.0), base + 3 * (image - base), **EXACT)
    fine = rule((5.0, 1.0), 1.0)
    torch.testing.assert_close(fine - image, 4 * frequency.pyramid(image - base, 2)[0], **EXACT)


def test_levels_are_projected_by_themselves():
    """Without its parallel part, the change of a level is orthogonal to the conditional level; the rest is as was."""
    positive, base, fine, w = normal(3, 1, 8, 8), normal(3, 1, 8, 8, seed=1), (5.0, 2.0), 3.0
    made = lambda factors: frequency.by_level(fine, factors)(EVERYWHERE, w, base, positive)  # noqa: E731
    split = lambda x: frequency.pyramid(x, 2)  # noqa: E731
    torch.testing.assert_close(made((1.0, 1.0, 1.0)), made((1, 1, 1)), **EXACT)
    cut = [a - b for a, b in zip(split(made((0.0, 1.0, 0.0))), split(positive), strict=True)]
    whole = [a - b for a, b in zip(split(made((1, 1, 1))), split(positive), strict=True)]
    for k, (change, full, level) in enumerate(zip(cut, whole, split(positive), strict=True)):
        inner = (change * level).flatten(1).sum(1)
        if k == 1:
            torch.testing.assert_close(change, full, **EXACT)
            assert (inner.abs() > 0.1).all()
        else:
            torch.testing.assert_close(inner, torch.zeros_like(inner), **EXACT)
            along = (full * level).flatten(1).sum(1) / level.square().flatten(1).sum(1)
            torch.testing.assert_close(change, full - along.view(-1, 1, 1, 1) * level, **EXACT)
    once = frequency.by_level((), (0.3,))(EVERYWHERE, w, base, positive)
    apg = rules.projected(EVERYWHERE, positive - base, positive, w, 0.3)
    torch.testing.assert_close(once, apg, **EXACT)  # of one level it is APG without momentum and cap
    with pytest.raises(ValueError, match="3 levels need as many factors"):
        g.FrequencyCFG(w, fine, (0.0, 1.0))


def test_linear_guidance_is_a_mean_shift_and_two_kinds_of_components():
    prior, c, null = full_pair(gk.processes.EDM(), dims=3)
    model = g.LinearModel(c.means[0], null.means[0], c.covariances[0], null.covariances[0])
    x, t = normal(5, 3), 0.4
    level = prior.process.coefficients(t)[1]
    terms = g.decomposition(model, x, level)
    wanted = c.predict(x, t).mean - null.predict(x, t).mean
    torch.testing.assert_close(sum(terms.values()), wanted, rtol=1e-10, atol=1e-10)
    assert all(term.norm() > 1e-3 for term in terms.values())
    gain = lambda law: law.covariances[0] @ torch.linalg.inv(law.covariances[0] + level**2 * torch.eye(3))  # noqa: E731
    for name, sign in (("positive", 1), ("negative", -1)):
        quadratic = ((x - c.means[0]) * terms[name]).sum(1)
        assert (sign * quadratic >= -1e-12).all(), name
    torch.testing.assert_close(terms["mean shift"][0], (torch.eye(3) - gain(null)) @ (c.means[0] - null.means[0]))
    equal = g.LinearModel(c.means[0], null.means[0], c.covariances[0], c.covariances[0])
    assert (
        g.decomposition(equal, x, level)["positive"].norm() + g.decomposition(equal, x, level)["negative"].norm() < 1e-9
    )
    centered = g.LinearModel(c.means[0], c.means[0], c.covariances[0], null.covariances[0])
    assert g.decomposition(centered, x, level)["mean shift"].norm() == 0
    guided, _ = denoised(prior, g.LinearCFG(model, 2.0, 2.0, 2.0), x, t)
    torch.testing.assert_close(guided.mean, denoised(prior, g.CFG(3.0), x, t)[0].mean, **EXACT)
    data = null.sample(20_000, torch.Generator().manual_seed(0))
    fitted = g.LinearModel.fit(c.sample(20_000, torch.Generator().manual_seed(1)), data)
    assert (fitted.covariance_0 - null.covariances[0]).abs().max() < 0.1
