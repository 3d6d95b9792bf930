"""Losses of discrete diffusion against entropies and path divergences known by enumeration."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import guidekit as gk
from guidekit.core.prediction import CategoricalPrediction
from guidekit.processes import (
    CosineAlpha,
    Geometric,
    LogLinear,
    Marginal,
    Masked,
    Stepped,
    Structured,
    Uniform,
    discretized_gaussian,
    ordinal,
)
from guidekit.training.objectives import (
    OBJECTIVES,
    DenoisingCrossEntropy,
    DiscreteLikelihood,
    MaskedLikelihood,
    SteppedLikelihood,
    bound_rate,
    objective_for,
    step_divergence,
)

V = 3
ONE = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
TWO = torch.tensor([[0.30, 0.05, 0.05], [0.02, 0.20, 0.08], [0.10, 0.05, 0.15]], dtype=torch.float64)
PROCESSES = {
    "masked": Masked(V),
    "uniform": Uniform(V),
    "marginal": Marginal(law=(0.5, 0.2, 0.3)),
    "ordinal": Structured(generator=ordinal(V, 0.5)),
}
each = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
laws = pytest.mark.parametrize("law", [ONE, TWO], ids=["one", "two"])


def close(a, b, atol):
    assert float(a) == pytest.approx(float(b), abs=atol)


def wrong(prediction):
    """A prediction that is off: flattened and tilted; what was certain stays so."""
    tilt = torch.tensor([0.4, 0.0, -0.3], dtype=torch.float64)
    return CategoricalPrediction(torch.log_softmax(0.7 * prediction.log_probs + tilt, -1), prediction.z)


class Enumeration:
    """All clean and noisy sequences of a chain, with their laws."""

    def __init__(self, law, process):
        self.chain = gk.priors.CategoricalChain(law, process)
        self.process = self.chain.process
        self.x, self.z = self.chain.sequences, self.chain.states()
        self.p = self.chain.probabilities.flatten()
        n, m = len(self.x), len(self.z)
        self.pairs = self.x.repeat_interleave(m, 0), self.z.repeat(n, 1)

    def noisy(self, t):
        """q(z_t | x_0), (clean, noisy)."""
        q = self.process.transition(t, 0.0)
        return torch.stack([q[self.x[:, i]][:, self.z[:, i]] for i in range(self.x.shape[1])]).prod(0)

    def step(self, t, u):
        """q(z_t | z_u) between noisy sequences, (z_u, z_t)."""
        q = self.process.transition(t, u)
        return torch.stack([q[self.z[:, i]][:, self.z[:, i]] for i in range(self.z.shape[1])]).prod(0)

    def information(self, t):
        """I(x_0; z_t), nats."""
        q = self.noisy(t)
        marginal = self.p @ q
        return (self.p[:, None] * (torch.special.xlogy(q, q) - torch.special.xlogy(q, marginal))).sum()

    def entropy(self):
        return -torch.special.xlogy(self.p, self.p).sum()

    def expect(self, function, t, change):
        """Mean of function(prediction, x_0) over clean and noisy sequences at t."""
        x, z = self.pairs
        weight = (self.p[:, None] * self.noisy(t)).flatten()
        reachable = weight > 0
        return weight[reachable] @ function(change(self.chain.predict(z[reachable], t)), x[reachable])

    def rate(self, t, change):
        """Expected integrand of the continuous-time bound at t."""

        def terms(prediction, x):
            return bound_rate(self.process, prediction, x, torch.full((len(x),), t, dtype=torch.float64))

        return self.expect(terms, t, change)

    def path(self, t, change):
        """Rate at which the reversed chain and the model's part: R log(R / S) - R + S for rates R and S, mean over z_t.

        R comes from the marginals by enumeration, S from `reverse_rates`.
        """
        marginal = self.p @ self.noisy(t)
        forward = self.process.rates_from(self.z, t)
        S = self.process.reverse_rates(change(self.chain.predict(self.z, t)), t)
        total = 0.0
        for a, b in itertools.permutations(range(len(self.z)), 2):  # forward jump from a to b, reverse from b to a
            changed = (self.z[a] != self.z[b]).nonzero()[:, 0]
            if len(changed) != 1 or marginal[b] == 0:
                continue
            at = int(changed[0])
            rate = float(forward[a, at, self.z[b, at]]) * float(marginal[a] / marginal[b])
            model = float(S[b, at, self.z[a, at]])
            total += float(marginal[b]) * ((rate * math.log(rate / model) - rate if rate > 0 else 0.0) + model)
        return total


def exact(prediction):
    return prediction


def integral(function, low, high, nodes=24):
    """Gauss-Legendre in the square root of t, where the integrands are smooth."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    low, high = math.sqrt(low), math.sqrt(high)
    v = (low + high) / 2 + (high - low) / 2 * points
    return sum(w * (high - low) * x * float(function(x * x)) for w, x in zip(weights, v, strict=True))


