"""Lengths follow the condition, and what is asked for."""

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.cli import main
from guidekit.core.random import Draw, KeyedRandom
from guidekit.domains.dna import Proteins
from guidekit.domains.dna.amp import antimicrobial_peptides
from guidekit.networks import SequenceTransformer
from guidekit.priors.labels import Label
from guidekit.priors.tokens import TokenPrior
from guidekit.training.token_job import label_lengths

COUNTS = [[[0, 6, 0, 2, 0], [0, 0, 2, 0, 6]], [[0, 4, 2, 0, 0], [0, 2, 0, 2, 6], [0, 0, 0, 0, 0]]]


def tiny():
    network = SequenceTransformer(21, max_length=4, width=16, depth=1, heads=2, pad_id=0, labels=[2, 3])
    labels = [Label("a", ["x", "y"]), Label("b", ["x", "y", "z"])]
    return TokenPrior(network, 21, [0, 6, 2, 2, 6], 0, labels=labels, label_lengths=COUNTS)


def law(prior, condition):
    return prior.length_law(None if condition is None else torch.tensor([condition])).softmax(1)[0].tolist()


def test_the_law_of_lengths_is_that_of_the_training_data_with_the_label():
    prior = tiny()
    assert law(prior, None) == pytest.approx([0, 6 / 16, 2 / 16, 2 / 16, 6 / 16])
    assert law(prior, [-1, -1]) == pytest.approx(law(prior, None))
    assert law(prior, [0, -1]) == pytest.approx([0, 0.75, 0, 0.25, 0])
    assert law(prior, [-1, 1]) == pytest.approx([0, 0.2, 0, 0.2, 0.6])
    assert law(prior, [-1, 2]) == pytest.approx(law(prior, None))  # a value that no sequence has says nothing
    both = torch.tensor([0, 0.75 * 0.2 / (6 / 16), 0, 0.25 * 0.2 / (2 / 16), 0])
    assert law(prior, [0, 1]) == pytest.approx((both / both.sum()).tolist())


def test_a_sample_has_a_length_of_its_condition():
    prior = tiny()
    condition = torch.tensor([[0, -1], [1, -1]]).repeat_interleave(2000, 0)
    state = prior.start(Draw(KeyedRandom(0, 0, 4000), (-1,), "start"), 4000, None, condition)
    sizes = (state != 0).sum(1).view(2, -1)
    assert (sizes[0] == 1).double().mean() == pytest.approx(0.75, abs=0.04)
    assert set(sizes[1].tolist()) == {2, 4}


def test_counts_of_the_training_data():
    data = {"offsets": np.array([0, 2, 3, 6]), "labels": np.array([[0], [1], [0]], np.int8)}
    data |= {"val_offsets": np.array([0, 2]), "val_labels": np.array([[1]], np.int8)}
    assert label_lengths(data, [2], 4) == [[[0, 0, 1, 1], [0, 1, 1, 0]]]


def test_shipped_peptides_are_as_long_as_real_ones():
    prior = Proteins().load_prior()
    condition = prior.condition("antimicrobial").expand(2000, -1)
    state = prior.start(Draw(KeyedRandom(0, 0, 2000), (-1,), "start"), 2000, None, condition)
    peptides, active = antimicrobial_peptides()
    real = np.median([len(one) for one, is_active in zip(peptides, active, strict=True) if is_active])
    assert abs(float((state != 0).sum(1).double().median()) - real) <= 3


def test_lengths_that_are_asked_for():
    prior = tiny()
    assert law(prior.of_lengths(2, 3), None) == pytest.approx([0, 0, 0.5, 0.5, 0])
    assert law(prior.of_lengths(2, 3), [0, -1]) == pytest.approx([0, 0, 0, 1, 0])
    assert law(prior.of_lengths(2, 2), [0, -1]) == pytest.approx([0, 0, 1, 0, 0])
    assert {len(row[row != 0]) for row in gk.sample(prior.of_lengths(3), None, 30, steps=4).samples} == {3, 4}
    with pytest.raises(ValueError, match="room for 1 to 4"):
        prior.of_lengths(5)


@pytest.mark.parametrize(
    "domain, setting, answer",
    [
        ("proteins", "length=257", "has room for 1 to 256"),
        ("proteins", "length=0", "a whole number of at least 1 or null is needed"),
        ("dna", "length=100", "have 256 tokens, and no other number"),
        ("graphs", "max_length=9", "have no length"),
    ],
)
def test_bad_lengths_are_one_line(domain, setting, answer, capsys):
    assert main(["sample", f"domain={domain}", setting, "num_samples=1"]) == 2
    error = capsys.readouterr().err.strip()
    assert answer in error and "\n" not in error
    assert main(["sample", "domain=proteins", "length=5", "min_length=3"]) == 2
    assert "length=5 says all" in capsys.readouterr().err
