"""Rate matching: the rates carry the law of every time along, and the sampler's law tends to the data."""

import pytest
import torch
from torch.nn import functional as F

import guidekit as gk
from guidekit import processes
from guidekit.samplers import EulerCTMC, RateMatching
from guidekit.samplers.rate_matching import matching_rates
from guidekit.testing import exact_law

LAW = torch.tensor([[0.30, 0.05, 0.05], [0.02, 0.20, 0.08], [0.10, 0.05, 0.15]], dtype=torch.float64)
PROCESSES = {
    "masked": processes.Masked(3),
    "uniform": processes.Uniform(3),
    "marginal": processes.Marginal(law=[0.5, 0.3, 0.2]),
    "kinds": processes.Kinds(kinds=(0, 0, 0), laws=((0.6, 0.3, 0.1),), alpha=processes.CosineAlpha()),
    "absorbing": processes.Kinds(kinds=(0, 0, 0), laws=((1.0, 0.0, 0.0),)),
}


@pytest.mark.parametrize("eta", [0.0, 1.5])
@pytest.mark.parametrize("name", PROCESSES)
def test_rates_carry_the_law_of_a_known_token_along(name, eta):
    """Kolmogorov: dq / d(-t) = q R for each clean token x, to 1e-9; the slope of q by central differences."""
    process, t, h = PROCESSES[name], 0.4, 1e-5
    whole = process.transition(t, 0.0)[:3]
    slope = (process.transition(t - h, 0.0)[:3] - process.transition(t + h, 0.0)[:3]) / (2 * h)
    for x in range(3):
        z = torch.arange(process.states)[:, None]
        certain = gk.core.prediction.CategoricalPrediction(F.one_hot(torch.full_like(z, x), 3).double().log(), z)
        rates = matching_rates(process, certain, t, eta)[:, 0]
        rates = rates - torch.diag(rates.sum(1))
        torch.testing.assert_close(whole[x] @ rates, slope[x], atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", ["masked", "uniform", "marginal", "kinds"])  # enumeration meets impossible states else
def test_the_law_tends_to_the_data_with_first_order(name):
    chain = gk.priors.CategoricalChain(LAW, PROCESSES[name])
    even = {"times": "uniform"}
    coarse, fine = (float((exact_law(chain, RateMatching(**even), steps=n) - LAW).abs().sum() / 2) for n in (32, 64))
    assert fine < 0.03 and 1.6 < coarse / fine < 2.6


def test_it_takes_fewer_jumps_than_the_reversed_chain():
    """Rates of leaving, summed over a marginal process: rate matching needs no jump that is taken back."""
    process = PROCESSES["marginal"]
    chain = gk.priors.CategoricalChain(LAW, process)
    states = chain.states()
    prediction = chain.predict(states, 0.5)
    assert matching_rates(process, prediction, 0.5).sum() < process.reverse_rates(prediction, 0.5).sum()


def test_structured_processes_are_refused():
    chain = gk.priors.CategoricalChain(LAW, processes.Structured(generator=processes.ordinal(3)))
    with pytest.raises(gk.GuidanceError, match="rate_matching needs tokens that are lost to one law each"):
        gk.sample(chain, sampler=RateMatching())
    assert gk.sample(chain, num_samples=2, sampler=EulerCTMC(), steps=2).samples.shape == (2, 2)
