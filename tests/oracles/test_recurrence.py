"""Going back: every visit is guided alike and has noise of its own, laws stay what they are, weights stay exact."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.core.loop import populate, prepare, walk
from guidekit.guidance.recurrence.engine import Invert, Recurrence
from guidekit.objectives.operators.masks import Keep

VP = gk.processes.VP("cosine")
MIXTURE = gk.priors.GaussianMixture(torch.tensor([[2.0], [-2.0]]), 0.5, torch.tensor([0.7, 0.3]), VP)
LIKELIHOOD = gk.objectives.LinearGaussian(torch.eye(1), torch.ones(1), 0.5)


def distance(x, cdf):
    """Kolmogorov-Smirnov distance of draws (N,) to a law."""
    x = x.double().sort().values
    steps = torch.arange(len(x) + 1, dtype=torch.float64) / len(x)
    return float(torch.maximum((cdf(x) - steps[:-1]).abs(), (cdf(x) - steps[1:]).abs()).max())


def normal(x, mean, std):
    return 0.5 * (1 + torch.erf((x - mean) / (std * math.sqrt(2))))


@pytest.mark.parametrize(("climb", "stretch"), [(None, 5), (Invert(0.0), 1)])
def test_schedules_look_at_moments_and_not_at_visits(climb, stretch):
    """A schedule of the first ten steps once guided 9 of 52 calls under RePaint."""
    seen = []

    def weight(t):
        seen.append(round(t, 6))
        return 3.0 if t > 0.5 else 1.5

    recurrence = Recurrence(3, stretch) if climb is None else Recurrence(3, stretch, climb)
    guidance = gk.chain(gk.guidance.CFG(weight), recurrence)
    ledger = gk.sample(MIXTURE, guidance, 2, 20, condition=0).ledger
    # All but the last stretch and the last step are gone through twice more; zigzag asks once more where it inverts.
    again = 19 // stretch * stretch
    hand = 20 + 2 * again + (2 * 19 if climb else 0)
    assert ledger.network_calls == hand == len(seen)
    assert sorted(set(seen)) == sorted(round(t, 6) for t in VP.grid(20)[:-1])
    first = 19 - again  # steps before the first stretch
    inverted = 2 * 9 if climb else 0  # asked where a step has led to
    assert sum(t > 0.5 for t in seen) == first + 3 * (10 - first) + inverted


def test_replacement_with_repeats_is_guided_alike():
    known = gk.objectives.GaussianLikelihood(Keep(torch.tensor([False])), torch.zeros(1, 1))
    seen = []
    weight = lambda t: seen.append(t) or (3.0 if t > 0.5 else 1.0)  # noqa: E731
    guidance = gk.chain(gk.guidance.CFG(weight), gk.guidance.Replacement(known, repeats=3, jump=5))
    gk.sample(MIXTURE, guidance, 1, 20, condition=0)
    assert sum(t > 0.5 for t in seen) == 22 and len(seen) == 20 + 2 * 15


@pytest.mark.parametrize(
    "guidance", [Recurrence(6, 5, window=(0.4, 0.0)), gk.guidance.Restart(), gk.guidance.TimeTravel(2)]
)
def test_noising_and_going_down_again_leaves_a_law_as_it_is(guidance):
    x = gk.sample(MIXTURE, guidance, 4000, 200).samples[:, 0]
    law = lambda v: 0.7 * normal(v, 2, 0.5) + 0.3 * normal(v, -2, 0.5)  # noqa: E731
    assert distance(x, law) < 1.63 / math.sqrt(4000)


def test_each_visit_has_noise_of_its_own_also_inside_another_recurrence():
    setup = prepare(MIXTURE, Recurrence(4, 1), sampler=gk.samplers.Ancestral(), steps=6, groups=(0, 500))
    population, ends = setup.begin(), []
    plain = prepare(MIXTURE, sampler=gk.samplers.Ancestral(), steps=6, groups=(0, 500))
    assert torch.equal(plain.begin().state, population.state)
    step = setup.steps[0]
    for visit in range(3):
        ends.append(walk(population, [step.again(visit)]).state[:, 0])
    assert not torch.equal(ends[0], ends[1]) and not torch.equal(ends[1], ends[2])


def test_a_multistep_solver_uses_no_answers_that_are_still_to_come():
    solver = gk.samplers.DPMSolver()
    setup = prepare(MIXTURE, sampler=solver, steps=20, groups=(0, 16))
    once = walk(setup.begin(), setup.steps[:10])
    ahead = walk(once, setup.steps[10:15])
    back = once.at(once.state, once.moment).remember(solver, ahead.recall(solver))
    expected = walk(populate(setup, once.state, once.moment, 1).remember(solver, None), setup.steps[10:11]).state
    taken = walk(back, setup.steps[10:11]).state
    assert torch.isfinite(taken).all()
    # what lies behind (noisier times) may be used, what lies ahead may not: with an empty history it is first order
    trimmed = walk(once.at(once.state, once.moment), setup.steps[10:11]).state
    assert torch.equal(taken, trimmed) or torch.equal(taken, expected)


def test_with_equal_weights_zigzag_only_adds_the_errors_of_the_solver():
    gaps = []
    for steps in (50, 200):
        options = dict(num_samples=512, steps=steps, sampler=gk.samplers.DDIM(), condition=0)
        once = gk.sample(MIXTURE, gk.guidance.CFG(1.0), **options).samples
        zigzag = gk.sample(MIXTURE, gk.chain(gk.guidance.CFG(1.0), gk.guidance.Zigzag(1.0)), **options).samples
        gaps.append(float((zigzag - once).abs().mean()))
    assert gaps[1] < 0.35 * gaps[0] + 1e-4 and gaps[0] < 0.1


def test_zigzag_moves_towards_the_condition():
    """What is gained at a step is the difference of both weights once more."""
    options = dict(num_samples=2000, steps=30, sampler=gk.samplers.DDIM(), condition=0)
    plain = gk.sample(MIXTURE, gk.guidance.CFG(1.5), **options).samples.mean()
    zigzag = gk.sample(MIXTURE, gk.chain(gk.guidance.CFG(1.5), gk.guidance.Zigzag(0.0)), **options).samples.mean()
    more = gk.sample(MIXTURE, gk.guidance.CFG(3.0), **options).samples.mean()
    assert plain < zigzag and abs(zigzag - more) < abs(plain - more) + 0.2


def test_weights_stay_exact_around_recurrence():
    exact = math.exp(-0.5 / 1.25) / math.sqrt(2 * math.pi * 1.25)
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0, VP)
    filtered = gk.guidance.FKSteering(LIKELIHOOD, 1.0, particles=16, output="all")
    for inside in (
        gk.guidance.TimeTravel(2, 2),
        gk.chain(gk.guidance.GradientGuidance(LIKELIHOOD, 0.3), gk.guidance.TimeTravel(2, 2, (0.5, 0.0))),
    ):
        z = gk.sample(prior, gk.chain(inside, filtered), 400, 40).log_normalizer.exp()
        assert abs(float(z.mean()) - exact) < 4 * float(z.std()) / 20 + 0.01 * exact
        assert float(z.std()) / 20 < 0.1 * exact


def test_recurrence_says_what_it_cannot():
    chain = gk.priors.CategoricalChain(torch.ones(2, 2))
    with pytest.raises(gk.GuidanceError, match="keeps a time for every row: use sampler=ancestral"):
        gk.sample(chain, gk.guidance.TimeTravel(2), 2, 4)
    assert gk.sample(chain, gk.guidance.TimeTravel(2), 2, 4, sampler="ancestral").samples.shape == (2, 2)
    with pytest.raises(gk.GuidanceError, match=r"needs a contrast of two branches inside it; write chain\(CFG"):
        gk.sample(MIXTURE, gk.guidance.Zigzag(), 2, 4)
    for bad in ({"repeats": 0}, {"stretch": 0}, {"window": (0.1, 0.9)}):
        with pytest.raises(ValueError, match="must be"):
            gk.guidance.TimeTravel(**bad)


def test_tokens_go_back_too():
    law = torch.tensor([[0.4, 0.1], [0.2, 0.3]])
    for process in (gk.processes.Masked(), gk.processes.Uniform()):
        prior = gk.priors.CategoricalChain(law, process)
        z = gk.sample(prior, gk.guidance.TimeTravel(2, 2), 8000, 40, sampler="ancestral").samples
        found = torch.bincount(2 * z[:, 0] + z[:, 1], minlength=4) / 8000
        assert (found - law.flatten()).abs().max() < 4 * math.sqrt(0.25 / 8000) + 0.012  # and the bias of the steps
