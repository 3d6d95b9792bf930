import csv
import math
import sys

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.domains.dna import DNA, Dna, Motif, Proteins, protein_sequences, strings, windows
from guidekit.domains.dna.figures import sheet
from guidekit.domains.dna.logo import information, site_counts
from guidekit.errors import UnknownNameError
from guidekit.extras import MissingExtraError
from guidekit.installed import load_domain
from guidekit.networks import SequenceTransformer
from guidekit.priors.checkpoints import save_checkpoint

TOKENS = torch.from_numpy(windows("human", "test")[::200].astype(np.int64))


def size_of(path):
    from matplotlib.image import imread

    return imread(path).shape


def test_registered():
    assert isinstance(load_domain("dna"), Dna) and isinstance(load_domain("proteins"), Proteins)
    assert not set(Dna.kinds) & set(Proteins.kinds)


def test_missing_library_is_told_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"'matplotlib' is needed here .*guidekit\[proteins\]"):
        load_domain("proteins")


def test_prior_of_a_checkpoint_sets_the_window(tmp_path):
    torch.manual_seed(0)
    options = {"vocab_size": 21, "max_length": 12, "width": 16, "depth": 1, "heads": 2, "pad_id": 0}
    description = {
        "domain": "proteins",
        "network": {"name": "sequence_transformer", "options": options},
        "vocab_size": 21,
        "pad_id": 0,
        "length_counts": [0] * 8 + [1] * 5,
        "card": {"data": "nothing"},
    }
    save_checkpoint(tmp_path / "p.safetensors", SequenceTransformer(**options), description)
    domain = Proteins()
    prior = domain.load_prior(str(tmp_path / "p.safetensors"))
    assert prior.codec.length == 12 and prior.encode(["MKV"]).shape == (1, 12)
    result = gk.sample(prior, gk.guidance.SVDD(domain.rewards["charge"], 3), 4, steps=4)
    sequences = result.objects()
    assert all(s is not None and 8 <= len(s) <= 12 for s in sequences)
    with pytest.raises(ValueError, match="of domain 'proteins', not of 'dna'"):
        Dna().load_prior(str(tmp_path / "p.safetensors"))
    with pytest.raises(UnknownNameError, match="no prior named 'nothing'"):
        Dna().load_prior("nothing")


def test_table_summary_and_files(tmp_path, shown):
    domain = Dna()
    states = TOKENS[[0, 1, 1, 2]].clone()
    states[3, 5] = 4
    samples = shown(domain, states)
    rows = domain.table(samples)
    assert [row["valid"] for row in rows] == [True, True, True, False] and rows[3]["reason"] == "masked"
    assert rows[0]["sequence"] == strings(windows("human", "test")[:1])[0] and rows[0]["length"] == 256
    assert rows[0]["gc"] == pytest.approx(float(torch.isin(states[0], torch.tensor([1, 2])).double().mean()))
    figures = domain.summary(rows, [1.0, 3.0, 3.0, 9.0])
    assert (figures["valid"], figures["unique"]) == (0.75, pytest.approx(2 / 3))
    assert (figures["reward"], figures["median reward"], figures["best"]) == (2.0, 2.0, 3.0)
    assert figures["gc"] == pytest.approx((rows[0]["gc"] + rows[1]["gc"]) / 2)
    columns = {"reward": [1.0, 3.0, 3.0, -math.inf]}
    assert domain.write(tmp_path, samples, columns) == ["samples.fasta"]
    lines = (tmp_path / "samples.fasta").read_text().split("\n")
    assert [line for line in lines if line.startswith(">")] == [
        ">sample-00000 reward=1", ">sample-00001 reward=3", ">sample-00002 reward=3",
    ]  # fmt: skip
    back = domain.read_samples(tmp_path / "samples.fasta")
    assert list(back) == samples.objects[:3] and back.notes == ""
    with (tmp_path / "samples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert list(domain.read_samples(tmp_path / "samples.csv")) == samples.objects
    nothing = domain.summary([rows[3]], [math.nan])
    assert nothing["valid"] == 0 and math.isnan(nothing["reward"]) and math.isnan(nothing["gc"])


def test_guidance_finds_a_motif_by_tokens():
    torch.manual_seed(0)
    prior = gk.priors.CategoricalChain(torch.full((4,) * 6, 4.0**-6), gk.processes.Masked())
    domain = Dna(6)
    reward = domain.rewards.make("motif", motif="MA0004.1")
    plain = reward(gk.sample(prior, None, 32, steps=6).samples).mean()
    guided = gk.sample(prior, gk.guidance.SVDD(reward, 8), 32, steps=6)
    assert reward(guided.samples).mean() > plain + 3 and guided.ledger.reward_invalid == 0


@pytest.mark.parametrize("motif", [None, "CTCF"])
def test_picture(tmp_path, motif, shown):
    domain = Dna()
    reward = domain.rewards["gc"] if motif is None else domain.rewards.make("motif", motif=motif)
    path = tmp_path / "figure.png"
    values, samples = reward(TOKENS[:30]).tolist(), shown(domain, TOKENS[:30])
    assert domain.figure(samples, values, reward.name, path, objective=reward) == "figure.png"
    height, width, _ = size_of(path)
    assert width == 13 * 150 and height > 1000
    masked = torch.full((2, 256), 4)
    assert domain.figure(shown(domain, masked), [math.nan] * 2, "", tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()
    domain.figure(shown(domain, TOKENS[:1]), [math.nan], "", path)  # one sequence, no reward
    assert size_of(path)[0] < height


def test_picture_of_proteins_and_of_nothing(tmp_path, shown):
    domain = Proteins()
    samples = shown(domain, domain.codec.encode(protein_sequences("test")[:5]))
    assert domain.figure(samples, [1.0, 2.0, math.nan, 3.0, -math.inf], "x", tmp_path / "p.png") == "p.png"
    with pytest.raises(ValueError, match="no sequences to draw"):
        sheet([], [], "", tmp_path / "q.png", [], [], ("length", len))


def test_logo_counts_sites_in_their_own_direction():
    counts = tuple(tuple(50.0 if a == b else 0.0 for b in (0, 1, 2, 3)) for a in (0, 0, 1, 2, 2, 3, 0))
    motif = Motif("x", "X", counts)  # AACGGTA
    text = "TTTTTAACGGTATTTTT"
    found = site_counts(motif, [text, DNA.reverse_complement(text), "AC"])
    assert (found == 2 * (np.array(counts) > 0)).all()
    assert information(found).sum() == pytest.approx(14.0)
    assert information(np.array([[1.0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])).sum(1).tolist() == [0.0, 1.0, 0.0]
