"""Rewards on rdkit molecules: frozen, callable (molecule -> float), higher is better.

`name` is the key in `REWARDS`; `floor` is the lowest possible value, None where there is none. A molecule that rdkit
cannot treat raises rdkit's own error.
"""

import functools
import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Protocol

import numpy as np
from rdkit import Chem, DataStructs, RDConfig, rdBase
from rdkit.Chem import Crippen, Descriptors, FilterCatalog, rdFingerprintGenerator, rdMolDescriptors
from rdkit.Chem.QED import qed

from guidekit.errors import UnknownNameError
from guidekit.io.contents import brief
from guidekit.objectives.window import Window, Windowed, outside, refuse_empty

from .data import ASSETS
from .files import excess, parse


class Reward(Protocol):
    """What a reward offers: `name`, `floor`, and a call on one sanitised molecule."""

    name: str
    floor: float | None

    def __call__(self, molecule: Chem.Mol) -> float:
        """Value of one molecule; higher is better."""


@functools.cache
def morgan(radius: int, bits: int) -> rdFingerprintGenerator.FingerprintGenerator64:
    """Generator of binary Morgan fingerprints with ordinary atom invariants; radius in bonds."""
    return rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=bits)


@functools.cache
def _sa_module() -> ModuleType:
    """rdkit's contributed SA score; loaded by file, because Contrib is not an importable package everywhere."""
    source = Path(RDConfig.RDContribDir) / "SA_Score" / "sascorer.py"
    spec = importlib.util.spec_from_file_location("guidekit_sascorer", source)
    if spec is None or spec.loader is None or not source.exists():
        raise FileNotFoundError(f"{source} is missing; install an rdkit with its Contrib folder (pip install rdkit)")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sa_score(molecule: Chem.Mol) -> float:
    """Synthetic accessibility, 1 (easy) to 10 (hard). Source: Ertl & Schuffenhauer 2009, doi:10.1186/1758-2946-1-8."""
    return _sa_module().calculateScore(molecule)


@dataclass(frozen=True)
class QED:
    """Quantitative estimate of drug-likeness, 0 to 1. Source: Bickerton et al. 2012, doi:10.1038/nchem.1243."""

    name: ClassVar[str] = "qed"
    floor: ClassVar[float | None] = 0.0

    def __call__(self, molecule: Chem.Mol) -> float:
        """Drug-likeness of one molecule, in [0, 1]."""
        return qed(molecule)


@dataclass(frozen=True)
class LogPWindow(Window):
    """Octanol-water log P (log10 units) in a window. Source: Wildman & Crippen 1999, doi:10.1021/ci990307l."""

    low: float = 2.0
    high: float = 3.0
    name: ClassVar[str] = "logp"

    def measure(self, molecule: Chem.Mol) -> float:
        """Log P of one molecule."""
        return Crippen.MolLogP(molecule)  # type: ignore[attr-defined]  # not in rdkit's stubs


@dataclass(frozen=True)
class TPSAWindow(Window):
    """Topological polar surface area (square Angstrom) in a window. Source: Ertl et al. 2000, doi:10.1021/jm000942e."""

    low: float = 40.0
    high: float = 90.0
    name: ClassVar[str] = "tpsa"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)

    def measure(self, molecule: Chem.Mol) -> float:
        """Polar surface area of one molecule, square Angstrom."""
        return rdMolDescriptors.CalcTPSA(molecule)


@dataclass(frozen=True)
class MolecularWeight(Window):
    """Average molecular weight (Da) in a window; the default is the range of the MOSES set."""

    low: float = 250.0
    high: float = 350.0
    name: ClassVar[str] = "molecular_weight"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)

    def measure(self, molecule: Chem.Mol) -> float:
        """Weight of one molecule, Da."""
        return Descriptors.MolWt(molecule)  # type: ignore[attr-defined]  # not in rdkit's stubs


@dataclass(frozen=True)
class SyntheticAccessibility:
    """(10 - SA) / 9: 1 easy, 0 hard to make. Normalisation: Lee et al. 2022 (MOOD), arXiv:2206.07632."""

    name: ClassVar[str] = "sa"
    floor: ClassVar[float | None] = 0.0

    def __call__(self, molecule: Chem.Mol) -> float:
        """Ease of synthesis of one molecule, in [0, 1]."""
        return (10.0 - sa_score(molecule)) / 9.0


