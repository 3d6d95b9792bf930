"""Molecules of a prior of other data: figures that need real ones say so."""

import torch
from rdkit import Chem

import guidekit as gk
from guidekit.domains.molecules import Molecules


def test_what_is_missing_is_said():
    prior = gk.priors.Gaussian(torch.zeros(2))
    prior.dataset = "mine"
    found = Molecules().evaluate([Chem.MolFromSmiles("CCO"), Chem.MolFromSmiles("CCN")], prior=prior)
    assert "reference=FILE" in found["note"] and "training=FILE" in found["note"]
    assert "fcd" not in found and "novelty" not in found and found["validity"] == 1
    given = Molecules().evaluate([Chem.MolFromSmiles("CCO")], ["CCO"], training=["CCN"], prior=prior)
    assert "FILE" not in given.get("note", "") and given["novelty"] == 1