@laws
@each
def test_bound_of_an_exact_prediction_is_the_information_lost(law, process):
    """It is tight for an exact prediction: between two times it integrates to I(x_0; z_u) - I(x_0; z_t)."""
    known = Enumeration(law, process)
    close(integral(lambda t: known.rate(t, exact), 0.05, 0.9), known.information(0.05) - known.information(0.9), 1e-8)


@pytest.mark.parametrize("schedule", [LogLinear(), CosineAlpha()])
@pytest.mark.parametrize("kind", [Masked, Uniform])
def test_bound_from_clean_to_noise_is_the_entropy(kind, schedule):
    """The integrand has a logarithm at t = 0, which leaves a quadrature error of 1e-5."""
    known = Enumeration(TWO, kind(V, schedule))
    close(integral(lambda t: known.rate(t, exact), 1e-12, 1 - 1e-7, 60), known.entropy(), 2e-5)


@each
def test_bound_of_a_wrong_prediction_exceeds_it_by_the_path_divergence(process):
    known = Enumeration(TWO, process)
    excess = integral(lambda t: known.rate(t, wrong) - known.rate(t, exact), 0.05, 0.9)
    path = integral(lambda t: known.path(t, wrong), 0.05, 0.9)
    assert path > 0.02
    close(excess, path, 1e-8)
    close(known.path(0.5, exact), 0, 1e-12)


def test_values_of_udlm_a_token():
    """The numbers of the method card: V = 3, a = 0.5, a' = -1, prediction (.5, .3, .2), clean token 0."""
    process = Uniform(3, posterior="plug_in")
    z = torch.arange(3)[:, None]
    prediction = process.prediction(ONE.log().expand(3, 1, 3), z)
    t = torch.full((3,), 0.5, dtype=torch.float64)
    values = bound_rate(process, prediction, torch.zeros_like(z), t)
    torch.testing.assert_close(values, torch.tensor([0.258, 1.185, 0.892]).double(), atol=5e-4, rtol=0)
    certain = process.prediction(torch.tensor([1.0, 0, 0]).double().log().expand(3, 1, 3), z)
    assert bound_rate(process, certain, torch.zeros_like(z), t).abs().max() < 1e-12


class Network(torch.nn.Module):
    """Logits of the exact or a wrong prediction."""

    def __init__(self, known, change=exact):
        super().__init__()
        self.known, self.change = known, change

    def forward(self, tokens, select=None, labels=None, level=None):
        times = 0.5 if level is None else self.known.process.alpha.inverse(1 - level.double())
        logits = self.change(self.known.chain.predict(tokens, times)).log_probs
        return logits if select is None else logits[select]


