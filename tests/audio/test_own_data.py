"""Sounds and pieces of one's own are judged by what needs nothing else, and the rest says what it needs."""

import json

import numpy as np
import pytest
import soundfile

from guidekit.cli import main
from guidekit.domains.audio import Audio, Chorales


@pytest.fixture
def own(tmp_path):
    """Two classes of tones."""
    time = np.arange(8000) / 16000
    for kind, hertz in (("high", 2000), ("low", 200)):
        (tmp_path / "own" / kind).mkdir(parents=True)
        for i in range(3):
            tone = 0.4 * np.sin(2 * np.pi * hertz * (1 + i / 20) * time) * np.exp(-5 * time)
            soundfile.write(tmp_path / "own" / kind / f"{i}.wav", tone, 16000)
    return tmp_path / "own"


def evaluated(capsys, *words):
    assert main(["evaluate", *words]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_classes_are_those_of_the_training_set(own, capsys, tmp_path):
    settings = [f"samples={own}", f"training={own}", f"reference={own}", f"output={tmp_path}/f.json"]
    assert "compared with the shipped" not in evaluated(capsys, "domain=audio", *settings)
    found = json.loads((tmp_path / "f.json").read_text())
    assert found["nearest_class"] == 1 and found["n_labelled"] == 6 and found["nearest_class_reference"] == 1
    (own / "high" / "0.wav").rename(own / "low" / "9.wav")
    Audio().read_samples(own)
    training = Audio().read_training(str(own))
    figures = Audio().evaluate(Audio().read_samples(own), training=training, label="low")
    assert figures["n_labelled"] == 6 and figures["nearest_class"] == pytest.approx(4 / 6)


def test_what_the_figures_compare_with_is_said(own, capsys):
    told = evaluated(capsys, "domain=audio", f"samples={own}")
    assert "compared with the shipped sounds (one_shots); for samples of other data give reference=FILE and" in told
    told = evaluated(capsys, "domain=audio", f"samples={own}", f"training={own}")
    assert "give reference=FILE 6 sounds" in told


@pytest.mark.parametrize("domain", [Audio(), Chorales()])
def test_a_prior_of_other_data_is_not_compared_with_shipped_ones(domain, shown):
    things = domain.reference()[:6]
    prior = shown(domain, domain.codec.encode(things), dataset="mine").prior
    found = domain.evaluate(things, prior=prior)
    assert "reference=FOLDER" in found["note"] and "training=FOLDER" in found["note"] and found["validity"] == 1
    assert not any(name.endswith("_reference") or name.startswith(("nearest", "frechet")) for name in found)
    whole = domain.evaluate(things, things, training=things, prior=prior)
    assert whole["nearest_least"] == pytest.approx(0, abs=1e-4) and "FOLDER" not in str(whole.get("note", ""))
    ours = domain.evaluate(things, prior=shown(domain, domain.codec.encode(things), dataset=domain.default).prior)
    assert ours["n_training"] > 100


def test_rna_is_judged(tmp_path, capsys):
    rna = "".join(f">r{i}\n{''.join(np.random.default_rng(i).choice(list('ACGU'), 60))}\n" for i in range(5))
    (tmp_path / "a.fasta").write_text(rna)
    told = evaluated(capsys, "domain=dna", f"samples={tmp_path}/a.fasta", f"reference={tmp_path}/a.fasta")
    assert "RNA is read as DNA, U as T" in told and "n_valid │ 5" in told and "training=FILE" in told
