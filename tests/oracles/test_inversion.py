"""EDICT and BDIA: clean to noise and back, exactly. DDIM inversion: nearly."""

import dataclasses
import math

import pytest
import torch

import guidekit as gk
from guidekit.core.loop import populate, prepare
from guidekit.core.random import Draw, KeyedRandom
from guidekit.inversion.ddim import inverted_step

S, P, INV = gk.samplers, gk.processes, gk.inversion
PROCESSES = {
    "vp": P.VP(),
    "cosine": P.VP("cosine"),
    "edm": P.EDM(0.01, 20.0),
    "flow": P.Flow(),
    "discrete": P.DiscreteVP(),
}


def mixture(process):
    means = torch.tensor([[1.5, 0.0], [-1.5, 1.0]], dtype=torch.float64)
    return gk.priors.GaussianMixture(means, 0.5, torch.tensor([0.7, 0.3]), process=process)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize(
    ("method", "bound"),
    [(S.EDICT(), 1e-8), (S.EDICT(1.0), 1e-9), (S.BDIA(), 1e-9), (S.BDIA(1.0), 1e-9), (S.EDICT(times="karras"), 1e-7)],
)
def test_round_trip(process, method, bound):
    prior = mixture(PROCESSES[process])
    x = prior.sample(50, torch.Generator().manual_seed(0)).double()
    for steps in (1, 10, 50):
        latent = INV.encode(prior, x, method, steps)
        error = float((INV.decode(prior, latent, method) - x).abs().max())
        print(process, method, steps, error)
        assert error < bound


@pytest.mark.parametrize(("method", "bound", "order"), [(S.EDICT(), 0.055, 1), (S.BDIA(1.0), 0.002, 2)])
def test_latents_of_a_gaussian_are_those_of_its_flow(method, bound, order):
    """The flow of N(m, C) is linear: x_1 = a m + (x_0 - m) sqrt((a^2 C + s^2) / C) at the first time of the grid."""
    prior = gk.priors.Gaussian(torch.tensor([0.5], dtype=torch.float64), 0.49, P.VP("cosine"))
    x = torch.linspace(-1, 2, 30, dtype=torch.float64)[:, None]
    errors = []
    for steps in (25, 50, 100):
        latent = INV.encode(prior, x, method, steps)
        a, s = prior.process.coefficients(latent.times[0])
        expected = 0.5 * a + (x - 0.5) * ((0.49 * a * a + s * s) / 0.49) ** 0.5
        errors.append(float((latent.state - expected).abs().max()))
    assert errors[-1] < bound and math.log2(errors[0] / errors[-1]) / 2 == pytest.approx(order, abs=0.6)


def begin(prior):
    """The eight states that a run starts from."""
    return prior.start(Draw(KeyedRandom(0, 0, 8), (-1,), "start"), 8)


@pytest.mark.parametrize(
    ("method", "most"), [(S.BDIA(0.96), 208), (S.BDIA(0.98), 421), (S.EDICT(0.93), 200), (S.EDICT(0.97), 478)]
)
def test_a_way_back_that_would_lose_the_latent_is_refused(method, most):
    """BDIA makes the error of its first step 1 / gamma as large a step (3e8 after 800), EDICT its rounding 1 / p^2."""
    prior = gk.priors.Gaussian(torch.tensor([0.5], dtype=torch.float64), 0.49, P.VP("cosine"))
    x = torch.linspace(-1, 2, 30, dtype=torch.float64)[:, None]

    def error(method, steps):
        latent = INV.encode(prior, x, method, steps)
        a, s = prior.process.coefficients(latent.times[0])
        return float((latent.state - 0.5 * a - (x - 0.5) * ((0.49 * a * a + s * s) / 0.49) ** 0.5).abs().max())

    assert error(method, most) < 0.2
    with pytest.raises(INV.InvertibleError, match=f"at most {most} steps, or (gamma|mixing)=1"):
        INV.encode(prior, x, method, most + 1)
    assert error(type(method)(1.0), 2 * most) < 0.02


