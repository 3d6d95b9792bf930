"""Guidance away from perturbed networks: limits, one joined call, closed forms."""

import dataclasses
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import guidekit as gk
from guidekit.core.guidance import Guidance
from guidekit.core.loop import populate, prepare, walk
from guidekit.core.question import jointly
from guidekit.core.random import Draw
from guidekit.core.state import altered, take
from guidekit.core.step import Moment
from guidekit.interventions import find_sites, installed
from guidekit.interventions.operators import (
    BlurQuery,
    DropAttention,
    DropBlock,
    DropFeed,
    IdentityAttention,
    NoiseEmbedding,
    Record,
)
from guidekit.interventions.operators.negative import extrapolated
from guidekit.interventions.sites import SiteError
from guidekit.interventions.smoothing import smoothed
from guidekit.networks import DilatedConvolution, ImageTransformer, SequenceTransformer, UNet
from guidekit.networks.conditioning import Conditioning, waves
from guidekit.priors.labels import Label
from guidekit.priors.neural import NeuralGaussian
from guidekit.priors.tokens import TokenPrior
from guidekit.testing import check_guidance

g = gk.guidance
LABELS = [Label("class", ["a", "b"])]


def randomised(network, std=0.2):
    torch.manual_seed(0)
    for weight in network.parameters():
        nn.init.normal_(weight, std=std)
    return network


def sequences(**options):
    network = SequenceTransformer(6, 7, width=8, depth=4, heads=2, pad_id=0, labels=[2], **options)
    return TokenPrior(randomised(network, 0.4), 6, [0, 0, 0, 1, 1, 1, 1, 2], labels=LABELS)


def convolution():
    network = randomised(DilatedConvolution(4, 8, 8, 3, (1, 2, 1), labels=[2]), 0.4)
    return TokenPrior(network, 4, [0] * 8 + [1], pad_id=None, labels=LABELS)


def unet():
    network = randomised(UNet(1, 8, (1, 2), heads=2, patch=1, labels=[2]))
    return NeuralGaussian(network, gk.processes.EDM(), (1, 8, 8), labels=LABELS)


def dit():
    network = randomised(ImageTransformer(1, 8, 8, 4, 2, patch=2, labels=[2]))
    return NeuralGaussian(network, gk.processes.EDM(), (1, 8, 8), labels=LABELS)


PRIORS = {"sequences": sequences, "timed": lambda: sequences(timed=True), "convolution": convolution}
PRIORS |= {"unet": unet, "dit": dit}
PLUGS = {
    "pag": lambda s, **o: g.PAG(s, **o),
    "seg": lambda s, **o: g.SEG(s, sigma=1.0, **o),
    "seg infinite": lambda s, **o: g.SEG(s, **o),
    "tpg": lambda s, **o: g.TPG(s, **o),
    "stg": lambda s, **o: g.STG(s, **o),
    "stg feed": lambda s, **o: g.STG(s, skip="feed", **o),
    "s2": lambda s, **o: g.S2Guidance(s, rate=0.5, **o),
    "tsg": lambda s, **o: g.TSG(s, noise=0.7, **o),
}
WITHOUT = {("convolution", plug) for plug in ("pag", "seg", "seg infinite", "tpg", "stg feed")} | {("unet", "stg feed")}
WITHOUT |= {("sequences", "tsg"), ("convolution", "tsg")}  # they are told no time
BOTH = [pair for pair in itertools.product(PRIORS, PLUGS) if pair not in WITHOUT]


def begun(prior, guidance, x, t, network_limit=None, condition=1, index=1):
    """A population at states x and time t, as a run would have it."""
    given = None if condition is None else torch.full((len(x), 1), condition)
    options = dict(sampler=gk.samplers.Ancestral(), steps=4, groups=(0, len(x)), network_limit=network_limit)
    setup = prepare(prior, guidance, condition=given, **options)
    return populate(setup, x, Moment(t, index), 1)


def states(prior, rows=4):
    """States on the way."""
    setup = prepare(prior, None, sampler=gk.samplers.Ancestral(), steps=4, groups=(0, rows))
    x = prior.start(Draw(setup.random, (-1,), "start"), rows)
    if isinstance(prior, TokenPrior):
        known = torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) < 0.5
        x = torch.where(known & (x == prior.process.mask_id), 2, x)
        x[0] = torch.where(x[0] == prior.process.mask_id, 1, x[0])  # a row about which nothing is asked
    return x


