"""Motifs of one's own, pairs with a spacing, rings, and windows that can be."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from guidekit.cli import main
from guidekit.domains.dna import DNA, Dna
from guidekit.domains.dna.motifs import load_motif
from guidekit.domains.dna.protein_rewards import Aromaticity, IsoelectricPoint
from guidekit.domains.dna.relaxed import GC, CpG, MotifCount, MotifPair, SoftMotif
from guidekit.domains.dna.rewards import Restriction
from guidekit.errors import UnknownNameError


def tokens(*sequences):
    return DNA.encode(sequences)


def test_words_of_letters_are_motifs():
    motif = load_motif("TGASTCA")
    assert motif.name == "TGASTCA" and motif.counts[3] == (0.0, 50.0, 50.0, 0.0) and motif.counts[0] == (0, 0, 0, 100)
    best, other = SoftMotif("TGASTCA")(tokens("AAATGACTCAAAA", "AAATGAATCAAAA")).tolist()
    assert best == pytest.approx(motif.best_score) and other < best - 5
    assert load_motif("CTCF").matrix_id.startswith("MA")  # names of the library go first
    with pytest.raises(UnknownNameError):
        load_motif("CTCFF")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.pfm", ">MA1 mine\n0 1 0\n2 0 0\n0 3 0\n4 0 7\n"),
        ("m.jaspar", ">MA1 mine\nA [ 0 1 0 ]\nC [ 2 0 0 ]\nG [ 0 3 0 ]\nT [ 4 0 7 ]\n"),
        ("m.pwm", "0 2 0 4\n1,0,3,0\n0\t0\t0\t7\n"),
        ("m.ppm", "A 0 .25 0\nC .3333 0 0\nG 0 .75 0\nT .6667 0 1\n"),
    ],
)
def test_matrices_of_files(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    counts = np.array(load_motif(str(tmp_path / name)).counts)
    expected = np.array([[0, 2, 0, 4], [1, 0, 3, 0], [0, 0, 0, 7]])
    np.testing.assert_allclose(
        counts / counts.sum(1, keepdims=True), expected / expected.sum(1, keepdims=True), atol=1e-3
    )


@pytest.mark.parametrize(
    "text", ["", "hello\n", "1 2 3\n", "-1 2 3 4\n1 1 1 1\n1 1 1 1\n", "0 0 0 0\n1 1 1 1\n1 1 1 1\n"]
)
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "m.pwm"
    path.write_text(text)
    with pytest.raises(ValueError, match="m.pwm is no matrix of counts or shares"):
        load_motif(str(path))
    with pytest.raises(ValueError, match="there is no file"):
        load_motif("nowhere.pfm")


def test_two_motifs_with_a_spacing():
    first, second = load_motif("TGACTCA"), load_motif("GGGCGG")
    best = first.best_score + second.best_score
    x = tokens("TGACTCA" + "A" * 5 + "GGGCGG" + "A" * 6, "GGGCGG" + "A" * 5 + "TGAGTCA" + "A" * 6, "A" * 24)
    at_five, wide, other = (MotifPair(["TGACTCA", "GGGCGG"], *gap) for gap in ((5, 5), (0, 9), (6, 9)))
    assert at_five(x)[:2].tolist() == pytest.approx([best, best]) and at_five(x)[2] < 0
    assert wide(x)[0] == pytest.approx(best) and other(x)[0] < best - 5
    relaxed = wide.relaxed(F.one_hot(x, 4).double())
    assert ((relaxed >= wide(x) - 1e-9) & (relaxed < wide(x) + 4)).all()
    for wrong in (["TGACTCA"], "TGACTCA"):
        with pytest.raises(ValueError, match="two are needed"):
            MotifPair(wrong)
    with pytest.raises(ValueError, match="window from 9 to 2 is empty"):
        MotifPair(["TGACTCA", "GGGCGG"], 9, 2)
    with pytest.raises(ValueError, match="low=-1: the number of letters between two motifs"):
        MotifPair(["TGACTCA", "GGGCGG"], -1, 2)
    with pytest.raises(ValueError, match="cannot hold two motifs of 13"):
        at_five(tokens("ACGTACGTACGT"))


def test_rings():
    """Turning a ring changes nothing, and a line ends."""
    whole = "TGACTCA" + "AATTCCAATT" + "GGGCGG" + "TTTTTTTT"
    turned = whole[3:] + whole[:3]
    for make in (
        lambda ring: SoftMotif("TGACTCA", circular=ring),
        lambda ring: MotifPair(["TGACTCA", "GGGCGG"], 10, 10, circular=ring),
        lambda ring: MotifCount("TGACTCA", circular=ring),
    ):
        line, round_ = make(False)(tokens(whole, turned)), make(True)(tokens(whole, turned))
        assert round_[0] == round_[1] == line[0] and line[1] < line[0]
    plasmid = "TTC" + "A" * 10 + "GAA"
    assert Restriction("GAATTC")(plasmid) == 0 and Restriction("GAATTC", circular=True)(plasmid) == -1
    torch.testing.assert_close(
        SoftMotif("TGACTCA", circular=True).relaxed(F.one_hot(tokens(whole), 4).double()),
        SoftMotif("TGACTCA", circular=True).relaxed(F.one_hot(tokens(turned), 4).double()),
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: GC(60, 65), "low=60: a share is from 0 to 1; 60 % is 0.6"),
        (lambda: GC(low=60), "window from 60 to 0.55 is empty"),
        (lambda: CpG(-1, 1), "low=-1: the ratio is from 0 to inf"),
        (lambda: Aromaticity(10, 20), "low=10: aromaticity is from 0 to 1; 10 % is 0.1"),
        (lambda: IsoelectricPoint(9, 15), "high=15: isoelectric_point is from 0 to 14"),
    ],
)
def test_windows_that_cannot_be(make, said):
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        make()


def test_at_the_command_line(capsys):
    assert main(["sample", "domain=dna", "reward=gc", "reward.low=60", "reward.high=70"]) == 2
    assert "60 % is 0.6" in capsys.readouterr().err
    pair = Dna().rewards.make("motif_pair", motifs="CTCF,TGASTCA", low=3, high=8)
    assert [motif.name for motif in Dna().shown_motifs(pair)] == ["CTCF", "TGASTCA"]