@dataclass(frozen=True)
class Similarity:
    """Tanimoto similarity of binary Morgan fingerprints to a reference molecule, 0 to 1.

    Args:
        reference: SMILES of the reference.
        radius: fingerprint radius in bonds.
        bits: fingerprint length.

    Raises:
        ValueError: the reference cannot be read.
    """

    reference: str
    radius: int = 2
    bits: int = 2048
    name: ClassVar[str] = "similarity"
    floor: ClassVar[float | None] = 0.0

    def __post_init__(self) -> None:
        self._target  # noqa: B018  fail here, not at the first molecule

    @functools.cached_property
    def _target(self) -> DataStructs.ExplicitBitVect:
        if not isinstance(self.reference, str):
            raise ValueError(f"reference {self.reference!r} is no text; a SMILES is expected")
        molecule, reason = parse(self.reference)
        if molecule is None:
            raise ValueError(f"reference {brief(self.reference)!r} is not a readable SMILES ({reason})")
        return morgan(self.radius, self.bits).GetFingerprint(molecule)

    def __call__(self, molecule: Chem.Mol) -> float:
        """Tanimoto similarity of one molecule, in [0, 1]."""
        return DataStructs.TanimotoSimilarity(morgan(self.radius, self.bits).GetFingerprint(molecule), self._target)


@dataclass(frozen=True)
class SimilarityWindow(Similarity, Windowed):
    """Tanimoto similarity to a reference in a window, 0 inside and minus the distance outside: similar, not identical.

    Args:
        reference, radius, bits: see `Similarity`.
        low, high: the window, 0 to 1.
        identical: the reference itself is accepted; otherwise it is rejected, as is its mirror image.

    Raises:
        ValueError: the reference cannot be read, or there is no such window.
    """

    low: float = 0.4
    high: float = 0.7
    identical: bool = False
    name: ClassVar[str] = "similarity_window"
    floor: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_empty(self.low, self.high, (0.0, 1.0), "similarity")

    @functools.cached_property
    def _spelling(self) -> str:
        return Chem.MolToSmiles(Chem.MolFromSmiles(self.reference.strip()), isomericSmiles=False)

    def __call__(self, molecule: Chem.Mol) -> float:
        """Minus the distance of one molecule to the window, minus infinity for the reference."""
        if not self.identical and Chem.MolToSmiles(molecule, isomericSmiles=False) == self._spelling:
            return -math.inf
        return float(outside(super().__call__(molecule), self.low, self.high))


CATALOGS = ("PAINS", "BRENK", "NIH", "ZINC", "CHEMBL")


@dataclass(frozen=True)
class Alerts:
    """Minus the number of structural alerts: filters of compounds that interfere with assays, are reactive or toxic.

    Args:
        catalogs: of rdkit: PAINS, BRENK, NIH, ZINC, CHEMBL; a list, or one text with commas.

    Raises:
        UnknownNameError: another catalog.
        ValueError: none.

    Source: Baell & Holloway 2010, doi:10.1021/jm901137j (PAINS); Brenk et al. 2008, doi:10.1002/cmdc.200700139.
    """

    catalogs: Sequence[str] | str = ("PAINS", "BRENK", "NIH")
    name: ClassVar[str] = "alerts"
    floor: ClassVar[float | None] = None
    temperature: ClassVar[float] = 0.5

    def __post_init__(self) -> None:
        given = self.catalogs.split(",") if isinstance(self.catalogs, str) else self.catalogs
        object.__setattr__(self, "catalogs", tuple(str(name).strip().upper() for name in given if str(name).strip()))
        if not self.catalogs:
            raise ValueError(f"alerts needs catalogs, some of {', '.join(CATALOGS)}")
        for name in self.catalogs:
            if name not in CATALOGS:
                raise UnknownNameError("catalog of alerts", name, CATALOGS)

    def __call__(self, molecule: Chem.Mol) -> float:
        """Minus the number of alerts of one molecule."""
        return -float(len(alerts(molecule, tuple(self.catalogs)))) or 0.0


@functools.cache
def _catalog(names: tuple[str, ...]) -> FilterCatalog.FilterCatalog:
    """The filters of some catalogs."""
    parameters = FilterCatalog.FilterCatalogParams()
    for name in names:
        parameters.AddCatalog(getattr(FilterCatalog.FilterCatalogParams.FilterCatalogs, name))
    return FilterCatalog.FilterCatalog(parameters)


