"""Low complexity is measured, and told where samples have more of it than real sequences."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.domains.dna import DNA, PROTEIN, Dna, Proteins
from guidekit.domains.dna.complexity import longest_run, word_entropy
from guidekit.domains.dna.data import antimicrobial_peptides
from guidekit.domains.dna.metrics import evaluate
from guidekit.reporting.ranges import leaving, share_outside
from guidekit.samplers.path_planning import MaskGIT, PathPlanning
from guidekit.samples import Samples


def test_entropy_of_words():
    assert word_entropy("A" * 40, DNA) == 0 and math.isnan(word_entropy("ACG", DNA))
    assert word_entropy("ACGT", DNA) == 1  # two words, both different
    assert word_entropy("ACACAC", DNA) == pytest.approx(1 / 2)  # two words of four
    assert word_entropy("MKVWACDEF", PROTEIN) == 1 and longest_run("MKKKW") == 3 and longest_run("") == 0


def test_metrics_tell_low_complexity():
    real = list(Dna().reference())[:400]
    found = evaluate(real[:100] + ["A" * 256] * 50, real)
    assert found["low_complexity_reference"] < 0.03 and found["low_complexity"] == pytest.approx(1 / 3, abs=0.03)
    assert found["longest_run"] > found["longest_run_reference"] + 50
    assert found["word_entropy"] < found["word_entropy_reference"] - 0.2


def test_ranges():
    assert share_outside([0, 1, 2, math.nan], 1, 2) == pytest.approx(1 / 3)
    real = {"length": list(range(100))}
    assert leaving({"length": [300.0] * 10}, real, "proteins") == (
        "proteins leave the range of 98 % of real ones: length of 100% (0.99 to 98)"
    )
    assert not leaving({"length": [50.0] * 10}, real, "x") and not leaving({"length": [300.0] * 3}, real, "x")


def test_the_default_noise_of_maskgit_follows_the_length():
    assert MaskGIT().noise(256) == 10.24 and MaskGIT().noise(18) == 1 and MaskGIT(2.0).noise(256) == 2
    assert PathPlanning().noise(256) == 1 and PathPlanning(temperature=None).noise(256) == 10.24
    prior = Proteins().load_prior("default")

    def run(sampler):
        found = gk.sample(prior, num_samples=8, steps=12, sampler=sampler, seed=0).objects()
        return sum(longest_run(one) >= 6 for one in found if one)

    assert run(MaskGIT(1.0)) >= 3 and run(MaskGIT()) <= 1


@pytest.mark.parametrize("domain", [Dna(), Proteins()], ids=["dna", "proteins"])
def test_runs_say_so(domain):
    prior = domain.load_prior("default")
    real = [one for one in domain.reference(prior=prior) if len(one) >= 30][:12]
    assert domain.remark(Samples(prior.encode(real), prior)) == ""
    poor = [one[0] * 20 + one[20:] for one in real]
    told = domain.remark(Samples(prior.encode(poor), prior))
    assert told.startswith(f"{domain.objects} leave the range") and "longest run of 100%" in told
    assert domain.remark(Samples(torch.full((12, prior.event_shape[0]), prior.process.mask_id), prior)) == ""


def test_peptides_are_compared_with_peptides():
    """Their lengths are no fault of samples that were asked to be some."""
    domain, (peptides, active) = Proteins(), antimicrobial_peptides()
    prior = domain.load_prior("default")
    states = prior.encode([one for one, is_active in zip(peptides, active, strict=True) if is_active][:40])
    assert "length" in domain.remark(Samples(states, prior))
    for condition in ("antimicrobial", {"kind": "antimicrobial"}):
        assert domain.remark(Samples(states, prior, condition)) == ""
