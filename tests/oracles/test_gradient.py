"""The gradient engine against the updates of its papers, each written out again here, and its laws and costs."""

import math

import pytest
import torch
from torch.func import jacrev, vmap

import guidekit as gk
from guidekit.core.guidance import Layer
from guidekit.core.loop import prepare, walk
from guidekit.guidance.gradient.ascent import Ascent
from guidekit.guidance.gradient.engine import GradientGuidance
from guidekit.guidance.gradient.losses import Distance, Misfit, operator_size
from guidekit.guidance.gradient.smoothing import Smoothing
from guidekit.guidance.gradient.strength import Averaged, signal
from guidekit.objectives.operators.base import Linear
from guidekit.objectives.operators.masks import Keep
from guidekit.running.chunks import load_chunks, sample_on_disk
from guidekit.running.scores import Memory
from guidekit.sampling import prepare as sampling_of

F64 = torch.float64
MEANS = torch.tensor([[1.5, -0.5, 0.3], [-1.0, 1.0, 0.0]], dtype=F64)
A = torch.tensor([[1.0, 2.0, 0.5], [0.5, -1.0, 1.0]], dtype=F64)
Y = torch.tensor([0.7, -1.2], dtype=F64)
LIKELIHOOD = gk.objectives.LinearGaussian(A, Y, 0.5)
PROCESSES = {"vp": gk.processes.VP(), "ve": gk.processes.EDM(), "flow": gk.processes.Flow()}
g = gk.guidance


def mixture(process="vp"):
    return gk.priors.GaussianMixture(MEANS, 0.4, process=PROCESSES[process])


def run(prior, guidance, steps=6, rows=5, sampler=None, **options):
    """(start, end, the plan) of a run in double precision; deterministic steps by default."""
    sampler = sampler or gk.samplers.DDIM()
    setup = prepare(prior, guidance, sampler=sampler, steps=steps, groups=(0, rows), dtype=F64, **options)
    population = setup.begin()
    with torch.no_grad():
        return population.state, walk(population, setup.steps).state, setup.steps


def by_hand(prior, start, steps, update):
    """The same with x_u = update(x_t with graph, D, e, a, s, b, r, number of the step)."""
    x = start
    for number, step in enumerate(steps):
        (a, s), (b, r) = prior.process.coefficients(step.t), prior.process.coefficients(step.u)
        x = x.detach().requires_grad_()
        mean = prior.predict(x, step.t).mean
        x = update(x, mean, (x - a * mean) / s, a, s, b, r, number).detach()
    return x


def norm_loss(clean):
    """-||y - A x_0||, (B,)."""
    return -(Y - clean @ A.T).norm(dim=1)


def squared_loss(clean):
    """-||y - A x_0||^2 / (2 |A|^2), (B,)."""
    return -0.5 * (Y - clean @ A.T).square().sum(1) / torch.linalg.svdvals(A)[0] ** 2


def nats(clean):
    """log p(y | x_0) up to a constant, (B,)."""
    return -0.5 * (Y - clean @ A.T).square().sum(1) / 0.25


def through(loss, x, mean):
    """grad_{x_t} loss(D(x_t))."""
    return torch.autograd.grad(loss(mean).sum(), x, retain_graph=True)[0]


def beside(loss, clean):
    """grad loss at x_0, without the network."""
    leaf = clean.detach().requires_grad_()
    return torch.autograd.grad(loss(leaf).sum(), leaf)[0]


def same(prior, guidance, update, tolerance=1e-10, **options):
    """The engine and the paper's own update give the same samples, which differ from unguided ones."""
    start, end, steps = run(prior, guidance, **options)
    torch.testing.assert_close(end, by_hand(prior, start, steps, update), rtol=tolerance, atol=tolerance)
    assert float((end - run(prior, None, **options)[1]).abs().max()) > 1e-3


# Presets ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", PROCESSES)
def test_dps_is_its_update(process):
    prior = mixture(process)

    def norm(x, mean, e, a, s, b, r, number):
        return b * mean + r * e + 0.3 * through(norm_loss, x, mean)

    def residual(x, mean, e, a, s, b, r, number):  # in x / a, where the process is variance exploding
        return b * (mean + (r / b) * e + 0.8 * a * through(squared_loss, x, mean))

    same(prior, g.DPS(LIKELIHOOD, loss="norm"), norm)
    same(prior, g.DPS(LIKELIHOOD, 0.8), residual)


