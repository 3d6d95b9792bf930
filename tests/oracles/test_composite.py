"""States of several parts: two independent ones each keep their law; padding and center of mass stay as they are."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.core.loop import populate, prepare, walk
from guidekit.core.prediction import CompositePrediction
from guidekit.core.requirements import Fact
from guidekit.core.state import Composite, batch, leaves, take
from guidekit.core.step import Moment, Step
from guidekit.testing import check_guidance

S, P = gk.samplers, gk.processes
LAW = torch.tensor([[[0.30, 0.05], [0.02, 0.13]], [[0.10, 0.05], [0.15, 0.20]]], dtype=torch.float64)
OTHER = LAW.flip(0)
STD, N = 0.7, 4000


def prior(centered=True, **options):
    chain = gk.priors.CategoricalChain(LAW, conditionals=OTHER[None])
    return gk.priors.PositionsAndTypes(chain, STD, smallest=2, centered=centered, class_stds=[0.3], **options)


SAMPLERS = {
    "ancestral": (S.Ancestral(), 100),
    "named none": (S.Each(), 100),
    "ddim": (S.Each({"positions": "ddim", "types": S.FirstHitting()}), 100),
    "heun": (S.Each({"positions": S.Heun()}), 30),
    "2m": (S.Each({"positions": S.DPMSolver(), "types": "first_hitting"}), 50),
    "2m sde": (S.Each({"positions": S.DPMSolver(1.0)}), 50),
    "2s": (S.Each({"positions": S.DPMSolverSingle()}), 30),
    "unipc": (S.Each({"positions": S.UniPC(3)}), 30),
    "adams": (S.Each({"positions": S.AdamsBashforth(3, runge_kutta_start=True)}), 30),
    "euler": (S.Each({"positions": S.Euler()}), 100),
    "euler-maruyama": (S.Each({"positions": S.EulerMaruyama()}), 100),
}


def check_laws(x, law=LAW, std=STD, centered=True):
    """Positions of n places are N(0, std^2) less their mean, types the first n tokens, sizes uniform; independent."""
    positions, types, mask = x.parts["positions"], x.parts["types"], x.mask
    assert not types[~mask].any() and not positions[~mask].any()  # nothing where there is no place
    if centered:
        assert float(positions.sum(1).abs().max()) < 1e-5
    sizes = mask.sum(1)
    for n in (2, 3):
        rows = sizes == n
        count = int(rows.sum())
        assert count / len(sizes) == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / len(sizes)))
        part = positions[rows][:, :n].double()
        expected = std * math.sqrt((n - 1) / n if centered else 1)
        assert float(part.std()) == pytest.approx(expected, rel=4 / math.sqrt(2 * count * n) + 0.03)
        assert float(part[:, 0, 0].mean()) == pytest.approx(0, abs=4 * expected / math.sqrt(count))
        tokens = types[rows][:, :n]
        exact = (law.sum(-1) if n == 2 else law).flatten()
        index = (tokens * 2 ** torch.arange(n - 1, -1, -1)).sum(1)
        found = torch.bincount(index, minlength=len(exact)) / count
        assert ((found - exact).abs() < 4 * (exact * (1 - exact) / count).sqrt() + 0.008).all()
        together = torch.corrcoef(torch.stack([part[:, 0, 0], tokens[:, 0].double()]))[0, 1]
        assert abs(float(together)) < 4 / math.sqrt(count)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_part_keeps_its_law(name):
    sampler, steps = SAMPLERS[name]
    check_laws(gk.sample(prior(), num_samples=N, steps=steps, sampler=sampler).samples)


@pytest.mark.parametrize("name", ["ancestral", "heun"])
def test_free_positions_and_classes(name):
    sampler, steps = SAMPLERS[name]
    x = gk.sample(prior(centered=False), num_samples=N, steps=steps, sampler=sampler).samples
    check_laws(x, centered=False)
    x = gk.sample(prior(), num_samples=N, steps=steps, sampler=sampler, condition=0).samples
    check_laws(x, OTHER, 0.3)
    check_laws(prior().sample(N, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_kernel_knows_the_places(name):
    """Means lie on the support, and it goes with them: shifts and noise are projected on it."""
    setup = prepare(prior(), sampler=SAMPLERS[name][0], steps=8, groups=(0, 8), dtype=torch.float64)
    population = setup.begin()
    for step in setup.steps:
        kernel = setup.propose(population, step).kernel.parts["positions"]
        assert kernel.support.centered and torch.equal(kernel.support.mask, population.state.mask)
        torch.testing.assert_close(kernel.support.project(kernel.mean), kernel.mean, atol=1e-12, rtol=0)
        population = setup.move(population, step)


QUIET = [name for name, (sampler, _) in SAMPLERS.items() if not sampler.draws(frozenset({"positions"}))]


@pytest.mark.parametrize("name", QUIET)
def test_padding_changes_nothing(name):
    """A short row among longer ones goes where it goes alone, without padding."""
    sampler, options = SAMPLERS[name][0], dict(steps=8, dtype=torch.float64)
    model = prior()
    setup = prepare(model, sampler=sampler, groups=(0, 8), **options)
    start = setup.begin().state
    end = gk.sample(model, num_samples=8, sampler=sampler, **options).samples.parts["positions"]
    rows = (start.mask.sum(1) == 2).nonzero()[:, 0]
    few = take(start, rows)
    short = Composite({key: part[:, :2] for key, part in few.parts.items()}, few.mask[:, :2])
    setup = prepare(model, sampler=sampler, groups=(0, len(rows)), **options)
    alone = walk(populate(setup, short, setup.steps[0].start, 1), setup.steps).state.parts["positions"]
    torch.testing.assert_close(alone, end[rows][:, :2])
    assert not end[rows][:, 2:].any()


@pytest.mark.parametrize("name", QUIET)
def test_a_part_takes_the_steps_that_it_takes_alone(name):
    each = SAMPLERS[name][0]
    model = gk.priors.PositionsAndTypes(gk.priors.CategoricalChain(LAW), STD, smallest=3, centered=False)
    setup = prepare(model, sampler=each, steps=8, groups=(0, 4), dtype=torch.float64)
    population = setup.begin()
    x = population.state.parts["positions"].flatten(1)
    alone = gk.priors.Gaussian(torch.zeros(6, dtype=torch.float64), STD**2, model.process.parts["positions"])
    single = prepare(alone, sampler=each.parts["positions"], steps=8, groups=(0, 4))
    expected = walk(populate(single, x, single.steps[0].start, 1), single.steps).state
    found = walk(population, setup.steps).state.parts["positions"].flatten(1)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


class TwoChains(gk.priors.Prior):
    """Two independent sequences of tokens, everywhere."""

    def __init__(self):
        self.chain = gk.priors.CategoricalChain(LAW)
        self.process = P.CompositeProcess({"a": self.chain.process, "b": self.chain.process})

    def start(self, draw, rows, dtype=None, condition=None):
        masks = torch.full((rows, 3), 2)
        return Composite({"a": masks, "b": masks})

    def predict(self, x, t, condition=None):
        return CompositePrediction({name: self.chain.predict(part, t) for name, part in x.parts.items()})


@pytest.mark.parametrize("types", ["first_hitting", "ancestral"])
def test_parts_draw_independently(types):
    """Also what comes before the kernel: the times at which tokens are revealed."""
    setup = prepare(TwoChains(), sampler=S.Each({"a": types, "b": types}), steps=8, groups=(0, N))
    population = setup.begin()
    for step in setup.steps:
        population = setup.move(population, step)
        if types == "first_hitting":
            times = torch.stack(list(population.recall(setup.sampler).values()))
            assert abs(float(torch.corrcoef(times)[0, 1])) < 4 / math.sqrt(N)
    for part in population.state.parts.values():
        found = torch.bincount((part * torch.tensor([4, 2, 1])).sum(1), minlength=8) / N
        assert ((found - LAW.flatten()).abs() < 4 * (LAW.flatten() / N).sqrt() + 0.008).all()
    tokens = torch.cat(list(population.state.parts.values()), 1).double().T
    assert float(torch.corrcoef(tokens)[:3, 3:].abs().max()) < 4.5 / math.sqrt(N)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_contract(name):
    """Shapes, seeds, batches, counts; and the memory of every part moves with its particle."""
    sampler, _ = SAMPLERS[name]
    check_guidance(prior(), None, steps=6, sampler=sampler)
    chosen = torch.tensor([[2, 0, 1, 1]])

    class Shuffle(gk.Guidance):
        def move(self, inner, population, step):
            population = inner(population, step)
            return population.select(chosen) if step.start.index == 3 else population

    if not sampler.draws(frozenset({"positions"})):
        options = dict(sampler=sampler, particles=4, dtype=torch.float64)
        plain = gk.sample(prior(), None, 1, 8, **options).samples.parts["positions"]
        moved = gk.sample(prior(), Shuffle(), 1, 8, **options).samples.parts["positions"]
        torch.testing.assert_close(moved, plain[chosen[0]], atol=1e-12, rtol=0)


class Spread(gk.objectives.Objective):
    """How far apart the positions are: differentiable."""

    parts, differentiable = frozenset({"positions"}), True

    def scores(self, states, t, rows):
        return states.parts["positions"].square().flatten(1).sum(1)


GUIDED = {
    "cfg": lambda: gk.guidance.CFG(2.0),
    "apg": lambda: gk.guidance.APG(2.0),
    "dps": lambda: gk.guidance.DPS(Spread(), 0.1),
    "svdd": lambda: gk.guidance.SVDD(Spread(), 2, alpha=1.0),
    "fk": lambda: gk.guidance.FKSteering(Spread(), 1.0, particles=4),
    "best of n": lambda: gk.guidance.BestOfN(Spread(), 3),
    "all": lambda: gk.chain(gk.guidance.CFG(2.0), gk.guidance.FKSteering(Spread(), 1.0, particles=4)),
}


@pytest.mark.parametrize("name", GUIDED)
@pytest.mark.parametrize("sampler", ["ancestral", "2m sde"])
def test_guidance_of_every_family_runs(name, sampler):
    result = check_guidance(prior(), GUIDED[name](), steps=5, sampler=SAMPLERS[sampler][0], condition=0)
    positions, mask = result.samples.parts["positions"], result.samples.mask
    assert not positions[~mask].any() and float(positions.sum(1).abs().max()) < 1e-5


def test_noising_knows_the_places():
    model = prior()
    clean = model.sample(2000, torch.Generator().manual_seed(0))
    setup = prepare(model, sampler=S.Ancestral(), groups=(0, 2000))
    population = populate(setup, clean, Moment(0.0, 64), 1)
    noisy = population.noised(Step(Moment(0.0, 64), Moment(0.6, 20), (5,))).state
    a, s = model.process.parts["positions"].coefficients(0.6)
    positions, full = noisy.parts["positions"], clean.mask.all(1)
    assert not positions[~clean.mask].any() and float(positions.sum(1).abs().max()) < 1e-5
    expected = math.sqrt((a * a * STD**2 + s * s) * 2 / 3)
    assert float(positions[full].std()) == pytest.approx(expected, rel=0.03)
    masked = noisy.parts["types"] == 2
    assert not masked[~clean.mask].any() and float(masked[clean.mask].double().mean()) == pytest.approx(0.6, abs=0.03)


def test_results_are_objects_one_by_one():
    result = gk.sample(prior(), num_samples=5, steps=4)
    found = result.objects()
    assert len(found) == 5 and found[0].parts["positions"].shape == (3, 2) and batch(result.samples) == 5
    assert all(leaf.isfinite().all() for leaf in leaves(result.samples) if leaf.is_floating_point())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: gk.sample(prior(), sampler=S.DDIM()), "give each its own with Each({name: sampler, ...})"),
        (lambda: gk.sample(prior(), sampler=S.FirstHitting()), "have several parts"),
        (lambda: gk.sample(prior(), sampler=S.Each({"atoms": S.DDIM()})), "no part 'atoms'"),
        (lambda: gk.sample(prior(), sampler=S.Each({"types": S.Heun()})), "Heun needs a Gaussian process"),
        (lambda: gk.sample(gk.priors.Gaussian(torch.zeros(1)), sampler=S.Each()), "several parts"),
        (lambda: S.Each({"positions": S.Langevin()}), "Langevin needs a time grid of its own"),
        (lambda: S.Each({"positions": S.EDICT()}), "EDICT needs a time grid of its own"),
        (lambda: S.Each({"positions": S.DDIM(times="karras")}), "give times= to Each"),
        (lambda: S.Each({"positions": 3}), "3 is no sampler"),
        (lambda: S.Each({"positions": "huen"}), "did you mean 'heun'"),
        (lambda: P.CompositeProcess({}), "(none)"),
        (lambda: P.CompositeProcess({"x": P.VP()}, frozenset({"y"})), "centered: y"),
        (lambda: gk.priors.PositionsAndTypes(gk.priors.CategoricalChain(LAW), smallest=4), "1 to 3"),
        (lambda: gk.priors.PositionsAndTypes(gk.priors.CategoricalChain(LAW), std=0.0), "above 0"),
        (lambda: gk.priors.PositionsAndTypes(gk.priors.CategoricalChain(LAW, P.Uniform())), "masked process"),
    ],
)
def test_refusals_are_one_clear_line(make, words):
    with pytest.raises(ValueError) as refusal:
        make()
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


def test_noise_is_declared_part_by_part():
    quiet, loud = S.Each({"positions": S.Heun(), "types": S.Ancestral()}), S.Each({"positions": S.DPMSolver(1.0)})
    assert Fact.NOISE not in quiet.provides and Fact.NOISE in loud.provides and Fact.NOISE in S.Each().provides
    assert quiet.draws(frozenset({"types"})) and not quiet.draws(frozenset({"positions"}))
