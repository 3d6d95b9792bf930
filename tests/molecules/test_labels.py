import json
import random

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Crippen, rdMolDescriptors
from rdkit.Chem.QED import qed

from guidekit.domains.molecules.data import qm9_smiles, reference_smiles
from guidekit.domains.molecules.labels import LABELS, label_of, label_table, quick_qed
from guidekit.errors import UnknownNameError
from guidekit.priors.labels import Label

ODD = ["[H]", "[2H]C([2H])O", "c1ccccc1", "C[N+](=O)[O-]", "N1C2=CC=CC=C2SC3=C1C=CC4=C3C=CC=C4", "[Na+].[Cl-]", "[HH]"]


def test_quick_qed_is_qed_to_the_last_bit():
    smiles = random.Random(0).sample(qm9_smiles(), 300) + reference_smiles(300) + ODD
    molecules = [Chem.MolFromSmiles(s) for s in smiles]
    for molecule in [*molecules, *map(Chem.AddHs, molecules[::20])]:
        assert quick_qed(molecule) == qed(molecule)


def test_labels_agree_with_thresholds_and_shares():
    smiles = random.Random(1).sample(qm9_smiles(), 500)
    labels, description = label_table(smiles, ["logp", "qed", "rings"])
    assert labels.dtype == np.int8 and labels.shape == (500, 3)
    assert [d["name"] for d in description] == ["logp", "qed", "rings"]
    molecules = [Chem.MolFromSmiles(s) for s in smiles]
    scores = np.array([qed(m) for m in molecules])
    high = np.sort(scores)[450]  # the 50 best of 500 are above the 90th percentile
    assert (labels[:, 1] == (scores >= high)).all() and labels[:, 1].sum() == 50
    rings = [min(rdMolDescriptors.CalcNumRings(m), 6) for m in molecules]
    assert labels[:, 2].tolist() == rings
    logp = np.array([Crippen.MolLogP(m) for m in molecules])
    assert logp[labels[:, 0] == 0].max() < logp[labels[:, 0] == 1].min() <= logp[labels[:, 0] == 1].max()
    assert logp[labels[:, 0] == 1].max() < logp[labels[:, 0] == 2].min()
    assert np.bincount(labels[:, 0]).min() > 150


def test_description_judges_samples_and_survives_json():
    smiles = reference_smiles(60)
    labels, description = label_table(smiles, list(LABELS))
    again = json.loads(json.dumps(description))
    assert [label_of(s, again) for s in smiles] == labels.tolist()  # also the molecules that lie on a threshold
    for entry in again:
        label = Label(**entry)  # what a conditional prior makes of it
        assert len(label.values) == len(label.thresholds) + 1
    assert label_of("C", again)[0] == 0


def test_at_a_threshold_is_above_and_many_rings_are_one_value():
    value = quick_qed(Chem.MolFromSmiles("CCO"))
    at = [{"name": "qed", "values": ["low", "high"], "thresholds": [value]}]
    assert label_of("CCO", at) == [1] and label_of(Chem.MolFromSmiles("C"), at) == [0]
    labels, rings = label_table(["C", "C1CC1" * 5, "C1CC1" * 7], ["rings"])
    assert [rings[0]["values"][n] for n in labels[:, 0]] == ["0", "5", "6+"]


def test_unknown_names_and_unreadable_molecules():
    with pytest.raises(UnknownNameError, match="qedd"):
        label_table(["C"], ["qedd"])
    with pytest.raises(UnknownNameError, match="mass"):
        label_of("C", [{"name": "mass", "values": ["a"], "thresholds": []}])
    with pytest.raises(ValueError, match=r"cannot label 'C\(' \(parse\)"):
        label_table(["C", "C("], ["qed"])
    with pytest.raises(ValueError, match="no molecules"):
        label_table([], ["qed"])
