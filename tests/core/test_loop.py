"""The loop: keyed randomness, populations, chunks, composition, caches, regressions of published bugs."""

import dataclasses
import inspect
import traceback

import pytest
import torch

import guidekit as gk
from guidekit.core.guidance import Guidance, Layer
from guidekit.core.loop import populate, prepare, walk
from guidekit.core.objective import ScoreError
from guidekit.core.question import jointly
from guidekit.core.random import Draw, KeyedRandom
from guidekit.core.state import altered, cat, changed_rows, put, repeat, take, where
from guidekit.core.step import Moment, Step
from guidekit.core.token_kernels import CategoricalKernel
from guidekit.guidance.values import Estimate

VP = gk.processes.VP("cosine")


@dataclasses.dataclass(frozen=True)
class Molecule3D:
    positions: torch.Tensor
    types: torch.Tensor
    unit: str = "Angstrom"


def batch(n=4):
    return Molecule3D(torch.arange(n * 6.0).view(n, 3, 2), torch.arange(n * 3).view(n, 3))


def test_composite_states_move_as_one():
    x = batch()
    picked = take(x, torch.tensor([2, 0]))
    assert torch.equal(picked.positions, x.positions[[2, 0]]) and torch.equal(picked.types, x.types[[2, 0]])
    assert picked.unit == "Angstrom" and picked.types.dtype == torch.int64
    assert repeat(x, 3).types.shape == (12, 3)
    assert torch.equal(cat([x, picked]).types[4:], picked.types)
    changed = put(x, torch.tensor([1]), take(x, torch.tensor([3])))
    assert changed_rows(x, changed).tolist() == [1]
    assert torch.equal(where(torch.tensor([False, True, False, False]), x, changed).types, x.types)


# Randomness ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2,), (3, 40), (5, 300)])  # joined over many steps, over few, alone
@pytest.mark.parametrize("key", [(0,), (1,), (17,), (3, 2)])
def test_draws_depend_on_group_and_step_only(shape, key):
    whole = KeyedRandom(7, 0, 200).numbers("normal", key, "move", (200, *shape))
    for first, groups in ((0, 1), (63, 2), (100, 100)):
        part = KeyedRandom(7, first, groups).numbers("normal", key, "move", (groups, *shape))
        assert torch.equal(part, whole[first : first + groups])


def test_draws_of_other_steps_purposes_and_seeds_are_independent():
    draws = [
        KeyedRandom(seed, 0, 64).numbers("normal", key, purpose, (64, 100)).flatten()
        for seed, key, purpose in ((0, (0,), "a"), (0, (1,), "a"), (0, (16,), "a"), (0, (0, 1), "a"), (0, (0,), "b"))
    ] + [KeyedRandom(1, 0, 64).numbers("normal", (0,), "a", (64, 100)).flatten()]
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(len(draws))
    assert correlation.abs().max() < 5 / 6400**0.5


