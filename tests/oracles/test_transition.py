"""Guidance of discrete transitions against exact conditional and tempered laws."""

import dataclasses
import math

import pytest
import torch

import guidekit as gk
from guidekit import processes, samplers
from guidekit.core.loop import populate, prepare
from guidekit.core.step import Moment
from guidekit.guidance.transition.edits import ExactEdits, GradientEdits, TaylorEdits
from guidekit.testing import exact_law

LAW = torch.tensor([[0.30, 0.05, 0.05], [0.02, 0.20, 0.08], [0.10, 0.05, 0.15]], dtype=torch.float64)
LABEL = torch.tensor([[0.1, 0.5, 0.9], [0.5, 0.2, 0.6], [0.9, 0.4, 0.05]], dtype=torch.float64)  # p(y | x)
POSTERIOR = LAW * LABEL / (LAW * LABEL).sum()
PROCESSES = {
    "masked": processes.Masked(),
    "uniform": processes.Uniform(),
    "marginal": processes.Marginal(law=[0.5, 0.3, 0.2]),
}
g = gk.guidance


def distance(a, b):
    return float((a / a.sum() - b).abs().sum() / 2)


@dataclasses.dataclass(frozen=True, eq=False)
class ExactValue(gk.core.objective.Objective):
    """log p(y | z_t) by enumeration; `relaxed` is its multilinear extension in the one-hot input."""

    chain: gk.priors.CategoricalChain
    table: torch.Tensor = LABEL
    on = "noisy"

    def scores(self, z, t, rows):
        return self.chain.expectation(self.table, z, t).log()

    def relaxed(self, one_hot, t):
        states = self.chain.states()
        values = self(states, t)
        weights = torch.stack([one_hot[:, i, states[:, i]] for i in range(states.shape[1])]).prod(0)
        return weights.double() @ values


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("sampler", [samplers.EulerCTMC(), samplers.EulerCTMC(2.0), samplers.Ancestral()])
def test_predictor_guidance_samples_the_conditional_law(sampler, name):
    chain = gk.priors.CategoricalChain(LAW, PROCESSES[name])
    guidance = g.PredictorGuidance(value=ExactValue(chain))
    coarse, fine = (distance(exact_law(chain, sampler, guidance, steps), POSTERIOR) for steps in (32, 128))
    assert fine < 0.01 and 3 < coarse / fine < 5.5
    assert distance(exact_law(chain, sampler, None, 128), POSTERIOR) > 0.2


@pytest.mark.parametrize("name", PROCESSES)
def test_classifier_guidance_samples_the_conditional_law(name):
    chain = gk.priors.CategoricalChain(LAW, PROCESSES[name])
    guidance = g.DCBG(value=ExactValue(chain))
    coarse, fine = (distance(exact_law(chain, samplers.Ancestral(), guidance, steps), POSTERIOR) for steps in (32, 128))
    assert fine < 0.01 and 3 < coarse / fine < 5.5


def test_one_token_is_tilted_exactly_whatever_the_steps():
    """L = 1, masked: p(v) p(y | v)^gamma at once, for every gamma."""
    law, label = LAW.sum(1), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    chain = gk.priors.CategoricalChain(law)
    for gamma in (0.0, 1.0, 3.0):
        guidance = g.DCBG(value=ExactValue(chain, label), scale=gamma)
        # First hitting reveals the token by the tilted law alone.
        measured = exact_law(chain, samplers.FirstHitting(), guidance)
        expected = law * label**gamma
        torch.testing.assert_close(measured, expected / expected.sum(), atol=1e-12, rtol=0)