def test_steps_of_one_process_are_those_of_another():
    """A published step of a variance-preserving process is one of an exploding one by sqrt((1 + s^2) (1 + u^2))."""
    prior, twin = mixture("vp"), mixture("ve")
    (a, s), (b, r) = prior.process.coefficients(0.6), prior.process.coefficients(0.5)
    x = torch.randn(4, 3, dtype=F64, requires_grad=True)
    shift = through(squared_loss, x, prior.predict(x, 0.6).mean)
    level, then = s / a, r / b
    z = (x / a).detach().requires_grad_()
    t = twin.process.at_level(level)
    other = through(squared_loss, z, twin.predict(z, t).mean)
    torch.testing.assert_close(shift / b, math.sqrt((1 + level**2) * (1 + then**2)) * other, rtol=1e-6, atol=1e-9)
    steps = {}
    for name, at in (("exploding", (prior, x, a, s, b, r)), ("preserving", (twin, z, 1.0, level, 1.0, then))):
        own, point, *coefficients = at
        prediction = own.process.prediction(point, point, 0.6)
        prediction = prediction.__class__(prediction.mean, point, *coefficients[:2])
        from guidekit.guidance.gradient.rules import RULES, Spot

        steps[name] = RULES[name](Spot(prediction, point, tuple(coefficients[2:]), 9))
    assert steps["exploding"] == pytest.approx(a * b)
    assert steps["preserving"] == pytest.approx(math.sqrt((1 + level**2) * (1 + then**2)))


def test_tfg_is_its_algorithm(monkeypatch):
    """Algorithm 1 with abar = a^2, both schedules, four steps of the clean estimate, and two smoothing noises."""
    rho, mu, gamma = 0.4, 0.15, 0.3
    noise = torch.randn(2, 5, 3, dtype=F64, generator=torch.Generator().manual_seed(1))

    def given(self, owner, question, prediction):
        return [self.width * prediction.s * each for each in noise]

    monkeypatch.setattr(Smoothing, "noises", given)
    prior = mixture()
    guidance = g.TFG(LIKELIHOOD, rho, mu, gamma, 4, draws=2, mu_schedule="decrease")
    start, end, steps = run(prior, guidance)
    abar = [prior.process.coefficients(step.t)[0] ** 2 for step in steps] + [1.0]
    alpha = [now / then for now, then in zip(abar, abar[1:], strict=False)]

    def update(x, mean, e, a, s, b, r, number):
        def loss(clean):
            each = torch.stack([norm_loss(clean + gamma * math.sqrt(1 - a * a) * one) for one in noise])
            return each.exp().mean(0).log()

        rho_t = rho * alpha[number] * len(alpha) / sum(alpha)
        mu_t = mu * (1 - alpha[number]) * len(alpha) / sum(1 - one for one in alpha)
        outer, clean = rho_t * through(loss, x, mean), mean.detach()
        for _ in range(4):
            clean = clean + mu_t * beside(loss, clean)
        return b * mean + r * e + outer / math.sqrt(alpha[number]) + b * (clean - mean)

    torch.testing.assert_close(end, by_hand(prior, start, steps, update), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["increase", "decrease", "constant"])
def test_strengths_average_to_their_mean(kind):
    for process in PROCESSES.values():
        prior = gk.priors.Gaussian(torch.zeros(1), 1.0, process)
        setup = prepare(prior, None, sampler=gk.samplers.DDIM(), steps=9)
        values = [Averaged(0.7, kind).at(setup, step.start) for step in setup.steps]
        assert math.fsum(values) / 9 == pytest.approx(0.7)
        kept = [signal(process, step.t, step.u) for step in setup.steps]
        order = sorted(range(9), key=lambda i: values[i])
        assert kind == "constant" or (kept[order[0]] < kept[order[-1]]) == (kind == "increase")