def at(prior, guidance, rows=4, t=0.6, condition=1, **options):
    """A population on the way, its states, time and conditions."""
    x = states(prior, rows)
    population = begun(prior, guidance, x, t, condition=condition, **options)
    return population, x, t, population.condition


def ledger(population):
    return population.setup.network.ledger


def asked(population, **changes):
    """The guided answer to another question."""
    return population.setup.denoise(altered(population.question(), **changes))


def value(prediction):
    return prediction.log_probs.exp() if hasattr(prediction, "log_probs") else prediction.mean


@pytest.mark.parametrize(("prior", "plug"), BOTH)
def test_one_call_of_three_branches_equals_three_calls(prior, plug):
    prior, make, s, w = PRIORS[prior](), PLUGS[plug], 0.7, 1.8
    plug = make(s, weight=w)
    with torch.no_grad():
        run, x, t, c = at(prior, plug)
        found = run.predict()
        marks = plug.branches[1](run.question(), plug).marks
        (plan,), seeds = marks.plans, marks.seeds
        null, conditional = prior.predict(x, t, None), prior.predict(x, t, c)
        with installed(prior.network, plan.operators, None, seeds, time=torch.full((len(x),), t)):
            hat = prior.predict(x, t, c)
        if isinstance(prior, TokenPrior):
            total = (1 - w) * null.log_probs + (w + s) * conditional.log_probs - s * hat.log_probs
            expected = torch.softmax(total.where(conditional.log_probs.isfinite(), -torch.inf), -1)
            assert ledger(run).network_rows == 9  # one row has nothing to ask
        else:
            expected = null.mean + w * (conditional.mean - null.mean) + s * (conditional.mean - hat.mean)
            assert ledger(run).network_rows == 12
        assert ledger(run).network_calls == 1
        torch.testing.assert_close(value(found), expected, rtol=1e-5, atol=1e-5)
        assert (value(found) - value(prior.predict(x, t, c))).abs().max() > 1e-3
        cut = at(prior, plug, network_limit=5)[0]  # branches cut apart
        torch.testing.assert_close(value(cut.predict()), expected, rtol=1e-5, atol=1e-5)
        run = at(prior, make(s))[0]
        alone = run.predict()
        assert ledger(run).network_rows == (6 if isinstance(prior, TokenPrior) else 8)
        if not isinstance(prior, TokenPrior):
            torch.testing.assert_close(value(alone), conditional.mean + s * (conditional.mean - hat.mean))


@pytest.mark.parametrize(("prior", "plug"), BOTH)
def test_scale_zero_is_the_prior_or_cfg_bit_for_bit(prior, plug):
    prior, make = PRIORS[prior](), PLUGS[plug]
    options = dict(num_samples=3, steps=4, condition=0)
    plain, cfg = gk.sample(prior, None, **options), gk.sample(prior, g.CFG(2.0), **options)
    off = gk.sample(prior, make(0.0), **options)
    assert torch.equal(off.samples, plain.samples) and off.ledger.network_rows == plain.ledger.network_rows
    off = gk.sample(prior, make(0.0, weight=2.0), **options)
    assert torch.equal(off.samples, cfg.samples) and off.ledger.network_rows == cfg.ledger.network_rows
    assert torch.equal(gk.sample(prior, make(1.0, schedule=[1e9, 2e9]), **options).samples, plain.samples)


@pytest.mark.parametrize(("prior", "plug"), BOTH)
def test_contract(prior, plug):
    check_guidance(PRIORS[prior](), PLUGS[plug](0.7, weight=1.5), num_samples=3, steps=3, condition=1)
    check_guidance(PRIORS[prior](), PLUGS[plug](0.7, schedule=[0.2, 1.0]), num_samples=3, steps=3)


MEANT = {
    "pag": (g.PAG, {}, IdentityAttention([1, 2])),
    "pag early": (g.PAG, {"sites": "early"}, IdentityAttention([0, 1])),
    "seg": (g.SEG, {"sigma": 0.7}, BlurQuery(0.7, [1, 2])),
    "seg infinite": (g.SEG, {}, BlurQuery(math.inf, [1, 2])),
    "stg": (g.STG, {}, DropBlock(1.0, [1, 2])),
    "stg attention": (g.STG, {"skip": "attention"}, DropAttention([1, 2])),
    "stg feed": (g.STG, {"skip": "feed"}, DropFeed([1, 2])),
    "stg map": (g.STG, {"skip": "map"}, IdentityAttention([1, 2])),
    "s2 all": (g.S2Guidance, {"rate": 1.0}, DropBlock(1.0, [1, 2])),
}