def drawn(loss, network, law, n=4000, **options):
    """Mean and standard error of a loss over clean sequences drawn from a law."""
    generator = torch.Generator().manual_seed(0)
    sequences = torch.tensor(list(itertools.product(range(V), repeat=law.ndim)))
    rows = torch.multinomial(law.flatten() / law.sum(), n, replacement=True, generator=generator)
    values = loss(network, sequences[rows], generator=generator, **options).double()
    return float(values.mean()), float(values.std()) / math.sqrt(n)


def counted(known, change):
    """The masked bound by counts: E over k and over sets of k masked tokens of (n / k) times their cross-entropy."""
    n, total = known.x.shape[1], 0.0
    for x, p in zip(known.x, known.p, strict=True):
        for k in range(1, n + 1):
            for hidden in itertools.combinations(range(n), k):
                z = x.clone()
                z[list(hidden)] = known.process.mask_id
                nats = -change(known.chain.predict(z[None], 0.5)).log_probs[0, hidden, x[list(hidden)]].sum()
                total += float(p * nats) / k / math.comb(n, k)
    return total


@pytest.mark.parametrize("change", [exact, wrong])
def test_masked_bound_is_the_same_by_counts_and_by_time_on_every_schedule(change):
    expected = counted(Enumeration(TWO, Masked(V)), change)
    for schedule in (LogLinear(), CosineAlpha(), Geometric(1e-4, 12.0)):
        known = Enumeration(TWO, Masked(V, schedule))
        by_time = integral(lambda t, known=known: known.rate(t, change), 1e-12, 1 - 1e-7, 60)
        late = isinstance(schedule, Geometric)  # starts at a(0+) = exp(-1e-4) and leaves out what comes before
        close(by_time, expected, 2e-4 if late else 1e-5)
        for loss in (MaskedLikelihood(V), DiscreteLikelihood(known.process, earliest=1e-6)):
            mean, error = drawn(loss, Network(known, change), TWO)
            close(mean, expected, 4 * error + 2e-4 * late)
            assert error < 0.1 * expected


@each
def test_likelihood_loss_is_the_integral_of_the_bound(process):
    known = Enumeration(TWO, process)
    expected = integral(lambda t: known.rate(t, wrong), 0.02, 1 - 1e-7, 60)
    n = 1000 if isinstance(process, Structured) else 4000
    mean, error = drawn(DiscreteLikelihood(known.process, earliest=0.02), Network(known, wrong), TWO, n)
    close(mean, expected, 4 * error)
    assert error < 0.1 * expected


def stepwise(known, change, steps):
    """Sum over the steps of a grid of the expected divergence of the ancestral step."""
    total = 0.0
    for t, u in itertools.pairwise(known.process.grid(steps)):

        def terms(prediction, x, t=t, u=u):
            times = (torch.full((len(x),), v, dtype=torch.float64) for v in (t, u))
            return step_divergence(known.process, prediction, x, *times)

        total += known.expect(terms, t, change)
    return float(total)


def path_of_steps(known, change, steps):
    """The same from whole kernels between sequences: E log q(z_u | z_t, x_0) - log p(z_u | z_t), Bayes for q."""
    total = 0.0
    for t, u in itertools.pairwise(known.process.grid(steps)):
        kernel = known.process.reverse_kernel(change(known.chain.predict(known.z, t)), t, u).table().log_probs
        log_p = torch.stack([kernel[:, i, known.z[:, i]] for i in range(known.z.shape[1])]).sum(0)  # (z_t, z_u)
        joint = known.noisy(u)[:, :, None] * known.step(t, u)  # q(z_u, z_t | x_0)
        posterior = joint / joint.sum(1, keepdim=True).clamp_min(1e-300)
        gap = torch.where(joint > 0, posterior.clamp_min(1e-300).log() - log_p.T, 0.0)
        total += float((known.p[:, None, None] * joint * gap).sum())
    return total