def test_corners_of_tfg():
    """rho = mu = 0 is no guidance; the others are the methods by their own names."""
    prior, d = mixture(), Distance(LIKELIHOOD)
    assert torch.equal(run(prior, g.TFG(LIKELIHOOD, 0.0, 0.0))[1], run(prior, None)[1])

    def close(one, other, **options):
        torch.testing.assert_close(run(prior, one, **options)[1], run(prior, other, **options)[1], rtol=0, atol=1e-10)

    steps = run(prior, None)[2]
    abar = {step.t: prior.process.coefficients(step.t)[0] ** 2 for step in steps}
    alpha = {step.t: abar[step.t] / prior.process.coefficients(step.u)[0] ** 2 for step in steps}
    mean = math.fsum(alpha.values()) / len(alpha)

    def rho(t):
        return 0.4 * alpha[t] / mean / math.sqrt(alpha[t])

    close(g.TFG(LIKELIHOOD, 0.4, 0.0, 0.0), g.DPS(LIKELIHOOD, rho, "norm"))
    lgd = g.LGD(LIKELIHOOD, rho, 5, 1.0, "after", "norm")
    close(titled(g.TFG(LIKELIHOOD, 0.4, 0.0, 1.0, draws=5), "LGD"), lgd)

    def mu(t):
        return 0.3 * alpha[t] / mean

    def by_signal(t):
        return mu(t) * math.sqrt(abar[t])

    close(g.TFG(LIKELIHOOD, 0.0, 0.3, 0.0, 1), g.MPGD(LIKELIHOOD, by_signal, "norm"))
    back = gk.guidance.TimeTravel(3, window=(0.8, 0.2))
    close(
        g.TFG(LIKELIHOOD, 0.4, 0.0, 0.0, repeats=3, window=(0.8, 0.2)),
        gk.chain(g.DPS(LIKELIHOOD, rho, "norm"), back),
        steps=6,
    )
    # Universal: forward is rho_t = w s (s - r a / b), backward the same after the coefficient of the noise is undone.
    coefficients = {
        step.t: (*prior.process.coefficients(step.t), *prior.process.coefficients(step.u)) for step in steps
    }

    def forward(t):
        a, s, b, r = coefficients[t]
        return 0.2 * s * (s - r * a / b) * b / a

    close(g.UniversalGuidance(LIKELIHOOD, 0.2, loss="norm"), GradientGuidance(d, forward))

    def backward(t):
        a, s, b, r = coefficients[t]
        return 0.3 * (1 - r * a / (b * s))

    close(
        g.UniversalGuidance(LIKELIHOOD, 0.0, 1, 0.3, loss="norm"),
        GradientGuidance(d, 0.0, ascent=Ascent(backward, 1)),
    )


def titled(guidance, name):
    """The same under another name, by which its draws are told apart."""
    import dataclasses

    return dataclasses.replace(guidance, title=name)


def test_mpgd_is_its_update():
    prior = mixture()

    def norm(x, mean, e, a, s, b, r, number):
        return b * (mean + 0.05 / max(a, 0.005) * beside(norm_loss, mean)) + r * e

    def residual(x, mean, e, a, s, b, r, number):
        return b * (mean + beside(squared_loss, mean)) + r * e

    same(prior, g.MPGD(LIKELIHOOD, 0.05, "norm"), norm)
    same(prior, g.MPGD(LIKELIHOOD), residual)


def test_universal_guidance_is_its_update():
    prior = mixture()

    def update(x, mean, e, a, s, b, r, number):
        clean = mean.detach()
        for _ in range(3):
            clean = clean + 0.1 * beside(nats, clean)
        e = e - 0.5 * s * through(nats, x, mean) - a / s * (clean - mean)
        return b * (x - s * e) / a + r * e

    same(prior, g.UniversalGuidance(LIKELIHOOD, 0.5, 3), update, 1e-8)