@pytest.mark.parametrize("name", MEANT)
def test_presets_do_what_they_are_called_after(name):
    """Of four blocks the middle ones are the second and the third."""
    make, options, operator = MEANT[name]
    prior = dit()
    with torch.no_grad():
        run, x, t, c = at(prior, make(0.7, **options))
        plain = prior.predict(x, t, c).mean
        with installed(prior.network, operator):
            hat = prior.predict(x, t, c).mean
        torch.testing.assert_close(run.predict().mean, plain + 0.7 * (plain - hat), rtol=1e-5, atol=1e-5)
        turning = at(prior, make(lambda t: 0.7, weight=lambda t: 1.0, **options))[0]
        torch.testing.assert_close(turning.predict().mean, run.predict().mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("guidance", [g.S2Guidance(1.0, rate=0.0), g.SAG(1.0, schedule=[1e9, 2e9])])
def test_what_does_nothing_costs_nothing(guidance):
    prior, options = dit(), dict(num_samples=3, steps=3, condition=0)
    plain, off = gk.sample(prior, None, **options), gk.sample(prior, guidance, **options)
    assert torch.equal(off.samples, plain.samples) and off.ledger.network_rows == plain.ledger.network_rows


def test_random_perturbations_survive_particles_and_search():
    prior = sequences()
    reward = lambda x: (x == 2).sum(1).double()  # noqa: E731
    for plug in (g.TPG(1.0), g.S2Guidance(1.0, rate=0.5)):
        check_guidance(prior, g.chain(plug, g.SVDD(reward, 3)), num_samples=3, steps=3)
        check_guidance(prior, g.chain(plug, g.FKSteering(reward, particles=3)), num_samples=3, steps=3, particles=3)


def test_drawn_blocks_change_from_step_to_step_and_average_to_the_naive_version():
    prior, rows = dit(), 3000
    with torch.no_grad():
        plug = g.S2Guidance(1.0, rate=0.4, sites="all", weight=1.5)  # two of four blocks
        x, t = states(prior, 1).expand(rows, -1, -1, -1), 0.6
        run = begun(prior, plug, x, t)
        c = run.condition
        drawn = run.predict().mean
        assert (run.at(x.clone(), key=(2,)).predict().mean != drawn).any()
        one, given = x[:1], c[:1]
        null, conditional = prior.predict(one, t, None).mean, prior.predict(one, t, given).mean
        hats = []
        for pair in itertools.combinations(range(4), 2):
            with installed(prior.network, DropBlock(1.0, list(pair))):
                hats.append(prior.predict(one, t, given).mean)
        naive = null + 1.5 * (conditional - null) + 1.0 * (conditional - torch.stack(hats).mean(0))
        assert ((drawn.mean(0) - naive[0]).abs() < 5 * drawn.std(0) / math.sqrt(rows) + 1e-5).all()


def test_a_single_token_has_nothing_but_itself_to_attend_to():
    prior = sequences()
    with torch.no_grad():
        x = torch.zeros(4, 7).long()
        x[:, 0] = prior.process.mask_id
        run = begun(prior, g.PAG(5.0, sites="all"), x, 0.6)
        torch.testing.assert_close(run.predict().probs, prior.predict(x, 0.6, run.condition).probs)


def test_order_of_branches_does_not_matter():
    prior = unet()
    with torch.no_grad():
        plug = g.PAG(2.0, weight=3.0)
        run = at(prior, plug)[0]
        questions = [run.question(), *(branch(run.question(), plug) for branch in plug.branches)]
        answers = jointly(run.setup.network, questions)
        for order in itertools.permutations(range(3)):
            again = jointly(run.setup.network, [questions[i] for i in order])
            for i, answer in zip(order, again, strict=True):
                torch.testing.assert_close(answer.mean, answers[i].mean, rtol=1e-5, atol=1e-5)


def test_several_perturbations_in_one_chain_keep_their_own():
    prior = dit()
    with torch.no_grad():
        run, x, t, c = at(prior, g.chain(g.PAG(0.5, sites=[1]), g.CFG(2.0)))
        found = run.predict().mean
        means = {}
        for name, given in (("null", None), ("condition", c)):
            plain = prior.predict(x, t, given).mean
            with installed(prior.network, IdentityAttention([1])):
                means[name] = plain + 0.5 * (plain - prior.predict(x, t, given).mean)
        torch.testing.assert_close(
            found, means["null"] + 2 * (means["condition"] - means["null"]), rtol=1e-5, atol=1e-5
        )
        assert ledger(run).network_calls == 1


def test_gradients_pass_through():
    prior = unet()
    x = states(prior).requires_grad_()
    slope = torch.autograd.grad(begun(prior, g.PAG(1.0), x, 0.6).predict().mean[:2].sum(), x)[0]
    assert slope[:2].abs().max() > 0 and torch.equal(slope[2:], 0 * slope[2:])


# SAG ---------------------------------------------------------------------------------------------------------------


def field(size=16):
    """A Gaussian field on a line whose covariance has a falling spectrum, and an orthonormal basis of cosines."""
    k, i = torch.arange(size).double(), torch.arange(size).double()
    basis = torch.cos(math.pi * k[:, None] * (i + 0.5) / size) * (2 / size) ** 0.5
    basis[0] /= 2**0.5
    spectrum = 1 / (1 + k**2)
    return gk.priors.Gaussian(
        torch.zeros(size).double(), basis.T @ (spectrum[:, None] * basis), gk.processes.EDM()
    ), basis


def end_covariance(prior, plug, steps=120):
    """Covariance of the samples of the deterministic sampler, exactly: it is a linear map of its noise."""
    size = prior.event_shape[0]
    setup = prepare(prior, plug, sampler=gk.samplers.DDIM(), steps=steps, groups=(0, size))
    x = torch.eye(size).double() * prior.process.coefficients(setup.steps[0].t)[1]
    with torch.no_grad():
        x = walk(populate(setup, x, setup.steps[0].start, 1), setup.steps).state
    return x.T @ x


def test_blur_guidance_on_a_gaussian_field_has_its_closed_form():
    prior, _ = field()
    for space in ("noise", "clean"):
        plug = g.SAG(0.8, sigma=1.5, threshold=None, space=space)
        setup = prepare(prior, plug, sampler=gk.samplers.DDIM(), steps=10, groups=(0, 4))
        x, t = torch.randn(4, 16, generator=torch.Generator().manual_seed(0)).double() * 2, setup.steps[4].t
        a, s = prior.process.coefficients(t)
        blur = smoothed(torch.eye(16).double(), (0,), 1.5)
        c, eye = prior.covariance().double(), torch.eye(16).double()
        gain = a * c @ torch.linalg.inv(a * a * c + s * s * eye)
        clean = x @ gain.T
        noisy = x - a * clean + a * clean @ blur.T
        worse = noisy @ gain.T
        noise = [(z - a * d) / s for z, d in ((x, clean), (noisy, worse))]
        step = -s / a * (noise[0] - noise[1]) if space == "noise" else clean - worse
        run = populate(setup, x, setup.steps[4].start, 1)
        with torch.no_grad():
            found = run.predict().mean
        torch.testing.assert_close(found, clean + 0.8 * step, rtol=1e-6, atol=1e-6)
        assert ledger(run).network_calls == 2


def test_blur_guidance_narrows_fine_scales_of_noises_and_widens_them_of_clean_estimates():
    prior, basis = field()
    fine = basis[10:]
    spread = lambda plug: ((fine @ end_covariance(prior, plug)) * fine).sum(1)  # noqa: E731 - variances of fine scales
    plain = spread(None)
    torch.testing.assert_close(plain, 1 / (1 + torch.arange(10, 16).double() ** 2), rtol=0.1, atol=0.0)
    published, other = (spread(g.SAG(0.5, 1.0, None, space=space)) for space in ("noise", "clean"))
    assert (published < 0.95 * plain).all() and (other > 1.05 * plain).all()
    torch.testing.assert_close(spread(g.SAG(0.5, 0.0, None)), plain, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(spread(g.SAG(0.0, 1.0, None)), plain, rtol=0, atol=0)


@pytest.mark.parametrize("make", [unet, dit])
def test_self_attention_guidance_on_networks(make):
    prior = make()
    with torch.no_grad():
        run, x, t, c = at(prior, g.SAG(0.8, threshold=1e9))
        torch.testing.assert_close(run.predict().mean, prior.predict(x, t, c).mean, rtol=1e-3, atol=1e-3)
        everywhere = at(prior, g.SAG(0.8, threshold=-1.0))[0].predict().mean
        torch.testing.assert_close(everywhere, at(prior, g.SAG(0.8, threshold=None))[0].predict().mean)
        plug = g.SAG(0.8, sigma=2.0, weight=2.0)
        run = at(prior, plug)[0]
        found = run.predict()
        assert (found.mean - everywhere).abs().max() > 1e-3
        assert (ledger(run).network_calls, ledger(run).network_rows) == (2, 12)
        # by hand, with the null branch's noise, attention and condition in the second call
        null, conditional = prior.predict(x, t, None), prior.predict(x, t, c)
        site = "middle.0.attention" if make is unet else "blocks.2"  # the middle one of those in the middle
        with installed(prior.network, Record(site)) as probe:
            prior.predict(x, t, None)
        _, received, dims = probe.records[site][0]
        side = 8 // dims[0]
        mask = (received > 1).view(4, 1, *dims).repeat_interleave(side, 2).repeat_interleave(side, 3)
        assert 0 < mask.float().mean() < 1 and dims == (4, 4)
        low = torch.where(mask, smoothed(null.mean, (2, 3), 2.0), null.mean)
        worse = prior.predict(null.a * low + null.s * null.noise, t, None)
        expected = null.mean + 2 * (conditional.mean - null.mean) - 0.8 * null.s / null.a * (null.noise - worse.noise)
        torch.testing.assert_close(found.mean, expected, rtol=1e-4, atol=1e-4)
    check_guidance(prior, g.SAG(0.5, weight=1.5), num_samples=3, steps=3, condition=1)
    options = dict(num_samples=2, steps=3, condition=0)
    plain = gk.sample(prior, None, **options).samples
    assert torch.equal(gk.sample(prior, g.SAG(0.0), **options).samples, plain)


# TSG ---------------------------------------------------------------------------------------------------------------


class Told(nn.Module):
    """D = k tau^2 x with tau = level: a clean estimate that is curved in the embedding of the time."""

    def __init__(self):
        super().__init__()
        self.conditioning = Conditioning(1, timed=True)
        self.conditioning.level = Level()

    def forward(self, x, level, labels=None):
        return x * self.conditioning(len(x), None, level, x)[:, 0] ** 2


class Level(nn.Module):
    def forward(self, features):
        return 1.5 + 0 * features[:, :1]


def told():
    return NeuralGaussian(Told(), gk.processes.Flow(), (1,), parametrization="x0")


@pytest.mark.parametrize("power", [0.0, 2.0])
def test_noise_of_the_time_embedding_changes_the_mean_in_second_order(power):
    """D = tau^2 x: E[D(tau + v n)] - D = v^2 x, so that the mean moves by -s v^2 x, a draw by -2 s tau v n x."""
    prior, s, noise, t, n = told(), 2.0, 0.2, 0.5, 100_000
    with torch.no_grad():
        x = torch.ones(n, 1)
        run = begun(prior, g.TSG(s, noise, power), x, t, condition=None)
        plain = prior.predict(x, t).mean
        change = ((run.predict().mean - plain) / (plain / 1.5**2)).double()  # the network sees x in unit size
    v = noise * t**power
    error = float(change.std()) / math.sqrt(n)
    assert float(change.mean()) == pytest.approx(-s * v**2, abs=4 * error) and s * v**2 > (2 if power else 8) * error
    spread = s * v * math.sqrt(4 * 1.5**2 + 2 * v**2)
    assert float(change.std()) == pytest.approx(spread, rel=5 / math.sqrt(2 * n) + 0.01)
    assert ledger(run).network_calls == 1 and ledger(run).network_rows == 2 * n
    with pytest.raises(SiteError, match="needs the time"), installed(prior.network, NoiseEmbedding(power=1.0)):
        prior.predict(x, t)


def test_time_step_guidance_of_rows_at_several_times():
    """The noise of every row belongs to its own time, also where rows with nothing to ask are left out."""
    prior = told()
    with torch.no_grad():
        x, t = torch.ones(4, 1), torch.tensor([0.2, 0.4, 0.6, 0.8])
        run = begun(prior, g.TSG(1.0, 0.2, 1.0), x, 0.5, condition=None)
        mixed = asked(run, t=t).mean
        for i, time in enumerate(t.tolist()):
            torch.testing.assert_close(asked(run, t=time).mean[i], mixed[i], rtol=1e-4, atol=1e-5)


def test_time_step_guidance_leaves_nothing_behind_and_takes_the_time_where_nothing_embeds_it():
    prior = unet()
    hooks = lambda: sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in prior.network.modules())  # noqa: E731
    options = dict(num_samples=3, steps=4, condition=0)
    plain, before = gk.sample(prior, None, **options), hooks()
    off = gk.sample(prior, g.TSG(1.0, noise=0.0), **options)
    assert torch.equal(off.samples, plain.samples) and off.ledger.network_rows == plain.ledger.network_rows
    assert not torch.equal(gk.sample(prior, g.TSG(1.0, noise=0.5), **options).samples, plain.samples)
    assert hooks() == before
    plug = g.TSG(1.0)
    assert plug.branches[0](at(prior, plug)[0].question(), plug).marks is not None


@pytest.mark.parametrize("power", [0.0, 2.0])
def test_a_wrong_time_where_nothing_embeds_it(power):
    """It is t + noise t^power n, within [0, 1]."""
    exact, rows, t, noise = gk.priors.Gaussian(torch.zeros(2), 1.0, gk.processes.Flow()), 4000, 0.5, 0.1
    plug = g.TSG(1.0, noise, power)
    question = begun(exact, plug, torch.zeros(rows, 2), t, condition=None).question()
    wrong = plug.branches[0](question, plug)
    assert wrong.marks is None and float(wrong.t.mean()) == pytest.approx(t, abs=5 * noise / math.sqrt(rows))
    assert float(wrong.t.std()) == pytest.approx(noise * t**power, rel=5 / math.sqrt(2 * rows))
    wild = g.TSG(1.0, 10.0)
    told = wild.branches[0](altered(question, population=begun(exact, wild, question.x, t, condition=None)), wild).t
    assert float(told.min()) == 0 and float(told.max()) == 1


# NAG ---------------------------------------------------------------------------------------------------------------


class Attending(nn.Module):
    """Vectors of 6 numbers as tokens that attend to two tokens of a label."""

    def __init__(self):
        super().__init__()
        self.first, self.table, self.level = nn.Linear(1, 8), nn.Embedding(3, 16), nn.Linear(32, 8)
        self.place, self.head = nn.Parameter(torch.zeros(6, 8)), nn.Linear(8, 1)
        self.cross = CrossAttention(8)

    def context(self, labels, rows):
        labels = torch.full((rows, 1), -1) if labels is None else labels
        return self.table(torch.where(labels[:, 0] < 0, 2, labels[:, 0])).view(-1, 2, 8)

    def forward(self, x, level, labels=None):
        h = self.first(x[..., None]) + self.place + self.level(waves(level.to(x)))[:, None]
        h = h + self.cross(h, self.context(labels, len(x)))
        return self.head(F.silu(h))[..., 0]


class CrossAttention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(width, width) for _ in range(4))

    def received(self, x, context):
        cut = lambda z: z.unflatten(-1, (2, -1)).transpose(1, 2)  # noqa: E731
        q, k, v = cut(self.to_q(x)), cut(self.to_k(context)), cut(self.to_v(context))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def forward(self, x, context):
        return self.to_out(self.received(x, context))


