import itertools
import math

import numpy as np
import pytest
import torch
from Bio import motifs as bio
from Bio.Seq import Seq

from guidekit.domains.dna import DNA, Motif, hit_counts, load_motif, strings, windows
from guidekit.domains.dna.motifs import STEP, best_scores, find_hits, library, rounded, scan, threshold
from guidekit.errors import UnknownNameError

SHORT = Motif("short", "X1", ((10, 0, 3, 1), (2, 9, 1, 4), (0, 0, 12, 1), (5, 5, 1, 0)))
SEQUENCES = strings(windows("human", "test")[:40])


def test_names_and_ids():
    assert load_motif("CTCF") is load_motif("ctcf") is load_motif("MA0139.2") is load_motif("ma0139")
    assert load_motif("MA1930").name == "CTCF" and len(load_motif("MA1930")) == 33
    assert len(library()) == 879
    with pytest.raises(UnknownNameError) as error:
        load_motif("CTFC")
    assert "'CTCF'" in str(error.value) and len(str(error.value)) < 200
    with pytest.raises(
        UnknownNameError, match="no motif named 'MA0139.1' .did you mean 'MA0139.2'"
    ):  # an older version is not shipped
        load_motif("MA0139.1")


@pytest.mark.parametrize(
    "name, background", [("CTCF", (0.25,) * 4), ("SP1", (0.3, 0.2, 0.2, 0.3)), ("MA1930", (0.25,) * 4)]
)
def test_scores_of_both_strands_equal_those_of_biopython(name, background):
    motif = load_motif(name)
    counts = {letter: [row[i] for row in motif.counts] for i, letter in enumerate("ACGT")}
    law = dict(zip("ACGT", background, strict=True))
    record = bio.Motif(alphabet="ACGT", counts=counts)
    matrix = record.counts.normalize({letter: 0.8 * share for letter, share in law.items()}).log_odds(law)
    mine = scan(torch.from_numpy(motif.log_odds(background)), DNA.encode(SEQUENCES)).numpy()
    for i, text in enumerate(SEQUENCES):
        forward = matrix.calculate(Seq(text))
        reverse = matrix.reverse_complement().calculate(Seq(text))
        np.testing.assert_allclose(mine[i], [forward, reverse], atol=2e-5)  # Biopython's are float32
    if background == (0.25,) * 4:
        assert motif.best_score == pytest.approx(matrix.max, abs=1e-9)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_scan_of_odd_and_even_widths(width):
    table = torch.randn(width, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(width))
    text = "ACGTTGCATT"
    found = scan(table, DNA.encode([text]))[0]
    for start in range(len(text) - width + 1):
        site = text[start : start + width]
        for strand, read in enumerate((site, DNA.reverse_complement(site))):
            expected = sum(float(table[i, "ACGT".index(letter)]) for i, letter in enumerate(read))
            assert found[strand, start] == pytest.approx(expected, abs=1e-12)


def test_scores_do_not_depend_on_strand_or_batch():
    table, tokens = torch.from_numpy(load_motif("CTCF").log_odds()), DNA.encode(SEQUENCES)
    best = best_scores(table, tokens)
    assert torch.allclose(best_scores(table, DNA.reverse_complement(tokens)), best, atol=1e-12)
    assert torch.equal(torch.cat([best_scores(table, row[None]) for row in tokens]), best)
    tokens[3, 7] = 4
    assert best_scores(table, tokens)[3] == -math.inf and torch.equal(best_scores(table, tokens)[4:], best[4:])
    with pytest.raises(ValueError, match="sequences of 10 letters cannot hold a motif of 15"):
        scan(table, tokens[:, :10])


@pytest.mark.parametrize("p", [0.5, 0.05, 0.01, 0.009])
@pytest.mark.parametrize("background", [(0.25, 0.25, 0.25, 0.25), (0.4, 0.1, 0.2, 0.3)])
def test_threshold_equals_enumeration(p, background):
    scores = rounded(SHORT.log_odds(background))
    law = {}
    for site in itertools.product(range(4), repeat=4):
        score = sum(int(scores[i, a]) for i, a in enumerate(site))
        law[score] = law.get(score, 0.0) + math.prod(background[a] for a in site)
    reached = [s for s in law if sum(share for t, share in law.items() if t >= s) < p]
    least = threshold(SHORT.log_odds(background), p, background)
    assert {s for s in law if s >= least} == set(reached) and reached


def test_a_p_value_that_no_site_has():
    with pytest.raises(
        ValueError, match="p=0.0001 is below 0.0078, the probability of the best site of these 4 columns"
    ):
        threshold(SHORT.log_odds(), 1e-4)
    with pytest.raises(ValueError, match="p=2"):
        threshold(SHORT.log_odds(), 2)


def test_share_of_hits_in_random_sequences():
    motif, p = load_motif("SP1"), 1e-3
    tokens = torch.randint(4, (2000, 200), generator=torch.Generator().manual_seed(0))
    hits = find_hits(motif, tokens, p).double().mean()
    scores = rounded(motif.log_odds())
    exact = _tail(scores, threshold(motif.log_odds(), p))
    assert exact < p
    assert hits == pytest.approx(exact, abs=5 * math.sqrt(2 * exact / tokens.numel()))  # neighbouring sites overlap


def _tail(scores, least):
    law = {0: 1.0}
    for row in scores:
        new = {}
        for total, share in law.items():
            for step in row:
                new[total + int(step)] = new.get(total + int(step), 0.0) + share / 4
        law = new
    return sum(share for total, share in law.items() if total >= least)


def test_counts_on_both_strands_of_sequences_of_any_length():
    motif = load_motif("CTCF")
    best = "".join("ACGT"[i] for i in motif.log_odds().argmax(1))
    other = DNA.reverse_complement(best)
    counts = hit_counts("CTCF", ["A" * 5, best, "A" * 20 + other + "A" * 20, best + "T" * 30 + other, "A" * 100])
    assert counts.tolist() == [0, 1, 1, 2, 0]
    found = find_hits(motif, DNA.encode(["A" * 20 + other + "A" * 20]))
    assert found.nonzero().tolist() == [[0, 1, 20]]
    assert threshold(motif.log_odds()) * STEP < motif.best_score


def test_background_must_be_a_law():
    with pytest.raises(ValueError, match="is no law of A, C, G, T"):
        SHORT.log_odds((0.3, 0.3, 0.3, 0.3))