def test_universal_forward_is_the_score_plug_and_backward_solves_least_squares():
    prior, seen = mixture(), []

    class Spy(gk.Guidance):
        layer = Layer.FILTER

        def propose(self, inner, population, step):
            seen.append((population.predict(), population.state))
            return inner(population, step)

    run(prior, gk.chain(g.UniversalGuidance(LIKELIHOOD, 0.5), Spy()), 1)
    prediction, x = seen.pop()
    plain = prior.predict(x, 1.0)
    leaf = x.clone().requires_grad_()
    score = plain.score + 0.5 * through(nats, leaf, prior.predict(leaf, 1.0).mean)
    torch.testing.assert_close(prediction.score, score, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(prediction.a * prediction.mean + prediction.s * prediction.noise, x)
    run(prior, gk.chain(g.UniversalGuidance(LIKELIHOOD, 0.0, 200, 0.05), Spy()), 1)
    solved = seen.pop()[0].mean
    torch.testing.assert_close(solved @ A.T, Y.expand(5, 2), rtol=0, atol=1e-6)
    nearest = plain.mean + (Y - plain.mean @ A.T) @ torch.linalg.pinv(A).T
    torch.testing.assert_close(solved, nearest, rtol=0, atol=1e-5)


def test_freedom_is_its_update():
    prior = mixture()

    def update(x, mean, e, a, s, b, r, number):
        slope = through(norm_loss, x, mean)
        c = b * (1 - (a / b) ** 2) / (s * s)  # of x_0 in the mean of q(x_u | x_t, x_0), variance preserving
        size = 0.2 * e.square().mean(1, keepdim=True).sqrt() * (s / max(a, 0.005)) * c
        return b * mean + r * e + size * slope / slope.square().mean(1, keepdim=True).sqrt()

    same(prior, g.FreeDoM(LIKELIHOOD, 0.2), update, 1e-8)
    once = run(prior, g.FreeDoM(LIKELIHOOD, 0.2), 10, sampler=gk.samplers.Ancestral())[1]
    twice = run(prior, g.FreeDoM(LIKELIHOOD, 0.2, 2), 10, sampler=gk.samplers.Ancestral())[1]
    assert not torch.equal(once, twice)
    ledger = gk.sample(prior, g.FreeDoM(LIKELIHOOD, 0.2, 3, (0.8, 0.5)), 2, 10).ledger
    assert ledger.network_calls == ledger.backward_passes == 10 + 2 * 3  # the steps from .8, .7 and .6


def test_geoguide_takes_steps_of_one_length():
    prior = mixture()

    def value(x, t):
        return -(x - 1).square().sum(1)

    def fading(x, t):
        return -1e-9 * (x - 1).square().sum(1)

    plain = run(prior, None, 1)[1]
    for own in (value, fading):
        start, end, _ = run(prior, g.GeoGuide(value=own, scale=1.5), 1)
        shift = end - plain
        assert torch.allclose(shift.norm(dim=1), torch.tensor(1.5 * math.sqrt(3), dtype=F64), atol=1e-6)
        assert torch.allclose(torch.cosine_similarity(shift, 1 - start), torch.ones(5, dtype=F64), atol=1e-9)

    def update(x, mean, e, a, s, b, r, number):
        slope = 1 - x
        return b * mean + r * e + 1.5 * math.sqrt(3) / 6 * slope / slope.norm(dim=1, keepdim=True)

    def exploding(x, mean, e, a, s, b, r, number):  # the same length in x / sqrt(1 + s^2)
        slope = 1 - x
        return mean + r * e + math.sqrt(1 + r * r) * 1.5 * math.sqrt(3) / 6 * slope / slope.norm(dim=1, keepdim=True)

    same(prior, g.GeoGuide(value=value, scale=1.5), update, 1e-8)
    same(mixture("ve"), g.GeoGuide(value=value, scale=1.5), exploding, 1e-8)
    assert gk.sample(prior, g.GeoGuide(value=value), 2, 4).ledger.backward_passes == 0
    flat = run(prior, g.GeoGuide(value=lambda x, t: 0 * x.sum(1)), 3)[1]
    assert torch.equal(flat, run(prior, None, 3)[1])  # no direction is no step


def test_geoguide_counts_degrees_of_freedom():
    law = torch.ones(2, 2, 2)
    prior = gk.priors.PositionsAndTypes(gk.priors.CategoricalChain(law), 1.0, 2, 3, process=PROCESSES["vp"])
    reward = gk.objectives.Reward(lambda x: x.parts["positions"][:, 0, 0], parts=frozenset({"positions"}))
    setups = [prepare(prior, one, sampler=gk.samplers.Ancestral(), steps=1, groups=(0, 20)) for one in
              (None, g.GeoGuide(reward))]  # fmt: skip
    with torch.no_grad():
        plain, guided = (walk(setup.begin(), setup.steps).state for setup in setups)
    shift = guided.parts["positions"] - plain.parts["positions"]
    sizes = plain.mask.sum(1)
    torch.testing.assert_close(shift.flatten(1).norm(dim=1), (3 * sizes.float() - 3).sqrt(), rtol=1e-4, atol=1e-4)
    assert torch.equal(guided.parts["types"], plain.parts["types"])


def test_dreamguider_never_looks_through_the_network():
    prior, asked = mixture(), []
    predict = prior.predict

    def watched(x, t, condition=None):
        asked.append(x.requires_grad)
        return predict(x, t, condition)

    prior.predict = watched
    result = gk.sample(prior, g.Dreamguider(LIKELIHOOD), 3, 5)
    assert asked == [False] * 5 and result.ledger.backward_passes == 0

    def update(x, mean, e, a, s, b, r, number):
        slope = beside(squared_loss, mean)
        size = 0.3 * (e.square().mean(1, keepdim=True) / slope.square().mean(1, keepdim=True)).sqrt() * s
        clean = mean + size * slope
        return b * clean + r * (x - a * clean) / s

    same(mixture(), g.Dreamguider(LIKELIHOOD, 0.3), update, 1e-8)


@pytest.mark.parametrize(("variance", "t", "ratio"), [(1.0, 0.7, 1.0), (3.0, 0.001, 1.0), (0.2, 0.7, 0.2014)])
def test_frozen_gradient_is_that_of_the_network_for_unit_variance_or_little_noise(variance, t, ratio):
    """For N(0, c I), J = a c / (a^2 c + s^2): 1 / a without noise, and less than is assumed where c < 1."""
    prior = gk.priors.Gaussian(torch.zeros(3, dtype=F64), variance, PROCESSES["vp"])
    guidance, seen = GradientGuidance(Misfit(LIKELIHOOD), source="frozen"), []

    class Spy(gk.Guidance):
        layer = Layer.FILTER

        def propose(self, inner, population, step):
            seen.append((population.state, population.predict().note(guidance)[1]))
            return inner(population, step)

    start = g.FromSample(torch.ones(1, 3, dtype=F64), t)
    run(prior, gk.chain(guidance, Spy(), start), 1, sampler=gk.samplers.DDIM(times=(t, 0.0)))
    x, frozen = seen[0]
    leaf = x.clone().requires_grad_()
    exact = through(squared_loss, leaf, prior.predict(leaf, t).mean)
    shares = (exact / frozen).flatten()
    assert torch.allclose(shares, shares[:1].expand(15)) and float(shares[0]) <= 1.01
    assert float(shares[0]) == pytest.approx(ratio, rel=0.01)


# Smoothing ----------------------------------------------------------------------------------------------------------


def test_lgd_tends_to_the_score_of_pigdm_and_not_to_that_of_dps():
    a = torch.tensor([[1.0, 0.5]], dtype=F64)
    likelihood = gk.objectives.LinearGaussian(a, torch.tensor([1.5], dtype=F64), 0.5)
    prior = gk.priors.GaussianMixture(torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=F64), 0.6, process=PROCESSES["vp"])
    seen = []

    class Spy(gk.Guidance):
        layer = Layer.FILTER

        def propose(self, inner, population, step):
            seen.append((population.state, population.predict()))
            return inner(population, step)

    sampler = gk.samplers.DDIM(times=(0.4, 0.0))
    start = g.FromSample(torch.tensor([[0.3, -0.4]], dtype=F64), 0.4)
    run(prior, gk.chain(g.LGD(likelihood, draws=1500), Spy(), start), 1, 2, sampler=sampler)
    x, prediction = seen[0]
    t = 0.4
    signal_, noise = prior.process.coefficients(t)
    jacobian = vmap(jacrev(lambda z: prior.predict(z[None], t).mean[0]))(x)
    plain = prior.predict(x, t)
    gap = 1.5 - plain.mean @ a.T
    variance = 0.25 + noise**2 * float(a @ a.T)
    pigdm = torch.einsum("bij,bi->bj", jacobian, (gap / variance) * a)
    dps = torch.einsum("bij,bi->bj", jacobian, (gap / 0.25) * a)
    found = prediction.score - plain.score
    torch.testing.assert_close(found, pigdm, rtol=0.15, atol=0.02)  # 1,500 draws: an error of about 4 %
    assert float((found - dps).norm() / dps.norm()) > 0.4