@pytest.mark.parametrize("change", [exact, wrong])
@each
def test_stepped_bound_is_the_divergence_of_the_chain_and_tends_to_the_continuous_one(process, change):
    known = Enumeration(TWO, process)
    close(stepwise(known, change, 5), path_of_steps(known, change, 5), 1e-10)
    if isinstance(process, Masked) or change is exact:  # for a wrong mix the continuous bound diverges at t = 0
        limit = integral(lambda t: known.rate(t, change), 1e-12, 1 - 1e-7, 60)
        gaps = [stepwise(known, change, steps) - limit for steps in (20, 40, 80)]
        assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.35) and gaps[1] / gaps[2] == pytest.approx(2, abs=0.35)


@pytest.mark.parametrize("process", [Masked(V), Uniform(V), Marginal(law=(0.5, 0.2, 0.3))])
def test_one_token_costs_its_entropy_in_any_number_of_steps(process):
    known = Enumeration(ONE, process)
    for steps in (1, 7):
        close(stepwise(known, exact, steps), known.entropy(), 1e-10)


def test_stepped_loss_is_drawn_without_bias():
    for process in (Uniform(V), Stepped(matrices=discretized_gaussian(V, [0.2, 0.4, 0.8, 1.5]))):
        known = Enumeration(TWO, process)
        if isinstance(process, Stepped):
            loss = objective_for(process, "likelihood")
            assert loss.steps == 4 and loss.auxiliary == 0
        else:
            loss = SteppedLikelihood(process, steps=4, auxiliary=0.0)
        mean, error = drawn(loss, Network(known, wrong), TWO)
        close(mean, stepwise(known, wrong, 4), 4 * error)
        assert error < 0.1
    longer = SteppedLikelihood(Uniform(V), steps=4, auxiliary=0.5)
    known = Enumeration(TWO, Uniform(V))
    mean, error = drawn(longer, Network(known, wrong), TWO)
    cross = sum(
        float(known.expect(lambda b, x: -b.log_probs.gather(-1, x[..., None]).sum((1, 2)), t, wrong)) / 4
        for t in (0.25, 0.5, 0.75, 1.0)
    )
    close(mean, stepwise(known, wrong, 4) + 0.5 * cross, 4 * error)


@each
def test_score_entropy_is_least_at_the_exact_ratios(process):
    known = Enumeration(ONE, process)
    t = torch.tensor([0.6], dtype=torch.float64)
    objective = DiscreteLikelihood(known.process, "ratios")
    z, q = known.z, known.noisy(0.6)
    marginal = known.p @ q
    if isinstance(process, Masked):
        z = z[known.z[:, 0] == known.process.mask_id]
        outputs = ONE.log().expand(1, 1, V)  # the scale a / (1 - a) is not the network's
    else:
        outputs = (marginal[None, :] / marginal[:, None]).log()[:, None]
    weight = known.p[:, None] * q[:, z[:, 0]]

    def loss(outputs):
        total = 0.0
        for x, row in zip(known.x, weight, strict=True):
            times = t.expand(len(z))
            prediction = objective.prediction(outputs, z, times)
            total = total + row @ bound_rate(known.process, prediction, x.expand(len(z), 1), times)
        return total

    at = outputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(at), at)
    assert gradient.abs().max() < 1e-9
    close(loss(outputs), known.rate(0.6, exact), 1e-9)  # and is there the bound of the exact prediction
    for seed in range(3):
        other = outputs + 0.1 * torch.randn(outputs.shape, generator=torch.Generator().manual_seed(seed)).double()
        other = torch.where(torch.arange(V) == z[..., None], outputs, other)  # the present token's entry is not read
        assert float(loss(other)) > float(loss(outputs)) + 1e-5