def attending():
    return NeuralGaussian(randomised(Attending(), 0.5), gk.processes.VP("cosine"), (6,), labels=LABELS)


def test_negative_condition_inside_attention():
    prior = attending()
    assert [site.name for site in find_sites(prior.network)] == ["cross"]
    network = prior.network
    with torch.no_grad():
        run, x, t, c = at(prior, g.NAG(negative="a"), network_limit=3)
        found = run.predict().mean
        assert (ledger(run).network_calls, ledger(run).network_rows) == (2, 8)
        inner = network.cross.forward

        def by_hand(h, context):
            other = network.context(torch.zeros(len(h), 1).long(), len(h))
            z = [network.cross.received(h, told) for told in (context, other)]
            return network.cross.to_out(extrapolated(*z, 4.0, 2.5, 0.25))

        network.cross.forward = by_hand
        expected = prior.predict(x, t, c).mean
        network.cross.forward = inner
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        plain = prior.predict(x, t, c).mean
        assert (found - plain).abs().max() > 1e-3
        same = at(prior, g.NAG(negative="b"))[0].predict().mean
        torch.testing.assert_close(same, plain, rtol=1e-6, atol=1e-6)
        mixed = at(prior, g.chain(g.NAG(negative="a"), g.CFG(2.0)))[0].predict().mean
        null = asked(at(prior, g.NAG(negative="a"))[0], condition=torch.full_like(c, -1)).mean
        torch.testing.assert_close(mixed, null + 2 * (found - null), rtol=1e-5, atol=1e-5)
    options = dict(num_samples=3, steps=4, condition=1)
    assert torch.equal(gk.sample(prior, g.NAG(0.0), **options).samples, gk.sample(prior, None, **options).samples)
    check_guidance(prior, g.NAG(negative="a", schedule=[0.1, 2.0]), num_samples=3, steps=4, condition=1)