# What a likelihood's gradient is measured by -------------------------------------------------------------------------


class Blur(Linear):
    """A circular mean of three, times 2: without an adjoint of its own."""

    shape = (16,)

    def forward(self, x):
        """See `Operator.forward`."""
        return 2 * (x + x.roll(1, -1) + x.roll(-1, -1)) / 3


def test_the_size_of_an_operator_is_its_largest_singular_value():
    states, y = torch.zeros(3, 16), torch.zeros(1, 16)
    size = operator_size(gk.objectives.GaussianLikelihood(Blur(), y, 0.1), states)
    assert size == pytest.approx(2.0, rel=1e-3)
    mask = torch.arange(16) < 5
    assert operator_size(gk.objectives.GaussianLikelihood(Keep(mask), y, 0.1), states) == pytest.approx(1.0)
    assert operator_size(gk.objectives.GaussianLikelihood(lambda x: 9 * x, y, 0.1), states) == 1.0
    exact = float(torch.linalg.svdvals(A)[0])
    assert operator_size(LIKELIHOOD, torch.zeros(1, 3)) == pytest.approx(exact)
    torch.testing.assert_close(Misfit(LIKELIHOOD)(MEANS), squared_loss(MEANS))


# Windows, strides, pieces --------------------------------------------------------------------------------------------