def alerts(molecule: Chem.Mol, catalogs: tuple[str, ...] = ("PAINS", "BRENK", "NIH")) -> list[str]:
    """What the alerts of one molecule are called, each once."""
    return sorted({entry.GetDescription() for entry in _catalog(catalogs).GetMatches(molecule)})


@dataclass(frozen=True)
class Substructure:
    """1.0 where a SMARTS pattern occurs (or, with present=False, does not occur), else 0.0.

    Raises:
        ValueError: the pattern cannot be read or is empty.
    """

    smarts: str
    present: bool = True
    name: ClassVar[str] = "smarts"
    floor: ClassVar[float | None] = 0.0

    def __post_init__(self) -> None:
        self._pattern  # noqa: B018  fail here, not at the first molecule

    @functools.cached_property
    def _pattern(self) -> Chem.Mol:
        return read_smarts(self.smarts)

    def __call__(self, molecule: Chem.Mol) -> float:
        """1.0 where the condition holds, else 0.0."""
        return float(molecule.HasSubstructMatch(self._pattern) == self.present)


def read_smarts(smarts: str) -> Chem.Mol:
    """Pattern of a SMARTS; ValueError when rdkit refuses it, it has no atom, or too many (see `files.excess`)."""
    if not isinstance(smarts, str):
        raise ValueError(f"smarts {smarts!r} is no text; example: 'c1ccccc1' for a benzene ring")
    if excess(smarts):
        raise ValueError(f"smarts {brief(smarts)!r} is {excess(smarts)}; shorter patterns are accepted")
    try:
        with rdBase.BlockLogs():
            pattern = Chem.MolFromSmarts(smarts)
    except (RuntimeError, ValueError, OverflowError):
        pattern = None
    if pattern is None or not pattern.GetNumAtoms():
        raise ValueError(f"smarts {brief(smarts)!r} is not a readable pattern; example: 'c1ccccc1' for a benzene ring")
    return pattern


@functools.cache
def _drd2_model() -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, float]]:
    """Counts (2048, M) by fingerprint bit, squared norms (M,), coefficients (M,), scalars of the stored machine."""
    with np.load(ASSETS / "drd2_svm.npz") as file:
        vectors = file["support_vectors"]
        scalars = {key: float(file[key]) for key in ("gamma", "intercept", "prob_a", "prob_b")}
        norms = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
        by_bit = np.ascontiguousarray(vectors.T, np.float32)  # small counts are exact in float32
        return by_bit, norms, file["dual_coef"], scalars


@functools.cache
def _feature_morgan() -> rdFingerprintGenerator.FingerprintGenerator64:
    """Count fingerprint of the DRD2 machine: Morgan radius 3 with pharmacophore features, 2,048 bins."""
    invariants = rdFingerprintGenerator.GetMorganFeatureAtomInvGen()
    return rdFingerprintGenerator.GetMorganGenerator(radius=3, fpSize=2048, atomInvariantsGenerator=invariants)


@dataclass(frozen=True)
class DRD2:
    """Probability of dopamine D2 activity: p = 1 / (1 + exp(A f + B)), f = sum_i c_i exp(-gamma |x - s_i|^2) + b.

    Source: Olivecrona et al. 2017, doi:10.1186/s13321-017-0235-x (support-vector machine with Platt scaling).
    """

    name: ClassVar[str] = "drd2"
    floor: ClassVar[float | None] = 0.0

    def __call__(self, molecule: Chem.Mol) -> float:
        """Probability that one molecule is active, in [0, 1]."""
        by_bit, norms, coefficients, scalar = _drd2_model()
        counts = _feature_morgan().GetCountFingerprint(molecule).GetNonzeroElements()
        x = np.fromiter(counts.values(), np.float32, len(counts))
        overlap = x @ by_bit[list(counts)]  # only the occupied bins: about 60 of 2,048
        distance = norms + float(x @ x) - 2.0 * overlap
        f = float(np.exp(-scalar["gamma"] * distance) @ coefficients) + scalar["intercept"]
        return 1.0 / (1.0 + math.exp(scalar["prob_a"] * f + scalar["prob_b"]))


REWARDS: dict[str, type] = {
    reward.name: reward
    for reward in (
        QED,
        LogPWindow,
        SyntheticAccessibility,
        TPSAWindow,
        MolecularWeight,
        Similarity,
        SimilarityWindow,
        Substructure,
        Alerts,
        DRD2,
    )
}
