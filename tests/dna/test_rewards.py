import dataclasses
import math
import pickle
import sys

import numpy as np
import pytest

from guidekit.core.objective import Objective
from guidekit.domains.dna import DNA, amp, protein_sequences, strings, windows
from guidekit.domains.dna.protein_rewards import PROPERTIES, PROTEIN_REWARDS, Antimicrobial, Charge, Instability
from guidekit.domains.dna.rewards import REWARDS, FoldingEnergy, Homopolymer, MeltingTemperature, Restriction
from guidekit.errors import UnknownNameError
from guidekit.extras import MissingExtraError

SEQUENCES = strings(windows("human", "test")[::600])
MAKE = {
    "motif": {"motif": "CTCF"},
    "motif_count": {"motif": "SP1"},
    "restriction": {"sites": "EcoRI,BsaI"},
    "motif_pair": {"motifs": "CTCF,SP1"},
}
PLAIN = [name for name in REWARDS if name not in ("onehot_model", "folding_energy")]


def test_homopolymer():
    assert Homopolymer(4)("ACGTTTTTTA") == -2.0 and Homopolymer(6)("ACGTTTTTTA") == 0.0
    with pytest.raises(ValueError, match="limit=0"):
        Homopolymer(0)


@pytest.mark.parametrize(
    "sites, sequence, count",
    [
        ("EcoRI", "AGAATTCAGAATTC", 2),  # its own reverse complement: once each
        (["BsaI"], "AAGGTCTCAA", 1),  # forward strand
        (["BsaI"], "AAGAGACCAA", 1),  # reverse strand
        ("BsaI, EcoRI", "GGTCTCGAATTCGAGACC", 3),
        (["GANTC"], "GAATCGACTCGATTTC", 2),
        (["AAAA"], "AAAAAAC", 3),  # overlapping ones count
        (["RGGNCCY"], "AGGTCCTC", 1),  # PpuMI-like
        ("EcoRI", "ACGT", 0),
    ],
)
def test_restriction_sites_on_both_strands(sites, sequence, count):
    assert Restriction(sites)(sequence) == -count
    assert Restriction(sites)(DNA.reverse_complement(sequence)) == -count
    assert Restriction(sites).floor is None


def test_restriction_presence_and_names():
    assert Restriction("EcoRI,BsaI", present=True)("AGAATTCAGAATTC") == 0.5
    assert Restriction("EcoRI", present=True).floor == 0.0
    with pytest.raises(UnknownNameError, match="did you mean .*'EcoRI'"):
        Restriction("EcoR1")
    with pytest.raises(UnknownNameError, match="no restriction enzyme"):
        Restriction("GAT")  # shorter than any site
    with pytest.raises(ValueError, match="restriction needs sites"):
        Restriction([])


@pytest.mark.parametrize("enzyme", ["EcoRI", "BsaI", "HindIII", "SfiI", "BbsI"])
def test_restriction_agrees_with_biopython(enzyme):
    import Bio.Restriction
    from Bio.Seq import Seq

    text = "".join(SEQUENCES)
    assert -Restriction(enzyme)(text) == len(getattr(Bio.Restriction, enzyme).search(Seq(text)))


def test_melting_temperature_by_hand():
    # Allawi & SantaLucia 1997: sums of neighbour enthalpies (kcal/mol) and entropies at 1 M sodium, 100 nM a strand.
    steps = {"CG": (-10.6, -27.2), "GT": (-8.4, -22.4), "TT": (-7.9, -22.2), "TG": (-8.5, -22.7), "GA": (-8.2, -22.2)}
    sequence = "CGTTGA"
    h = sum(steps[sequence[i : i + 2]][0] for i in range(5)) + 0.1 + 2.3  # a G C end and an A T end
    s = sum(steps[sequence[i : i + 2]][1] for i in range(5)) - 2.8 + 4.1
    expected = 1000 * h / (s + 1.987 * math.log(100e-9 - 100e-9 / 2)) - 273.15
    window = MeltingTemperature(0, 10, sodium=1000.0, strand=100.0)
    assert window.measure(sequence) == pytest.approx(expected, abs=0.05)
    warm, cold = "GC" * 10, "AT" * 10
    assert MeltingTemperature(90, 99)(cold) < MeltingTemperature(90, 99)(warm) <= 0


