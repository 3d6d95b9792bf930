import math
import time

import numpy as np
import pytest

from guidekit.domains.dna import DNA, PROTEIN, Dna, Proteins, protein_sequences, strings, windows
from guidekit.domains.dna.kmers import copied, js_distance, kmer_codes, kmer_frequencies, pearson
from guidekit.domains.dna.metrics import diversity, evaluate, wasserstein

TRAIN = strings(windows("human", "train")[:2000])
TEST = strings(windows("human", "test")[::30])


def test_kmers_do_not_run_across_sequences():
    codes, owner = kmer_codes(["ACG", "TT", "A"], 2, DNA)
    assert codes.tolist() == [0 * 4 + 1, 1 * 4 + 2, 3 * 4 + 3] and owner.tolist() == [0, 0, 1]
    frequencies = kmer_frequencies(["ACAC", "GG"], 2)
    assert frequencies[1] == 0.5 and frequencies[4] == frequencies[10] == 0.25 and frequencies.sum() == 1
    assert kmer_codes(["A"], 3, DNA)[0].size == 0 and np.isnan(kmer_frequencies(["A"], 3)).all()
    assert kmer_codes(["AYA"], 2, PROTEIN)[0].tolist() == [19, 380]


def test_jensen_shannon_distance_by_hand():
    assert js_distance(np.array([0.5, 0.5]), np.array([0.5, 0.5])) == 0.0
    assert js_distance(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1.0
    # p = (1, 0), q = (1/2, 1/2), m = (3/4, 1/4): JS = H(m) - H(q) / 2
    expected = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)) - 0.5
    assert js_distance(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(math.sqrt(expected))


def test_pearson_and_wasserstein_by_hand():
    a = np.random.default_rng(0).random(64)
    assert pearson(a, a**2) == pytest.approx(np.corrcoef(a, a**2)[0, 1])
    assert math.isnan(pearson(a, np.ones(64)))
    assert wasserstein([0.0, 1.0], [0.0, 1.0]) == 0.0 and wasserstein([0.0], [3.0]) == 3.0
    assert wasserstein([0.0, 2.0], [1.0]) == 1.0
    assert wasserstein([0, 0, 1], [0, 1]) == pytest.approx(1 / 6)
    assert math.isnan(wasserstein([], [1.0]))


def test_diversity_by_hand():
    assert diversity(["ACGT", "ACGA"]) == 0.25 and diversity(["AAAA", "AAAA", "CCCC"]) == pytest.approx(2 / 3)
    assert math.isnan(diversity(["ACGT"]))
    assert diversity(TEST) == diversity(TEST) > 0.4


def test_a_copied_training_window_is_found():
    inside = TRAIN[7]
    rng = np.random.default_rng(0)
    fresh = "".join(rng.choice(list("ACGT"), 256))
    half = TRAIN[100][:128] + fresh[:128]
    shares = copied([inside, DNA.reverse_complement(inside), fresh, half, "ACGT"], TRAIN, 20)
    assert shares[0] == shares[1] == 1.0 and shares[2] == 0.0 and math.isnan(shares[4])
    assert shares[3] == pytest.approx(109 / 237, abs=0.01)  # 128 - 20 + 1 of its 256 - 20 + 1 words
    assert copied([inside], TRAIN, 20, chunk=3)[0] == 1.0  # found in whichever chunk
    straddling = TRAIN[0][128:] + TRAIN[1][:128]
    assert copied([straddling], [TRAIN[0] + TRAIN[1]], 20)[0] == 1.0
    protein = protein_sequences("train")[3]
    found = copied([protein, protein[::-1]], protein_sequences("train"), 8, PROTEIN)
    assert found[0] == 1.0 and found[1] < 0.05


def test_real_windows_are_near_the_floor_and_random_ones_are_not():
    rng = np.random.default_rng(0)
    random = ["".join(rng.choice(list("ACGT"), 256)) for _ in range(200)]
    real = evaluate(TEST[:400:2], TEST[400:], TRAIN, motifs=["CTCF"])
    fake = evaluate(random, TEST[400:], TRAIN, motifs=["CTCF"])
    for k in (3, 4, 5, 6):
        assert real[f"pearson_{k}"] > 0.9 * real[f"pearson_{k}_floor"] > 0.8 > fake[f"pearson_{k}"]
        assert real[f"js_{k}"] < 2 * real[f"js_{k}_floor"] < fake[f"js_{k}"]
    assert real["w1_gc"] < 0.03 < fake["w1_gc"] and abs(fake["mean_gc"] - 0.5) < 0.01
    assert fake["hits_CTCF"] < real["hits_CTCF_reference"] and fake["copied"] == 0 <= real["copied"] < 0.5
    assert (real["n"], real["validity"], real["uniqueness"]) == (200, 1.0, 1.0) and "note" not in real


def test_invalid_and_repeated_sequences():
    found = evaluate([None, TEST[0], TEST[0], TEST[1]])
    assert (found["n"], found["n_valid"]) == (4, 3)
    assert (found["validity"], found["uniqueness"]) == (0.75, pytest.approx(2 / 3))
    assert not any(key.startswith(("js", "pearson", "copied", "w1")) for key in found)
    nothing = evaluate([None], TEST[:10], TRAIN[:10])
    assert nothing["validity"] == 0 and math.isnan(nothing["js_3"]) and math.isnan(nothing["copied"])
    assert "the floors are of 5 reference" in evaluate(TEST[:20], TEST[:10])["note"]
    with pytest.raises(ValueError, match="no sequences to evaluate"):
        evaluate([])
    with pytest.raises(ValueError, match="the reference is empty"):
        evaluate(TEST[:3], [])
    with pytest.raises(ValueError, match="give a larger p or a longer motif"):
        evaluate(TEST[:3], motifs=["MAX"])


@pytest.mark.slow
def test_thousand_windows_against_the_shipped_training_set():
    started = time.process_time()
    found = Dna().evaluate(strings(windows("human", "train")[:1000]), motifs=["CTCF", "SP1"])
    assert found["copied"] == 1.0 and found["copied_reference"] < 0.2
    assert time.process_time() - started < 30  # 8 s of one core


def test_proteins_are_judged_by_their_own_measures():
    found = Proteins().evaluate(list(protein_sequences("test")[:100]))
    assert found["js_1"] < 0.1 and found["mean_length"] > 50 and found["w1_charge"] < 10
    assert found["copied"] < 0.5 < Proteins().evaluate(list(protein_sequences("train")[:100]))["copied"] == 1.0
