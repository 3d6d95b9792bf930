"""Samples that leave the range of real molecules are told of."""

from rdkit import Chem

from guidekit.domains.molecules.ranges import measures, remark

REAL = ["CCO", "c1ccccc1O", "CC(=O)N", "CCN", "OCC(O)CO"] * 20


def test_what_leaves_the_range_is_told():
    long = [Chem.MolFromSmiles("C" * n) for n in range(20, 30)]
    told = remark(long, REAL)
    assert told.startswith("molecules leave the range of 98 % of real ones: number of heavy atoms of 100% (3 to 7)")
    assert "logp of 100%" in told and "number of rings" not in told


def test_real_ones_and_few_are_passed_over():
    real = [Chem.MolFromSmiles(smiles) for smiles in REAL]
    assert remark(real, REAL) == "" and remark([], REAL) == "" and remark(real, []) == ""
    assert remark([Chem.MolFromSmiles("C" * 30)] * 7, REAL) == ""


def test_measures_by_hand():
    found = measures([Chem.MolFromSmiles("c1ccccc1")])
    assert found["number of heavy atoms"] == [6.0] and found["number of rings"] == [1.0]
