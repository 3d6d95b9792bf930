"""Training a tiny prior: it learns, and its checkpoint is refused where it should be."""

import copy
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import guidekit as gk
from guidekit.networks import SequenceTransformer
from guidekit.priors.checkpoints import CheckpointError, load_token_prior, read_description, save_checkpoint
from guidekit.training.denoising import schedule
from guidekit.training.place import Place
from guidekit.training.sequences import BucketedSequences
from guidekit.training.token_job import fit, save_prepared

TRAINER = {
    "network": {"name": "sequence_transformer", "options": {"width": 32, "depth": 1, "heads": 2, "max_length": 4}},
    "steps": 300,
    "batch_size": 128,
    "learning_rate": 3e-3,
    "warmup": 10,
    "decay": 0.3,
    "ema": 0.9,
    "precision": "32-true",
    "accelerator": "cpu",
    "threads": None,
    "minutes": None,
    "validate_every": 50,
}


def prepared(path):
    """Sequences of two or three tokens in which the second repeats the first."""
    rng = np.random.default_rng(0)
    rows = [[a, a] if rng.random() < 0.5 else [a, a, 5] for a in rng.integers(1, 5, 4000)]
    tokens, offsets = np.concatenate(rows).astype(np.uint16), np.cumsum([0, *map(len, rows)])
    description = {
        "domain": "toy",
        "vocab_size": 6,
        "pad_id": 0,
        "length_counts": [0, 0, 1, 1],
        "codec": "",
        "card": {},
    }
    save_prepared(path, (tokens, offsets), (tokens[: offsets[256]], offsets[:257]), description)
    return path


def test_training_learns_and_loads(tmp_path):
    data, output = prepared(tmp_path / "prepared.npz"), tmp_path / "prior.safetensors"
    report = fit(np.load(data), TRAINER, Place(output), None, 0)
    assert report["updates"] == 300
    # log 4 for the first token and nothing else is the entropy of a sequence.
    assert report["validation nats"] == pytest.approx(np.log(4), abs=0.15)
    prior = load_token_prior(output, "toy")
    samples = gk.sample(prior, num_samples=200).samples
    assert float((samples[:, 0] == samples[:, 1]).double().mean()) > 0.97
    assert set(samples[:, 2].tolist()) == {0, 5}
    again = fit(np.load(data), {**TRAINER, "steps": 2}, Place(tmp_path / "more.safetensors"), str(output), 0)
    assert again["validation nats"] < 1.7  # started from the trained weights


def test_schedule_shape():
    values = [schedule(step, 10, 0.3, 100) for step in range(101)]
    assert (
        values[0] == 0.1 and values[20] == values[69] == 1.0 and values[85] == pytest.approx(0.5) and values[100] == 0.0
    )


def test_buckets_serve_every_sequence_alike():
    lengths = np.arange(1, 41)
    tokens, offsets = np.repeat(lengths, lengths), np.concatenate([[0], lengths.cumsum()])
    batches = list(BucketedSequences(tokens, offsets, 32, pool=8, batches=400))
    first = torch.cat([batch[:, 0] for batch, _ in batches])
    counts = torch.bincount(first, minlength=41)[1:].double()
    assert ((counts - 320).abs() < 5 * 320**0.5).all()
    assert all(((batch > 0).sum(1) == batch[:, 0]).all() for batch, _ in batches)
    assert np.mean([batch.shape[1] - float((batch > 0).sum(1).double().mean()) for batch, _ in batches]) < 4


def network():
    return SequenceTransformer(6, 4, width=16, depth=1, heads=2, pad_id=0)


def checkpoint(path, **changes):
    options = {"vocab_size": 6, "max_length": 4, "width": 16, "depth": 1, "heads": 2, "pad_id": 0}
    description = {"domain": "toy", "network": {"name": "sequence_transformer", "options": options}, "vocab_size": 6}
    save_checkpoint(path, network(), {**description, "pad_id": 0, "length_counts": [0, 1], "card": {}, **changes})
    return path


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path):
    good = checkpoint(tmp_path / "good.safetensors")
    assert read_description(good)["domain"] == "toy"
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_token_prior(tmp_path / "none.safetensors", "toy")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        load_token_prior(cut, "toy")
    with pytest.raises(CheckpointError, match="of domain 'toy', not of 'molecules'"):
        load_token_prior(good, "molecules")
    save_file({"w": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="no guidekit checkpoint"):
        load_token_prior(tmp_path / "foreign.safetensors", "toy")
    options = json.loads(json.dumps(read_description(good)["network"]["options"])) | {"width": 8}
    other = checkpoint(tmp_path / "other.safetensors", network={"name": "sequence_transformer", "options": options})
    with pytest.raises(CheckpointError, match="does not fit"):
        load_token_prior(other, "toy")


def test_network_ignores_what_stands_in_padding_and_knows_the_length():
    torch.manual_seed(0)
    net = network().eval()
    torch.nn.init.normal_(net.blocks[0].out.weight, std=0.3)  # blocks start as identities
    short = torch.tensor([[1, 6, 0]])
    longer = torch.tensor([[1, 6, 0, 0]])
    torch.testing.assert_close(net(short)[:, :2], net(longer)[:, :2])
    assert not torch.allclose(net(short)[:, :2], net(torch.tensor([[1, 6, 2]]))[:, :2])
    mixed = net(torch.tensor([[1, 6, 0, 0], [6, 6, 6, 6]]))
    torch.testing.assert_close(mixed[:1], net(longer))
    selected = net(longer, select=torch.tensor([[False, True, False, False]]))
    torch.testing.assert_close(selected, net(longer)[:, 1])


def test_temperature_travels_in_the_checkpoint_and_sharpens_every_token(tmp_path):
    warm = load_token_prior(checkpoint(tmp_path / "warm.safetensors"), "toy")
    torch.nn.init.normal_(warm.network.head.weight)
    cold = copy.copy(warm)
    cold.temperature = 0.5
    z = torch.tensor([[6, 2, 6, 0]])
    expected = torch.log_softmax(2 * warm.predict(z, 1.0).log_probs, -1)
    torch.testing.assert_close(cold.predict(z, 1.0).log_probs, expected)
    assert load_token_prior(checkpoint(tmp_path / "cold.safetensors", temperature=0.8), "toy").temperature == 0.8
    with pytest.raises(ValueError, match="above 0"):
        load_token_prior(checkpoint(tmp_path / "zero.safetensors", temperature=0), "toy")