def test_numbers_are_the_same_in_single_and_double_precision():
    single = gk.priors.Gaussian(torch.zeros(2), 1.0, VP)
    double = gk.priors.Gaussian(torch.zeros(2, dtype=torch.float64), 1.0, VP)
    one, two = (gk.sample(prior, None, 5, 20).samples for prior in (single, double))
    assert (one.dtype, two.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(one.double(), two, atol=1e-5, rtol=0)
    assert gk.sample(single, None, 5, 20, dtype=torch.float64).samples.dtype == torch.float64
    started = prepare(double, sampler=gk.samplers.Ancestral(), groups=(0, 3)).begin()
    assert started.state.dtype == torch.float64


class Through(Guidance):
    """Passes everything through."""

    layer = Layer.CONTRAST

    def denoise(self, inner, question):
        return inner(question)


@pytest.mark.parametrize("particles", [1, 4])
def test_a_guidance_that_does_nothing_changes_nothing(chain_a, particles):
    for plain in (
        gk.guidance.SVDD(chain_a.reward, 3, 0.5),
        gk.guidance.FKSteering(chain_a.reward, 1.0, particles=4),
    ):
        for guided in (gk.chain(Through(), plain), gk.chain(Through(), Through(), plain)):
            one, two = (gk.sample(chain_a.prior, each, 20, 4) for each in (plain, guided))
            assert torch.equal(one.samples, two.samples) and torch.equal(one.log_normalizer, two.log_normalizer)


def test_two_guidances_of_one_kind_draw_independently(chain_a):
    pair = [gk.guidance.SVDD(chain_a.reward, 2), gk.guidance.SVDD(chain_a.reward, 2)]
    setup = prepare(chain_a.prior, gk.chain(*pair), sampler=gk.samplers.Ancestral(), steps=4, groups=(0, 64))
    population = setup.begin()
    first, second = (population.draw(setup.steps[0], "choose", each).uniform(64) for each in pair)
    assert not torch.equal(first, second)
    assert torch.equal(first, population.draw(setup.steps[0], "choose", pair[0]).uniform(64))


def test_a_step_asked_twice_gives_one_answer_and_again_an_independent_one():
    seen = []

    class Twice(Guidance):
        layer = Layer.SEARCH

        def move(self, inner, population, step):
            seen.append([inner(population, each).state for each in (step, step, step.again(1), step.again(2))])
            return inner(population, step)

    prior = gk.priors.Gaussian(torch.zeros(1), 1.0, VP)
    gk.sample(prior, Twice(), 2000, 3)
    same, again, once, more = seen[0]
    assert torch.equal(same, again) and not torch.equal(same, once)
    noise = torch.stack([(x - x.mean())[:, 0] for x in (same, once, more)])
    mean = (noise.sum(0) / 3)[None]  # what the kernels share
    assert torch.corrcoef(torch.stack([(noise - mean)[0], (noise - mean)[1]]))[0, 1] < 0


# Populations ---------------------------------------------------------------------------------------------------------


def population_of(prior, state, moment=Moment(0.5, 0), groups=3, particles=4, condition=None):  # noqa: B008 - frozen
    options = dict(sampler=gk.samplers.Ancestral(), steps=4, groups=(0, groups), particles=particles)
    return populate(prepare(prior, condition=condition, **options), state, moment, particles)


def test_select_carries_everything_that_belongs_to_a_particle(chain_a):
    law, owner = chain_a.prior.probabilities, Through()
    prior = gk.priors.CategoricalChain(law, conditionals=torch.stack([law] * 12))
    state = torch.randint(0, 3, (12, 2), generator=torch.Generator().manual_seed(0))
    population = population_of(prior, state, condition=torch.arange(3))
    population = altered(population, condition=torch.arange(12)).remember(owner, {"score": torch.arange(12.0)})
    population = altered(population, log_weights=torch.arange(12.0, dtype=torch.float64).view(3, 4))
    population.predict()
    chosen = torch.tensor([[3, 3, 0], [1, 2, 2], [0, 0, 0]])
    rows = (torch.arange(3)[:, None] * 4 + chosen).flatten()
    after = population.select(chosen)
    assert (after.groups, after.particles) == (3, 3)
    for name, value in (("state", state), ("condition", torch.arange(12)), ("roots", torch.arange(12) % 4)):
        assert torch.equal(getattr(after, name), value[rows])
    assert torch.equal(after.recall(owner)["score"], torch.arange(12.0)[rows])
    assert torch.equal(after.log_weights.flatten(), torch.arange(12.0, dtype=torch.float64)[rows])
    ledger = population.setup.network.ledger
    calls = ledger.network_rows
    assert torch.equal(after.predict().z, state[rows]) and ledger.network_rows == calls  # the answer came along
    expanded = population.expand(2)
    assert torch.equal(expanded.state, state.repeat_interleave(2, 0)) and expanded.particles == 8


def test_only_changed_rows_are_asked_again(chain_a):
    population = population_of(chain_a.prior, torch.full((12, 2), 3), Moment(1.0, 0))
    population.predict()
    state = population.state.clone()
    state[5] = torch.tensor([2, 3])
    prediction = population.at(state, Moment(0.75, 1)).predict()
    ledger = population.setup.network.ledger
    assert ledger.network_rows == 13 and ledger.cached_rows == 11
    torch.testing.assert_close(prediction.log_probs, chain_a.prior.predict(state, 0.75).log_probs)


def test_time_dependent_priors_are_asked_at_every_time():
    prior = gk.priors.CategoricalChain(torch.tensor([0.5, 0.3, 0.2]), gk.processes.Uniform())
    population = population_of(prior, torch.zeros(12, 1, dtype=torch.long), Moment(0.9, 0))
    later = population.at(population.state, Moment(0.3, 1))
    assert not torch.equal(population.predict().log_probs, later.predict().log_probs)
    assert population.setup.network.ledger.network_rows == 24


def test_last_partial_batch_is_sampled():
    """Released code leaves the last N % batch samples at zero."""
    prior = gk.priors.Gaussian(torch.full((2,), 50.0), 0.01)
    x = gk.sample(prior, num_samples=10, steps=50, batch_size=4).samples
    assert x.shape == (10, 2) and (x > 40).all()


def test_groups_do_not_share_a_particle_filter():
    """Released code resamples over the whole batch: one lucky group then fills all the others."""
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0, VP)
    reward = lambda x: 50.0 * x[:, 0]  # noqa: E731
    guidance = gk.guidance.FKSteering(reward, 1.0, particles=4, ess_threshold=None, output="all")
    x = gk.sample(prior, guidance, 50, 30).samples.view(50, 4)
    assert len(x.unique()) > 50
    assert len(x[:, 0].unique()) == 50


