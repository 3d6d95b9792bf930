"""Products of experts on tokens: exact on one token and on first-hitting paths, first order in the step elsewhere."""

import math

import pytest
import torch

import guidekit as gk
from guidekit import processes, samplers
from guidekit.core.token_kernels import powered
from guidekit.priors.tokens import TokenPrior
from guidekit.testing import exact_law

g = gk.guidance
LAW = torch.tensor([[0.30, 0.05, 0.05], [0.02, 0.20, 0.08], [0.10, 0.05, 0.15]], dtype=torch.float64)
GIVEN = torch.stack([LAW.T, LAW**2 / (LAW**2).sum()])
PROCESSES = {
    "masked": processes.Masked(),
    "uniform": processes.Uniform(),
    "marginal": processes.Marginal(law=[0.5, 0.3, 0.2]),
}
SECOND = torch.tensor([[0.05, 0.10, 0.20], [0.15, 0.05, 0.10], [0.10, 0.20, 0.05]], dtype=torch.float64)


def measures(first, null, second, other):
    """Settings and targets, which are no laws: what they sum to is the normalizer."""
    return {
        "two conditions": ({"also": [1]}, first * second),
        "two priors": ({"other": other[0]}, first * other[1]),
        "powers": ({"power": 2.0, "other": other[0]}, (first * other[1]) ** 2),
        "annealing": ({"power": 1.5}, first**1.5),
        "flattening": ({"power": 0.5}, first**0.5),
        "guided product": ({"weight": 3.0, "also": [1]}, first**3 * null**-2 * second),
    }


CASES = list(measures(LAW, LAW, LAW, (None, LAW)))


def chain(process, law=LAW, given=GIVEN):
    return gk.priors.CategoricalChain(law, process, conditionals=given)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", PROCESSES)
def test_one_token_is_exact_in_any_number_of_steps(name, case):
    """Law and normalizer, the start among them: the product of powers itself, to rounding."""
    null, given = LAW.sum(1), torch.tensor([[0.2, 0.2, 0.6], [0.5, 0.1, 0.4]], dtype=torch.float64)
    other = torch.tensor([0.1, 0.6, 0.3], dtype=torch.float64)
    second = chain(PROCESSES[name], other, torch.stack([other, other]))
    settings, target = measures(given[0], null, given[1], (second, other))[case]
    for sampler in (samplers.Ancestral(), *([samplers.FirstHitting()] if name == "masked" else [])):
        guidance = g.DiscreteFKCProduct(**settings)
        found = exact_law(chain(PROCESSES[name], null, given), sampler, guidance, 3, 0, weighted=True)
        torch.testing.assert_close(found, target, rtol=1e-9, atol=0)


