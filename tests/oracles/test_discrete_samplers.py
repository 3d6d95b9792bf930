"""Samplers of tokens against laws known by enumeration: no Monte Carlo except where it is said."""

import math

import pytest
import torch

import guidekit as gk
from guidekit import processes, samplers
from guidekit.core.loop import populate, prepare
from guidekit.core.prediction import CategoricalPrediction
from guidekit.core.random import Draw, KeyedRandom
from guidekit.core.sampler import Here
from guidekit.core.step import Moment, Step
from guidekit.core.token_kernels import JumpKernel
from guidekit.samplers.ctmc import PoissonKernel, poisson
from guidekit.samplers.remasking import SCHEDULES, Revealed, remasking_kernel
from guidekit.testing import exact_law

LAW = torch.tensor([[0.30, 0.05, 0.05], [0.02, 0.20, 0.08], [0.10, 0.05, 0.15]], dtype=torch.float64)
PROCESSES = {
    "masked": processes.Masked(),
    "masked cosine": processes.Masked(alpha=processes.CosineAlpha()),
    "uniform": processes.Uniform(),
    "marginal": processes.Marginal(law=[0.5, 0.3, 0.2]),
    "ordinal": processes.Structured(generator=processes.ordinal(3)),
}


def distance(a, b):
    return float((a - b).abs().sum() / 2)


@pytest.mark.parametrize(
    ("sampler", "published"),
    [
        (samplers.Ancestral(), (0.0770, 0.0154, 0.00154)),
        (samplers.ReMDM("cap", 0.05), (0.0774, 0.0184, 0.0073)),
        (samplers.ReMDM("rescale", 0.05), (0.0772, 0.0163, 0.0029)),
        (samplers.ReMDM("forward_backward"), (0.1155, 0.0208, 0.0021)),
        (samplers.ReMDM("loop", 0.02, window=(0.55, 0.05)), (0.1245, 0.0224, 0.0028)),
    ],
)
def test_remasking_has_the_published_distances_to_the_data_law(sampler, published):
    chain = gk.priors.CategoricalChain(LAW)
    measured = [distance(exact_law(chain, sampler, steps=n), LAW) for n in (4, 20, 200)]
    assert measured == [pytest.approx(value, abs=6e-5) for value in published]


@pytest.mark.parametrize("schedule", ["cap", "rescale"])
def test_remasking_with_eta_zero_is_the_ancestral_sampler_bit_for_bit(schedule):
    chain = gk.priors.CategoricalChain(torch.rand((3,) * 5, generator=torch.Generator().manual_seed(0)))
    plain = gk.sample(chain, num_samples=500, steps=8, sampler=samplers.Ancestral()).samples
    assert torch.equal(gk.sample(chain, num_samples=500, steps=8, sampler=samplers.ReMDM(schedule, 0.0)).samples, plain)
    other = gk.sample(chain, num_samples=500, steps=8, sampler=samplers.ReMDM(schedule, 0.3)).samples
    assert not torch.equal(other, plain)


@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.35])
def test_remasking_keeps_the_marginals_of_the_masked_process(sigma):
    """q(z_u | x_0) from q(z_t | x_0) for a known clean token, to 1e-12."""
    process, a, b = processes.Masked(3), 0.3, 0.6
    z = torch.tensor([[0], [3]])
    certain = process.prediction(torch.tensor([[[0.0, -torch.inf, -torch.inf]]]).expand(2, 1, 3).double(), z)
    table = remasking_kernel(process, certain, a, b, sigma).table().log_probs.exp()[:, 0]
    after = torch.tensor([a, 1 - a], dtype=torch.float64) @ table
    torch.testing.assert_close(after, torch.tensor([b, 0, 0, 1 - b], dtype=torch.float64), atol=1e-12, rtol=0)


def test_remasking_beyond_its_bound_is_refused():
    process = processes.Masked(3)
    z = torch.zeros(1, 1, dtype=torch.long)
    prediction = process.prediction(torch.zeros(1, 1, 3).log_softmax(-1), z)
    with pytest.raises(ValueError, match=r"remasking probability 0.7 is outside \[0, 0.6667\]"):
        remasking_kernel(process, prediction, 0.6, 0.6, 0.7)
    with pytest.raises(ValueError, match="before it and behind it"):
        samplers.ReMDM("loop", window=(1.0, 0.0))
    with pytest.raises(ValueError, match="bound of a loop"):
        samplers.ReMDM("loop", 0.5)
    with pytest.raises(ValueError, match="accepted: cap"):
        samplers.ReMDM("caps")