@dataclasses.dataclass(frozen=True, eq=False)
class Noting(Estimate):
    """Zero everywhere; keeps when it was asked."""

    asked: list
    objectives = ()

    def value(self, population):
        self.asked.append(population.moment.t)
        return torch.zeros(len(population), dtype=torch.float64)


def test_candidates_are_scored_at_the_time_they_live_at(chain_a):
    """Released code scores a candidate for u with the network at t."""
    asked = []
    guidance = gk.guidance.SVDD(chain_a.reward, 3, value=Noting(asked))
    gk.sample(chain_a.prior, guidance, 50, 4, sampler=gk.samplers.Ancestral())
    assert asked == [0.75, 0.5, 0.25, 0.0]


def test_winner_keeps_its_network_answer():
    """A step costs M rows a sample, not M + 1."""
    prior = gk.priors.Gaussian(torch.zeros(2), 1.0)
    reward = gk.objectives.QuadraticReward(torch.ones(2))
    ledger = gk.sample(prior, gk.guidance.SVDD(reward, 5), 7, 10).ledger
    assert ledger.network_rows == 7 * (1 + 9 * 5)  # the last step needs no network: its states are clean
    assert ledger.network_calls == 10


def test_network_batch_caps_a_call():
    prior = gk.priors.Gaussian(torch.zeros(2), 1.0)
    reward = gk.objectives.QuadraticReward(torch.ones(2))
    whole = gk.sample(prior, gk.guidance.SVDD(reward, 5), 7, 10)
    prior.network_batch = 8
    capped = gk.sample(prior, gk.guidance.SVDD(reward, 5), 7, 10)
    torch.testing.assert_close(capped.samples, whole.samples)
    assert capped.ledger.network_rows == whole.ledger.network_rows and capped.ledger.network_calls == 1 + 9 * 5


class Dense(gk.priors.GaussianMixture):
    """A matrix product so large that its last bits depend on how many rows are multiplied."""

    def predict(self, x, t, condition=None):
        mixer = torch.randn(2, 512, generator=torch.Generator().manual_seed(0))
        back = torch.linalg.pinv(mixer)
        return super().predict(x @ mixer @ back, t, condition)


def test_calls_of_one_size_give_the_same_bits_in_any_batch():
    prior = Dense(torch.tensor([[2.0, 0.0], [-2.0, 1.0]]), 0.5)
    prior.network_batch = 16
    whole = gk.sample(prior, None, 40, 8, network_fixed=True).samples
    for size in (1, 7):
        assert torch.equal(gk.sample(prior, None, 40, 8, batch_size=size, network_fixed=True).samples, whole)


# Composition ---------------------------------------------------------------------------------------------------------


def test_chain_order_is_inside_out():
    order = []

    class Note(Guidance):
        def __init__(self, name):
            self.label = name

        def denoise(self, inner, question):
            order.append(self.label)
            return inner(question)

    prior = gk.priors.Gaussian(torch.zeros(1), 1.0)
    gk.sample(prior, gk.chain(Note("inside"), gk.chain(Note("middle"), Note("outside"))), 1, 1)
    assert order == ["outside", "middle", "inside"]