# Refusals ----------------------------------------------------------------------------------------------------------


def test_what_cannot_work_is_refused_with_the_reason():
    mixture = gk.priors.GaussianMixture(torch.zeros(1, 2), 1.0)
    cases = [
        (mixture, g.PAG(), "PAG needs a prior with a network; this one .gaussian mixture. shows none"),
        (mixture, g.SAG(), "SAG needs a prior with a network"),
        (convolution(), g.PAG(), "no self_attention or message_passing site in this network .DilatedConvolution"),
        (sequences(), g.SAG(), "SAG needs real-valued states"),
        (sequences(), g.NAG(), "no cross_attention site"),
        (sequences(), g.chain(g.CFG(2.0), g.PAG()), "cannot wrap CFG: write chain.PAG, CFG., or give PAG a weight"),
        (sequences(), g.chain(g.TPG(), g.CFG(2.0)), "give TPG a weight in place of CFG"),
        (sequences(), g.PAG(weight=2.0), "needs a condition to guide towards"),
    ]
    for prior, plug, text in cases:
        given = 0 if "CFG" in text or "cross" in text else None
        with pytest.raises(gk.GuidanceError, match=text):
            gk.sample(prior, plug, 2, steps=2, condition=given)
    with pytest.raises(ValueError, match="did you mean 'blocks.1'"):
        gk.sample(sequences(), g.STG(sites="block.1"), 2, steps=2)
    for make, text in (
        (lambda: g.STG(skip="feet"), "part of a block to skip.*'feet'.*feed"),
        (lambda: g.S2Guidance(rate=2.0), "rate must be at least 0 and at most 1, got 2.0"),
        (lambda: g.SEG(sigma=-1.0), "sigma=-1.0"),
        (lambda: g.SAG(space="v"), "'v'.*noise"),
        (lambda: g.NAG(norm=0), "norm=0"),
        (lambda: g.TSG(noise=-1.0), "noise must be at least 0, got -1.0"),
    ):
        with pytest.raises(ValueError, match=text):
            make()