@pytest.mark.parametrize("case", CASES)
def test_paths_that_reveal_one_token_a_time_are_exact(case):
    second = chain(processes.Masked(), SECOND, torch.stack([SECOND, SECOND]))
    settings, target = measures(GIVEN[0], LAW, GIVEN[1], (second, SECOND))[case]
    guidance = g.DiscreteFKCProduct(**settings)
    found = exact_law(chain(processes.Masked()), samplers.FirstHitting(), guidance, 2, 0, weighted=True)
    torch.testing.assert_close(found, target, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", PROCESSES)
def test_steps_come_to_the_product_with_an_error_of_first_order(name):
    """Law and normalizer; without the weights the same kernels stay away from it."""
    second = chain(PROCESSES[name], SECOND, torch.stack([SECOND, SECOND]))
    target = GIVEN[0] * SECOND
    guidance = g.DiscreteFKCProduct(other=second)
    sampler, errors, gaps = samplers.Ancestral(), [], []
    for steps in (32, 128):
        found = exact_law(chain(PROCESSES[name]), sampler, guidance, steps, 0, weighted=True)
        errors.append(float((found / found.sum() - target / target.sum()).abs().sum() / 2))
        gaps.append(abs(float(found.sum() / target.sum()) - 1))
    assert errors[1] < 0.012 and errors[0] / errors[1] > 2.7 and gaps[1] < 0.03 and gaps[0] / gaps[1] > 2.7
    plain = exact_law(chain(PROCESSES[name]), sampler, guidance, 128, 0)
    assert float((plain - target / target.sum()).abs().sum() / 2) > 3 * errors[1]


@pytest.mark.parametrize("name", ["masked", "marginal"])
def test_particles_have_the_normalizer_and_the_law(name):
    """4 particles a group: the mean of exp(log Z) is the sum of the product, and weighted shares its law."""
    groups, k = 6_000, 4
    prior = chain(PROCESSES[name])
    second = chain(PROCESSES[name], SECOND, torch.stack([SECOND, SECOND]))
    sampler = samplers.FirstHitting() if name == "masked" else samplers.Ancestral()
    guidance = g.DiscreteFKCProduct(other=second, particles=k, output="all")
    run = gk.sample(prior, guidance, groups, 40, condition=0, sampler=sampler)
    target = GIVEN[0] * SECOND if name == "masked" else exact_law(prior, sampler, guidance, 40, 0, weighted=True)
    z = run.log_normalizer.exp()
    assert float(z.mean()) == pytest.approx(float(target.sum()), abs=4 * float(z.std()) / math.sqrt(groups))
    shares = torch.softmax(run.log_weights, 1) * z[:, None]
    at = (3 * run.samples[:, 0] + run.samples[:, 1]).view(groups, k)
    for state, mass in enumerate(target.flatten().tolist()):
        of_state = (shares * (at == state)).sum(1)
        assert float(of_state.mean()) == pytest.approx(mass, abs=4 * float(of_state.std()) / math.sqrt(groups))


@pytest.mark.parametrize("process", ["masked", "uniform"])
def test_padding_weighs_nothing(process):
    """A network's sequences of two to four tokens after padding, squared: log Z is finite, and 0 with one expert."""
    torch.manual_seed(0)
    network = gk.networks.SequenceTransformer(6, 4, width=16, depth=1, heads=2, pad_id=0, timed=process == "uniform")
    noise = gk.processes.Masked(6, pinned=0) if process == "masked" else gk.processes.Uniform(6, pinned=0)
    prior = TokenPrior(network, 6, torch.tensor([0, 0, 1, 1, 1]), process=noise)
    for power in (2.0, 1.0):
        run = gk.sample(prior, g.DiscreteFKCProduct(power, particles=4), 20, 8, sampler="ancestral")
        assert run.ledger.degenerate_groups == 0 and run.log_normalizer.isfinite().all()
        if power == 1:
            assert float(run.log_normalizer.abs().max()) < 1e-4
        elif process == "masked":  # of others an untrained network is no reverse kernel
            assert (run.log_normalizer < -1).all()  # log of the sum of squared probabilities


@pytest.mark.parametrize("weight", [2.0, 3.0])
def test_without_other_experts_it_is_the_average_of_discrete_fkc(weight):
    one, other = (
        exact_law(chain(processes.Uniform()), samplers.Ancestral(), guidance, 8, 0, weighted=True)
        for guidance in (g.DiscreteFKCProduct(weight=weight), g.DiscreteFKC(weight=weight))
    )
    torch.testing.assert_close(one, other)


def test_one_expert_alone_weighs_nothing(chain_a):
    run = gk.sample(chain_a.prior, g.DiscreteFKCProduct(particles=3, output="all"), 20, 4, sampler="ancestral")
    assert float(run.log_weights.abs().max()) < 1e-9 and float(run.log_normalizer.abs().max()) < 1e-9


def test_experts_share_a_call_and_each_costs_a_row():
    prior = chain(processes.Masked())
    guidance = g.DiscreteFKCProduct(also=[1], weight=2.0, particles=4)
    ledger = gk.sample(prior, guidance, 10, 2, condition=0, sampler="first_hitting").ledger
    assert ledger.network_rows == 3 * 4 * 10 * 2 and ledger.network_calls == 2


def test_what_no_expert_allows_is_not_sampled():
    """Disjoint experts: every particle dies, and the run says so."""
    prior = chain(processes.Masked(), LAW.sum(1), torch.eye(3, dtype=torch.float64)[:2])
    run = gk.sample(prior, g.DiscreteFKCProduct(also=[1]), 5, 1, condition=0, sampler="first_hitting")
    assert run.ledger.degenerate_groups > 0 and (run.log_normalizer == -math.inf).all()
    logs = [torch.tensor([[0.0, -math.inf]]), torch.tensor([[-1.0, -2.0]])]
    assert powered(logs, [2.0, -1.0]).tolist() == [[1.0, -math.inf]]


def test_what_cannot_be_multiplied_is_refused(chain_a):
    for settings in ({"power": 0.0}, {"power": -1.0}, {"power": math.nan}, {"weight": math.inf}):
        with pytest.raises(ValueError, match=r"finite"):
            g.DiscreteFKCProduct(**settings)
    prior = chain(processes.Masked())
    uniform = chain(processes.Uniform())
    for guidance, options, said in (
        (g.TokenProduct(also=[1]), {}, "needs a particle filter around it"),
        (g.DiscreteFKCProduct(also=[7]), {}, "7"),
        (g.DiscreteFKCProduct(other=uniform), {}, "process"),
        (g.DiscreteFKCProduct(), {"sampler": "euler_ctmc"}, "noising is known.*sampler=ancestral"),
        (g.DiscreteFKCProduct(), {"sampler": "remdm"}, "noising is known"),
        (g.chain(g.TokenProduct(), g.Sharpen(0.5), g.ParticleFilter()), {}, r"chain\(Sharpen, TokenProduct"),
    ):
        with pytest.raises(gk.GuidanceError, match=said):
            gk.sample(prior, guidance, 2, **{"condition": 0, "sampler": "ancestral", **options})
    with pytest.raises(gk.GuidanceError, match="needs one sequence of tokens"):
        gk.sample(gk.priors.Gaussian(torch.zeros(2), 1.0), g.DiscreteFKCProduct(power=2.0))