@each
def test_cross_entropy_is_least_at_the_exact_posterior(process):
    known = Enumeration(ONE, process)
    objective = DenoisingCrossEntropy(known.process)
    t = torch.tensor([0.6], dtype=torch.float64)
    z, q = known.z, known.noisy(0.6)
    if isinstance(process, Masked):
        z, q = z[-1:], q[:, -1:]
    posterior = (known.p[:, None] * q / (known.p @ q)).T[:, None]
    logits = posterior.log().clone().requires_grad_()
    prediction = objective.prediction(logits, z, t.expand(len(z)))
    loss = -(known.p[:, None] * q * prediction.log_probs[:, 0].T).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.abs().max() < 1e-12
    mean, error = drawn(objective, Network(Enumeration(TWO, process), exact), TWO, 400 if len(z) == V else 4000)
    two = Enumeration(TWO, process)

    def cross(t):
        return two.expect(lambda b, x: -b.log_probs.gather(-1, x[..., None]).sum((1, 2)), t, exact)

    close(mean, integral(cross, 1e-3, 1 - 1e-7), 4 * error)


def test_padding_costs_nothing_and_is_certain():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.tensor([[1, 2, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]]).repeat(40, 1)

    def network(z, select=None, labels=None, level=None):
        assert ((z == 0) | (tokens > 0)).all()
        outputs = torch.randn(*z.shape, V, generator=generator)
        return outputs if select is None else outputs[select]

    for process in (Masked(V, pinned=0), Uniform(V, pinned=0), Marginal(law=(0.5, 0.2, 0.3), pinned=0)):
        for parametrization in ("clean", "ratios"):
            for name in OBJECTIVES if parametrization == "clean" else ["likelihood"]:
                loss = objective_for(process, name, parametrization, timed=True)
                values = loss(network, tokens, generator=generator).double()
                assert values.isfinite().all() and (values[2::3].abs() < 1e-9).all(), (process, parametrization, name)
                assert values[0::3].mean() > 0
    values = MaskedLikelihood(V, pad_id=0)(lambda z, select, labels: torch.zeros(int(select.sum()), V), tokens)
    assert (values[2::3] == 0).all() and (values[0::3] > 0).all()


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("kind", PROCESSES)
def test_gradients_are_finite_and_lead_downhill(kind, name):
    process = dataclasses.replace(PROCESSES[kind], pinned=0, vocab_size=V)
    tokens = torch.tensor([[1, 2, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]]).repeat(20, 1)
    for parametrization in ("clean", "ratios") if name == "likelihood" else ("clean",):
        loss = objective_for(process, name, parametrization, timed=True)
        weight = torch.zeros(process.states, V, requires_grad=True)
        values = []
        for _ in range(2):
            generator = torch.Generator().manual_seed(0)
            value = loss(lambda z, labels, level: weight[z], tokens, generator=generator).mean()  # noqa: B023
            (gradient,) = torch.autograd.grad(value, weight)
            assert value.isfinite() and gradient.isfinite().all() and gradient.abs().max() > 0
            values.append(float(value.detach()))
            weight = (weight - 1e-3 * gradient / gradient.norm()).detach().requires_grad_()
        assert values[1] < values[0]


def test_objectives_by_name():
    assert objective_for(Masked(V, pinned=0), "likelihood") == MaskedLikelihood(V, 0)
    assert objective_for(Masked(V), "likelihood", timed=True) == DiscreteLikelihood(Masked(V))
    assert objective_for(Uniform(V), "likelihood", "ratios") == DiscreteLikelihood(Uniform(V), "ratios")
    with pytest.raises(ValueError, match="did you mean 'likelihood'"):
        objective_for(Uniform(V), "likelyhood")
    with pytest.raises(ValueError, match="ratios needs likelihood"):
        objective_for(Uniform(V), "cross_entropy", "ratios")
    steps = Stepped(matrices=discretized_gaussian(V, [0.2, 0.4]))
    loss = DenoisingCrossEntropy(steps)(
        lambda z, labels, level: F.one_hot(z, V).float(), torch.zeros(50, 2, dtype=torch.long)
    )
    assert loss.isfinite().all()  # drew only times that exist
