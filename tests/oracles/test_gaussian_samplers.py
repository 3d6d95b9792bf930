"""Samplers, processes and time grids of real-valued states: orders of convergence, moments, refusals."""

import dataclasses
import itertools
import json
import math

import pytest
import torch

import guidekit as gk
from guidekit import registry
from guidekit.core.loop import populate, prepare
from guidekit.core.random import Draw, KeyedRandom
from guidekit.core.requirements import Fact, Layer
from guidekit.core.state import leaves
from guidekit.core.step import Moment, Step
from guidekit.processes.grids import GRIDS, check_times
from guidekit.samplers.adams import adams_weights
from guidekit.samplers.unipc import exponential_weights, moment
from guidekit.testing import check_guidance

S, P = gk.samplers, gk.processes
PROCESSES = {
    "vp": P.VP(),
    "cosine": P.VP("cosine"),
    "rate": P.VP(lambda t: 0.1 + 12 * t**2),
    "table of rates": P.VP([0.1, 4.0, 20.0]),
    "sub-vp": P.SubVP(),
    "discrete": P.DiscreteVP(),
    "zero snr": P.DiscreteVP("squaredcos_cap_v2", zero_terminal_snr=True),
    "ve": P.VE(0.01, 30.0),
    "edm": P.EDM(0.005, 40.0),
    "flow": P.Flow(),
}
N = 4000


def mixture(process, **options):
    means = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    return gk.priors.GaussianMixture(means, 0.7, torch.tensor([0.6, 0.4]), process=process, **options)


class Given(gk.Guidance):
    """A given start, scaled to the noise of its first time."""

    layer = Layer.START

    def start(self, population):
        x = torch.linspace(-1.5, 1.5, len(population), dtype=torch.float64)[:, None]
        return population.at(x * population.process.coefficients(population.moment.t)[1])


def end(prior, sampler, steps):
    """Where a sampler leads from the given start."""
    return gk.sample(prior, Given(), num_samples=16, steps=steps, sampler=sampler).samples


# Orders of convergence ---------------------------------------------------------------------------------------------

AB = S.AdamsBashforth
ORDERS = [
    ("edm", S.DPMSolver(), 2),
    ("cosine", S.DPMSolver(times="log_snr"), 2),
    ("edm", S.DPMSolverSingle(), 2),
    ("cosine", S.DPMSolverSingle(times="log_snr"), 2),
    ("edm", S.UniPC(2, corrector=False), 2),
    ("edm", S.UniPC(1), 2),
    ("cosine", S.UniPC(2, times="log_snr"), 3),
    ("cosine", S.UniPC(3, corrector=False, times="log_snr"), 3),
    ("cosine", S.UniPC(3, times="log_snr"), 4),
    ("cosine", AB(1), 1),
    ("cosine", AB(2), 2),
    ("edm", AB(2), 2),
    ("edm", AB(3), 3),
    ("cosine", AB(3, runge_kutta_start=True), 3),
    ("cosine", AB(4, runge_kutta_start=True), 4),
    ("cosine", AB(4, runge_kutta_start=True, times="log_snr"), 4),
    ("cosine", AB(3), 2),  # started by Euler's step
    ("sub-vp", S.Heun(times="log_snr"), 2),
    ("rate", S.Heun(times="karras"), 2),
    ("edm", S.BDIA(1.0), 2),
    ("cosine", S.BDIA(0.5), 1),
]


@pytest.mark.parametrize(("process", "sampler", "order"), ORDERS)
def test_order_of_convergence(process, sampler, order):
    prior = mixture(PROCESSES[process])
    finest = end(prior, sampler, 1024)
    errors = [float((end(prior, sampler, steps) - finest).abs().max()) for steps in (32, 64, 128)]
    measured = math.log2(errors[0] / errors[2]) / 2
    print("order", measured)
    assert measured == pytest.approx(order, abs=0.4)


