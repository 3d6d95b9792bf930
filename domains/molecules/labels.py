"""Labels for conditional priors: a quantity of a molecule, cut at thresholds taken from the training set.

The number of a label is how many thresholds the quantity reaches: 0 below the first, K - 1 at or above the last.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import QED, Crippen, FilterCatalog, rdMolDescriptors

from guidekit.errors import UnknownNameError

from .files import parse


def log_p(molecule: Chem.Mol) -> float:
    """Octanol-water partition coefficient by Crippen's contributions."""
    return Crippen.MolLogP(molecule)  # type: ignore[attr-defined]  # not in rdkit's stubs


@dataclass(frozen=True)
class Condition:
    """One label a prior can be trained on.

    Args:
        values: names of the values, from small to large quantities.
        quantity: of a sanitised molecule.
        cuts: the quantities of the training set (n,) to the len(values) - 1 thresholds.
    """

    values: tuple[str, ...]
    quantity: Callable[[Chem.Mol], float]
    cuts: Callable[[np.ndarray], Sequence[float]]


@functools.cache
def _alerts() -> FilterCatalog.FilterCatalog:
    catalog = FilterCatalog.FilterCatalog()
    for i, pattern in enumerate(QED.StructuralAlerts):
        catalog.AddEntry(FilterCatalog.FilterCatalogEntry(str(i), FilterCatalog.SmartsMatcher(str(i), pattern, 1)))
    return catalog


def quick_qed(molecule: Chem.Mol) -> float:
    """`rdkit.Chem.QED.qed` to the last bit in 0.75 of its time: alerts are counted by one call of compiled code.

    Rings counted as aromatic are those left once aliphatic ring atoms are deleted: none without aromatic atoms.
    """
    atoms = list(molecule.GetAtoms())
    if any(atom.GetAtomicNum() == 1 for atom in atoms):
        molecule = Chem.RemoveHs(molecule)
    aromatic = 0
    if any(atom.GetIsAromatic() for atom in atoms):
        aromatic = len(Chem.GetSSSR(Chem.DeleteSubstructs(Chem.Mol(molecule), QED.AliphaticRings)))
    strict = rdMolDescriptors.NumRotatableBondsOptions.Strict
    properties = QED.QEDproperties(
        MW=rdMolDescriptors._CalcMolWt(molecule),
        ALOGP=log_p(molecule),
        HBA=sum(len(molecule.GetSubstructMatches(p)) for p in QED.Acceptors if molecule.HasSubstructMatch(p)),
        HBD=rdMolDescriptors.CalcNumHBD(molecule),
        PSA=rdMolDescriptors.CalcTPSA(molecule),
        ROTB=rdMolDescriptors.CalcNumRotatableBonds(molecule, strict),
        AROM=aromatic,
        ALERTS=len(_alerts().GetMatches(molecule)),
    )
    return QED.qed(molecule, qedProperties=properties)


LABELS: dict[str, Condition] = {
    # high: at or above the 90th percentile, the setting of Schiff et al. 2024, arXiv:2412.10193
    "qed": Condition(("low", "high"), quick_qed, lambda v: np.percentile(v, [90])),
    "rings": Condition(tuple("012345") + ("6+",), rdMolDescriptors.CalcNumRings, lambda v: range(1, 7)),
    "logp": Condition(("low", "middle", "high"), log_p, lambda v: np.percentile(v, [100 / 3, 200 / 3])),
}


def label_table(smiles: Sequence[str], names: Sequence[str]) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Labels of a training set and their description; 130,744 QM9 molecules take 60 to 90 s on one core with qed.

    Args:
        smiles: the training set.
        names: labels wanted, keys of `LABELS`, in the order of the columns.

    Returns:
        label numbers int8 (n, K), and per label a dict of name, values and the thresholds between the values, which a
        checkpoint keeps so that samples can be judged by `label_of`.

    Raises:
        UnknownNameError: no label of that name.
        ValueError: no molecule, or one that cannot be read.
    """
    for name in names:
        if name not in LABELS:
            raise UnknownNameError("label of molecules", name, LABELS)
    if not len(smiles):
        raise ValueError("there are no molecules to take thresholds from; pass the training set")
    conditions = [LABELS[name] for name in names]
    quantities = np.array([[c.quantity(m) for c in conditions] for m in map(_read, smiles)], float)
    description, columns = [], []
    for name, condition, column in zip(names, conditions, quantities.T, strict=True):
        thresholds = [float(cut) for cut in condition.cuts(column)]
        description.append({"name": name, "values": list(condition.values), "thresholds": thresholds})
        columns.append(np.searchsorted(thresholds, column, side="right"))
    return np.array(columns, np.int8).reshape(len(names), len(smiles)).T, description


def label_of(molecule: Chem.Mol | str, description: Sequence[Mapping[str, Any]]) -> list[int]:
    """Label numbers of one molecule by the thresholds of a description, in its order.

    Raises:
        UnknownNameError: the description has a label that is not in `LABELS`.
        ValueError: a SMILES that cannot be read.
    """
    molecule, numbers = _read(molecule) if isinstance(molecule, str) else molecule, []
    for label in description:
        if label["name"] not in LABELS:
            raise UnknownNameError("label of molecules", label["name"], LABELS)
        numbers.append(bisect_right(label["thresholds"], LABELS[label["name"]].quantity(molecule)))
    return numbers


def _read(smiles: str) -> Chem.Mol:
    molecule, reason = parse(smiles)
    if molecule is None:
        raise ValueError(f"cannot label {smiles!r} ({reason}); leave it out")
    return molecule