def test_masked_share_under_remasking_is_that_of_the_schedule():
    chain = gk.priors.CategoricalChain(torch.ones((2,) * 8))
    shares = {}

    def watch(progress):
        shares[progress.step] = float((progress.population.state == 2).double().mean())

    gk.sample(chain, None, 1000, 20, sampler=samplers.ReMDM("cap", 0.2), progress=watch)
    for step in (5, 10, 15, 19):
        t = 1 - step / 20
        assert shares[step] == pytest.approx(t, abs=4 * math.sqrt(t * (1 - t) / 8000) + 1e-9)


def test_confident_remasking_takes_back_the_least_sure_token():
    """Of two revealed tokens the one that had probability .1 is masked again exp(.8) times as often as the other."""
    law = torch.tensor([[0.9, 0.1]], dtype=torch.float64).repeat(2, 1)
    null = gk.priors.CategoricalChain(law[0][:, None] * law[1])
    sampler = samplers.ReMDM("rescale", 1.0, by_confidence=True)
    n = 4000
    setup = prepare(null, sampler=sampler, steps=10, groups=(0, n))
    state = torch.tensor([[1, 0]]).repeat(n, 1)
    masked = torch.full_like(state, 2)
    law = torch.tensor([[0.9, 0.1], [0.9, 0.1]]).double().log().expand(n, 2, 2)
    memory = Revealed(torch.ones(n, 2).double(), masked, law)  # both are revealed in the step before
    moved = setup.move(populate(setup, state, setup.steps[5].start, 1).remember(sampler, memory), setup.steps[5])
    share = (moved.state == 2).double().mean(0)
    sigma = 0.8  # (1 - .6) / .5
    expected = sigma * torch.softmax(torch.tensor([-0.1, -0.9], dtype=torch.float64), 0)
    assert ((share - expected).abs() < 4 * (expected * (1 - expected) / n).sqrt()).all()
    torch.testing.assert_close(moved.recall(sampler).confidence, torch.tensor([[0.1, 0.9]]).double().expand(n, 2))
    again = setup.move(moved, setup.steps[6]).recall(sampler).confidence
    assert (again[moved.state == 2] == 1).all()  # what was masked again is sure of nothing
    assert (again[:, 0][moved.state[:, 0] == 1] == again[:, 0].min()).all()


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize(
    "sampler",
    [
        samplers.Ancestral(),
        samplers.EulerCTMC(),
        samplers.EulerCTMC(2.0),
        samplers.TauLeaping(),
        samplers.PredictorCorrector(corrections=1),
    ],
)
def test_laws_converge_to_the_data_with_first_order(sampler, name):
    chain = gk.priors.CategoricalChain(LAW, PROCESSES[name])
    coarse, fine = (distance(exact_law(chain, sampler, steps=n), LAW) for n in (32, 128))
    assert fine < 0.03 and 2.6 < coarse / fine < 6  # four times the steps, a quarter of the error


def test_a_corrector_leaves_the_law_at_its_time_as_it_is():
    """At t = .5 exactly, to first order in its step: the change per step shrinks with the square of the step."""
    chain = gk.priors.CategoricalChain(LAW, processes.Uniform())
    states, t = chain.states(), 0.5
    noised = torch.einsum("ij,ia,jb->ab", LAW, chain.process.transition(t, 0.0), chain.process.transition(t, 0.0))
    prediction = chain.predict(states, t)
    rates, noise = chain.process.reverse_rates(prediction, t), chain.process.rates_from(states, t)
    changes = []
    for step in (1e-2, 1e-3):
        table = JumpKernel(rates, step, states, noise).table().log_probs.exp()
        matrix = torch.stack([table[:, i, :][:, states[:, i]] for i in range(2)]).prod(0)
        changes.append(float((noised.flatten() @ matrix - noised.flatten()).abs().sum()))
    assert changes[0] / changes[1] == pytest.approx(100, rel=0.1) and changes[0] < 1e-3


def test_first_hitting_is_exact_and_its_grouped_variant_is_not():
    chain = gk.priors.CategoricalChain(LAW)
    assert distance(exact_law(chain, samplers.FirstHitting(), steps=2), LAW) < 1e-12
    assert distance(exact_law(chain, samplers.FirstHitting(), steps=1), LAW) > 0.1


