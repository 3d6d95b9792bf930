import math
import sys
import warnings

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import QED

from guidekit.domains.molecules import fcd, metrics
from guidekit.domains.molecules.data import reference_smiles
from guidekit.domains.molecules.fcd import chemnet_distance, frechet_distance
from guidekit.domains.molecules.metrics import evaluate
from guidekit.domains.molecules.rewards import morgan

REFERENCE = reference_smiles(900)


def mols(*smiles: str) -> list[Chem.Mol]:
    return [Chem.MolFromSmiles(s) for s in smiles]


def test_ratios_of_a_hand_made_list():
    molecules = [*mols("CCO", "OCC", "CCN", "c1ccccc1"), None, Chem.Mol()]
    result = evaluate(molecules, training={"CCO", "CCC"})
    assert (result["n"], result["n_valid"]) == (6, 4)
    assert result["validity"] == pytest.approx(4 / 6)
    assert result["uniqueness"] == pytest.approx(3 / 4)
    assert result["novelty"] == pytest.approx(2 / 3)
    assert result["novelty"] == evaluate(molecules, training=["CCC", "CCO"])["novelty"]
    assert result["mean_molecular_weight"] == pytest.approx((2 * 46.069 + 45.085 + 78.114) / 4, abs=0.01)
    assert [v for k, v in result.items() if k.startswith("n_failed")] == [0] * 6
    assert "note" not in result and "fcd" not in result and "snn" not in result


def test_raw_strings_as_the_literature_counts_them():
    raw = ["CCO", "OCC", "OCC", "C(C)C", "CCN", "NCC(", ""]
    molecules = [*mols(*raw[:5]), None, Chem.Mol()]
    for training in (["CCO", "CCC"], {"CCO", "CCC"}):  # of the two, one is spelled as in training
        result = evaluate(molecules, training=training, raw=raw)
        assert result["n_valid"] == 5
        assert result["uniqueness"] == pytest.approx(3 / 5)  # CCO CCC CCN
        assert result["uniqueness_raw_of_valid"] == pytest.approx(4 / 5)
        assert result["novelty"] == pytest.approx(1 / 3) and result["novelty_of_valid"] == pytest.approx(1 / 5)
        assert result["novelty_raw_of_valid"] == pytest.approx(3 / 5)  # OCC and C(C)C are other spellings
    other = evaluate(molecules, training=["OCC", "CCC"], raw=raw)  # a set that another rdkit made canonical
    assert other["novelty_of_valid"] == other["novelty"] * 3 / 5 == pytest.approx(2 / 5)
    assert other["novelty_raw_of_valid"] == pytest.approx(3 / 5)
    without = evaluate(molecules, training=["CCO"])
    assert not [key for key in without if "raw" in key] and "novelty_of_valid" in without
    assert not [key for key in evaluate(molecules, raw=raw) if "novel" in key]
    with pytest.raises(ValueError, match="2 raw strings for 7 molecules"):
        evaluate(molecules, raw=["C", "C"])


def test_means_over_novel_molecules():
    molecules = mols("CCO", "C1CC1", "C1CC1", "C1CC1C1CC1")
    result = evaluate(molecules, training=["CCO"])
    assert result["mean_rings"] == pytest.approx(4 / 4) and result["mean_rings_novel"] == pytest.approx(3 / 2)
    assert result["mean_qed_novel"] == pytest.approx((QED.qed(molecules[1]) + QED.qed(molecules[3])) / 2)
    known = evaluate(molecules[:1], training=["CCO"])
    assert math.isnan(known["mean_qed_novel"]) and known["novelty_of_valid"] == 0


def test_floor_leaves_the_reference_out(monkeypatch):
    drawn = []
    monkeypatch.setattr(fcd, "chemnet", lambda: None)
    monkeypatch.setattr(fcd, "chemnet_distance", lambda smiles, reference: drawn.append(smiles) or 0.0)
    evaluate(mols(*REFERENCE[:60]), REFERENCE[:60], REFERENCE[:120])
    assert sorted(drawn[1]) == sorted(REFERENCE[60:120])


def test_diversity_and_nearest_against_all_pairs():
    prints = [morgan(2, 2048).GetFingerprint(m) for m in mols(*REFERENCE[:30])]
    dense = np.array([[int(b) for b in p.ToBitString()] for p in prints], float)
    both = dense @ dense.T
    t = both / (dense.sum(1)[:, None] + dense.sum(1) - both)
    result = evaluate(mols(*REFERENCE[:30]), reference=REFERENCE[:10], fcd=False)
    assert result["internal_diversity_1"] == pytest.approx(1 - t.mean())
    assert result["internal_diversity_2"] == pytest.approx(1 - math.sqrt((t**2).mean()))
    assert result["snn"] == pytest.approx(t[:, :10].max(1).mean())