@pytest.mark.parametrize("guidance", [None, gk.guidance.ICG(2.0)], ids=["plain", "random conditions"])
@pytest.mark.parametrize("method", [S.EDICT(), S.BDIA()])
def test_sampling_is_decoding(method, guidance):
    """The sampler of the loop and `decode` take the same steps: the latent of a sample leads to it."""
    prior = mixture(PROCESSES["vp"])
    condition, states = None if guidance is None else 0, []
    options = dict(sampler=method, condition=condition, progress=lambda p: states.append(p.population.state))
    x = gk.sample(prior, guidance, num_samples=8, steps=20, **options).samples
    start = begin(prior)
    partner = start if isinstance(method, S.EDICT) else states[0]
    latent = INV.Latent(start, partner, tuple(method.grid(prior, 20)))
    found = INV.decode(prior, latent, method, condition, guidance)
    torch.testing.assert_close(found, x, atol=1e-10, rtol=0)


def test_gamma_and_mixing_at_their_limits():
    """Small gamma approaches DDIM; without mixing the pair are two interleaved DDIM paths."""
    prior = mixture(PROCESSES["vp"])
    options = dict(num_samples=8, steps=30)
    plain = gk.sample(prior, sampler=S.DDIM(), **options).samples
    torch.testing.assert_close(gk.sample(prior, sampler=S.BDIA(1e-9), **options).samples, plain, atol=1e-6, rtol=0)
    many = dict(num_samples=8, steps=1000)
    plain = gk.sample(prior, sampler=S.DDIM(), **many).samples
    torch.testing.assert_close(gk.sample(prior, sampler=S.EDICT(1.0), **many).samples, plain, atol=0.05, rtol=0)


@pytest.mark.parametrize("method", [S.EDICT(), S.BDIA()])
def test_editing_under_another_condition(method):
    """Encoded as component 0 and decoded as component 1, a sample keeps its place within its component."""
    prior = mixture(PROCESSES["vp"])
    x = torch.tensor([[1.5, 0.0], [1.9, -0.3]], dtype=torch.float64)
    latent = INV.encode(prior, x, method, 200, condition=0)
    torch.testing.assert_close(INV.decode(prior, latent, method, condition=0), x, atol=1e-7, rtol=0)
    moved = torch.tensor([[-1.5, 1.0], [-1.1, 0.7]], dtype=torch.float64)
    torch.testing.assert_close(INV.decode(prior, latent, method, condition=1), moved, atol=0.1, rtol=0)
    guided = INV.encode(prior, x, method, 20, condition=0, guidance=gk.guidance.CFG(2.0))
    back = INV.decode(prior, guided, method, condition=0, guidance=gk.guidance.CFG(2.0))
    torch.testing.assert_close(back, x, atol=1e-7, rtol=0)


# DDIM inversion ----------------------------------------------------------------------------------------------------


def by_class(process, mean=1.0, variance=0.25):
    null = gk.priors.Gaussian(torch.zeros(1, dtype=torch.float64), 1.0, process)
    return gk.priors.ClassConditional(
        null, [gk.priors.Gaussian(torch.full((1,), mean, dtype=torch.float64), variance, process)]
    )


def round_trip(prior, x, guidance, steps, condition=0):
    """Root mean square error of clean states that were encoded and decoded by DDIM under a guidance."""
    method = INV.DDIMInversion()
    latent = INV.encode(prior, x, method, steps, condition, guidance)
    return float((INV.decode(prior, latent, method, condition, guidance) - x).square().mean().sqrt())


@pytest.mark.parametrize("process", [P.VP("cosine"), P.EDM()])
def test_inverted_ddim_is_of_first_order(process):
    """The latent approaches that of the flow of N(m, C), x_1 = a m + (x_0 - m) sqrt((a^2 C + s^2) / C)."""
    prior = gk.priors.Gaussian(torch.tensor([0.5], dtype=torch.float64), 0.49, process)
    x = torch.linspace(-1, 2, 30, dtype=torch.float64)[:, None]
    errors, trips = [], []
    for steps in (100, 200, 400):
        latent = INV.encode(prior, x, INV.DDIMInversion(), steps)
        a, s = process.coefficients(latent.times[0])
        expected = 0.5 * a + (x - 0.5) * ((0.49 * a * a + s * s) / 0.49) ** 0.5
        errors.append(float((latent.state - expected).abs().max()) / s)
        trips.append(round_trip(prior, x, None, steps, None))
    for found in (errors, trips):
        assert math.log2(found[0] / found[2]) / 2 == pytest.approx(1, abs=0.2)
    assert errors[2] < 0.02 and trips[2] < 0.02