def test_rows_with_fewer_masks_than_steps_reveal_one_at_a_time():
    """Of six places in three steps: a row of six masks has to reveal two at once, rows of three and one do not."""
    uniform = gk.priors.CategoricalChain(torch.ones(2, 2, 2, 2, 2, 2) / 64)
    sampler = samplers.FirstHitting()
    setup = prepare(uniform, None, sampler=sampler, steps=3, groups=(0, 3))
    state = torch.full((3, 6), uniform.process.mask_id)
    state[1, :3], state[2, 1:] = 0, 1
    counts = []
    population = setup.begin().at(state)
    for step in setup.steps:
        before = (population.state == uniform.process.mask_id).sum(1)
        population = setup.move(population, step)
        counts.append((before - (population.state == uniform.process.mask_id).sum(1)).tolist())
    assert counts == [[2, 1, 1], [2, 1, 0], [2, 1, 0]]


def test_ordinal_tau_leaping_converges_on_a_scale():
    law = torch.tensor([0.05, 0.25, 0.4, 0.2, 0.1], dtype=torch.float64)
    chain = gk.priors.CategoricalChain(law, processes.Structured(generator=processes.ordinal(5, 0.05)))
    n = 20_000
    samples = gk.sample(chain, None, n, 200, sampler=samplers.TauLeaping(ordinal=True)).samples[:, 0]
    share = torch.bincount(samples, minlength=5).double() / n
    error = (law * (1 - law) / n).sqrt()
    assert ((share - law).abs() < 4 * error + 0.01).all()  # 4 standard errors and the bias of 200 steps


def test_poisson_numbers_have_their_law():
    mean = torch.full((20_000,), 1.7, dtype=torch.float64)
    number = poisson(mean, (torch.arange(20_000).double() + 0.5) / 20_000)
    expected = torch.distributions.Poisson(1.7).log_prob(torch.arange(8.0)).exp().double()
    torch.testing.assert_close(torch.bincount(number, minlength=8)[:8].double() / 20_000, expected, atol=1e-4, rtol=0)


def test_maskgit_reveals_exactly_the_scheduled_number_and_greedily_without_noise():
    law = torch.rand((3,) * 6, generator=torch.Generator().manual_seed(1)).double()
    chain = gk.priors.CategoricalChain(law)
    left = []

    def watch(progress):
        left.append((progress.population.state == 3).sum(1))

    sampler = samplers.MaskGIT(temperature=0.0)
    gk.sample(chain, None, 50, 4, sampler=sampler, progress=watch)
    for step, counts in enumerate(left, 1):
        assert (counts == math.ceil(6 * math.sin(math.pi / 2 * (1 - step / 4)) - 1e-9)).all()


def test_path_planning_revises_the_least_sure_tokens_and_maskgit_never_does():
    law = torch.rand((3,) * 6, generator=torch.Generator().manual_seed(1)).double()
    chain = gk.priors.CategoricalChain(law)

    def revised(sampler):
        before, changes = [None], [0]

        def watch(progress):
            z = progress.population.state
            if before[0] is not None:
                changes[0] += int(((before[0] != 3) & (z != before[0])).sum())
            before[0] = z

        gk.sample(chain, None, 200, 8, sampler=sampler, progress=watch)
        return changes[0]

    assert revised(samplers.MaskGIT()) == 0
    assert revised(samplers.PathPlanning(keep=1.0)) > 100

    def planner(z, tokens, t):  # another model: first positions first
        return -torch.arange(6.0).expand(tokens.shape)

    states = []
    gk.sample(
        chain,
        None,
        5,
        4,
        sampler=samplers.PathPlanning(planner=planner),
        progress=lambda progress: states.append(progress.population.state == 3),
    )
    assert all((hidden.long().diff(dim=1) >= 0).all() for hidden in states)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 3, 8, 32])
def test_nothing_stays_masked(schedule, steps):
    prior = gk.priors.CategoricalChain(LAW, processes.Masked())
    drawn = gk.sample(prior, None, 200, steps, sampler=samplers.ReMDM(schedule)).samples
    assert int((drawn == prior.process.mask_id).sum()) == 0


def planned(sampler, scores, t, u, revealed=None, n=20_000):
    """Share (L,) of rows in which each token is shown after a step; a new token l has the probability scores[l].

    Args:
        revealed: confidences of tokens that were revealed before, 0 for those that are masked.
    """
    length = len(scores)
    process = processes.Masked(1)
    known = torch.zeros(length) if revealed is None else torch.tensor(revealed)
    z = torch.where(known > 0, 0, 1).expand(n, length)
    prediction = CategoricalPrediction(torch.tensor(scores).double().log().expand(n, length)[..., None], z)
    memory = None if revealed is None else Revealed(known.double().expand(n, length), z, prediction.log_probs)
    step = Step(Moment(t, 0), Moment(u, 1), (0,))
    draw = Draw(KeyedRandom(0, 0, n), (0,), "move")
    kernel, _ = sampler.step(Here(process, prediction, step, t, draw, None, (step,)), memory)
    return (kernel.sample(draw) == 0).double().mean(0)


