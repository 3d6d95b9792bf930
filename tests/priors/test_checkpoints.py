"""Checkpoints that cannot be right are refused in one line, whatever they hold."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from guidekit.domains.images import judging
from guidekit.networks import SequenceTransformer, UNet
from guidekit.priors.checkpoints import (
    CheckpointError,
    load_any_prior,
    load_gaussian_prior,
    load_token_prior,
    read_description,
    save_checkpoint,
)

OPTIONS = {
    "tokens": {"vocab_size": 5, "max_length": 6, "width": 8, "depth": 1, "heads": 2, "pad_id": 0, "labels": [2]},
    "states": {"channels": 1, "width": 8, "multipliers": [1], "attention": [], "patch": 1, "labels": [2]},
}
LABELS = [{"name": "kind", "values": ["a", "b"]}]
DESCRIPTIONS = {
    "tokens": {
        "domain": "dna",
        "vocab_size": 5,
        "pad_id": 0,
        "length_counts": [0, 0, 1, 2],
        "process": {"name": "masked", "alpha": {"name": "log_linear"}},
    },
    "states": {"domain": "images", "event_shape": [1, 4, 4], "process": {"name": "edm", "options": {}}},
}
LOADERS = {"tokens": load_token_prior, "states": load_gaussian_prior}


@pytest.fixture(params=["tokens", "states"])
def kind(request):
    return request.param


@pytest.fixture
def path(kind, tmp_path):
    torch.manual_seed(0)
    name, make = ("sequence_transformer", SequenceTransformer) if kind == "tokens" else ("unet", UNet)
    made = {"network": {"name": name, "options": OPTIONS[kind]}, "labels": LABELS, "card": {}, **DESCRIPTIONS[kind]}
    save_checkpoint(tmp_path / "mine.safetensors", make(**OPTIONS[kind]), made)
    return tmp_path / "mine.safetensors"


def rewritten(path, change=None, weights=None):
    """The checkpoint with another description or other weights."""
    made = read_description(path)
    changed = made if change is None else change(made)
    text = changed if isinstance(changed, str) else json.dumps(changed)
    save_file(weights or load_file(path), path, {"guidekit": text})


def refused(path, kind, said=None):
    with pytest.raises(CheckpointError, match=said) as told:
        LOADERS[kind](path, DESCRIPTIONS[kind]["domain"])
    assert "\n" not in str(told.value) and "mine.safetensors" in str(told.value) and len(str(told.value)) < 500


def test_a_good_one_is_loaded(path, kind):
    prior = LOADERS[kind](path, DESCRIPTIONS[kind]["domain"])
    assert prior.name.endswith("prior mine") and prior.labels[0].values == ["a", "b"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite(path, kind, value):
    weights = load_file(path)
    name = sorted(weights)[1]
    weights[name].view(-1)[0] = value
    rewritten(path, weights=weights)
    refused(path, kind, f"mine.safetensors: weight '{name}' is not finite .1 of ")


def test_weights_that_do_not_fit(path, kind):
    weights = load_file(path)
    name, *rest = sorted(weights)
    rewritten(path, weights={one: weights[one] for one in rest})
    refused(path, kind, rf"lacks weights \(1\): {name}")
    rewritten(path, weights={**weights, "own.extra": torch.zeros(2)})
    refused(path, kind, r"has unexpected weights \(1\): own.extra")
    rewritten(path, weights={**weights, name: torch.zeros(3, 2, 1, 7)})
    refused(path, kind, rf"weight '{name}' has shape \(3, 2, 1, 7\); \(.*\) is expected")
    rewritten(path, weights={**weights, name: weights[name].to(torch.complex64)})
    refused(path, kind, f"weight '{name}' is of type torch.complex64")


@pytest.mark.parametrize("text, said", [
    ("{", "no JSON"), ("[1]", "is a list; keys and values"), ("3", "is a int"), ("[" * 100_000, "no JSON"),
    ('{"format": 2}', "has format 2"), ('{"format": 1}', "no 'domain'"), ('{"format": 1, "domain": 3}', "no 'network'"),
])  # fmt: skip
def test_descriptions_that_are_none(path, kind, text, said):
    rewritten(path, lambda made: text)
    refused(path, kind, said)


WRONG = [
    ("labels", 5), ("labels", [3]), ("labels", [{"name": "kind"}]), ("labels", [{"name": "kind", "values": "ab"}]),
    ("labels", [{"name": "kind", "values": [1, 2]}]), ("labels", [{"name": "kind", "values": ["a", "a"]}]),
    ("labels", [{"name": "kind", "values": ["a", "b", "c"]}]), ("labels", [{"name": 3, "values": ["a", "b"]}]),
    ("process", "masked"), ("process", {"name": 3}), ("process", {"name": "foggy"}), ("process", {"options": []}),
    ("process", {"name": "masked", "options": {"steps": 1e30}}), ("process", {"options": {"speed": 3}}),
    ("network", "unet"), ("network", {"name": "foggy", "options": {}}), ("network", {"name": "unet", "options": 3}),
    ("domain", 3), ("card", "x"), ("parametrization", 4), ("parametrization", "foggy"), ("sigma_data", -1),
    ("sigma_data", "x"), ("temperature", 0), ("temperature", "warm"), ("temperature", float("nan")),
]  # fmt: skip


@pytest.mark.parametrize("key, value", WRONG)
def test_values_of_the_wrong_type(path, kind, key, value):
    rewritten(path, lambda made: {**made, key: value})
    refused(path, kind)


@pytest.mark.parametrize("kind, key, value", [
    ("tokens", "vocab_size", "x"), ("tokens", "vocab_size", 10**12), ("tokens", "vocab_size", 7),
    ("tokens", "pad_id", 9), ("tokens", "pad_id", "x"),
    ("tokens", "length_counts", [1]), ("tokens", "length_counts", [0, 0]), ("tokens", "length_counts", {"1": 2}),
    ("tokens", "length_counts", [1, -1]), ("tokens", "length_counts", ["1", "2"]),
    ("states", "event_shape", [2, 4, 4]), ("states", "event_shape", [1, 10**6, 10**6]), ("states", "event_shape", []),
    ("states", "event_shape", "1x4x4"), ("states", "event_shape", [1, 4.5, 4]), ("states", "event_shape", [1, -4, 4]),
])  # fmt: skip
def test_sizes_that_cannot_be(path, kind, key, value):
    rewritten(path, lambda made: {**made, key: value})
    refused(path, kind, "vocab_size|pad_id|length_counts|event_shape|channels")


@pytest.mark.parametrize("name, value", [
    ("width", 10**7), ("depth", 10**9), ("blocks", 10**9), ("width", -8), ("width", "wide"), ("heads", 0), ("speed", 3),
    ("multipliers", [1] * 500), ("labels", [10**9]),
])  # fmt: skip
def test_options_of_a_network_ask_for_no_more_than_the_file_holds(path, kind, name, value, guarded):
    options = {**OPTIONS[kind], name: value}
    rewritten(path, lambda made: {**made, "network": {**made["network"], "options": options}})
    with guarded(20, 1 << 30):
        refused(path, kind)


def test_damaged_checkpoints(path, kind, withstands):
    withstands("mine.safetensors", path.read_bytes(), load_any_prior, times=150)


def test_damaged_descriptions(path, kind, withstands):
    text = json.dumps(read_description(path))
    weights = load_file(path)

    def load(changed):
        save_file(weights, path, {"guidekit": changed.read_text(errors="replace").replace("\0", "")})
        load_any_prior(path)

    withstands("description.json", text.encode(), load, times=150)


def test_headers_that_claim_too_much(path, kind):
    path.write_bytes(struct.pack("<Q", 1 << 60) + path.read_bytes()[8:])
    refused(path, kind, "truncated or no safetensors file")


def test_what_is_no_file(path, kind, tmp_path):
    path.unlink()
    refused(path, kind, "there is no checkpoint")
    path.symlink_to("/dev/zero")
    refused(path, kind, "is a device; an ordinary file is expected")


def test_a_classifier_lacks_what_it_needs(path, kind):
    rewritten(path, lambda made: {**made, "kind": "classifier", "domain": "images"})
    with pytest.raises(CheckpointError, match="a classifier has one|no network can be made"):
        judging.load(path)