def test_copies_have_no_diversity():
    result = evaluate(mols(*["CCO"] * 5), reference=["CCO"], fcd=False)
    assert result["internal_diversity_1"] == result["internal_diversity_2"] == 0 and result["snn"] == 1
    assert result["uniqueness"] == pytest.approx(1 / 5)


def test_nothing_valid_and_nothing_at_all():
    result = evaluate([None, None], reference=REFERENCE[:60], training=set())
    assert result["validity"] == 0 and math.isnan(result["uniqueness"]) and math.isnan(result["novelty"])
    assert math.isnan(result["fcd"]) and math.isnan(result["snn"]) and math.isnan(result["mean_qed"])
    with pytest.raises(ValueError, match="no molecules to evaluate"):
        evaluate([])
    with pytest.raises(ValueError, match="none of the 1 reference"):
        evaluate(mols("C"), reference=["C("])


def test_failures_are_counted(monkeypatch):
    def fails_on_nitrogen(molecule: Chem.Mol) -> float:
        if any(a.GetSymbol() == "N" for a in molecule.GetAtoms()):
            raise RuntimeError("no")
        return 0.5

    monkeypatch.setitem(metrics.PROPERTIES, "qed", fails_on_nitrogen)
    result = evaluate(mols("CCO", "CCN", "CN"), reference=["CC", "C("], fcd=False)
    assert result["n_failed_qed"] == 2 and result["mean_qed"] == 0.5 and result["n_failed_reference"] == 1


def test_frechet_distance_of_known_gaussians():
    a, b = np.array([1.0, 4.0, 0.0]), np.array([9.0, 1.0, 0.0])  # one direction without spread
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    found = frechet_distance(np.zeros(3), turn @ np.diag(a) @ turn.T, np.full(3, 2.0), turn @ np.diag(b) @ turn.T)
    assert found == pytest.approx(12 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum())


def test_fcd_orders_sets(capfd):
    """A fair sample is near the reference, one of small aromatic-free fragments is far; the floor is the fair value."""
    distorted = [s for s in REFERENCE if "n" not in s][:300]
    state = torch.get_rng_state()
    result = evaluate(mols(*REFERENCE[:300]), REFERENCE[600:], REFERENCE[300:600])
    assert torch.equal(torch.get_rng_state(), state)  # judging does not change later samples
    far = chemnet_distance(distorted, REFERENCE[600:])
    assert 0 < result["fcd"] < far - 1
    assert result["fcd_floor"] == pytest.approx(result["fcd"], rel=0.2)
    assert "biased upwards" in result["note"]
    assert chemnet_distance(REFERENCE[600:], REFERENCE[600:]) == pytest.approx(0, abs=1e-3)
    assert capfd.readouterr() == ("", "")


def test_fcd_agrees_with_the_package():
    utils = pytest.importorskip("fcd_torch.utils")
    fcd_torch = pytest.importorskip("fcd_torch")
    a, b = fcd.chemnet_moments(tuple(REFERENCE[:300])), fcd.chemnet_moments(tuple(REFERENCE[600:]))
    features = fcd_torch.FCD(device="cpu", n_jobs=1).get_predictions(REFERENCE[:4])
    assert features.mean(0) == pytest.approx(fcd.chemnet_moments(tuple(REFERENCE[:4]))[0], abs=1e-5)
    parts = [m[(slice(100),) * m.ndim] for m in (*a, *b)]  # its matrix root takes 10 s on all 512 units
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy deprecated an argument the package uses
        assert frechet_distance(*parts) == pytest.approx(utils.calculate_frechet_distance(*parts), rel=1e-4)


def test_too_few_molecules_and_missing_package(monkeypatch):
    few = evaluate(mols(*REFERENCE[:49]), REFERENCE[:60])
    assert math.isnan(few["fcd"]) and "49 molecules and 60 references" in few["note"]
    fcd.chemnet.cache_clear()
    monkeypatch.setitem(sys.modules, "fcd_torch", None)
    missing = evaluate(mols(*REFERENCE[:60]), REFERENCE[:60])
    assert "fcd" not in missing and "fcd is missing" in missing["note"] and "snn" in missing
    fcd.chemnet.cache_clear()
