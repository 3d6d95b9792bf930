"""Values by where a few steps lead: the flow of a Gaussian in closed form, tokens by enumeration, calls."""

import itertools
import math

import pytest
import torch

import guidekit as gk
from guidekit.core.loop import populate, prepare
from guidekit.core.step import Moment
from guidekit.guidance.values import Lookahead, MonteCarlo, PosteriorMean
from guidekit.objectives import Reward
from guidekit.running.settings import Context, build

g = gk.guidance
PROCESSES = {"vp": gk.processes.VP("cosine"), "edm": gk.processes.EDM(), "flow": gk.processes.Flow()}
WORTH = Reward(lambda x: x.flatten(1).double().sum(1))


def at(prior, states, t, groups=None, sampler=None):
    """A population of one particle a group at time t."""
    groups = len(states) if groups is None else groups
    setup = prepare(prior, sampler=sampler or gk.samplers.Ancestral(), steps=4, groups=(0, groups))
    return populate(setup, states, Moment(t, 1), 1)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("t", [1.0, 0.6, 0.2])
def test_many_calls_come_to_the_map_of_the_flow(name, t):
    """x_0 = m + c (x - a m) / sqrt(a^2 c^2 + s^2) for N(m, c^2); the error falls with the calls."""
    process, m, c = PROCESSES[name], 1.5, 0.4
    prior = gk.priors.Gaussian(torch.full((3,), m), c * c, process)
    a, s = process.coefficients(t)
    x = a * m + s * torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = m + c * (x - a * m) / math.sqrt(a * a * c * c + s * s)
    population = at(prior, x, t)
    errors = [float((Lookahead(WORTH, calls=n).ahead(population).clean - exact).abs().max()) for n in (2, 4, 32, 128)]
    blurred = float((population.predict().clean - exact).abs().max())
    assert errors[0] < blurred and all(b < a for a, b in itertools.pairwise(errors)), (blurred, errors)
    assert errors[-1] < 2e-3 * c


def test_a_mixture_is_led_to_the_sample_of_its_noise():
    """From the start of a run, the estimate of many calls is where 400 steps of Heun's end; one call sees no mode."""
    prior = gk.priors.GaussianMixture(torch.tensor([[2.0, 0.0], [-2.0, 1.0]]), 0.3, process=PROCESSES["vp"])
    setup = prepare(prior, sampler=gk.samplers.Heun(), steps=400, groups=(0, 200))
    start = setup.begin()
    ends = gk.sample(prior, num_samples=200, steps=400, sampler="heun").samples
    gaps = {n: (Lookahead(WORTH, calls=n).ahead(start).clean - ends).norm(dim=1) for n in (2, 6, 100)}
    assert float(gaps[100].quantile(0.95)) < 0.1  # trajectories beside the border of the modes need finer steps
    means = [float(gap.mean()) for gap in (gaps[100], gaps[6], gaps[2], (start.predict().clean - ends).norm(dim=1))]
    assert all(a < b for a, b in itertools.pairwise(means)), means


def test_one_call_is_the_usual_estimate_bit_for_bit(chain_a):
    law = torch.rand(3, 3, 3, generator=torch.Generator().manual_seed(0))
    parts = gk.priors.PositionsAndTypes(gk.priors.CategoricalChain(law), 0.7)
    seen = Reward(lambda clean: clean.parts["positions"].flatten(1).double().sum(1) + clean.parts["types"].sum(1))
    for prior, reward in (
        (gk.priors.Gaussian(torch.zeros(3), 1.0), WORTH),
        (chain_a.prior, chain_a.reward),
        (parts, seen),
    ):
        plain, once = (
            gk.sample(prior, g.SVDD(reward, 4, 0.5, value=one), 30, 4, sampler="ancestral")
            for one in (PosteriorMean(reward), Lookahead(reward, calls=1))
        )
        same = [
            torch.equal(a, b) for a, b in zip(*(gk.core.state.leaves(r.samples) for r in (plain, once)), strict=True)
        ]
        assert all(same) and plain.ledger.network_rows == once.ledger.network_rows


