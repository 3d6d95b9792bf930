import dataclasses
import math
import pickle

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Crippen, Descriptors

from guidekit.domains.molecules.data import ASSETS, reference_smiles
from guidekit.domains.molecules.rewards import (
    DRD2,
    QED,
    REWARDS,
    Alerts,
    LogPWindow,
    MolecularWeight,
    Similarity,
    SimilarityWindow,
    Substructure,
    SyntheticAccessibility,
    TPSAWindow,
    sa_score,
)
from guidekit.errors import UnknownNameError

ASPIRIN = Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O")
MAKE = {
    "similarity": {"reference": "c1ccccc1O"},
    "similarity_window": {"reference": "c1ccccc1O"},
    "smarts": {"smarts": "[#7]"},
}


def test_drd2_check_values():
    stored = np.load(ASSETS / "drd2_svm.npz")
    found = [DRD2()(Chem.MolFromSmiles(s)) for s in stored["check_smiles"]]
    np.testing.assert_allclose(found, stored["check_value"], atol=1e-4)
    np.testing.assert_allclose(found, [0.99954, 0.99863, 0.00066, 0.00255, 0.00276], atol=1e-4)


def test_drd2_takes_molecules_without_known_features():
    assert 0 <= DRD2()(Chem.MolFromSmiles("[He]")) <= 1


def test_known_values_of_aspirin():
    assert QED()(ASPIRIN) == pytest.approx(0.5501, abs=1e-3)  # rdkit 2024.3 to 2026.9
    assert sa_score(ASPIRIN) == pytest.approx(1.58, abs=0.01)
    assert SyntheticAccessibility()(ASPIRIN) == pytest.approx((10 - sa_score(ASPIRIN)) / 9)


@pytest.mark.parametrize(
    "window, value",
    [(LogPWindow, Crippen.MolLogP(ASPIRIN)), (MolecularWeight, Descriptors.MolWt(ASPIRIN)), (TPSAWindow, 63.6)],
)
def test_windows(window, value):
    assert window(value - 1, value + 1)(ASPIRIN) == 0.0
    assert window(value + 0.5, value + 1)(ASPIRIN) == pytest.approx(-0.5, abs=1e-6)
    assert window(value - 2, value - 1.5)(ASPIRIN) == pytest.approx(-1.5, abs=1e-6)
    with pytest.raises(ValueError, match="low must not exceed high"):
        window(3.0, 2.0)
    with pytest.raises(ValueError, match="is empty"):
        window(float("nan"), 2.0)


def test_similarity():
    assert Similarity("CC(=O)Oc1ccccc1C(=O)O")(ASPIRIN) == 1.0
    near, far = Similarity("OC(=O)c1ccccc1O")(ASPIRIN), Similarity("C1CCNCC1")(ASPIRIN)
    assert 1 > near > far >= 0
    with pytest.raises(ValueError, match="'c1ccc' is not a readable SMILES"):
        Similarity("c1ccc")


def test_substructure(capfd):
    assert Substructure("C(=O)O")(ASPIRIN) == 1.0 and Substructure("[#7]")(ASPIRIN) == 0.0
    assert Substructure("C(=O)O", present=False)(ASPIRIN) == 0.0 and Substructure("[#7]", present=False)(ASPIRIN) == 1.0
    for bad in ("[C", ""):
        with pytest.raises(ValueError, match="is not a readable pattern"):
            Substructure(bad)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", REWARDS)
def test_every_reward_keeps_its_contract(name):
    reward = REWARDS[name](**MAKE.get(name, {}))
    assert type(reward).name == name
    values = [reward(Chem.MolFromSmiles(s)) for s in reference_smiles(50)]
    assert all(isinstance(v, float) and np.isfinite(v) for v in values)
    if reward.floor is None:
        assert max(values) <= 0
    else:
        assert min(values) >= reward.floor == 0.0 and max(values) <= 1
    again = pickle.loads(pickle.dumps(reward))
    assert again == reward and again(ASPIRIN) == reward(ASPIRIN)
    with pytest.raises(dataclasses.FrozenInstanceError):
        reward.extra = 1


def test_names_are_the_agreed_ones():
    assert set(REWARDS) == {"qed", "logp", "sa", "tpsa", "molecular_weight", "similarity", "smarts", "drd2"} | {
        "similarity_window",
        "alerts",
    }


def test_similar_but_not_identical():
    reward = SimilarityWindow("CCOc1ccccc1", low=0.4, high=0.7)
    ether, methyl = Chem.MolFromSmiles("c1ccccc1OCC"), Chem.MolFromSmiles("CCOc1ccccc1C")
    assert reward(ether) == -math.inf and reward(methyl) == 0
    alike = Similarity("CCOc1ccccc1")(methyl)
    assert SimilarityWindow("CCOc1ccccc1", low=0.9, high=1.0)(methyl) == pytest.approx(alike - 0.9)
    assert SimilarityWindow("CCOc1ccccc1", low=0.9, high=1.0, identical=True)(ether) == 0
    assert (
        SimilarityWindow("C[C@H](N)O", low=0, high=1)(Chem.MolFromSmiles("C[C@@H](N)O")) == -math.inf
    )  # the mirror image
    with pytest.raises(ValueError, match="high=70: similarity is from 0 to 1; 70 % is 0.7"):
        SimilarityWindow("CCO", high=70)


def test_alerts_of_catalogs():
    quinone, rhodanine = Chem.MolFromSmiles("O=C1C=CC(=O)C=C1"), Chem.MolFromSmiles("O=C1NC(=S)SC1=Cc1ccccc1")
    assert Alerts()(Chem.MolFromSmiles("CCO")) == 0 and Alerts()(quinone) < 0
    assert Alerts("pains")(rhodanine) == -1 == Alerts(["PAINS"])(rhodanine)
    assert Alerts("PAINS, BRENK")(rhodanine) == Alerts("PAINS")(rhodanine) + Alerts("BRENK")(rhodanine)
    with pytest.raises(UnknownNameError, match="did you mean"):
        Alerts("PAIN")
    with pytest.raises(ValueError, match="needs catalogs"):
        Alerts([])