def test_exit_rate_of_one_masked_token_is_unchanged_at_scale_one():
    """sum_v R(v) p(y | v) / p(y | m) = sum_v R(v), as p(y | m) is the mean of p(y | v)."""
    law, label = LAW.sum(1), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    chain = gk.priors.CategoricalChain(law)
    value = ExactValue(chain, label)
    z = torch.tensor([[3]])
    rates = chain.process.reverse_rates(chain.predict(z, 0.5), 0.5)
    table = ExactEdits(value)(_population(chain, z))
    assert float((rates * table.exp()).sum()) == pytest.approx(float(rates.sum()), rel=1e-12)
    assert float((rates * (2 * table).exp()).sum()) > 1.05 * float(rates.sum())


def _population(prior, z, t=0.5):
    setup = prepare(prior, sampler=samplers.EulerCTMC(), steps=4, groups=(0, len(z)))
    return populate(setup, z, Moment(t, 2), 1)


@pytest.mark.parametrize("name", PROCESSES)
def test_first_order_edits_are_exact_for_a_linear_value(name):
    chain = gk.priors.CategoricalChain(LAW, PROCESSES[name])
    weights = torch.randn(2, chain.process.states, generator=torch.Generator().manual_seed(0))

    class Linear(gk.core.objective.Objective):
        on = "noisy"

        def scores(self, z, t, rows):
            return (weights[0, z[:, 0]] + weights[1, z[:, 1]]).double()

        def relaxed(self, one_hot, t):
            return (one_hot * weights).sum((1, 2))

    population = _population(chain, chain.states())
    exact, taylor = ExactEdits(Linear())(population), TaylorEdits(Linear())(population)
    torch.testing.assert_close(exact, taylor, atol=1e-6, rtol=0)
    assert exact.abs().max() > 0.5
    curved = ExactValue(chain)
    assert (ExactEdits(curved)(population) - TaylorEdits(curved)(population)).abs().max() < 1e-5
    capped = ExactEdits(Linear(), rows=3)(population)
    torch.testing.assert_close(capped, exact)