def test_a_chain_reads_as_it_is_written(chain_a):
    text = repr(gk.chain(gk.guidance.SVDD(chain_a.reward, 3), gk.guidance.BestOfN(chain_a.reward, particles=2)))
    assert text.startswith("chain(SVDD(") and "candidates=3" in text and " at 0x" not in text.replace("object at", "")


def test_wrong_orders_are_answered_with_the_right_one(chain_a):
    guidances = gk.chain(gk.guidance.FKSteering(chain_a.reward), gk.guidance.SVDD(chain_a.reward))
    with pytest.raises(gk.GuidanceError, match=r"write chain\(SVDD, FKSteering\)"):
        gk.sample(chain_a.prior, guidances)
    likelihood = gk.objectives.LinearGaussian(torch.ones(1, 1), torch.ones(1), 0.5)
    prior = gk.priors.GaussianMixture(torch.tensor([[2.0], [-2.0]]), 0.7)
    with pytest.raises(gk.GuidanceError, match=r"write chain\(\w+, DPS\)"):
        gk.sample(prior, gk.chain(gk.guidance.DPS(likelihood), gk.guidance.CFG(2.0)), 4, 10, condition=0)


def test_two_filters_are_refused(chain_a):
    pair = gk.chain(gk.guidance.FKSteering(chain_a.reward), gk.guidance.FKSteering(chain_a.reward))
    with pytest.raises(gk.GuidanceError, match="keep one of them"):
        gk.sample(chain_a.prior, pair)


def test_dps_looks_through_cfg():
    prior = gk.priors.GaussianMixture(torch.tensor([[2.0], [-2.0]]), 0.7)
    likelihood = gk.objectives.LinearGaussian(torch.ones(1, 1), torch.ones(1), 0.5)
    cfg, dps = gk.guidance.CFG(2.0), gk.guidance.DPS(likelihood, 0.3)
    result = gk.sample(prior, gk.chain(cfg, dps), 4, 10, condition=0)
    assert (result.ledger.backward_passes, result.ledger.network_calls) == (10, 10)
    assert not torch.allclose(result.samples, gk.sample(prior, dps, 4, 10, condition=0).samples)


SILENT = ["DDIM()", "Euler()", "Heun()", "UniPC()", "AdamsBashforth()", "EDICT()", "BDIA()", "DPMSolver()"]
SILENT += ["EulerMaruyama(noise=0.0)", "StochasticHeun(churn=0.0)", "DDIM(eta=0.0)", "DPMSolverSingle()"]


@pytest.mark.parametrize("text", SILENT)
@pytest.mark.parametrize("kind", ["filter", "search"])
def test_what_needs_noise_refuses_samplers_without(text, kind):
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0, VP)
    reward = gk.objectives.QuadraticReward(torch.ones(1))
    guidance = gk.guidance.FKSteering(reward) if kind == "filter" else gk.guidance.SVDD(reward)
    sampler = eval(f"gk.samplers.{text}")  # noqa: S307 - of the list above
    with pytest.raises(gk.GuidanceError, match="needs a sampler that draws noise.*use Ancestral"):
        gk.sample(prior, guidance, sampler=sampler)


def test_samplers_with_noise_are_taken():
    """And do their work: the reward rises."""
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0, VP)
    for guidance in (gk.guidance.FKSteering(lambda x: x[:, 0]), gk.guidance.SVDD(lambda x: x[:, 0], 2)):
        for sampler in (gk.samplers.DDIM(0.5), gk.samplers.DPMSolver(eta=1.0)):
            plain, guided = (gk.sample(prior, one, 1024, 3, sampler=sampler).samples.mean() for one in (None, guidance))
            assert guided > plain + 4 * (2 / 1024) ** 0.5, (guidance.name, sampler)  # standard errors


# Frames --------------------------------------------------------------------------------------------------------------


def frames(guidance, **options):
    """Own frames between `sample` and `predict`, both counted but for predict."""
    seen = []

    class Watched(gk.priors.GaussianMixture):
        def predict(self, x, t, condition=None):
            seen.append(
                [f.name for f in traceback.extract_stack() if "guidekit" in f.filename and "tests" not in f.filename]
            )
            return super().predict(x, t, condition)

    gk.sample(Watched(torch.tensor([[2.0], [-2.0]]), 0.5, process=VP), guidance, 3, 3, batch_size=2, **options)
    return max(map(len, seen))


