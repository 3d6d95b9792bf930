"""Discrete processes against what a Markov chain must satisfy: Chapman-Kolmogorov, Bayes, rates, concrete scores."""

import dataclasses
import itertools

import pytest
import torch
from torch.nn import functional as F

import guidekit as gk
from guidekit.core.random import Draw, KeyedRandom
from guidekit.processes import (
    CosineAlpha,
    Geometric,
    Kinds,
    LogLinear,
    Marginal,
    Masked,
    Stepped,
    Structured,
    Uniform,
    blocks,
    discretized_gaussian,
    ordinal,
)

SCHEDULES = [LogLinear(), CosineAlpha(), Geometric(1e-3, 6.0)]
V = 4
STEPS = 10


def continuous(alpha, pinned=None, posterior="mix"):
    shared = {"alpha": alpha, "pinned": pinned}
    last = (0, 0, 0, 1) if pinned == 2 else (0, 0, 0.3, 0.7)
    return {
        "masked": Masked(V, **shared),
        "uniform": Uniform(V, posterior=posterior, **shared),
        "marginal": Marginal(law=(0.4, 0.1, 0.3, 0.2), posterior=posterior, **shared),
        "kinds": Kinds(kinds=(0, 0, 1, 1), laws=((pinned != 0, pinned == 0, 0, 0), last), **shared),
        "kinds with a mask": Kinds(kinds=(0, 0, 1, 1), laws=((0, 0, 0, 0, 1), (0, 0, 0, 1, 0)), **shared),
        "ordinal": Structured(generator=ordinal(V, 0.3), **shared),
        "blocks": Structured(generator=blocks((0, 1, 0, 1)), **shared),
    }


def stepped(pinned=None):
    return Stepped(matrices=discretized_gaussian(V, torch.linspace(0.05, 0.6, STEPS).tolist()), pinned=pinned)


CASES = [(name, schedule) for schedule in SCHEDULES for name in continuous(schedule)]
IDS = [f"{name}-{type(schedule).__name__}" for name, schedule in CASES]
EVERY = [continuous(schedule)[name] for name, schedule in CASES] + [stepped()]
each = pytest.mark.parametrize("process", EVERY, ids=[*IDS, "stepped"])
timed = pytest.mark.parametrize("process", EVERY[:-1], ids=IDS)  # those with rates


def close(a, b, atol=1e-12):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


def whole(process, t):
    """q(z_t | x_0) for clean tokens only, (V, C)."""
    return process.transition(t, 0.0)[:V]


def column(process):
    """All ids a noisy token may have, as one-token sequences (C, 1)."""
    return torch.arange(process.states)[:, None]


def posteriors(process, law, t):
    """p(x_0 | z_t) (C, V) for clean tokens drawn from a law."""
    joint = law[:, None] * whole(process, t)
    return (joint / joint.sum(0)).T


@each
def test_transitions_are_a_markov_chain(process):
    for t, u in [(0.9, 0.4), (0.6, 0.5), (0.3, 0.0)]:
        matrix = process.transition(t, u)
        assert matrix.min() >= 0 and matrix.shape == (process.states, process.states)
        close(matrix.sum(1), torch.ones(process.states).double())
        close(process.transition(t, 0.0), process.transition(u, 0.0) @ matrix)
        close(process.transition(0.5, 0.5), torch.eye(process.states).double())


@each
def test_kernels_are_bayes(process):
    """The kernel of a certain prediction is q(z_u | z_t, x_0); that of an exact prediction is its mixture."""
    law = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    for t, u in [(0.9, 0.4), (0.6, 0.5), (0.3, 0.0)]:
        joint = whole(process, u)[:, :, None] * process.transition(t, u)  # q(z_u, z_t | x_0), (V, C, C)
        for x in range(V):
            z = joint[x].sum(0).nonzero()  # noisy tokens that x can have become, (n, 1)
            certain = process.prediction(F.one_hot(torch.full_like(z, x), V).double().log(), z)
            kernel = process.reverse_kernel(certain, t, u).table().log_probs.exp()[:, 0]
            close(kernel, (joint[x] / joint[x].sum(0)).T[z[:, 0]])
        mixed = torch.einsum("x,xut->tu", law, joint)
        exact = process.prediction(posteriors(process, law, t)[:, None].log(), column(process))
        kernel = process.reverse_kernel(exact, t, u).table().log_probs.exp()[:, 0]
        close(kernel, mixed / mixed.sum(1, keepdim=True))