class Watched(gk.priors.GaussianMixture):
    """Notes of every question whether a graph was asked for, and how many rows it had."""

    def predict(self, x, t, condition=None):
        """See `Prior.predict`."""
        self.asked.append((round(float(t), 3), x.requires_grad, len(x)))
        return super().predict(x, t, condition)


def watched():
    prior = Watched(MEANS, 0.4, process=PROCESSES["vp"])
    prior.asked = []
    return prior


def test_where_the_scale_is_zero_nothing_is_differentiated():
    prior = watched()
    gk.sample(prior, g.DPS(LIKELIHOOD, lambda t: 0.3 * (t < 0.5), "norm"), 2, 10)
    assert [graph for _, graph, _ in prior.asked] == [False] * 6 + [True] * 4
    prior = watched()
    result = gk.sample(prior, g.SparseGradient(LIKELIHOOD, every=3, window=(0.9, 0.2)), 2, 10)
    assert [t for t, graph, _ in prior.asked if graph] == [0.7, 0.4]
    assert result.ledger.backward_passes == 2 and result.ledger.network_calls == 10
    assert gk.sample(watched(), g.TFG(LIKELIHOOD, 0.0), 2, 5).ledger.backward_passes == 0
    every = gk.sample(watched(), g.SparseGradient(LIKELIHOOD, every=1), 8, 10)
    assert torch.equal(every.samples, gk.sample(watched(), g.DPS(LIKELIHOOD), 8, 10).samples)
    assert every.ledger.backward_passes == 10


@pytest.mark.parametrize("place", ["after", "score"])
def test_the_last_gradient_is_used_again(place):
    prior, held = mixture(), {}
    guidance = GradientGuidance(Distance(LIKELIHOOD), 0.2, every=3, reuse=True, place=place)

    def update(x, mean, e, a, s, b, r, number):
        if number % 3 == 0:
            held["slope"] = through(norm_loss, x, mean)
        if place == "after":
            return b * mean + r * e + 0.2 * held["slope"]
        e = e - 0.2 * s * held["slope"]
        return b * (x - s * e) / a + r * e

    same(prior, guidance, update, 1e-8, steps=8)


@pytest.mark.parametrize("guidance", [g.DPS(LIKELIHOOD), g.TFG(LIKELIHOOD, 0.3, 0.1, 0.2), g.LGD(LIKELIHOOD, 0.5)])
def test_pieces_under_a_limit_give_the_same_gradient(guidance):
    whole, parts = watched(), watched()
    one, two = run(whole, guidance, 5, 7)[1], run(parts, guidance, 5, 7, network_limit=2)[1]
    torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)
    assert max(rows for _, graph, rows in parts.asked if graph) == 2


# A run that cannot go on ----------------------------------------------------------------------------------------------


def test_exploding_gradients_stop_the_run_with_one_line():
    prior = mixture()
    with pytest.raises(ValueError) as told:
        gk.sample(prior, g.GradientGuidance(lambda x: x.exp().exp().sum(1), 1e3), 3, 10, sampler="ancestral")
    assert "step" in str(told.value) and "Ancestral" in str(told.value) and "\n" not in str(told.value)
    assert str(told.value).startswith("GradientGuidance: a gradient is no finite number at step")


