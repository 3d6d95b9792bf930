"""Whether molecules are where real ones are: sizes, rings and properties beside those of a set."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rdkit import Chem

from guidekit.reporting.ranges import leaving

from .metrics import PROPERTIES

COMPARED = 500
"""Real molecules, evenly spread over their set, that samples are compared with: half a second."""


def remark(molecules: Sequence[Chem.Mol], smiles: Sequence[str]) -> str:
    """A sentence on what leaves the range of real molecules; empty where nothing does, or there are few.

    Args:
        molecules: valid ones.
        smiles: real ones, all of a set.
    """
    chosen = smiles[:: max(1, len(smiles) // COMPARED)]
    real = [found for found in map(Chem.MolFromSmiles, chosen) if found is not None]
    return leaving(measures(molecules), measures(real), "molecules") if molecules and real else ""


def measures(molecules: Sequence[Chem.Mol]) -> dict[str, list[float]]:
    """Numbers of molecules by which they are compared."""
    found = {
        "number of heavy atoms": [float(one.GetNumHeavyAtoms()) for one in molecules],
        "number of rings": [float(one.GetRingInfo().NumRings()) for one in molecules],
    }
    properties = {name: [compute(one) for one in molecules] for name, compute in PROPERTIES.items()}
    return found | {name: values for name, values in properties.items() if any(map(math.isfinite, values))}