def test_all_deterministic_samplers_reach_the_same_end():
    prior = mixture(PROCESSES["cosine"])
    best = end(prior, AB(4, runge_kutta_start=True, times="log_snr"), 400)
    for sampler in (S.Euler(), S.DDIM(), S.Heun(), S.DPMSolver(), S.DPMSolverSingle(), S.UniPC(3), S.EDICT(), S.BDIA()):
        # Starts at t = 1 and at the last level differ by what the noise hides.
        assert float((end(prior, sampler, 400) - best).abs().max()) < 0.06, sampler


@pytest.mark.parametrize("process", ["sub-vp", "cosine", "edm"])
@pytest.mark.parametrize("sampler", [S.Heun(times="log_snr"), S.Heun(times="karras")])
def test_the_last_step_does_not_stop_convergence(process, sampler):
    """A straight line in tau from the last level to a clean state would leave its noise behind (sub-VP: 1.8e-3)."""
    prior = mixture(PROCESSES[process])
    best = end(prior, S.UniPC(3, times=sampler.times), 512)
    errors = [float((end(prior, sampler, steps) - best).abs().max()) for steps in (64, 256)]
    print("errors", errors)
    assert errors[1] < 3e-4 and math.log2(errors[0] / errors[1]) / 2 == pytest.approx(2, abs=0.4)


def test_euler_maruyama_is_of_first_weak_order():
    """Variance of a Gaussian: its recursion is linear, so the law after every step is known without sampling."""
    prior = gk.priors.Gaussian(torch.zeros(1, dtype=torch.float64), 0.25, P.EDM(0.01, 10.0))

    def variance(steps, noise):
        setup = prepare(prior, sampler=S.EulerMaruyama(noise), steps=steps, groups=(0, 2))
        total = prior.process.coefficients(1.0)[1] ** 2
        for step in setup.steps:
            x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
            kernel = setup.propose(populate(setup, x, step.start, 1), step).kernel
            total = float((kernel.mean[1] - kernel.mean[0]) ** 2) * total + float(kernel.std) ** 2
        return total

    for noise in (0.5, 1.0):
        finest = variance(4096, noise)
        errors = [abs(variance(steps, noise) - finest) for steps in (64, 128, 256)]
        assert math.log2(errors[0] / errors[2]) / 2 == pytest.approx(1, abs=0.3)
        assert finest == pytest.approx(0.25, rel=0.01)


def test_weights_integrate_polynomials_exactly():
    for h in (1e-3, 0.3, 0.99, 1.01, 4.0):
        for k in range(4):
            v = torch.linspace(0, 1, 20001, dtype=torch.float64)
            exact = torch.trapezoid((-h * (1 - v)).exp() * v**k, v)
            assert moment(k, h) == pytest.approx(float(exact), rel=1e-6)
        weights = exponential_weights([0.0, -0.7 * h, -2.0 * h], h)
        assert sum(weights) == pytest.approx(-math.expm1(-h), rel=1e-9)
        slope = sum(w * node for w, node in zip(weights, (0.0, -0.7 * h, -2.0 * h), strict=True))
        assert slope == pytest.approx(h * h * moment(1, h), rel=1e-6)
    assert exponential_weights([0.0, -math.inf], 0.5) == pytest.approx([-math.expm1(-0.5), 0.0])
    assert adams_weights([0.0, -1.0], 1.0) == pytest.approx([1.5, -0.5])
    assert adams_weights([0.0, -1.0, -2.0, -3.0], 1.0) == pytest.approx([55 / 24, -59 / 24, 37 / 24, -9 / 24])
    assert adams_weights([0.0, 0.5], -1.0) == pytest.approx([-2.0, 1.0])  # steps of different length, backwards


# Laws --------------------------------------------------------------------------------------------------------------