def test_what_was_finished_before_an_explosion_stays(tmp_path):
    """Of three samples in chunks of one, the measurement of the last is beyond all bounds."""
    y = torch.tensor([[0.5], [1.0], [1e38]])
    likelihood = gk.objectives.GaussianLikelihood(lambda x: x[:, :1] ** 3, y, 0.5)
    sampling = sampling_of(mixture(), g.DPS(likelihood, 1e-3), 3, 5, sampler="ancestral", batch_size=1)
    with pytest.raises(ValueError, match="a gradient is no finite number at step"):
        sample_on_disk(tmp_path, "guided", sampling, Memory(None, None), {})
    kept, damaged = load_chunks(tmp_path, "guided")
    assert list(kept) == [0, 1] and not damaged
    assert all(chunk.result.samples.isfinite().all() for chunk in kept.values())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: g.DPS(LIKELIHOOD, loss="nrom"), "did you mean 'norm'"),
        (lambda: g.DPS(LIKELIHOOD, math.inf), "scale must be a finite number"),
        (lambda: g.TFG(LIKELIHOOD, iterations=0), "iterations must be at least 1"),
        (lambda: g.TFG(LIKELIHOOD, rho_schedule="up"), "no schedule of a strength"),
        (lambda: g.TFG(LIKELIHOOD, gamma=-1.0), "width must be"),
        (lambda: g.LGD(LIKELIHOOD, draws=0), "draws must be at least 1"),
        (lambda: g.LGD(LIKELIHOOD, place="before"), "no place of a gradient"),
        (lambda: g.UniversalGuidance(LIKELIHOOD, 1.0, 2, optimizer="sgd"), "no optimizer"),
        (lambda: g.SparseGradient(LIKELIHOOD, every=0), "every must be at least 1"),
        (lambda: g.SparseGradient(LIKELIHOOD, window=(0.1, 0.9)), "two times from noise"),
        (lambda: g.GradientGuidance(LIKELIHOOD, rule="noise"), "no rule of a step"),
        (lambda: g.GeoGuide(), "needs something to obey"),
    ],
)
def test_refusals_are_one_line(make, words):
    with pytest.raises(ValueError) as refusal:
        make()
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


# Laws -----------------------------------------------------------------------------------------------------------------

NORMAL = gk.priors.Gaussian(torch.zeros(1, dtype=F64), 1.0, PROCESSES["vp"])
HALF = gk.objectives.LinearGaussian(torch.ones(1, 1), torch.ones(1), 0.5)
"""The truth is N(.8, .447^2)."""

BIASES = {
    "dps": (lambda: g.DPS(HALF), (0.99, 1.01), (0.0, 0.02)),
    "dps norm": (lambda: g.DPS(HALF, loss="norm"), (0.97, 1.03), (0.1, 0.25)),
    "mpgd": (lambda: g.MPGD(HALF), (0.99, 1.01), (0.0, 0.02)),
    "nats as a score": (lambda: g.UniversalGuidance(HALF), (0.94, 1.02), (0.28, 0.38)),
    "lgd, 50 draws": (lambda: g.LGD(HALF, draws=50), (0.75, 0.87), (0.36, 0.48)),
}


@pytest.mark.parametrize("name", BIASES)
def test_biases_are_those_documented(name):
    """Alone none is a posterior: with many steps they collapse onto y, or trust it too much. Only LGD comes near."""
    make, mean, std = BIASES[name]
    x = gk.sample(NORMAL, make(), 800, 80, sampler=gk.samplers.Ancestral()).samples
    assert mean[0] < float(x.mean()) < mean[1] and std[0] <= float(x.std()) < std[1]


@pytest.mark.parametrize(
    "guidance",
    [g.TFG(HALF), g.LGD(HALF), g.MPGD(HALF), g.UniversalGuidance(HALF, 0.5, 2), g.FreeDoM(HALF), g.Dreamguider(HALF)],
    ids=lambda one: one.name,
)
def test_inside_a_filter_all_are_exact(guidance):
    filtered = g.FKSteering(HALF, 1.0, particles=16, output="all")
    found = gk.sample(NORMAL, gk.chain(guidance, filtered), 300, 30).log_normalizer.exp()
    error = float(found.std()) / math.sqrt(300)
    exact = math.exp(-0.5 / 1.25) / math.sqrt(2 * math.pi * 1.25)
    assert abs(float(found.mean()) - exact) < 4 * error + 0.015 * exact and error < 0.1 * exact


# Tokens --------------------------------------------------------------------------------------------------------------