def test_few_frames_lie_between_sample_and_predict():
    assert frames(None) <= 6
    assert frames(gk.guidance.CFG(2.0), condition=0) <= 8


def test_no_hook_is_given_anything_to_assign_to(chain_a):
    setup = prepare(chain_a.prior, sampler=gk.samplers.Ancestral(), steps=4, groups=(0, 2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setup.steps = ()
    hooks = {name: list(inspect.signature(getattr(Guidance, name)).parameters) for name in ("plan", "start", "finish")}
    assert hooks == {
        "plan": ["self", "steps", "prior"],
        "start": ["self", "population"],
        "finish": ["self", "population"],
    }


# What users write ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [{"num_samples": 0}, {"steps": 0}, {"batch_size": 0}, {"particles": 0}])
def test_sizes_below_one_are_refused(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}=0"):
        gk.sample(gk.priors.Gaussian(torch.zeros(1), 1.0), **bad)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"condition": 7}, "condition 7 is no class of this prior .* 0 to 1"),
        ({"condition": "a"}, "condition 'a' is no class of this prior"),
        ({"condition": 0.5}, "condition 0.5 is no class"),
        ({"guidance": "cfg"}, "guidance='cfg'; give a guidance"),
        ({"sampler": "dimm"}, "no sampler named 'dimm' .did you mean 'ddim'"),
        ({"sampler": 3}, "sampler=3; give a sampler such as DDIM"),
        ({"device": "gpu"}, "device='gpu' cannot be used here; accepted: cpu"),
    ],
)
def test_wrong_settings_are_answered_in_one_line(options, said):
    prior = gk.priors.GaussianMixture(torch.tensor([[2.0], [-2.0]]), 0.7)
    with pytest.raises(ValueError, match=said) as caught:
        gk.sample(prior, **options)
    assert "\n" not in str(caught.value)


def test_classes_and_paths_in_place_of_objects_are_answered():
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0)
    for wrong in ("mine.safetensors", gk.priors.Gaussian):
        with pytest.raises(ValueError, match="give a prior such as domain.load_prior"):
            gk.sample(wrong)
    with pytest.raises(gk.GuidanceError, match="the function SVDD; give a guidance"):
        gk.sample(prior, gk.guidance.SVDD)
    with pytest.raises(gk.GuidanceError, match="chain takes guidances"):
        gk.chain(gk.guidance.SVDD)
    assert gk.sample(prior, sampler="ddim", steps=3).samples.shape == (1, 1)  # names that are clear are taken


def test_condition_on_an_unconditional_prior_is_refused(chain_a):
    with pytest.raises(gk.GuidanceError, match="made without conditions"):
        gk.sample(chain_a.prior, condition=1)


@pytest.mark.parametrize("answer", ["shape", "nan", "type", "unnormalized"])
def test_answers_that_are_no_predictions_are_refused(answer, chain_a):
    class Broken(gk.priors.Gaussian):
        def predict(self, x, t, condition=None):
            good = super().predict(x, t)
            changes = {"shape": altered(good, mean=good.mean[:, 0]), "nan": altered(good, mean=good.mean * torch.nan)}
            return changes.get(answer, x)

    class Logits(gk.priors.CategoricalChain):
        def predict(self, x, t, condition=None):
            good = super().predict(x, t)
            return altered(good, log_probs=good.log_probs + 1.0)

    prior = Broken(torch.zeros(2), 1.0)
    if answer == "unnormalized":
        prior = Logits(chain_a.prior.probabilities)
    said = {"shape": "has shape", "nan": "NaN", "type": "gave Tensor", "unnormalized": "do not add up to one"}[answer]
    with pytest.raises(ValueError, match=said):
        gk.sample(prior, steps=3)