@pytest.mark.parametrize("calls", [2, 3])
def test_tokens_are_drawn_by_enumeration(chain_a, calls):
    """The mean value of a state over its draws is the sum over all paths of `calls` - 1 ancestral steps."""
    n, t, z = 20_000, 0.75, torch.tensor([3, 3])
    states = torch.tensor(list(itertools.product(range(4), repeat=2)))
    worth = torch.tensor([[0.0, 5.0, 2.0], [3.0, 1.0, 8.0], [7.0, 4.0, 6.0]], dtype=torch.float64)
    law = (states == z).all(1).double()
    times = [t * (1 - i / calls) for i in range(calls)]
    for now, then in itertools.pairwise(times):
        table = chain_a.prior.process.reverse_table(at(chain_a.prior, states, now).predict(), now, then)
        law = law @ (table[:, 0][:, states[:, 0]] * table[:, 1][:, states[:, 1]])
    ends = at(chain_a.prior, states, times[-1]).predict().clean
    exact = float((law * worth[ends[:, 0], ends[:, 1]]).sum())
    lookahead = Lookahead(gk.objectives.TableReward(worth), calls=calls)
    found = lookahead.value(at(chain_a.prior, z.expand(n, 2), t))
    assert float(found.std()) > 0.5
    assert float(found.mean()) == pytest.approx(exact, abs=4 * float(found.std()) / math.sqrt(n))
    assert abs(exact - float(PosteriorMean(lookahead.reward).value(at(chain_a.prior, z[None], t)))) > 0.3


def test_parts_take_steps_of_their_kind():
    """Positions of a state of several parts come to where their flow leads, whatever the types beside them become."""
    law = torch.ones(3, 3, 3)
    prior = gk.priors.PositionsAndTypes(gk.priors.CategoricalChain(law), 0.7)
    setup = prepare(prior, sampler=gk.samplers.Each({"positions": "ddim"}), steps=4, groups=(0, 40))
    start = setup.begin()
    found = Lookahead(WORTH, calls=200).ahead(start).clean.parts["positions"]
    a, s = prior.process.parts["positions"].coefficients(1.0)
    exact = 0.7 * start.state.parts["positions"] / math.sqrt(a * a * 0.49 + s * s)
    assert float((found - exact).abs().max()) < 0.05 * float(exact.abs().max())


@pytest.mark.parametrize("calls", [1, 2, 5])
def test_calls_are_counted(calls):
    prior = gk.priors.Gaussian(torch.zeros(3), 1.0)
    guidance = g.SVDD(WORTH, 5, 1.0, value=Lookahead(WORTH, calls=calls))
    ledger = gk.sample(prior, guidance, 10, steps=8).ledger
    assert ledger.network_rows == 10 * (1 + 7 * 5 * calls)  # of the start, and of 5 candidates but for clean ones
    assert ledger.reward_calls == 10 * 8 * 5


@pytest.mark.parametrize("sampler", ["first_hitting", "ancestral"])
def test_any_chunking_gives_the_same(chain_a, sampler):
    guidance = g.FKSteering(chain_a.reward, 1.0, particles=3, value=Lookahead(chain_a.reward, calls=2))
    whole, parts = (gk.sample(chain_a.prior, guidance, 70, 4, sampler=sampler, batch_size=b) for b in (None, 9))
    assert torch.equal(whole.samples, parts.samples)


def test_more_calls_find_more():
    """What a mean of two modes is worth tells candidates little apart; where they lead does."""
    prior = gk.priors.GaussianMixture(torch.tensor([[3.0], [-3.0]]), 0.3, process=PROCESSES["vp"])
    far = Reward(lambda x: -(x[:, 0] - 3).abs().gt(1.5).double())
    options = dict(num_samples=400, steps=8, sampler="ancestral")
    one, more = (
        float(far(gk.sample(prior, g.SVDD(far, 4, 0.1, value=Lookahead(far, calls=n)), **options).samples).mean())
        for n in (1, 6)
    )
    assert more > one + 0.05, (one, more)


def test_the_temperature_is_that_of_who_asks():
    """Also of other estimates of clean states, unless they have one of their own."""
    for value, kind in (({"name": "lookahead", "calls": 2}, Lookahead), ("monte_carlo", MonteCarlo)):
        for name, setting in (("svdd", "alpha"), ("fk_steering", "temperature")):
            made = build("guidance", {"name": name, setting: 0.25, "value": value}, Context(WORTH))
            estimate = made.judge.estimates[0] if name == "svdd" else made.estimate
            assert isinstance(estimate, kind) and estimate.temperature == 0.25
    own = build(
        "guidance", {"name": "svdd", "alpha": 0.25, "value": {"name": "lookahead", "temperature": 3}}, Context(WORTH)
    )
    assert own.judge.estimates[0].temperature == 3
    for name in ("tree_search", "path_search", "path_integral_guidance", "stochastic_control_guidance", "nested_smc"):
        assert build("guidance", {"name": name, "value": "lookahead"}, Context(WORTH)) is not None
    with pytest.raises(ValueError, match="calls must be a whole number of at least 1, got 0"):
        Lookahead(WORTH, calls=0)
