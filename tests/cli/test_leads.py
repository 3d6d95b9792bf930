"""Samples that vary a lead, from the command line."""

import csv

import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

from guidekit.cli import main

LEAD = "CC(=O)Nc1ccc(S(=O)(=O)N2CCOCC2)cc1"
QUOTED = f'lead="{LEAD}"'


def sampled(tmp_path, name, *arguments):
    assert main(["sample", *arguments, "num_samples=24", f"output={tmp_path / name}"]) == 0
    with open(tmp_path / name / "samples.csv") as file:
        return list(csv.DictReader(file))


def test_molecules_stay_the_nearer_to_the_lead_the_smaller_the_strength_is(tmp_path):
    fingerprints, lead = GetMorganGenerator(2), Chem.MolFromSmiles(LEAD)
    means = []
    for strength in (0.2, 1.0):
        rows = sampled(tmp_path, str(strength), "domain=molecules", QUOTED, f"strength={strength}")
        found = [Chem.MolFromSmiles(row["canonical"]) for row in rows if row["canonical"]]
        pairs = [fingerprints.GetFingerprint(one) for one in [lead, *found]]
        means.append(sum(DataStructs.BulkTanimotoSimilarity(pairs[0], pairs[1:])) / len(found))
    assert means[0] > 0.6 > 0.4 > means[1]


def test_leads_keep_rules_and_obey_rewards(tmp_path):
    rules = ["keep={contains: '[*]N1CCOCC1', elements: CNOS}", "reward=qed", "guidance=svdd", "guidance.candidates=4"]
    rows = sampled(tmp_path, "kept", "domain=molecules", QUOTED, "strength=0.7", "baseline=false", *rules)
    found = {row["canonical"] for row in rows if row["canonical"]}
    assert len(found) > 2
    assert all(Chem.MolFromSmiles(one).HasSubstructMatch(Chem.MolFromSmarts("*N1CCOCC1")) for one in found)


def test_sequences_vary_too(tmp_path):
    rows = sampled(tmp_path, "peptides", "domain=proteins", "lead=GIGKFLHSAKKFGKAFVGEIMNS", "strength=0.3")
    lead = "GIGKFLHSAKKFGKAFVGEIMNS"
    assert all(row["length"] == str(len(lead)) for row in rows)
    share = sum(a == b for row in rows for a, b in zip(row["sequence"], lead, strict=True)) / (24 * len(lead))
    assert 0.6 < share < 0.9  # .7, and what is drawn as it was


BAD = {
    ("domain=molecules", 'lead="CC("'): "is no molecule",
    ("domain=molecules", 'lead="C[Si](C)(C)C"'): "[Si]",
    ("domain=molecules", QUOTED, "strength=0"): "above 0 and at most 1",
    ("domain=molecules", QUOTED, "length=5"): "leave length=",
    ("domain=molecules", QUOTED, "keep={elements: CN}"): "does not keep the rules",
    ("domain=proteins", "lead=MKJ"): "J",
    ("domain=dna", "lead=ACGT"): "lead=ACGT",
    ("domain=images", "lead=cat"): "priors of tokens",
    ("domain=molecules", QUOTED, "sampler=remdm"): "mask tokens again",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_leads_are_one_line(arguments, capsys, tmp_path):
    code = main(["sample", *arguments, "num_samples=1", f"output={tmp_path / 'x'}"])
    error = capsys.readouterr().err.strip()
    assert code == 2 and BAD[arguments] in error and "\n" not in error