def test_folding_energy():
    pytest.importorskip("RNA")
    hairpin = "GGGGGGAAAACCCCCC"
    assert FoldingEnergy().measure(hairpin) < -8 and FoldingEnergy().measure("A" * 16) == 0.0
    assert FoldingEnergy(-1, 0)(hairpin) == pytest.approx(1 + FoldingEnergy().measure(hairpin))


def test_folding_energy_without_its_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "RNA", raising=False)
    monkeypatch.setitem(sys.modules, "RNA", None)
    with pytest.raises(MissingExtraError, match=r'pip install "guidekit\[rna\]"'):
        FoldingEnergy()


def value_of(reward, sequence):
    return float(reward(DNA.encode([sequence]))) if isinstance(reward, Objective) else reward(sequence)


@pytest.mark.parametrize("name", PLAIN)
def test_every_reward_keeps_its_contract(name):
    reward = REWARDS[name](**MAKE.get(name, {}))
    assert type(reward).name == name
    values = [value_of(reward, s) for s in SEQUENCES]
    assert all(isinstance(v, float) and np.isfinite(v) for v in values) and len(set(values)) > 1
    assert [value_of(reward, DNA.reverse_complement(s)) for s in SEQUENCES] == pytest.approx(
        values, abs=1e-6
    )  # strands are equal
    if reward.floor is not None:
        assert min(values) >= reward.floor
    elif name not in ("motif", "motif_pair"):
        assert max(values) <= 0
    again = pickle.loads(pickle.dumps(reward))
    assert vars(again).keys() >= vars(reward).keys() - {"_table"} and value_of(again, SEQUENCES[0]) == values[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        reward.name = "other"


def test_properties_of_known_peptides():
    assert PROPERTIES["gravy"]("ILV") == pytest.approx((4.5 + 3.8 + 4.2) / 3)
    assert PROPERTIES["aromaticity"]("FWYA") == 0.75
    assert PROPERTIES["charge"]("KKKK") == pytest.approx(4, abs=0.3) and PROPERTIES["charge"]("DDDD") < -3
    assert PROPERTIES["isoelectric_point"]("KKKK") > 10 > 5 > PROPERTIES["isoelectric_point"]("DDDD")
    assert Charge(4, 8)("KKKKKKKKKK") == pytest.approx(8 - PROPERTIES["charge"]("K" * 10))
    assert Instability()("A" * 20) == 0.0


@pytest.mark.parametrize("name", PROTEIN_REWARDS)
def test_protein_rewards_on_real_proteins(name):
    reward = PROTEIN_REWARDS[name]()
    values = [reward(s) for s in protein_sequences("test")[:50]]
    assert all(np.isfinite(values)) and type(reward).name == name
    assert (min(values) >= 0 and max(values) <= 1) if name == "amp" else max(values) <= 0
    assert pickle.loads(pickle.dumps(reward)) == reward


def test_antimicrobial_model():
    sequences, labels = amp.antimicrobial_peptides()
    values = np.array([Antimicrobial()(s) for s in sequences])
    assert amp.auc(values, labels) > 0.95  # it was fitted on these
    assert Antimicrobial()("GIGKFLHSAKKFGKAFVGEIMNS") > 0.7  # magainin 2
    rng = np.random.default_rng(0)
    train = rng.random(len(labels)) < 0.8
    table = amp.features(sequences)
    weights, intercept = amp.fit(table[train], labels[train])
    assert amp.auc(table[~train] @ weights + intercept, labels[~train]) > 0.9
    p = 1 / (1 + np.exp(-(table[train] @ weights + intercept)))
    assert abs((p - labels[train]).sum()) < 1e-3  # the free intercept makes the mean exact
    shipped, _ = amp.load_model()
    np.testing.assert_allclose(amp.fit(table, labels)[0], shipped, rtol=1e-3, atol=1e-3)


def test_area_under_the_curve():
    labels = np.array([True, False, True, False])
    assert amp.auc(np.array([3.0, 1.0, 2.0, 0.0]), labels) == 1.0
    assert amp.auc(np.array([1.0, 1.0, 1.0, 1.0]), labels) == 0.5
    assert amp.auc(np.array([1.0, 1.0, 0.0, 0.5]), labels) == pytest.approx(1.5 / 4)


def test_relatives_are_one_family():
    groups = amp.families(["AAAACDEFGHIK", "CDEFGHIKLMNPQR", "LMNPQRSTVW", "WWWWYYYYWWWW"])
    assert groups.tolist() == [0, 0, 0, 3]