def test_rows_of_a_prediction_keep_their_records():
    prior = unet()
    with torch.no_grad():
        whole = at(prior, g.SAG(0.5, site=0))[0].predict()
        cut = at(prior, g.SAG(0.5, site=0), network_limit=3)[0].predict()
        torch.testing.assert_close(cut.mean, whole.mean, rtol=1e-5, atol=1e-5)
        with_cfg = at(prior, g.SAG(0.5, weight=2.0))[0].predict()
        cut = at(prior, g.SAG(0.5, weight=2.0), network_limit=4)[0].predict()  # branches in calls of their own
        torch.testing.assert_close(cut.mean, with_cfg.mean, rtol=1e-5, atol=1e-5)
        assert not whole.notes and not with_cfg.notes and len(take(whole, slice(2)).mean) == 2


# Priors and their networks -----------------------------------------------------------------------------------------


class Small(nn.Module):
    """Vectors of 6 numbers as tokens that attend to each other, with dropout."""

    def __init__(self):
        super().__init__()
        self.first, self.attention, self.head = nn.Linear(2, 8), nn.MultiheadAttention(8, 2, 0.5), nn.Linear(8, 1)
        self.attention.batch_first = True
        self.drop = nn.Dropout(0.5)

    def forward(self, x, t):
        h = self.first(torch.stack([x, t.to(x)[:, None].expand_as(x)], -1))
        return self.head(self.drop(h + self.attention(h, h, h)[0]))[..., 0]