@each
def test_one_time_a_row_equals_one_time(process):
    t, u = torch.tensor([0.9, 0.4, 0.7], dtype=torch.float64), torch.tensor([0.6, 0.0, 0.3], dtype=torch.float64)
    z = torch.tensor([[0, 3], [1, 2], [2, 2]])
    log_probs = torch.log_softmax(torch.randn(3, 2, V, generator=torch.Generator().manual_seed(0)).double(), -1)
    noise = torch.rand(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def answers(z, log_probs, noise, t, u):
        prediction = process.prediction(log_probs, z)
        yield process.noise(z, t, noise)
        yield process.likelihood(z, t)
        yield process.ratios(prediction, t)
        yield process.reverse_kernel(prediction, t, u).table().log_probs.exp()
        if not isinstance(process, Stepped):
            yield process.rates_into(z, t)
            yield process.rates_from(z, t)
            yield process.reverse_rates(prediction, t)

    together = list(answers(z, log_probs, noise, t, u))
    for i in range(3):
        one = slice(i, i + 1)
        alone = answers(z[one], log_probs[one], noise[one], float(t[i]), float(u[i]))
        for a, b in zip(together, alone, strict=True):
            close(a[one], b)


@timed
def test_reverse_rates_are_the_limit_of_the_kernel(process):
    """(kernel(t, t - h) - identity) / h tends to the rates with an error of order h."""
    law = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    t, z = 0.6, column(process)
    exact = process.prediction(posteriors(process, law, t)[:, None].log(), z)
    rates = process.reverse_rates(exact, t)[:, 0]
    assert (rates.diagonal() == 0).all() and rates.min() >= 0
    errors = []
    for h in (2e-3, 1e-3):
        moved = process.reverse_kernel(exact, t, t - h).table().log_probs.exp()[:, 0] / h
        errors.append(float((moved - rates).fill_diagonal_(0).abs().max()))
    assert errors[1] < 1e-9 or errors[0] / errors[1] == pytest.approx(2, abs=0.05)  # linear in h, or exact
    assert errors[1] < 0.02 * float(rates.max())


@timed
def test_forward_rates_are_the_slope_of_the_transition(process):
    t, h, z = 0.6, 1e-5, column(process)
    slope = (process.transition(t + h, t) - torch.eye(process.states)).fill_diagonal_(0) / h
    scale = float(slope.max())
    close(process.rates_from(z, t)[:, 0] / scale, slope / scale, atol=1e-4)
    into = process.rates_into(z, t)[:, 0].T.clone().fill_diagonal_(0)
    close(into / scale, slope / scale, atol=1e-4)


@each
def test_likelihood_and_spread_are_columns_and_rows_of_the_transition(process):
    t = 0.7
    close(process.likelihood(column(process), t)[:, 0], whole(process, t).T)
    weights = torch.rand(2, 3, V, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    close(process.spread(weights, t), weights @ whole(process, t))
    close(process.unspread(process.spread(weights, t), t), weights, atol=1e-9)


@each
def test_beliefs_survive_the_way_to_ratios_and_back(process):
    law = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    for t in (0.2, 0.7):
        belief = process.prediction(posteriors(process, law, t)[:, None].log(), column(process))
        ratios = process.ratios(belief, t)
        close(ratios.gather(-1, belief.z[..., None]), torch.ones(process.states, 1, 1).double())
        close(process.from_ratios(ratios, belief.z, t).probs, belief.probs, atol=1e-10)


@each
def test_ratios_are_those_of_the_marginals(process):
    """The concrete score of an exact belief is p_t(z') / p_t(z) for every z' that differs in one token."""
    law = torch.rand(V, V, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    chain = gk.priors.CategoricalChain(law, process)
    t = 0.6
    q = whole(process, t)
    marginal = torch.einsum("ij,ia,jb->ab", chain.probabilities, q, q)  # (C, C)
    z = chain.states()
    ratios = process.ratios(chain.predict(z, t), t)
    first = marginal[:, z[:, 1]].T / marginal[z[:, 0], z[:, 1]][:, None]
    second = marginal[z[:, 0], :] / marginal[z[:, 0], z[:, 1]][:, None]
    # Of a token that no reverse jump leaves, such as a shown one, a belief about clean tokens tells no ratio.
    told = process.editable(z)
    assert told.any(-1).all() or isinstance(process, Masked | Kinds)
    close(ratios[told], torch.stack([first, second], 1)[told], atol=1e-10)


@pytest.mark.parametrize("per_row", [False, True])
@each
def test_noise_has_the_frequencies_of_the_transition(process, per_row):
    n = 20_000
    generator = torch.Generator().manual_seed(5)
    times = (0.3, 0.8)
    for x in range(V):
        u = torch.rand(n, 2, generator=generator, dtype=torch.float64)
        if per_row and not isinstance(process, Structured):
            t = torch.tensor(times, dtype=torch.float64).repeat(n // 2)
        elif per_row:  # a matrix exponential a row: fewer rows, each of many tokens
            u, t = u.view(2, -1), torch.tensor(times, dtype=torch.float64)
        else:
            t = times[0]
        z = process.noise(torch.full(u.shape, x), t, u)
        for i, time in enumerate(times if per_row else times[:1]):
            drawn = (z if not per_row else z[i::2] if len(z) == n else z[i]).flatten()
            counts = torch.bincount(drawn, minlength=process.states).double()
            expected = whole(process, time)[x] * len(drawn)
            assert counts[expected == 0].sum() == 0
            some = expected > 0
            statistic = float(((counts - expected).square() / expected.clamp_min(1e-300))[some].sum())
            freedom = int(some.sum()) - 1
            assert statistic < freedom + 5 * (2 * max(freedom, 1)) ** 0.5 + 5  # five standard deviations and the skew


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_plug_in_posterior_is_that_of_udlm(schedule):
    """[V a_t z p + (a_tu - a_t) z + (a_u - a_t) p + (1 - a_tu)(1 - a_u) / V] / (V a_t p[z] + 1 - a_t), Schiff et al."""
    process = Uniform(3, schedule, posterior="plug_in")
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    for t, u in [(0.9, 0.4), (0.6, 0.5), (0.3, 0.0)]:
        a, b = schedule(t), schedule(u)
        ratio = a / b
        for z in range(3):
            here = F.one_hot(torch.tensor(z), 3).double()
            top = 3 * a * here * p + (ratio - a) * here + (b - a) * p + (1 - ratio) * (1 - b) / 3
            expected = top / (3 * a * p[z] + 1 - a)
            belief = process.prediction(p.log()[None, None], torch.tensor([[z]]))
            close(process.reverse_kernel(belief, t, u).log_probs.exp()[0, 0], expected)


@pytest.mark.parametrize("pinned", [0, 2])
def test_padding_neither_moves_nor_comes_about(pinned):
    free = [x for x in range(V) if x != pinned]
    draw = Draw(KeyedRandom(0, 0, 50), (0,), "start")
    for process in [*continuous(LogLinear(), pinned).values(), stepped(pinned)]:
        matrix = process.transition(0.6, 0.2)
        close(matrix.sum(1), torch.ones(process.states).double())
        close(process.transition(0.6, 0.0), process.transition(0.2, 0.0) @ matrix)
        assert matrix[pinned, pinned] == 1 and matrix[free, pinned].abs().max() == 0
        assert process.likelihood(torch.tensor([[pinned]]), 0.6).tolist() == [[[float(x == pinned) for x in range(V)]]]
        assert not (process.sample_limit(draw, (50, 20)) == pinned).any()
        x = torch.tensor([[pinned, free[0], free[1], pinned]] * 50)
        z = process.noise(x, 0.9, torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
        assert ((z == pinned) == (x == pinned)).all() and (z != x).any()
        belief = torch.zeros(50, 4, V).double()
        belief[..., pinned] = -torch.inf
        certain = F.one_hot(torch.tensor(pinned), V).double().log()
        belief = torch.where((x == pinned)[..., None], certain, torch.log_softmax(belief, -1))
        prediction = process.prediction(belief, z)
        table = process.reverse_kernel(prediction, 0.9, 0.5).table().log_probs.exp()
        close(table[x == pinned][:, pinned], torch.ones(100).double())
        assert table[x != pinned][:, pinned].abs().max() == 0
        if not isinstance(process, Stepped):
            rates = process.reverse_rates(prediction, 0.9)
            assert rates[x == pinned].abs().max() == 0 and rates[x != pinned][:, pinned].abs().max() == 0
            assert process.rates_from(z, 0.9)[x == pinned].abs().max() == 0
        ratios = torch.rand(50, 4, process.states).double().scatter(-1, z[..., None], 1.0)  # of any network
        again = process.from_ratios(ratios, z, 0.9).probs
        assert (again[x == pinned][:, pinned] == 1).all() and again[x != pinned][:, pinned].abs().max() == 0


@timed
def test_ratios_of_a_network_are_finite_where_nothing_is_left(process):
    z = column(process)[:V]
    ratios = torch.rand(V, 1, process.states, generator=torch.Generator().manual_seed(0)).double()
    belief = process.from_ratios(ratios.scatter(-1, z[..., None], 1.0), z, 1.0).probs
    close(belief.sum(-1), torch.ones(V, 1).double())


@each
def test_ancestral_law_tends_to_the_data(process):
    """The total variation to the data falls like one over the steps, for a token pair whose law is no product."""
    law = torch.tensor([[6, 1, 0, 0], [0, 5, 2, 0], [1, 0, 1, 4], [0, 3, 0, 2]]).double()
    small = dataclasses.replace(process)
    if isinstance(process.alpha, Geometric):
        return  # the schedule leaves a share exp(-6) of the data at t = 1, which this law does not start from
    if isinstance(process, Kinds):  # of one kind, as all places of a chain are alike
        small = Kinds(kinds=(0,) * V, laws=((0.1, 0.2, 0.3, 0.4),), alpha=process.alpha)
    distances = []
    for steps in (64, 128, 256) if isinstance(process, Stepped) else (16, 32, 64):
        if isinstance(process, Stepped):  # more and smaller steps of the same chain
            betas = torch.full((steps,), 8.0 / steps).tolist()
            small = Stepped(matrices=[mixing(beta) for beta in betas])
        chain = gk.priors.CategoricalChain(law, small)
        made = chain.sampler_law(small.grid(steps))
        distances.append(float((made - chain.probabilities).abs().sum() / 2))
    for coarse, fine in itertools.pairwise(distances):
        assert coarse / fine == pytest.approx(2, abs=0.35)
    assert distances[-1] < 0.05


def mixing(beta):
    """One step that replaces a token by a uniform one with probability 1 - exp(-beta)."""
    keep = torch.tensor(-beta).double().exp()
    return (keep * torch.eye(V).double() + (1 - keep) / V).tolist()


def test_one_token_is_sampled_exactly_in_any_number_of_steps():
    law = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    for process in [continuous(LogLinear())["uniform"], continuous(CosineAlpha())["marginal"], Masked(V)]:
        for steps in (1, 3):
            close(gk.priors.CategoricalChain(law, process).sampler_law(process.grid(steps)), law)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A alpha schedule made of a formula, right or wrong."""

    formula: object

    def __call__(self, t):
        return self.formula(t)


GOOD = [[-1.0, 1.0], [0.5, -0.5]]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Stepped(matrices=[[[1, 0], [0, 1]], [[0.5, 0.5], [0.7, 0.2]]]), "matrix 2 .* row 1 sums to 0.9"),
        (lambda: Stepped(matrices=[[[1.5, -0.5], [0, 1]]]), "matrix 1 .* row 0 .* least entry is -0.5"),
        (lambda: Stepped(matrices=[[[1, 0, 0], [0, 1, 0]]]), "matrix 1 has shape"),
        (lambda: Stepped(matrices=[[[1]], [[1, 0], [0, 1]]]), "of one size"),
        (lambda: Stepped(), "0 matrices"),
        (lambda: Structured(generator=[[-1.0, 1.0], [0.5, -0.4]]), "generator row 1"),
        (lambda: Structured(generator=[[1.0, -1.0], [0.5, -0.5]]), "generator row 0"),
        (lambda: Structured(generator=torch.zeros(2000, 2000)), "up to 1024"),
        (lambda: Structured(generator=GOOD, alpha=Schedule(lambda t: 1.2 - t)), "is 1.2 at t = 0"),
        (lambda: Masked(3, Schedule(lambda t: 1 - 1.5 * t)), "must stay in"),
        (lambda: Uniform(3, Schedule(lambda t: max(1 - t, t))), "rises after t = 0.5"),
        (lambda: Masked(3, Schedule(lambda t: 0.5 - t / 2)), "start at 1"),
        (lambda: Geometric(2.0, 1.0), "0 < low < high"),
        (lambda: Marginal(law=(0.5, -0.1)), "non-negative"),
        (lambda: Marginal(law=(0.0, 0.0)), "not all zero"),
        (lambda: Marginal(law=(0.5, 0.5), vocab_size=3), "2 entries for vocab_size=3"),
        (lambda: Uniform(3, posterior="plugin"), "no posterior 'plugin'"),
        (lambda: stepped().transition(0.55, 0.0), "t = 0.55 is no step"),
        (lambda: stepped().rates(0.5), "has no rates"),
    ],
)
def test_bad_input_is_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_grid_of_a_stepped_chain_has_its_own_times_only():
    process = stepped()
    assert process.grid(100) == process.grid(STEPS) and len(process.grid(STEPS)) == STEPS + 1
    for steps in (1, 3, 7):
        grid = process.grid(steps)
        assert grid[0] == 1 and grid[-1] == 0 and len(grid) == steps + 1
        assert all(a > b for a, b in itertools.pairwise(grid))
        for t in grid:
            process.transition(t, 0.0)


def test_laws_of_the_generators():
    doubly = torch.tensor(discretized_gaussian(V, [0.3])[0])
    torch.testing.assert_close(doubly.sum(0), torch.ones(V))
    kimura = torch.tensor(blocks((0, 1, 0, 1), 1.0, 0.25))
    assert kimura[0, 2] == pytest.approx(4 * float(kimura[0, 1])) and kimura.diag().tolist() == [-1.0] * 4
    uniform = Structured(generator=(torch.full((V, V), 0.25) - torch.eye(V)).tolist())
    close(uniform.transition(0.7, 0.2), Uniform(V).transition(0.7, 0.2))
    close(uniform.limit, Uniform(V).limit)
