"""Bits per token: exact chains against their negative log-likelihood, invariances, bad input, the command."""

import itertools
import json
import math

import pytest
import torch

import guidekit as gk
from guidekit.evaluation.likelihood import bits_per_token
from guidekit.networks import SequenceTransformer
from guidekit.priors.labels import Label
from guidekit.priors.tokens import TokenPrior
from guidekit.processes import (
    CosineAlpha,
    Geometric,
    Marginal,
    Masked,
    Stepped,
    Structured,
    Uniform,
    discretized_gaussian,
    ordinal,
)
from guidekit.reporting.table import text

LAW = torch.tensor([[0.30, 0.05, 0.05], [0.02, 0.20, 0.08], [0.10, 0.05, 0.15]], dtype=torch.float64)


class Timed(gk.priors.CategoricalChain):
    """A chain that claims to look at the time, so that a masked one goes the general way."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.timeless = False


def sequences(law=LAW, n=600, seed=0):
    rows = torch.multinomial(law.flatten(), n, replacement=True, generator=torch.Generator().manual_seed(seed))
    return torch.stack([rows // 3, rows % 3], 1)


def exact(states, law=LAW):
    return float(-law[states[:, 0], states[:, 1]].log2().mean()) / 2


@pytest.mark.parametrize(
    "prior",
    [
        gk.priors.CategoricalChain(LAW, Masked()),
        Timed(LAW, Masked(alpha=CosineAlpha())),
        Timed(LAW, Masked(alpha=Geometric())),
        gk.priors.CategoricalChain(LAW, Uniform()),
        gk.priors.CategoricalChain(LAW, Uniform(alpha=Geometric(1e-3, 12.0))),
        gk.priors.CategoricalChain(LAW, Marginal(law=(0.5, 0.2, 0.3), alpha=CosineAlpha())),
        gk.priors.CategoricalChain(LAW, Structured(generator=ordinal(3, 0.5))),
    ],
)
def test_bound_of_an_exact_chain_is_its_negative_log_likelihood(prior):
    """Tight but for what two lost tokens out of a share of `LEAST` know about each other, below 1e-4 bits."""
    n = 100 if isinstance(prior.process, Structured) else 600
    states = sequences(n=n)
    made = bits_per_token(prior, states, draws=32)
    assert made["tokens"] == 2 * n and made["sequences"] == n
    assert made["bits_per_token"] == pytest.approx(exact(states), abs=4 * made["standard_error"] + 1e-4)
    assert made["standard_error"] < (0.12 if isinstance(prior.process, Structured) else 0.015)


def test_standard_error_is_the_spread_over_seeds():
    states = sequences(n=40)
    for process in (Masked(), Uniform()):
        prior = gk.priors.CategoricalChain(LAW, process)
        runs = [bits_per_token(prior, states, draws=8, seed=seed) for seed in range(60)]
        spread = torch.tensor([run["bits_per_token"] for run in runs]).double().std()
        stated = torch.tensor([run["standard_error"] for run in runs]).double().square().mean().sqrt()
        assert float(stated / spread) == pytest.approx(1, abs=4 / math.sqrt(2 * 60))
        assert bits_per_token(prior, states, draws=128)["standard_error"] < float(stated) / 3.5  # about sqrt(128 / 8)


def test_wrong_law_costs_its_divergence():
    other = torch.tensor([[0.2, 0.1, 0.1], [0.1, 0.1, 0.1], [0.1, 0.1, 0.1]], dtype=torch.float64)
    states = sequences(n=600)
    for process in (Masked(), Uniform()):
        made = bits_per_token(gk.priors.CategoricalChain(other, process), states)
        assert made["bits_per_token"] == pytest.approx(exact(states, other), abs=4 * made["standard_error"] + 1e-4)
        assert exact(states, other) > exact(states) + 8 * made["standard_error"]


def test_chain_in_discrete_time_is_scored_over_its_steps():
    """One token: the ancestral chain is exact, so the bound is its entropy up to the part not forgotten at t = 1."""
    law = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    process = Stepped(matrices=discretized_gaussian(3, [0.3, 0.6, 1.5, 8.0]))
    prior = gk.priors.CategoricalChain(law, process)
    states = torch.multinomial(law, 500, replacement=True, generator=torch.Generator().manual_seed(0))[:, None]
    made = bits_per_token(prior, states)
    end, start = process.transition(1.0, 0.0), process.limit
    reached = law @ end
    excess = float(((reached / start).log2() * end[states[:, 0]]).sum(1).mean())
    assert excess > 1e-4
    plain = float(-law[states[:, 0]].log2().mean())
    # E over data of the bound is the entropy plus KL(p_1 || start); a single token's has the same terms.
    assert made["bits_per_token"] == pytest.approx(plain + excess, abs=4 * made["standard_error"] + 1e-9)


def test_a_sequence_counts_the_same_alone_and_in_a_batch():
    prior = gk.priors.CategoricalChain(LAW, Uniform())
    states = sequences(n=70)
    whole = bits_per_token(prior, states, draws=4)
    assert whole == bits_per_token(prior, states, draws=4)
    assert whole["bits_per_token"] != bits_per_token(prior, states, draws=4, seed=1)["bits_per_token"]
    prior.network_batch = 12
    assert bits_per_token(prior, states, draws=4) == pytest.approx(whole, abs=1e-12)


def token_prior(process=None, **options):
    torch.manual_seed(0)
    timed = process is not None
    network = SequenceTransformer(5, 6, 16, 1, 2, pad_id=0, timed=timed, **options.pop("network", {}))
    torch.nn.init.normal_(network.head.weight)
    return TokenPrior(network, 5, [0, 0, 1, 1, 1, 1, 1], 0, process=process, **options)


@pytest.mark.parametrize("process", [None, Uniform(5, pinned=0), Uniform(5, pinned=0, posterior="plug_in")])
def test_padding_is_not_counted(process):
    prior = token_prior(process)
    states = torch.tensor([[1, 2, 3, 4, 0, 0], [2, 2, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [4, 3, 2, 1, 2, 3]])
    made = bits_per_token(prior, states, draws=256)
    assert (made["tokens"], made["sequences"]) == (12, 3)
    cut = bits_per_token(prior, states[:3, :4], draws=256)
    assert cut["tokens"] == 6
    parts = [bits_per_token(prior, states[i : i + 1], draws=256) for i in (0, 1, 3)]
    mean = sum(part["bits_per_token"] * part["tokens"] for part in parts) / 12
    errors = math.hypot(made["standard_error"], *(part["standard_error"] * part["tokens"] / 12 for part in parts))
    assert made["bits_per_token"] == pytest.approx(mean, abs=4 * errors)


def test_masked_prior_is_scored_as_all_orders_of_revealing_it():
    """The bound by counts is the mean over orders of -log p of one token after the other, here by enumeration."""
    prior = token_prior()
    x = torch.tensor([[1, 2, 3, 0, 0, 0]])
    total = 0.0
    for order in itertools.permutations(range(3)):
        z = torch.tensor([[5, 5, 5, 0, 0, 0]])
        for at in order:
            total -= float(prior.predict(z, 1.0).log_probs[0, at, x[0, at]]) / 6
            z[0, at] = x[0, at]
    made = bits_per_token(prior, x, draws=4096)
    assert made["bits_per_token"] == pytest.approx(total / math.log(2) / 3, abs=4 * made["standard_error"])


def test_condition_reaches_the_network():
    prior = token_prior(labels=[Label("kind", ["a", "b"])], network={"labels": [2]})
    states = torch.tensor([[1, 2, 3, 4, 0, 0]]).repeat(2, 1)
    values = [bits_per_token(prior, states, condition=c)["bits_per_token"] for c in (None, "a", "b")]
    assert len(set(values)) == 3
    rows = bits_per_token(prior, states, condition=torch.tensor([[0], [1]]))["bits_per_token"]
    assert min(values[1:]) < rows < max(values[1:])
    assert bits_per_token(prior, states, condition=-1)["bits_per_token"] == pytest.approx(values[0])
    classes = gk.priors.CategoricalChain(LAW, Masked(), torch.stack([LAW, LAW.T]))
    x = sequences(n=400)
    made = bits_per_token(classes, x, condition=1)
    assert made["bits_per_token"] == pytest.approx(exact(x, LAW.T), abs=4 * made["standard_error"])


@pytest.mark.parametrize(
    ("prior", "states", "draws", "said"),
    [
        (token_prior(), [[1, 2, 3, 4, 1, 2, 3]], 4, "sequence 0 has 7 tokens; token prior takes at most 6"),
        (token_prior(), [[1, 2], [1, 5]], 4, "sequence 1 has a token outside 0 to 4"),
        (token_prior(), [[1, 0, 2]], 4, "sequence 0 has padding between its tokens"),
        (token_prior(), [[1, 2]], 3, "draws=3; an even number"),
        (gk.priors.CategoricalChain(LAW), [[1]], 4, "takes exactly 2"),
        (gk.priors.GaussianMixture([[0.0]], 1.0), [[1]], 4, "needs a prior over tokens"),
    ],
)
def test_bad_input_is_named(prior, states, draws, said):
    with pytest.raises(ValueError, match=said):
        bits_per_token(prior, torch.tensor(states), draws)


def test_command_reports_the_bound(tmp_path, capsys):
    from guidekit.cli import main
    from guidekit.commands.evaluate import BOUND, ERROR

    path, output = tmp_path / "five.smi", tmp_path / "figures.json"
    smiles = ["CC(=O)Nc1ccc(O)cc1", "COc1ccc(CNC(=O)C2CC2)cc1", "Cc1ccccc1NC(=O)CN1CCOCC1"]
    smiles += ["O=C(O)c1ccccc1", "CCN1CCNCC1"]
    path.write_text("\n".join(smiles) + "\n")
    settings = ["evaluate", f"samples={path}", f"reference={path}", f"training={path}", "prior=default", "draws=8"]
    assert main([*settings, f"output={output}"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    figures = json.loads(output.read_text())
    bound, error = figures[BOUND], figures[ERROR]
    assert f"bits per token (bound) │ {text(BOUND, bound)} │" in printed
    assert 1 < bound < 12 and 0 < error < 0.2 * bound
    domain = gk.load_domain("molecules")
    prior = domain.load_prior()
    made = bits_per_token(prior, prior.encode(smiles), draws=8)
    assert made["bits_per_token"] == pytest.approx(bound)
    path.write_text("C" * 300 + "\n")
    assert main(settings) == 2
    error = capsys.readouterr().err.strip()
    assert "tokens; molecules prior default takes at most" in error and "\n" not in error
    assert main([*settings[:1], "samples=nowhere.smi", "prior=defalt"]) == 2
    assert "did you mean 'default'" in capsys.readouterr().err