# Objectives in the loop ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [lambda x: x.sum(), lambda x: x, lambda x: 1.0], ids=["batch", "state", "number"])
def test_scores_of_another_shape_are_refused(function):
    prior = gk.priors.Gaussian(torch.zeros(2), 1.0, VP)
    for guidance in (gk.guidance.FKSteering(function, 1.0), gk.guidance.DPS(function), gk.guidance.BestOfN(function)):
        with pytest.raises(ScoreError, match="give one number a state"):
            gk.sample(prior, guidance, 8, 5)


@pytest.mark.parametrize("batch_size", [None, 1, 2])
@pytest.mark.parametrize("particles", [1, 3])
def test_each_sample_may_have_its_own_measurement(batch_size, particles):
    """Released operators read batch element 0 only; chunks once used the first measurements again."""
    prior = gk.priors.Gaussian(torch.zeros(2), 1.0, VP)
    y = torch.tensor([[-2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    likelihood = gk.objectives.LinearGaussian(torch.eye(2), y, 0.1)
    guidance = gk.guidance.DPS(likelihood, 0.3)
    if particles > 1:
        guidance = gk.chain(guidance, gk.guidance.BestOfN(likelihood, particles))
    x = gk.sample(prior, guidance, 3, 200, batch_size=batch_size).samples
    assert ((x - y).norm(dim=1) < 0.6).all()
    whole = gk.sample(prior, guidance, 3, 200).samples
    torch.testing.assert_close(x, whole, atol=1e-4, rtol=0)
    with pytest.raises(ScoreError, match="3 rows for 4 samples"):
        gk.sample(prior, guidance, 4, 5)


def test_each_sample_may_have_its_own_noise():
    prior = gk.priors.Gaussian(torch.zeros(1), 1.0, VP)
    noise = torch.tensor([0.1, 10.0])
    likelihood = gk.objectives.GaussianLikelihood(lambda x: x, torch.full((1, 1), 2.0), noise)
    guidance = gk.guidance.FKSteering(likelihood, 1.0, particles=400)
    sure, vague = gk.sample(prior, guidance, 2, 40).samples[:, 0]
    assert abs(sure - 2) < 0.5 and abs(vague - 2) > 0.5


def test_a_diagnostic_of_every_row_may_be_recorded_inside_a_search():
    class Norms(Guidance):
        def denoise(self, inner, question):
            prediction = inner(question)
            question.record("norm", prediction.mean.norm(dim=1))
            return prediction

    prior = gk.priors.Gaussian(torch.zeros(2), 1.0, VP)
    reward = gk.objectives.QuadraticReward(torch.ones(2))
    result = gk.sample(prior, gk.chain(Norms(), gk.guidance.SVDD(reward, 3)), 5, 4, batch_size=2)
    assert result.info["norm"].shape == (5, 4, 3)  # three candidates, but for the first step
    assert result.info["norm"][:, 0, 1:].isnan().all() and result.info["norm"][:, 1:].isfinite().all()


def test_sums_of_objectives_see_what_each_wants():
    prior = gk.priors.Gaussian(torch.zeros(2), 1.0, VP)
    seen = {}

    def look(name):
        def function(states):
            seen[name] = states
            return torch.zeros(len(states))

        return function

    objective = gk.objectives.Reward(look("clean")) + 2.0 * gk.objectives.Reward(look("noisy"), on="noisy")
    objective = objective - gk.objectives.Reward(look("objects"), on="objects")
    population = populate(
        prepare(prior, gk.guidance.BestOfN(objective), sampler=gk.samplers.Ancestral(), groups=(0, 2)),
        torch.ones(2, 2),
        Moment(0.5, 0),
        1,
    )
    population.score(objective)
    assert torch.equal(seen["noisy"], population.state)
    assert torch.equal(seen["clean"], population.predict().mean) and len(seen["objects"]) == 2


# Kernels -------------------------------------------------------------------------------------------------------------


def test_unmasking_kernels_are_what_they_say(chain_a):
    z = torch.tensor([[3, 3], [0, 3], [3, 1]])
    prediction = chain_a.prior.predict(z, 0.5)
    table = chain_a.prior.process.reverse_kernel(prediction, 0.5, 0.25).table()
    assert isinstance(table, CategoricalKernel)
    torch.testing.assert_close(table.log_probs.exp().sum(-1), torch.ones(3, 2, dtype=torch.float64))
    every = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    for row in range(3):
        one = chain_a.prior.process.reverse_kernel(take(prediction, torch.tensor([row] * 16)), 0.5, 0.25)
        assert float(one.log_prob(every).exp().sum()) == pytest.approx(1.0)
    population = population_of(chain_a.prior, torch.full((16, 2), 3), Moment(0.5, 0), 16, 1)
    step = Step(Moment(0.5, 0), Moment(0.25, 1), (0,))
    steps = (step, Step(Moment(0.25, 1), Moment(0.0, 2), (1,)))
    here = altered(population.here(step, take(prediction, torch.tensor([0] * 16))), steps=steps)
    chosen, times = gk.samplers.FirstHitting().step(here, None)
    probability = chosen.log_prob(every).exp()
    assert float(probability.sum()) == pytest.approx(1.0)
    assert (probability[(every == 3).sum(1) != 1] == 0).all()
    assert (times < 0.5).all()


@pytest.mark.parametrize(("count", "power"), [(1, 3), (3, 1)])
def test_first_hitting_times_are_those_of_the_process(count, power):
    """With n masked tokens at t = 1 the first is revealed at u with P(u < x) = x^n, the last with 1 - (1 - x)^n."""
    chain = gk.priors.CategoricalChain(torch.ones(2, 2, 2))
    setup = prepare(chain, sampler=gk.samplers.FirstHitting(), steps=3 if count == 1 else 1, groups=(0, 4000))
    population = walk(setup.begin(), setup.steps[:1])
    times = population.time
    uniform = times**3 if count == 1 else 1 - (1 - times) ** 3
    assert float(uniform.mean()) == pytest.approx(0.5, abs=4 * (1 / 12 / 4000) ** 0.5)


def test_joined_questions_keep_each_row_with_its_own_time_and_condition():
    """Released code tiles times against interleaved states."""
    prior = gk.priors.GaussianMixture(torch.tensor([[2.0], [-2.0]]), 0.7)
    x, t, condition = torch.tensor([[0.1], [0.9], [-0.5]]), torch.tensor([0.2, 0.5, 0.9]), torch.tensor([0, 1, 0])
    population = population_of(prior, x, Moment(1.0, 0), 3, 1, condition)
    question = altered(population.question(), t=t)
    null, given = jointly(population.setup.denoise, [question.of_nobody(), question])
    for i in range(3):
        rows = slice(i, i + 1)
        torch.testing.assert_close(null.mean[rows], prior.predict(x[rows], t[rows]).mean)
        torch.testing.assert_close(given.mean[rows], prior.predict(x[rows], t[rows], condition[rows]).mean)
    assert population.setup.network.ledger.network_calls == 1


def test_extreme_rewards_do_not_overflow_the_weights(chain_a):
    """Released code keeps weights in linear space and clamps them: all large rewards then look alike."""
    reward = gk.objectives.TableReward(chain_a.rewards * 1e4)
    guidance = gk.guidance.FKSteering(reward, 1.0, particles=64, ess_threshold=0.0, output="all")
    result = gk.sample(chain_a.prior, guidance, 50, 4, sampler=gk.samplers.Ancestral())
    assert result.log_normalizer.isfinite().all() and not result.log_weights.isnan().any()
    best = torch.softmax(result.log_weights, 1).flatten() @ reward(result.samples) / 50
    assert float(best) == pytest.approx(2e4)  # each group has a best state, and its weight tells it from 1e4


def test_a_group_without_hope_falls_back_to_a_uniform_draw_and_is_counted(chain_a):
    nothing = gk.objectives.TableReward(torch.full((3, 3), -torch.inf))
    result = gk.sample(chain_a.prior, gk.guidance.FKSteering(nothing, 1.0, particles=4), 20, 4)
    assert result.ledger.degenerate_groups == 20 and result.log_normalizer.isneginf().all()
    found = gk.sample(chain_a.prior, gk.guidance.SVDD(nothing, 4), 20, 4)
    assert found.ledger.degenerate_groups == 40 and (found.samples < 3).all()  # two tokens, two choices a sample


def test_draws_are_named_by_owner_and_not_by_place():
    random = KeyedRandom(0, 0, 4)
    assert torch.equal(Draw(random, (3,), "SVDD 0 choose").uniform(4), Draw(random, (3,), "SVDD 0 choose").uniform(4))