@pytest.mark.parametrize("t", [1.0, 0.5])
def test_noise_on_confidence_is_gumbel_and_falls_with_time(t):
    """Of three new tokens one stays: with Gumbel noise of temperature T it is each with odds p^(1 / T), T = t here."""
    scores, n = [0.6, 0.3, 0.2], 20_000
    for sampler in (samplers.MaskGIT(schedule="linear"), samplers.PathPlanning(schedule="linear")):
        share = planned(sampler, scores, t, 0.4, n=n)
        expected = torch.softmax(torch.tensor(scores).double().log() / t, 0)
        assert ((share - expected).abs() < 4 * (expected * (1 - expected) / n).sqrt()).all()


@pytest.mark.parametrize(("keep", "stays"), [(0.0, 1.0), (0.5, 1.0), (1.0, 0.0)])
def test_keep_weighs_the_confidence_of_revealed_tokens(keep, stays):
    """Revealed at .2, against new tokens of .3: the score keep log .2 beats log .3 for keep = .5, but not for 1."""
    sampler = samplers.PathPlanning(keep, temperature=0.0, schedule="linear")
    share = planned(sampler, [0.1, 0.3, 0.3], 0.5, 0.4, revealed=[0.2, 0.0, 0.0], n=8)
    assert share[0] == stays
    noisy = planned(samplers.MaskGIT(temperature=50.0, schedule="linear"), [0.1, 0.3, 0.3], 0.5, 0.4, [0.2, 0, 0], 500)
    assert noisy[0] == 1  # and MaskGIT keeps it, whatever the noise


def test_tau_leaping_moves_by_exactly_one_jump_and_by_all_of_them_on_a_scale():
    chain = gk.priors.CategoricalChain(torch.tensor([0.3, 0.2, 0.5]).double(), processes.Uniform())
    z, t, u = torch.tensor([[0], [1], [2]]), 0.6, 0.2
    rates = chain.process.reverse_rates(chain.predict(z, t), t) * (t - u)
    setup = prepare(chain, sampler=samplers.TauLeaping(), steps=4, groups=(0, 3))
    step = Step(Moment(t, 1), Moment(u, 2), (1,))
    table = setup.propose(populate(setup, z, step.start, 1), step).kernel.table().log_probs.exp()
    poisson_one = torch.distributions.Poisson(rates[:, 0]).log_prob(torch.ones(3, 3).double()).exp()
    none = (-rates[:, 0]).exp()
    for row in range(3):
        for y in {0, 1, 2} - {row}:
            (other,) = {0, 1, 2} - {row, y}
            assert float(table[row, 0, y]) == pytest.approx(float(poisson_one[row, y] * none[row, other]), rel=1e-12)
    n = 20_000
    counts = torch.zeros(n, 1, 41, dtype=torch.float64)
    counts[..., 21], counts[..., 18] = 1.7, 0.6  # offsets 1 and -2
    moved = PoissonKernel(counts, torch.full((n, 1), 20)).sample(Draw(KeyedRandom(0, 0, n), (0,), "move")).double() - 20
    mean, variance = 1.7 - 2 * 0.6, 1.7 + 4 * 0.6
    assert float(moved.mean()) == pytest.approx(mean, abs=4 * math.sqrt(variance / n))
    assert float(moved.var()) == pytest.approx(variance, rel=0.06)


@pytest.mark.parametrize(("corrections", "scale"), [(1, 1.0), (3, 0.5)])
def test_a_corrector_is_as_long_as_a_predictor_step(corrections, scale):
    chain = gk.priors.CategoricalChain(LAW, processes.Uniform())
    sampler = samplers.PredictorCorrector(corrections=corrections, scale=scale)
    setup = prepare(chain, sampler=sampler, steps=10, groups=(0, 3))
    lengths = [
        setup.propose(populate(setup, torch.tensor([[0, 1], [1, 2], [2, 2]]), step.start, 1), step).kernel.length
        for step in setup.steps
        if step.t == step.u
    ]
    assert len(lengths) == 9 * corrections and lengths == [pytest.approx(scale / 10)] * len(lengths)
