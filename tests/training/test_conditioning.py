"""Labels and noise levels: batches of labelled data, what the network is told, and priors trained on them."""

import itertools
import json

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.networks import SequenceTransformer
from guidekit.networks.conditioning import Conditioning
from guidekit.priors.checkpoints import load_token_prior, read_description, save_checkpoint
from guidekit.priors.descriptions import PROCESSES, describe, process_from
from guidekit.processes import (
    CosineAlpha,
    Geometric,
    Kinds,
    Marginal,
    Masked,
    Stepped,
    Structured,
    Uniform,
    blocks,
    discretized_gaussian,
)
from guidekit.training.denoising import DenoisingModule
from guidekit.training.place import Place
from guidekit.training.sequences import Windows
from guidekit.training.token_job import fit, save_prepared

LAWS = torch.tensor([[0.0, 0.4, 0.3, 0.2, 0.1], [0.0, 0.1, 0.1, 0.2, 0.6]])  # of the first token, given the label
TRAINER = {
    "network": {"name": "sequence_transformer", "options": {"width": 32, "depth": 1, "heads": 2, "max_length": 3}},
    "steps": 400,
    "batch_size": 256,
    "learning_rate": 3e-3,
    "warmup": 10,
    "decay": 0.5,
    "ema": 0.9,
    "precision": "32-true",
    "accelerator": "cpu",
    "threads": None,
    "minutes": None,
    "validate_every": 400,
}


def test_conditioning_without_a_label_is_label_minus_one():
    torch.manual_seed(0)
    told = Conditioning(8, [3, 2], timed=True)
    like, level = torch.zeros(4, 1), torch.tensor([0.0, 0.3, 0.6, 1.0])
    nothing = told(4, None, level, like)
    assert nothing.shape == (4, 1, 8)
    torch.testing.assert_close(told(4, torch.full((4, 2), -1), level, like), nothing)
    values = [told(4, torch.tensor([[a, b]] * 4), level, like) for a, b in itertools.product((-1, 0, 1, 2), (-1, 0, 1))]
    for one, other in itertools.combinations(values, 2):
        assert not torch.allclose(one, other)
    assert (nothing[:, 0].unsqueeze(0) - nothing[:, 0].unsqueeze(1)).norm(dim=-1).fill_diagonal_(1).min() > 1e-3
    assert Conditioning(8)(4, None, None, like) == 0.0
    torch.manual_seed(0)
    network = SequenceTransformer(4, 3, 16, 1, 2, labels=[3])
    torch.nn.init.normal_(network.head.weight)
    z = torch.tensor([[4, 1, 4]])
    torch.testing.assert_close(network(z), network(z, labels=torch.tensor([[-1]])))
    assert not torch.allclose(network(z), network(z, labels=torch.tensor([[0]])))


class Seen(torch.nn.Module):
    """An objective's network that keeps the labels it was given."""

    def __init__(self):
        super().__init__()
        self.weight, self.labels = torch.nn.Parameter(torch.zeros(1)), []

    def loss(self, network, states, labels):
        self.labels.append(labels)
        return self.weight.expand(len(states)).square()


def test_label_dropout_hides_each_label_on_its_own(monkeypatch):
    torch.manual_seed(0)
    network = Seen()
    module = DenoisingModule(network, network.loss, label_dropout=0.3)
    monkeypatch.setattr(module, "optimizers", lambda: torch.optim.SGD(network.parameters(), 0.1))
    monkeypatch.setattr(module, "manual_backward", lambda loss: loss.backward())
    monkeypatch.setattr(module, "log", lambda *arguments, **options: None)
    n, labels = 20_000, torch.tensor([[1, 2]])
    module.training_step((torch.zeros(n, 1), labels.expand(n, 2)), 0)
    hidden = network.labels[0] == -1
    assert ((network.labels[0] == labels) | hidden).all()
    error = 4 * (0.3 * 0.7 / n) ** 0.5
    assert hidden.double().mean(0).tolist() == pytest.approx([0.3, 0.3], abs=error)
    assert float(hidden.all(1).double().mean()) == pytest.approx(0.09, abs=error)
    module.validation_step((torch.zeros(2, 1), labels.expand(2, 2)), 0)
    assert (network.labels[1] == labels).all()