def denoiser():
    network = randomised(Small(), 0.5)
    return gk.priors.from_denoiser(network, gk.processes.VP("cosine"), (6,), "clean"), network


def neural():
    prior = dit()
    return prior, prior.network


@pytest.mark.parametrize("make", [denoiser, neural])
def test_networks_of_others_are_perturbed_as_they_are_and_left_so(make):
    prior, network = make()
    before = {name: weight.requires_grad for name, weight in network.named_parameters()}
    network.train()
    run, x, t, _ = at(prior, g.PAG(0.8, sites="all"), condition=None)
    found = run.predict().mean
    assert all(part.training for part in network.modules())
    assert {name: weight.requires_grad for name, weight in network.named_parameters()} == before
    network.eval()
    plain = prior.predict(x, t).mean
    with installed(network, IdentityAttention()):
        hat = prior.predict(x, t).mean
    torch.testing.assert_close(found, plain + 0.8 * (plain - hat))
    assert (hat - plain).abs().max() > 1e-3
    check_guidance(prior, g.PAG(0.8), num_samples=3, steps=3)
    with pytest.raises(ValueError, match="did you mean"):
        gk.sample(prior, g.PAG(sites="attentoin" if make is denoiser else "blocks.O"), 2, steps=2)


def test_a_function_around_a_network_shows_none():
    network = denoiser()[1]
    prior = gk.priors.from_denoiser(lambda x, t: network(x, t), gk.processes.VP("cosine"), (6,), "clean")
    with pytest.raises(gk.GuidanceError, match="PAG needs a prior with a network.*must be a torch module"):
        gk.sample(prior, g.PAG(), 2, steps=2)
    with pytest.raises(gk.GuidanceError, match="NAG needs .*prior"):
        gk.sample(prior, g.NAG(), 2, steps=2)