@pytest.mark.parametrize("process", [P.VP("cosine"), P.EDM(), P.Flow()])
def test_an_inverted_step_puts_back_the_guided_noise(process):
    """x_t = (a / b) (x_u - r e) + s e_w, with e the noise that a step puts in: for CFG++ the unconditional one."""
    prior, x, c, t, u, w = mixture(process), torch.randn(6, 2).double(), torch.zeros(6).long(), 0.6, 0.5, 0.7
    (a, s), (b, r) = process.coefficients(t), process.coefficients(u)
    y = x * math.sqrt((a * a + s * s) / (b * b + r * r))
    base, positive = prior.predict(y, t), prior.predict(y, t, c)
    guided = base.noise + w * (positive.noise - base.noise)
    for plug, e in ((gk.guidance.CFG(w), guided), (gk.guidance.CFGPlusPlus(w), base.noise)):
        setup = prepare(prior, plug, sampler=S.DDIM(times=[t, u, 0.0]), groups=(0, 6), condition=c)
        first = setup.steps[0]
        step = lambda z, s=setup, at=first: s.propose(populate(s, z, at.start, 1), at).kernel.mean  # noqa: E731
        found = inverted_step(step, x, (a, s), (b, r))
        torch.testing.assert_close(found, a / b * (x - r * e) + s * guided, rtol=1e-9, atol=1e-9)


def test_guidance_costs_accuracy_and_little_of_cfg_plus_plus_costs_less():
    prior = by_class(P.EDM())
    x = torch.linspace(-0.5, 2.5, 31, dtype=torch.float64)[:, None]
    plain, cfg = round_trip(prior, x, None, 50), round_trip(prior, x, gk.guidance.CFG(4.0), 50)
    low, high = (round_trip(prior, x, gk.guidance.CFGPlusPlus(v), 50) for v in (0.05, 0.4))
    assert low < 0.5 * plain < plain < cfg and low < high < 0.6 * cfg
    halves = [round_trip(prior, x, gk.guidance.CFG(2.0), steps) for steps in (100, 200, 400)]
    assert math.log2(halves[0] / halves[2]) / 2 == pytest.approx(1, abs=0.25)
    zero = gk.guidance.CFGPlusPlus(0.0)
    latent = INV.encode(prior, x, INV.DDIMInversion(), 20, 0, zero)
    assert torch.equal(latent.state, INV.encode(prior, x, INV.DDIMInversion(), 20).state)


def test_decoding_by_ddim_is_sampling():
    prior, options = mixture(P.VP()), dict(num_samples=8, steps=20, condition=0)
    start = begin(prior)
    for plug in (gk.guidance.CFG(2.0), gk.guidance.CFGPlusPlus(0.5), gk.guidance.APG(3.0), gk.guidance.ICG(2.0)):
        grid = tuple(S.DDIM().grid(prior, 20))
        found = INV.decode(prior, INV.Latent(start, None, grid), INV.DDIMInversion(times=grid), 0, plug)
        assert torch.equal(found, gk.sample(prior, plug, sampler=S.DDIM(), **options).samples)


@dataclasses.dataclass(frozen=True, eq=False)
class Noisy(gk.Guidance):
    """Makes every step random."""

    def propose(self, inner, population, step):
        return inner(population, step).changed(lambda kernel: dataclasses.replace(kernel, std=0.1))


def test_refusals():
    prior, tokens = mixture(P.VP()), gk.priors.CategoricalChain(torch.ones(2, 2))
    for make, words in [
        (lambda: INV.encode(prior, torch.zeros(3, 2), INV.DDIMInversion(), guidance=Noisy()), "draws noise"),
        (lambda: S.EDICT(0.0), "mixing=0.0"),
        (lambda: S.BDIA(1.5), "gamma=1.5"),
        (lambda: INV.encode(prior, torch.zeros(3, 5)), "expected (B, *(2,))"),
        (lambda: INV.encode(prior, torch.zeros(3, 2), steps=0), "steps=0"),
        (lambda: INV.encode(tokens, torch.zeros(1, 2).long()), "EDICT needs a Gaussian process"),
        (lambda: INV.decode(prior, INV.Latent(torch.zeros(1, 2), None, (0.9, 0.0))), "has one state"),
    ]:
        with pytest.raises(ValueError) as refusal:
            make()
        assert words in str(refusal.value), refusal.value