@pytest.mark.parametrize("name", PROCESSES)
def test_edits_of_the_clean_estimate_for_an_additive_reward(name):
    """For a reward sum_l w_l(x_l) and independent tokens the mean reward changes by exactly the gradient's estimate."""
    first, second = torch.tensor([0.2, 0.3, 0.5]).double(), torch.tensor([0.6, 0.3, 0.1]).double()
    chain = gk.priors.CategoricalChain(first[:, None] * second, PROCESSES[name])
    weights = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).double()

    class Additive(gk.core.objective.Objective):
        def relaxed(self, probs):
            return (probs * weights.to(probs)).sum((1, 2))

    table = weights[0][:, None] + weights[1]
    t = 0.4
    population = _population(chain, chain.states(), t)
    edits = GradientEdits(Additive())(population)
    z = population.state
    for place in range(2):
        for token in range(chain.process.states):
            edited = z.clone()
            edited[:, place] = token
            change = chain.expectation(table, edited, t) - chain.expectation(table, z, t)
            allowed = edits[:, place, token] != 0
            torch.testing.assert_close(edits[allowed, place, token], change[allowed], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", PROCESSES)
def test_weights_of_tilted_proposals_give_the_prior_back(name):
    """Twisted SMC: importance weights undo any tilt, so the weighted measure is the unguided law, normaliser one."""
    chain = gk.priors.CategoricalChain(LAW, PROCESSES[name])
    base = exact_law(chain, samplers.Ancestral(), None, 8)
    for guidance in (
        g.DCBG(value=ExactValue(chain), scale=2.0),
        g.PredictorGuidance(value=ExactValue(chain), scale=2.0),
    ):
        measure = exact_law(chain, samplers.Ancestral(), guidance, 8, weighted=True)
        torch.testing.assert_close(measure, base, atol=1e-12, rtol=0)
        assert distance(exact_law(chain, samplers.Ancestral(), guidance, 8), base) > 0.1


@pytest.mark.parametrize("sampler", [samplers.Ancestral(), samplers.FirstHitting()])
def test_particle_filter_around_tilted_proposals_is_unbiased_with_less_variance(chain_a, sampler):
    """chain(DCBG, FKSteering): the evidence is that of the unguided model, with a smaller spread."""
    chain, runs = chain_a.prior, 1500
    exact = exact_law(chain, sampler, None, 4)
    z = float((exact * chain_a.rewards.exp()).sum())
    value = chain_a.expected_reward()
    options = dict(temperature=1.0, particles=4, output="all", value=value)
    spreads = []
    for inside in (None, g.DCBG(value=ExactValue(chain, chain_a.rewards.exp()))):
        guidance = g.chain(inside, g.FKSteering(chain_a.reward, **options))
        evidence = gk.sample(chain, guidance, runs, 4, sampler=sampler).log_normalizer.exp()
        assert abs(float(evidence.mean()) - z) < 4 * float(evidence.std()) / math.sqrt(runs) + 1e-12  # and rounding
        spreads.append(float(evidence.std()))
    assert spreads[1] < 0.75 * spreads[0]


def conditional(process, second=None):
    """Null law LAW and a conditional law; target p_c^w p_0^(1-w)."""
    given = LAW.T if second is None else second
    return gk.priors.CategoricalChain(LAW, process, conditionals=given[None]), given / given.sum()


def tempered(given, weight):
    law = given**weight * LAW ** (1 - weight)
    return law / law.sum()


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("name", PROCESSES)
def test_discrete_fkc_has_the_tempered_law_as_its_target(name, weight):
    chain, given = conditional(PROCESSES[name])
    target = tempered(given, weight)
    guidance = g.DiscreteFKC(weight=weight)
    for sampler in (samplers.Ancestral(), samplers.EulerCTMC()):
        coarse, fine = (
            distance(exact_law(chain, sampler, guidance, steps, 0, weighted=True), target) for steps in (32, 128)
        )
        assert fine < 0.012 and coarse / fine > 2.7


def test_discrete_fkc_is_exact_with_first_hitting_and_cfg_is_not():
    """The bias of D-CFG on two tokens: .0057 in total variation at w = 3 against the square of the law; none left."""
    chain, given = conditional(processes.Masked(), LAW**2)
    target = tempered(given, 3.0)
    biased = distance(exact_law(chain, samplers.FirstHitting(), g.CFG(3.0), condition=0), target)
    assert biased == pytest.approx(0.0056547, abs=1e-6)
    exact = exact_law(chain, samplers.FirstHitting(), g.DiscreteFKC(weight=3.0), condition=0, weighted=True)
    assert distance(exact, target) < 1e-12
    assert float(exact.sum()) == pytest.approx(float((given**3 * LAW**-2).sum()), rel=1e-12)


@pytest.mark.parametrize("name", PROCESSES)
def test_one_token_needs_no_correction_of_steps(name):
    """L = 1: kernels are exact, so the weighted law is the tempered one for any number of steps, to 1e-9."""
    law, given = LAW.sum(1), torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
    chain = gk.priors.CategoricalChain(law, PROCESSES[name], conditionals=given[None])
    target = given**3 * law**-2
    target = target / target.sum()
    measure = exact_law(chain, samplers.Ancestral(), g.DiscreteFKC(weight=3.0), 3, 0, weighted=True)
    assert distance(measure, target) < 1e-12
    mixed = distance(exact_law(chain, samplers.Ancestral(), g.KernelCFG(3.0), 3, 0), target)
    clean = distance(exact_law(chain, samplers.Ancestral(), g.CFG(3.0), 3, 0), target)
    if name == "masked":
        assert clean < 1e-12 and mixed < 1e-12
    else:
        assert mixed > 0.005  # D-CFG of kernels is biased on uniform noise even for one token


CASES = {  # exponents of the laws and of the tilt: annealing, CFG, product of experts, reward tilt
    "annealing": ((2.0,), 0.0),
    "classifier-free": ((-1.0, 2.0), 0.0),
    "product": ((1.0, 1.0), 0.0),
    "tilt": ((1.0,), 1.0),
}


@pytest.mark.parametrize("case", CASES)
def test_generator_identity_of_the_discrete_correctors(case):
    """d p / d tau = R_w^T p + p (a - E a) keeps p at prod q_i^beta_i exp(gamma r): four states, uniform noise.

    Rates Q(y->z)^(1 - sum beta) prod R_i(z->y)^beta_i exp(gamma (r(y) - r(z))), weights (sum beta - 1) Q_out + R_out -
    sum beta_i R_i,out + gamma' r. This is the continuous-time form that `DiscreteFKC` follows in steps.
    """
    betas, gamma = CASES[case]
    process, t, h = processes.Uniform(4), 0.4, 1e-5
    laws = [torch.tensor([0.1, 0.2, 0.3, 0.4]).double(), torch.tensor([0.4, 0.3, 0.1, 0.2]).double()][: len(betas)]
    r = torch.tensor([0.3, -0.2, 0.5, 0.1]).double()

    def target(t):
        noised = [law @ process.transition(t, 0.0) for law in laws]
        p = torch.stack([q**b for q, b in zip(noised, betas, strict=True)]).prod(0) * (gamma * (1 - t) * r).exp()
        return p / p.sum()

    z = torch.arange(4)[:, None]
    rates = []
    for law in laws:
        posterior = torch.softmax(process.likelihood(z, t)[:, 0].log() + law.log(), -1)
        rates.append(process.reverse_rates(process.prediction(posterior.log()[:, None], z), t)[:, 0])
    into = process.rates_into(z, t)[:, 0]
    off = 1 - torch.eye(4).double()
    ramp = gamma * (1 - t)
    guided = torch.stack([x**b for x, b in zip(rates, betas, strict=True)]).prod(0) * into ** (1 - sum(betas)) * off
    guided = (guided * (ramp * (r - r[:, None])).exp()).nan_to_num(0.0)
    out = process.rates_from(z, t)[:, 0].sum(1)
    weight = (sum(betas) - 1) * out + guided.sum(1) + gamma * r
    weight = weight - sum(b * x.sum(1) for b, x in zip(betas, rates, strict=True))
    p = target(t)
    change = guided.T @ p - guided.sum(1) * p + p * (weight - p @ weight)
    numeric = (target(t - h) - target(t + h)) / (2 * h)
    torch.testing.assert_close(change, numeric, atol=1e-5, rtol=0)


def test_discrete_fkc_particles_estimate_the_tempered_law():
    chain, given = conditional(processes.Masked(), LAW**2)
    target, groups, k = tempered(given, 3.0), 400, 50
    guidance = g.DiscreteFKC(weight=3.0, particles=k, output="all")
    result = gk.sample(chain, guidance, groups, condition=0)
    weights = torch.softmax(result.log_weights, 1) * result.log_normalizer.exp()[:, None]
    cells = torch.nn.functional.one_hot(result.samples[:, 0] * 3 + result.samples[:, 1], 9).double()
    estimates = torch.einsum("gk,gkc->gc", weights, cells.view(groups, k, 9))
    exact = target.flatten() * (given**3 * LAW**-2).sum()
    error = estimates.std(0) / math.sqrt(groups)
    common = exact > 0.01  # the standard error of rarer cells is itself unknown
    assert common.sum() == 4 and ((estimates.mean(0) - exact).abs() < 4 * error)[common].all()
    assert result.ledger.network_rows == 2 * 2 * groups * k  # two branches, two tokens


def test_predictor_free_rates_and_kernel_mixing_agree_with_cfg_in_the_limit():
    chain, given = conditional(processes.Masked())
    laws = [
        exact_law(chain, sampler, guidance, 400, 0)
        for sampler, guidance in (
            (samplers.Ancestral(), g.CFG(2.0)),
            (samplers.Ancestral(), g.KernelCFG(2.0)),
            (samplers.EulerCTMC(), g.KernelCFG(2.0, "rates")),
        )
    ]
    # Rates and kernels also change how soon a token is revealed, which CFG on clean predictions does not.
    assert distance(laws[1], laws[2]) < 2e-3
    for law in laws:
        assert distance(law, tempered(given, 2.0)) < 0.05 < distance(LAW, tempered(given, 2.0))
    for weight, expected in ((0.0, LAW), (1.0, given)):
        law = exact_law(chain, samplers.Ancestral(), g.KernelCFG(weight), 400, 0)
        assert distance(law, expected) < 2e-3


def test_sharpen_cuts_and_sharpens():
    law = torch.tensor([0.5, 0.3, 0.15, 0.05]).double()
    sharpen = g.Sharpen(nucleus=0.7).sharpen(law.log()).exp()
    torch.testing.assert_close(sharpen, torch.tensor([0.625, 0.375, 0, 0]).double())  # the token that crosses .7 stays
    torch.testing.assert_close(g.Sharpen(top_k=1).sharpen(law.log()).exp(), torch.tensor([1.0, 0, 0, 0]).double())
    squared = law**2 / (law**2).sum()
    torch.testing.assert_close(g.Sharpen(temperature=0.5).sharpen(law.log()).exp(), squared)
    chain = gk.priors.CategoricalChain(law)
    torch.testing.assert_close(exact_law(chain, samplers.Ancestral(), g.Sharpen(0.5), 4), squared)


def test_what_cannot_work_is_refused_with_a_reason(chain_a):
    mixture = gk.priors.GaussianMixture(torch.tensor([[2.0], [-2.0]]), 0.7)
    with pytest.raises(gk.GuidanceError, match="DCBG needs one sequence of tokens"):
        gk.sample(mixture, g.DCBG(chain_a.reward))
    with pytest.raises(gk.GuidanceError, match="is a black box"):
        gk.sample(chain_a.prior, g.TAG(lambda tokens: tokens.sum(1)))
    with pytest.raises(gk.GuidanceError, match="give reward="):
        gk.sample(chain_a.prior, g.DCBG())
    with pytest.raises(gk.GuidanceError, match="needs a conditional prior"):
        gk.sample(chain_a.prior, g.KernelCFG())
    with pytest.raises(gk.GuidanceError, match="jumps can be accelerated.*EulerCTMC"):
        gk.sample(chain_a.prior, g.PredictorGuidance(chain_a.reward), sampler=samplers.FirstHitting())
    chain, _ = conditional(processes.Uniform())
    with pytest.raises(gk.GuidanceError, match="follows rates.*EulerCTMC"):
        gk.sample(chain, g.KernelCFG(2.0, "rates"), condition=0, sampler=samplers.Ancestral())
    with pytest.raises(ValueError, match="accepted: kernel, rates"):
        g.KernelCFG(mix="clean")


@pytest.mark.parametrize(
    "sampler",
    [
        samplers.EulerCTMC(1.0),
        samplers.EulerCTMC(2.0),
        samplers.TauLeaping(),
        samplers.PredictorCorrector(),
        samplers.PredictorCorrector(1.0, corrections=2),
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", ["masked", "uniform"])
def test_noise_that_a_sampler_adds_has_no_weight(sampler, name):
    """Weighed like progress it would give a normalizer of 1.23 to 1.71 in place of 1.167."""
    chain, given = conditional(PROCESSES[name])
    measure = exact_law(chain, sampler, g.DiscreteFKC(weight=2.0), 64, 0, weighted=True)
    exact = float((given**2 / LAW).sum())
    assert float(measure.sum()) == pytest.approx(exact, abs=0.02)
    assert distance(measure, tempered(given, 2.0)) < 0.02


@pytest.mark.parametrize("sampler", [samplers.ReMDM(), samplers.MaskGIT(), samplers.PathPlanning()], ids=repr)
def test_correctors_refuse_samplers_that_do_not_tell_noise_apart(sampler):
    chain, _ = conditional(processes.Masked())
    with pytest.raises(gk.GuidanceError, match="needs a sampler that tells reversal from added noise.*Ancestral"):
        gk.sample(chain, g.DiscreteFKC(2.0), 2, condition=0, sampler=sampler)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_are_refused(number, chain_a):
    """They would leave mask tokens in finished samples."""
    for make in (g.KernelCFG, g.KernelProduct, g.DiscreteFKC):
        with pytest.raises(ValueError, match="weight must be a finite number"):
            make(number)
    for make in (g.DCBG, g.PredictorGuidance):
        with pytest.raises(ValueError, match="scale must be a finite number"):
            make(chain_a.reward, number)


@pytest.mark.parametrize("outer", [g.DCBG, g.PredictorGuidance])
def test_weights_of_a_kernel_changed_twice_are_those_of_the_sampler_s_own(outer):
    chain = gk.priors.CategoricalChain(LAW, processes.Uniform())
    twice = g.chain(g.DCBG(value=ExactValue(chain)), outer(value=ExactValue(chain, LABEL.T)))
    base = exact_law(chain, samplers.Ancestral(), None, 6)
    torch.testing.assert_close(
        exact_law(chain, samplers.Ancestral(), twice, 6, weighted=True), base, atol=1e-12, rtol=0
    )
    assert distance(exact_law(chain, samplers.Ancestral(), twice, 6), base) > 0.1


def test_ratios_of_all_steps_between_two_evaluations_count(chain_a):
    """A filter that looks at every third step still weighs every step that was tilted."""
    chain, runs, sampler = chain_a.prior, 2000, samplers.Ancestral()
    exact = float((exact_law(chain, sampler, None, 7) * chain_a.rewards.exp()).sum())
    tilt = g.DCBG(value=ExactValue(chain, chain_a.rewards.exp()), scale=0.7)
    steer = g.FKSteering(chain_a.reward, 1.0, particles=4, output="all", interval=3)
    evidence = gk.sample(chain, g.chain(tilt, steer), runs, 7, sampler=sampler).log_normalizer.exp()
    error = float(evidence.std()) / math.sqrt(runs)
    assert abs(float(evidence.mean()) - exact) < 4 * error < 0.1 * exact


@pytest.mark.parametrize("rows", [1, 4, 4096])
def test_every_edit_is_judged_at_the_time_of_its_own_row(rows):
    """Released code tiles times against interleaved edits."""

    class Timed(gk.core.objective.Objective):
        on = "noisy"

        def scores(self, z, t, rows):
            return torch.as_tensor(t).expand(len(z)) * (z[:, 0] + 3 * z[:, 1]).double()

    chain, sampler = gk.priors.CategoricalChain(LAW), samplers.FirstHitting()
    z = torch.tensor([[3, 3], [3, 0], [2, 3], [3, 3]])
    times = torch.tensor([0.9, 0.5, 0.3, 0.1], dtype=torch.float64)
    setup = prepare(chain, sampler=sampler, steps=2, groups=(0, 4))
    table = ExactEdits(Timed(), rows)(populate(setup, z, Moment(0.5, 1), 1).remember(sampler, times))
    for row in range(4):
        one = _population(chain, z[row : row + 1], float(times[row]))
        torch.testing.assert_close(table[row : row + 1], ExactEdits(Timed())(one))
    assert table.abs().max() > 0.5


def test_a_prior_whose_laws_are_not_normalized_is_refused():
    class Logits(gk.priors.CategoricalChain):
        def predict(self, x, t, condition=None):
            prediction = super().predict(x, t, condition)
            return dataclasses.replace(prediction, log_probs=prediction.log_probs + 1.0)

    for process in PROCESSES.values():
        with pytest.raises(ValueError, match="do not add up to one"):
            gk.sample(Logits(LAW, process), None, 2)