@pytest.mark.parametrize("plug", ["tpg", "s2", "tsg"])
def test_random_numbers_belong_to_their_owner_wherever_it_is(plug):
    prior, make = sequences(timed=True), PLUGS[plug]
    alone = gk.sample(prior, make(2.0), 4, steps=4).samples
    ahead = dataclasses.make_dataclass("Ahead", [], bases=(Guidance,), frozen=True, eq=False, namespace={"layer": 1})()
    for chain in (g.chain(ahead, make(2.0)), g.chain(make(2.0), ahead)):
        assert torch.equal(gk.sample(prior, chain, 4, steps=4).samples, alone)


def test_a_negative_condition_for_some_rows():
    """A schedule may be on for some rows of a batch and off for others, which then are as without."""
    prior = attending()
    on = torch.tensor([2.0, 1.0, 1.0, 2.0])
    with torch.no_grad():
        run, x, t, c = at(prior, g.NAG(negative="a", schedule=lambda weight, question: on))
        found, plain = run.predict().mean, prior.predict(x, t, c).mean
        whole = at(prior, g.NAG(negative="a"))[0].predict().mean
    torch.testing.assert_close(found, torch.where(on[:, None] == 2, whole, plain), rtol=1e-6, atol=1e-6)
    assert ledger(run).network_rows == 6
    with pytest.raises(gk.GuidanceError, match="must be an interval or steps"):
        at(prior, g.NAG(negative="a", schedule=g.Ramp()))[0].predict()


def test_what_is_recorded_does_not_depend_on_the_pieces_of_a_call():
    """Lengths differ, and some pieces have nothing to ask: both had made calls differ."""
    prior, plug, m = sequences(), g.RegionalCFG(4.0, apart=0.0, low=0.1), 6
    x = torch.tensor([[m, m, 1, 0, 0, 0, 0], [m, 2, m, 3, 1, m, 1], [1, 2, 3, 4, 5, 1, 2], [5, 4, 3, 2, 1, 0, 0]])
    with torch.no_grad():
        whole = begun(prior, plug, x, 0.5).predict().probs
        flat = begun(prior, g.CFG(4.0), x, 0.5).predict().probs
        for limit in (1, 2, 3):
            cut = begun(prior, plug, x, 0.5, network_limit=limit).predict().probs
            torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-5)
        turned = begun(prior, plug, x.flip(0), 0.5, network_limit=2).predict().probs
    torch.testing.assert_close(turned.flip(0), whole, rtol=1e-4, atol=1e-5)
    assert (whole - flat).abs().max() > 1e-3