def test_windows_serve_places_strands_and_first_labels_alike():
    """Two long sequences of the first label, one short of the second; a token tells its sequence and its place."""
    lengths, window = [12, 20, 8], 5
    tokens = np.concatenate([100 * i + np.arange(length) for i, length in enumerate(lengths)])
    offsets = np.cumsum([0, *lengths])
    complement = 1000 + np.arange(300)
    labels = np.array([[0, 7], [0, 8], [1, 9]])
    data = Windows(tokens, offsets, 64, window, complement, 3, 500, labels)
    batches = list(data)
    assert len(batches) == 500
    drawn, given = torch.cat([b for b, _ in batches]), torch.cat([k for _, k in batches])
    n = len(drawn)
    other = drawn[:, 0] >= 1000
    assert float(other.double().mean()) == pytest.approx(0.5, abs=4 * 0.5 / n**0.5)
    strand = torch.where(other[:, None], (drawn - 1000).flip(1), drawn)
    assert (strand == strand[:, :1] + torch.arange(window)).all()  # the other strand is complemented and reversed
    sequence = strand[:, 0] // 100
    assert (given == torch.from_numpy(labels)[sequence]).all()
    assert float((given[:, 0] == 0).double().mean()) == pytest.approx(0.5, abs=4 * 0.5 / n**0.5)
    places = [length - window + 1 for length in lengths]
    for group in ([0, 1], [2]):
        total = sum(places[i] for i in group)
        expected = n / 2 / total
        counts = torch.cat([torch.bincount(strand[sequence == i, 0] - 100 * i, minlength=places[i]) for i in group])
        assert len(counts) == total and ((counts - expected).abs() < 4.5 * expected**0.5).all()
    again = next(iter(Windows(tokens, offsets, 64, window, complement, 3, 1, labels)))
    assert (again[0] == batches[0][0]).all()
    plain = list(Windows(tokens, offsets, 64, window, batches=5))
    assert all(k is None and (b < 1000).all() for b, k in plain)
    assert {int(b[0]) // 100 for b, _ in plain for b in b} == {0, 1, 2}
    with pytest.raises(ValueError, match="sequence 2 is shorter than the window of 9"):
        Windows(tokens, offsets, 64, 9)


def prepared(path, parametrization):
    """A token twice, or twice and a 1; the law of the token depends on the label."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (6000,), generator=generator)
    first = torch.multinomial(LAWS[labels], 1, generator=generator)[:, 0].tolist()
    rows = [[a, a] if i % 2 else [a, a, 1] for i, a in enumerate(first)]
    tokens, offsets = np.concatenate(rows).astype(np.uint16), np.cumsum([0, *map(len, rows)])
    labels = labels.numpy()[:, None]
    description = {
        "domain": "toy",
        "vocab_size": 5,
        "pad_id": 0,
        "length_counts": [0, 0, 1, 1],
        "codec": "",
        "card": {},
        "labels": [{"name": "kind", "values": ["low", "high"]}],
        "parametrization": parametrization,
    }
    save_prepared(path, (tokens, offsets, labels), (tokens[: offsets[512]], offsets[:513], labels[:512]), description)
    return path


@pytest.mark.parametrize(
    ("name", "options", "parametrization"),
    [
        ("masked", {}, "clean"),
        ("masked", {}, "ratios"),
        ("uniform", {"posterior": "plug_in"}, "clean"),
        ("uniform", {}, "clean"),
        ("uniform", {}, "ratios"),
        ("marginal", {"law": [0.0, 0.4, 0.2, 0.2, 0.2]}, "clean"),
    ],
)
def test_labelled_priors_learn_the_conditional_law(tmp_path, name, options, parametrization):
    output = tmp_path / "prior.safetensors"
    process = {"name": name, "alpha": {"name": "cosine"}, "options": options}
    data = np.load(prepared(tmp_path / "data.npz", parametrization))
    fit(data, {**TRAINER, "process": process}, Place(output), None, 0)
    prior = load_token_prior(output, "toy")
    assert prior.process == process_from({"process": process, "vocab_size": 5, "pad_id": 0})
    assert prior.parametrization == parametrization and prior.labels[0].values == ["low", "high"]
    assert prior.timed == (name != "masked" or parametrization == "ratios")
    n, both = 1500, LAWS.mean(0)
    for condition, law in (("low", LAWS[0]), ({"kind": "high"}, LAWS[1]), (None, both)):
        samples = gk.sample(prior, num_samples=n, steps=48, condition=condition).samples
        assert float((samples[:, 0] == samples[:, 1]).double().mean()) > 0.95
        assert set(samples[:, 2].unique().tolist()) >= {0, 1} and (samples[:, :2] > 0).all()
        found = torch.bincount(samples[:, 0], minlength=5).double() / n
        # 4 standard errors of a share of one half, and what a network of this size has not learned.
        assert (found - law).abs().max() < 4 * 0.5 / n**0.5 + 0.03
    assert (LAWS[0] - LAWS[1]).abs().max() > 0.4


@pytest.mark.parametrize(
    "process",
    [
        Masked(5, CosineAlpha(), 0),
        Uniform(5, Geometric(1e-3, 8.0), 0, "plug_in"),
        Marginal(alpha=CosineAlpha(), law=(0.1, 0.2, 0.3, 0.2, 0.2), pinned=0),
        Kinds(kinds=(0, 0, 0, 1, 1), laws=((0.0, 0.6, 0.4, 0, 0), (0, 0, 0, 0.5, 0.5)), pinned=0),
        Structured(generator=blocks((0, 0, 1, 1, 1)), pinned=0),
        Stepped(matrices=discretized_gaussian(5, [0.1, 0.4]), pinned=0),
    ],
    ids=PROCESSES,
)
def test_processes_labels_and_parametrization_travel_in_checkpoints(tmp_path, process):
    path = tmp_path / "prior.safetensors"
    options = {"vocab_size": 5, "max_length": 4, "width": 16, "depth": 1, "heads": 2, "pad_id": 0}
    options |= {"labels": [2, 3], "timed": True}
    torch.manual_seed(0)
    network = SequenceTransformer(**options)
    torch.nn.init.normal_(network.head.weight)
    labels = [{"name": "a", "values": ["x", "y"]}, {"name": "b", "values": ["p", "q", "r"], "thresholds": [1.0, 2.0]}]
    description = {
        "domain": "toy",
        "network": {"name": "sequence_transformer", "options": options},
        "vocab_size": 5,
        "pad_id": 0,
        "length_counts": [0, 0, 0, 1, 1],
        "card": {},
        "process": json.loads(json.dumps(describe(process))),
        "labels": labels,
        "parametrization": "ratios" if not isinstance(process, Stepped) else "clean",
    }
    save_checkpoint(path, network, description)
    prior = load_token_prior(path, "toy")
    assert prior.process == process and read_description(path)["process"] == description["process"]
    assert prior.parametrization == description["parametrization"] and prior.timed and not prior.timeless
    assert prior.condition({"b": "r"}).tolist() == [[-1, 2]] and prior.labels[1].thresholds == [1.0, 2.0]
    result = gk.sample(prior, num_samples=3, steps=2, condition={"a": "x"}, sampler=gk.samplers.Ancestral())
    assert ((result.samples > 0).sum(1) >= 3).all() and (result.samples < 5).all()