class Letters(gk.objectives.Objective):
    """A sum over tokens, of a table (L, V), times what is left of it when all are together."""

    differentiable = True

    def __init__(self, table, together=0.0):
        self.table, self.together = table, together

    def relaxed(self, probabilities):
        """Mean under independent letters."""
        worth = (probabilities * self.table.to(probabilities)).sum((1, 2))
        return worth + self.together * probabilities[:, 0, 0] * probabilities[:, 1, 0]

    def scores(self, states, t, rows):
        """See `Objective.scores`."""
        hidden = (states >= self.table.shape[1]).any(1)
        one_hot = torch.nn.functional.one_hot(states.clamp_max(self.table.shape[1] - 1), self.table.shape[1])
        return self.relaxed(one_hot.double()).masked_fill(hidden, -torch.inf)


TABLE = torch.tensor([[1.0, -0.5, 0.2], [-1.0, 0.8, 0.3]], dtype=F64)


def chain_law(dependent, process):
    generator = torch.Generator().manual_seed(3)
    law = torch.rand(3, dtype=F64, generator=generator)[:, None] * torch.rand(3, dtype=F64, generator=generator)
    law = law + dependent * torch.rand(3, 3, dtype=F64, generator=generator)
    return gk.priors.CategoricalChain(law, process)


def token_law(prior, guidance, size=8_000):
    x = gk.sample(prior, guidance, size, 40, sampler=gk.samplers.Ancestral()).samples
    return torch.bincount(x[:, 0] * 3 + x[:, 1], minlength=9).double().view(3, 3) / size


@pytest.mark.parametrize("make", [lambda r: GradientGuidance(r), lambda r: g.UniversalGuidance(r, 0.5, 5, 0.1)])
def test_tokens_are_exact_for_sums_over_independent_tokens(make):
    """Monte-Carlo error of a probability at 8,000 draws: .0056; tilted by exp(reward), however it is split."""
    prior, reward = chain_law(0.0, gk.processes.Masked()), Letters(TABLE)
    exact = prior.tilted(TABLE[0][:, None] + TABLE[1][None]).probabilities
    found = token_law(prior, make(reward))
    assert float((found - exact).abs().max()) < 4 * 0.0056
    assert float((exact - prior.probabilities).abs().max()) > 0.1


def test_tokens_have_a_bias_where_they_depend_on_each_other():
    """Of the change of one token nothing is told to the others: between the prior's law and the tilted one."""
    prior, reward = chain_law(2.0, gk.processes.Masked()), Letters(TABLE, together=1.0)
    worth = TABLE[0][:, None] + TABLE[1][None]
    worth[0, 0] += 1.0
    exact, found = prior.tilted(worth).probabilities, token_law(prior, GradientGuidance(reward))
    apart = float((found - exact).abs().sum() / 2)
    assert 0.004 < apart < 0.5 * float((prior.probabilities - exact).abs().sum() / 2)


def test_tokens_are_refused_what_needs_noise_or_weights():
    prior, reward = chain_law(0.0, gk.processes.Masked()), Letters(TABLE)
    for guidance in (g.FreeDoM(reward), g.LGD(reward), g.TFG(reward)):
        with pytest.raises(gk.GuidanceError, match="tokens of this prior"):
            gk.sample(prior, guidance, 2, 4)
    with pytest.raises(gk.GuidanceError, match="use DCBG inside a filter"):
        gk.sample(prior, gk.chain(GradientGuidance(reward), g.FKSteering(reward, 1.0)), 2, 4, particles=2)
    result = gk.sample(prior, GradientGuidance(reward, every=2), 2, 6, sampler="ancestral")
    assert result.ledger.value_calls == 3 * 2


@pytest.mark.parametrize("make", [g.GradientGuidance, g.LGD, g.UniversalGuidance])
def test_steps_in_nats_that_the_noise_does_not_bear_are_refused_with_those_that_are_safe(make):
    """|A| = 2 and noise .1: the safe scale is .0025, and 400 times it diverges."""
    prior = gk.priors.Gaussian(torch.zeros(2), 1.0, gk.processes.EDM())
    sharp = gk.objectives.LinearGaussian(torch.tensor([[2.0, 0.0]]), torch.ones(1), 0.1)
    with pytest.raises(gk.GuidanceError, match=r"steps of scale 1 are 400 times too long.*scale=0.0025 is safe"):
        gk.sample(prior, make(sharp), 2, 10)
    safe = gk.sample(prior, make(sharp, 0.0025), 200, 20).samples
    assert 0.0 < float(safe[:, 0].mean()) < 0.6 and float(safe.std()) < 1.2  # the posterior has .5
    gk.sample(prior, gk.chain(make(sharp), gk.guidance.FKSteering(sharp, 1.0)), 1, 4, particles=4)  # kernels are tilted