SAMPLERS = {
    "euler_maruyama": S.EulerMaruyama(),
    "half the noise": S.EulerMaruyama(0.5),
    "stochastic_heun": S.StochasticHeun(churn=20.0, low=0.05, high=20.0, noise=1.0),
    "langevin": S.Langevin(corrections=1, snr=0.1),
    "dpm_solver": S.DPMSolver(),
    "sde dpm_solver": S.DPMSolver(1.0),
    "dpm_solver_single": S.DPMSolverSingle(),
    "unipc": S.UniPC(3),
    "adams_bashforth": AB(3),
    "edict": S.EDICT(),
    "bdia": S.BDIA(),
}


@pytest.mark.parametrize("process", ["vp", "sub-vp", "discrete", "edm", "flow"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_reach_the_mixture(name, process):
    prior, steps = mixture(PROCESSES[process]), 100
    result = gk.sample(prior, num_samples=N, steps=steps, sampler=SAMPLERS[name])
    x, std = result.samples, float(prior.covariance().sqrt())
    assert float(x.mean()) == pytest.approx(float(prior.mean()), abs=4 * std / math.sqrt(N) + 0.03)
    assert float(x.std()) == pytest.approx(std, abs=4 * std / math.sqrt(2 * N) + 0.04)
    assert float((x > 0).double().mean()) == pytest.approx(0.5795, abs=4 * math.sqrt(0.24 / N) + 0.01)


@pytest.mark.parametrize("process", PROCESSES)
def test_processes_are_sampled(process):
    prior = mixture(PROCESSES[process])
    for sampler in (S.Ancestral(), S.DPMSolver(1.0)):
        x = gk.sample(prior, num_samples=N, steps=100, sampler=sampler).samples
        std = float(prior.covariance().sqrt())
        assert float(x.mean()) == pytest.approx(float(prior.mean()), abs=4 * std / math.sqrt(N) + 0.03)
        assert float(x.std()) == pytest.approx(std, abs=4 * std / math.sqrt(2 * N) + 0.05)


@pytest.mark.parametrize("process", PROCESSES)
def test_flow_derivatives_and_inverses(process):
    """a' and s' in tau against differences, and times from levels and from tau."""
    process = PROCESSES[process]
    for t in (0.2, 0.5, 0.8):
        step = 1 / 1000 if process.schedule.steps else 1e-5
        (a, s), (b, r), (c, q) = (process.coefficients(v) for v in (t, t - step, t + step))
        _, da, ds = process.schedule.flow(a, s)
        span = process.tau(t + step) - process.tau(t - step)
        assert (c - b) / span == pytest.approx(da, abs=1e-4)
        assert (q - r) / span == pytest.approx(ds, rel=1e-3, abs=1e-4)
        assert process.at_level(process.level(t)) == pytest.approx(t, abs=1e-9)
        assert process.at_tau(process.tau(t)) == pytest.approx(t, abs=1e-9)
        rows = process.coefficients(torch.tensor([t, t / 2], dtype=torch.float64))
        assert float(rows[0][0]) == pytest.approx(a, abs=1e-9) and float(rows[1][0]) == pytest.approx(s, abs=1e-9)


@pytest.mark.parametrize("process", PROCESSES)
def test_processes_travel_in_checkpoints(process):
    from guidekit.priors.descriptions import describe_gaussian, gaussian_process_from

    if process == "rate":  # a function
        with pytest.raises(ValueError, match="RateVP schedule has no name"):
            describe_gaussian(PROCESSES[process])
        return
    described = json.loads(json.dumps(describe_gaussian(PROCESSES[process])))
    assert gaussian_process_from({"process": described}) == PROCESSES[process]


def test_rates_reproduce_the_closed_form():
    """The linear schedule as a function and as a table of its rate; sub-VP has the signal of VP and s = 1 - a^2."""
    linear = P.VP()
    for other in (P.VP(lambda t: 0.1 + 19.9 * t), P.VP([0.1, 20.0])):
        for t in (0.0, 1e-4, 0.3, 0.77, 1.0):
            assert other.coefficients(t) == pytest.approx(linear.coefficients(t), rel=1e-9, abs=1e-12)
    a, s = P.SubVP().coefficients(0.4)
    assert (a, s) == pytest.approx((linear.coefficients(0.4)[0], 1 - linear.coefficients(0.4)[0] ** 2))


def test_langevin_repairs_a_wrong_law():
    """Started from a law that is too wide, corrections alone bring the marginal of a Gaussian back."""
    prior = gk.priors.Gaussian(torch.zeros(2, dtype=torch.float64), 1.0, P.EDM(0.01, 1.0))
    setup = prepare(prior, sampler=S.Langevin(corrections=1, snr=0.2), steps=2, groups=(0, N))
    x = 3.0 * torch.randn(N, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    population = populate(setup, x, Moment(1.0, 0), 1)
    for visit in range(100):
        population = setup.move(population, Step(population.moment, Moment(1.0, 0), (visit,)))
    assert float(population.state.var()) == pytest.approx(2.0, rel=4 * math.sqrt(1 / N) + 0.02)  # e / 2 is 2 %


def test_a_langevin_correction_is_its_formula():
    """x + e score + sqrt(2 e) z with e = 2 (a snr s)^2."""
    prior, t = mixture(PROCESSES["vp"]), 0.3
    setup = prepare(prior, sampler=S.Langevin(snr=0.3), groups=(0, 5))
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    step = Step(Moment(t, 1), Moment(t, 2), (1,))
    kernel = setup.propose(populate(setup, x, step.start, 1), step).kernel
    a, s = prior.process.coefficients(t)
    length = 2 * (a * 0.3 * s) ** 2
    torch.testing.assert_close(kernel.mean, x + length * prior.predict(x, t).score)
    assert float(kernel.std) ** 2 == pytest.approx(2 * length)


@pytest.mark.parametrize("process", ["cosine", "flow", "zero snr", "edm"])
def test_without_noise_euler_maruyama_is_euler(process):
    """Also where no signal is left: the rates of the reverse SDE are infinite there, those of the flow are not."""
    prior, options = mixture(PROCESSES[process]), dict(num_samples=8, steps=5)
    plain = gk.sample(prior, sampler=S.Euler(), **options).samples
    assert torch.equal(gk.sample(prior, sampler=S.EulerMaruyama(0.0), **options).samples, plain)


QUIET = [S.DDIM(0.0), S.DPMSolver(0.0), S.EulerMaruyama(0.0), S.StochasticHeun(churn=0.0), S.StochasticHeun(noise=0.0)]
QUIET += [S.Euler(), S.Heun(), S.DPMSolverSingle(), S.UniPC(), AB(), S.EDICT(), S.BDIA()]
NOISY = (S.DDIM(0.5), S.Ancestral(), S.DPMSolver(1.0), S.EulerMaruyama(), S.StochasticHeun(), S.Langevin())


@pytest.mark.parametrize("sampler", [*QUIET, *NOISY], ids=repr)
def test_samplers_say_whether_they_draw_noise(sampler):
    """What is declared is what happens: two visits of a step differ, or a particle filter is refused."""
    prior = mixture(PROCESSES["edm"])
    setup = prepare(prior, sampler=sampler, steps=4, groups=(0, 8))
    population, step = setup.begin(), setup.steps[0]
    first, again = (setup.move(population, each).state for each in (step, step.again(1)))
    assert torch.equal(first, again) == (sampler in QUIET) == (Fact.NOISE not in sampler.provides)
    filtered = gk.guidance.FKSteering(gk.objectives.QuadraticReward(torch.ones(1)), particles=2)
    if sampler in QUIET:
        with pytest.raises(gk.GuidanceError, match="needs a sampler that draws noise"):
            gk.sample(prior, filtered, sampler=sampler)
    else:
        gk.sample(prior, filtered, steps=4, sampler=sampler)


@pytest.mark.parametrize("sampler", [*QUIET, *NOISY], ids=repr)
def test_single_and_double_precision_follow_one_path(sampler):
    """Draws and starts are the same numbers, whatever the run computes in; a float64 run is one from its start."""
    prior, starts = mixture(PROCESSES["edm"]), []

    class Look(gk.Guidance):
        def start(self, population):
            starts.append(population.state)
            return population

    options = dict(num_samples=8, steps=6, sampler=sampler)
    types = (torch.float64, torch.float32)
    double, single = (gk.sample(prior, Look(), dtype=each, **options).samples for each in types)
    assert double.dtype is torch.float64 and starts[0].dtype is torch.float64
    torch.testing.assert_close(single.double(), double, atol=2e-4, rtol=1e-4)
    noise = Draw(KeyedRandom(0, 0, 8), (-1,), "start").normal(torch.empty(8, 1, dtype=torch.float64))
    assert torch.equal(starts[0], noise * prior.process.coefficients(1.0)[1])


def test_churn_zero_is_heun_and_lifted_times_stay_on_the_process():
    prior = mixture(PROCESSES["edm"])
    options = dict(num_samples=8, steps=20)
    plain = gk.sample(prior, sampler=S.Heun(), **options).samples
    assert torch.equal(gk.sample(prior, sampler=S.StochasticHeun(churn=0.0), **options).samples, plain)
    grid = S.StochasticHeun(churn=1e9, low=0.0, high=1e9).grid(prior, 10)
    assert grid[0] == 1.0 and prior.process.level(grid[5]) == pytest.approx(
        math.sqrt(2) * prior.process.level(prior.process.grid(10)[5])
    )


# The loop ----------------------------------------------------------------------------------------------------------

CALLS = {  # in 10 steps
    S.DPMSolver(): 10,
    S.DPMSolver(1.0): 10,
    S.DPMSolverSingle(): 19,
    S.UniPC(3): 10,
    AB(4): 10,
    AB(4, runge_kutta_start=True): 19,
    S.EulerMaruyama(): 10,
    S.StochasticHeun(): 19,
    S.Langevin(): 19,
    S.EDICT(): 20,
    S.BDIA(): 10,
}


@pytest.mark.parametrize("sampler", CALLS, ids=lambda sampler: type(sampler).__name__)
def test_network_calls_and_the_contract(sampler):
    """One answer is never asked for twice; results depend neither on the batch nor on who is sampled beside."""
    prior = gk.priors.GaussianMixture(torch.tensor([[2.0, 0.0], [-2.0, 1.0]]), 0.5, process=PROCESSES["edm"])
    result = gk.sample(prior, num_samples=3, steps=10, sampler=sampler)
    assert result.ledger.network_calls == CALLS[sampler]
    reward = gk.objectives.QuadraticReward(torch.tensor([1.0, 1.0]))
    search = gk.chain(gk.guidance.SVDD(reward, 2), gk.guidance.FKSteering(reward, particles=4))
    noisy = Fact.NOISE in sampler.provides
    for guidance in (None, search if noisy else gk.guidance.BestOfN(reward, 3)):
        check_guidance(prior, guidance, steps=6, sampler=sampler)


@pytest.mark.parametrize("sampler", [S.DPMSolver(), S.UniPC(3), AB(3), S.EDICT(), S.BDIA()])
def test_the_past_moves_with_its_particle(sampler):
    """Particles that change places half-way end where they would have ended."""
    prior = mixture(PROCESSES["vp"])
    ancestors = torch.tensor([[2, 0, 1, 1]])

    class Shuffle(gk.Guidance):
        def move(self, inner, population, step):
            population = inner(population, step)
            return population.select(ancestors) if step.start.index == 4 else population

    plain = gk.sample(prior, None, 1, 12, sampler=sampler, particles=4).samples
    moved = gk.sample(prior, Shuffle(), 1, 12, sampler=sampler, particles=4).samples
    torch.testing.assert_close(moved, plain[ancestors[0]], atol=1e-12, rtol=0)


@pytest.mark.parametrize("sampler", [S.DPMSolver(), S.UniPC(3, corrector=False), AB(3), S.EDICT(), S.BDIA()])
def test_going_back_in_time_drops_answers_that_have_not_come_yet(sampler):
    """A step that is repeated from the same state gives what it gave, or what it gives without a past."""
    prior = mixture(PROCESSES["vp"])
    setup = prepare(prior, sampler=sampler, steps=6, groups=(0, 4))
    population = setup.begin()
    pair = isinstance(sampler, S.EDICT | S.BDIA)
    for step, following in itertools.pairwise(setup.steps[:-1]):
        first = setup.move(population, step)
        for later in (first, setup.move(first, following)) if pair else (first,):
            back = later.at(population.state, population.moment, population.key)  # the memory is that of a later time
            known = dataclasses.replace(back, slots={}) if pair else population
            again, expected = setup.move(back, step).state, setup.move(known, step).state
            torch.testing.assert_close(again, expected, atol=1e-12, rtol=0)
        population = first


@pytest.mark.parametrize("sampler", [S.DPMSolver(), S.UniPC(3), AB(3), S.EDICT(), S.BDIA()])
def test_noising_forgets_the_past(sampler):
    """Where a guidance noises the state again, what was known about the old one is no answer about the new one."""
    setup = prepare(mixture(PROCESSES["vp"]), sampler=sampler, steps=6, groups=(0, 4))
    population = setup.begin()
    for step in setup.steps[:4]:
        population = setup.move(population, step)
    back = population.noised(Step(population.moment, setup.steps[2].start, (9,)))
    assert not any(leaf.numel() for leaf in leaves(back.slots))


def test_time_dependent_weights_stay_those_of_the_step():
    seen = []

    class Spy(gk.Guidance):
        def denoise(self, inner, question):
            seen.append((question.t, question.time))
            return inner(question)

    gk.sample(mixture(PROCESSES["edm"]), Spy(), 2, 4, sampler=S.Heun())
    grid = PROCESSES["edm"].grid(4)
    assert seen[:4] == [(grid[0], grid[0]), (grid[1], grid[0]), (grid[1], grid[1]), (grid[2], grid[1])]


def test_what_a_guidance_adds_survives_the_corrector():
    """A constant shift of every step moves the end by what it moves it without corrector, to first order."""
    prior = gk.priors.Gaussian(torch.zeros(1, dtype=torch.float64), 1.0, P.EDM(0.01, 10.0))

    class Shift(gk.Guidance):
        def propose(self, inner, population, step):
            return inner(population, step).shift(torch.full_like(population.state, 0.01))

    ends = [
        float(
            (
                gk.sample(prior, Shift(), 4, 40, sampler=s).samples - gk.sample(prior, None, 4, 40, sampler=s).samples
            ).mean()
        )
        for s in (S.UniPC(2), S.UniPC(2, corrector=False))
    ]
    assert ends[0] == pytest.approx(ends[1], rel=0.1) and ends[0] > 0.05


# Grids -------------------------------------------------------------------------------------------------------------


def test_levels_of_grids():
    process = P.EDM()
    assert P.Karras()(process, 20) == pytest.approx(process.grid(20), abs=1e-7)
    levels = [process.level(t) for t in P.LogSNR()(process, 5)[:-1]]
    assert [b / a for a, b in zip(levels, levels[1:], strict=False)] == pytest.approx([(0.002 / 80) ** 0.25] * 4)
    karras = [P.Flow().level(t) for t in P.Karras(0.01, 10.0, rho=3.0)(P.Flow(), 4)[:-1]]
    roots = [level ** (1 / 3) for level in karras]
    assert [a - b for a, b in zip(roots, roots[1:], strict=False)] == pytest.approx([(roots[0] - roots[-1]) / 3] * 3)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("name", ["uniform", "karras", "log_snr"])
def test_every_grid_on_every_process(process, name):
    prior = mixture(PROCESSES[process])
    for steps in (1, 2, 7):
        times = S.DDIM(times=name).grid(prior, steps)
        assert len(times) == steps + 1 and check_times(times) == times
    assert gk.sample(prior, num_samples=2, steps=7, sampler=S.DPMSolver(times=name)).samples.isfinite().all()


def test_a_grid_that_starts_late_starts_at_its_noise():
    prior = gk.priors.Gaussian(torch.zeros(1, dtype=torch.float64), 1.0, P.EDM(0.01, 50.0))
    times = [prior.process.at_level(v) for v in [5.0 * 0.8**i for i in range(25)]] + [0.0]
    x = gk.sample(prior, num_samples=N, sampler=S.Heun(times=times)).samples
    full = math.sqrt(25 / 26)  # N(0, 25) instead of N(0, 26) at the start
    assert float(x.std()) == pytest.approx(full, rel=4 / math.sqrt(2 * N) + 0.02)
    assert gk.sample(prior, num_samples=2, steps=3, sampler=S.Heun(times=times)).ledger.network_calls == 49


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: S.DDIM(times=[1.0, 0.5, 0.5, 0.0]), "0.5, 0.5 do not fall"),
        (lambda: S.DDIM(times=[1.0, 0.2, 0.6, 0.0]), "0.2, 0.6 do not fall"),
        (lambda: S.DDIM(times=[1.2, 0.5, 0.0]), "starts at 1 or below"),
        (lambda: S.DDIM(times=[1.0, 0.5]), "ends at 0"),
        (lambda: S.DDIM(times=[float("nan"), 0.0]), "starts at 1 or below"),
        (lambda: S.DDIM(times=[1.0, float("nan"), 0.0]), "do not fall"),
        (lambda: S.DDIM(times=[]), "(none)"),
        (lambda: S.DDIM(times="karas"), "did you mean 'karras'"),
        (lambda: S.DDIM(times={"name": "karras", "roh": 3}), "time grid karras"),
        (lambda: S.DDIM(times={"name": "karras", "rho": 0}), "rho=0"),
        (lambda: S.DDIM(times={"name": "log_snr", "low": 3, "high": 1}), "0 < low < high"),
        (lambda: S.DDIM(times="leading").grid(mixture(P.VP()), 5), "use DiscreteVP"),
        (lambda: S.DDIM(times="trailing").grid(mixture(P.DiscreteVP()), 2000), "has 1000 indices"),
        (lambda: S.DDIM(times={"name": "leading", "offset": 200}).grid(mixture(P.DiscreteVP()), 10), "last one is 999"),
        (lambda: S.DDIM(times=P.Karras(high=500.0)).grid(mixture(P.EDM()), 5), "levels from 0.002 to 80"),
        (lambda: S.DDIM(times=P.Karras(low=0.001)).grid(mixture(P.EDM()), 5), "levels from 0.002 to 80"),
        (lambda: S.Ancestral(times="karras").grid(gk.priors.CategoricalChain(torch.ones(2, 2)), 5), "times=uniform"),
        (lambda: P.VP("squared"), "linear, cosine"),
        (lambda: P.VP(lambda t: -t), "at least 0"),
        (lambda: P.VP([0.1]), "two or more"),
        (lambda: P.DiscreteVP("lin"), "scaled_linear"),
        (lambda: P.DiscreteVP([0.1, 1.5, 0.2]), "1.5"),
        (lambda: S.UniPC(5), "order=5"),
        (lambda: S.UniPC(variant="bh3"), "bh1 or bh2"),
        (lambda: AB(0), "1, 2, 3 or 4"),
        (lambda: S.DPMSolver(-1.0), "eta must be a number of at least 0, got -1.0"),
        (lambda: S.EulerMaruyama(-1.0), "noise must be a number of at least 0, got -1.0"),
        (lambda: S.EulerMaruyama(math.inf), "got inf"),
        (lambda: S.StochasticHeun(low=2.0, high=1.0), "low must be at most high"),
        (lambda: S.StochasticHeun(churn=math.nan), "got nan"),
        (lambda: S.Langevin(snr=0.0), "above 0"),
        (lambda: S.Langevin(corrections=1.5), "a whole number"),
        (lambda: S.DDIM(-1.0), "eta must be a number of at least 0, got -1.0"),
        (lambda: S.DDIM(math.nan), "got nan"),
        (lambda: S.DPMSolver(math.nan), "got nan"),
        (lambda: P.VE(2, 1), "0 < low < high"),
        (lambda: P.VE(-1, 1), "0 < low < high"),
        (lambda: P.VE(0.1, math.inf), "both finite"),
        (lambda: P.VE(math.nan, 1), "0 < low < high"),
        (lambda: P.EDM(low=0), "0 < low < high"),
        (lambda: P.EDM(rho=-1), "rho must be above 0"),
        (lambda: P.EDM(rho=math.nan), "rho must be above 0"),
        (lambda: P.VP(beta_min=-5), "noise rates are at least 0"),
        (lambda: P.VP(beta_max=math.inf), "noise rates are at least 0"),
        (lambda: P.VP(beta_min=0, beta_max=0), "one is above 0"),
        (lambda: P.SubVP(beta_min=-5), "noise rates are at least 0"),
        (lambda: P.Karras(rho=math.inf), "finite"),
        (lambda: mixture(P.VP()).predict(torch.zeros(2, 1), 80.0), "t=80; times run from 0 (clean) to 1 (noise)"),
        (lambda: mixture(P.VP()).predict(torch.zeros(2, 1), math.nan), "t=nan"),
        (lambda: mixture(P.EDM()).predict(torch.zeros(2, 1), torch.tensor([0.5, 80.0])), "times from 0.5 to 80"),
        (lambda: mixture(P.EDM()).predict(torch.zeros(2, 1), torch.tensor([0.5, math.nan])), "from nan"),
        (lambda: mixture(P.Flow()).predict(torch.zeros(2, 1), -0.1), "t=-0.1"),
        (lambda: gk.priors.BoxHistogram(torch.ones(1, 3)).predict(torch.rand(2, 1), 1.5), "t=1.5"),
    ],
)
def test_refusals_are_one_clear_line(make, words):
    with pytest.raises(ValueError) as refusal:
        make()
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "thing",
    [
        P.DiscreteVP(),
        P.VP([0.1 + i / 100 for i in range(1000)]),
        P.SubVP([0.1 + i / 100 for i in range(1000)]),
        S.DDIM(times=[1 - i / 1000 for i in range(1001)]),
    ],
    ids=["discrete", "rates", "sub-vp", "times"],
)
def test_tables_are_told_in_a_few_words(thing):
    assert len(repr(thing)) < 200 and ("1000" in repr(thing) or "1001" in repr(thing))


def test_grids_reach_tokens_and_names():
    chain = gk.priors.CategoricalChain(torch.tensor([[0.4, 0.1], [0.2, 0.3]]), P.Uniform())
    assert gk.sample(chain, num_samples=3, sampler=S.Ancestral(times=[1.0, 0.3, 0.0])).ledger.network_calls == 2
    for name in ("ddim", "unipc", "ancestral", "edict"):
        make = registry.get("sampler", name)
        assert make(times="karras").times == P.Karras()
        assert make(times={"name": "karras", "rho": 5}).times == P.Karras(rho=5)
        assert make(times=[1, 0.5, 0]).times == (1.0, 0.5, 0.0)
    assert set(GRIDS) == {"uniform", "karras", "log_snr", "leading", "trailing", "linspace"}


def test_every_sampler_has_a_name_and_works_with_its_defaults():
    prior, found = mixture(P.VP()), []
    for name, entry in registry.entries("sampler").items():
        sampler = entry.load()()
        assert getattr(S, entry.attribute) is entry.load() and entry.summary
        if sampler.requires <= prior.provides:
            found.append(name)
            assert gk.sample(prior, num_samples=2, steps=3, sampler=name).samples.isfinite().all()
    assert len(found) == 13, found
