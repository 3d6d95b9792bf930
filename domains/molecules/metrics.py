"""Numbers that describe a set of generated molecules, with every denominator stated.

Definitions follow Polykovskiy et al. 2020 (MOSES), doi:10.3389/fphar.2020.565644, except for 2,048 fingerprint bits.
"""

import math
from collections.abc import Callable, Collection, Sequence

import numpy as np
from rdkit import Chem, DataStructs
from rdkit.Chem import Crippen, Descriptors, rdMolDescriptors
from rdkit.Chem.QED import qed

from guidekit.evaluation.checks import check_sets

from .fcd import fcd_entries
from .files import parse
from .rewards import morgan, sa_score

PROPERTIES: dict[str, Callable[[Chem.Mol], float]] = {
    "qed": qed,
    "logp": Crippen.MolLogP,  # type: ignore[attr-defined]  # not in rdkit's stubs
    "sa": sa_score,
    "molecular_weight": Descriptors.MolWt,  # type: ignore[attr-defined]  # not in rdkit's stubs
}
JUDGED_ONLY = {"rings": rdMolDescriptors.CalcNumRings}  # means in `evaluate`, no column of samples


def evaluate(
    molecules: Sequence[Chem.Mol | None],
    reference: Sequence[str] | None = None,
    training: Collection[str] | None = None,
    fcd: bool = True,
    raw: Sequence[str] | None = None,
) -> dict[str, float | int | str]:
    """Judge generated molecules; 10,000 against 10,000 take about a minute on one core.

    Args:
        molecules: sanitised molecules; None (or one without atoms) counts as invalid.
        reference: SMILES to compare with, e.g. `reference_smiles(5000)`; None leaves out `snn` and `fcd`.
        training: canonical SMILES the model was trained on; None leaves out `novelty` and `fcd_floor`.
        fcd: False leaves out `fcd` and `fcd_floor`, the slow ones.
        raw: the generated SMILES as they were written, one a molecule ("" where there is none); None leaves out the
            entries with "raw" in their name.

    Returns:
        n, n_valid: all molecules; valid ones that have a canonical SMILES.
        validity: n_valid / n.
        uniqueness: distinct canonical SMILES / n_valid.
        novelty: distinct canonical SMILES not in `training` / distinct canonical SMILES.
        novelty_of_valid: distinct canonical SMILES not in `training` / n_valid.
        uniqueness_raw_of_valid: distinct raw strings of valid molecules / n_valid.
        novelty_raw_of_valid: distinct raw strings of valid molecules not in `training` / n_valid. Another spelling of a
            training molecule counts as novel, and several spellings of one molecule count as several. These two are
            the "unique" and "novel" of Schiff et al. 2024, arXiv:2412.10193, on QM9.
        internal_diversity_1, internal_diversity_2: 1 - (mean T^p)^(1/p) for p = 1, 2; T is the Tanimoto similarity of
            Morgan fingerprints (radius 2, 2,048 bits), the mean runs over all ordered pairs of valid molecules
            including each with itself, repeated molecules included, as in MOSES.
        snn: mean over valid molecules of the largest T to a reference molecule.
        fcd: Frechet ChemNet distance of valid molecules (repeats included) to the reference; NaN below 50 molecules.
        fcd_floor: the same distance for n_valid molecules drawn from `training` without the reference (seed 0): what a
            perfect copy of the training distribution would get at this sample size.
        mean_qed, mean_logp (log10 units), mean_sa (1 easy to 10 hard), mean_molecular_weight (Da), mean_rings: over
            valid ones, repeats included.
        mean_qed_novel, ...: the same means over the distinct canonical SMILES not in `training`.
        n_failed_canonical, n_failed_qed, ..., n_failed_reference: molecules left out because rdkit failed on them.
        note: sentences on what is missing or to be read with care; only where there is something to say.
        A ratio whose denominator is 0 is NaN.

    Raises:
        ValueError: `molecules` is empty, `raw` has another length, or no reference molecule can be read.
    """
    check_sets("molecules", molecules)
    if raw is not None and len(raw) != len(molecules):
        raise ValueError(f"{len(raw)} raw strings for {len(molecules)} molecules; give one each")
    notes: list[str] = []
    texts = raw if raw is not None else [""] * len(molecules)
    present = [(m, text) for m, text in zip(molecules, texts, strict=True) if m is not None and m.GetNumAtoms()]
    named, failed = _collect(lambda pair: (*pair, Chem.MolToSmiles(pair[0])), present)
    valid, written, canonical = ([entry[i] for entry in named] for i in range(3))
    distinct = set(canonical)
    result: dict[str, float | int | str] = {
        "n": len(molecules),
        "n_valid": len(valid),
        "validity": len(valid) / len(molecules),
        "uniqueness": _ratio(len(distinct), len(valid)),
    }
    if raw is not None:
        result["uniqueness_raw_of_valid"] = _ratio(len(set(written)), len(valid))
    novel: dict[str, Chem.Mol] = {}
    if training is not None:
        known = training if isinstance(training, set | frozenset) else {*distinct, *written}.intersection(training)
        novel = {s: m for s, m in zip(canonical, valid, strict=True) if s not in known}
        result["novelty"] = _ratio(len(novel), len(distinct))
        result["novelty_of_valid"] = _ratio(len(novel), len(valid))
        if raw is not None:
            result["novelty_raw_of_valid"] = _ratio(sum(s not in known for s in set(written)), len(valid))
    prints = [morgan(2, 2048).GetFingerprint(m) for m in valid]
    result["internal_diversity_1"], result["internal_diversity_2"] = internal_diversity(prints)
    result["n_failed_canonical"] = failed
    for name, compute in (PROPERTIES | JUDGED_ONLY).items():
        values, result[f"n_failed_{name}"] = _collect(compute, valid)
        result[f"mean_{name}"] = float(np.mean(values)) if values else math.nan
        if training is not None:
            values, _ = _collect(compute, list(novel.values()))
            result[f"mean_{name}_novel"] = float(np.mean(values)) if values else math.nan
    if reference is not None:
        read = [m for m, _ in map(parse, reference) if m is not None]
        result["n_failed_reference"] = len(reference) - len(read)
        if not read:
            raise ValueError(f"none of the {len(reference)} reference SMILES can be read; pass valid SMILES or None")
        result["snn"] = nearest_similarity(prints, [morgan(2, 2048).GetFingerprint(m) for m in read])
        if fcd:
            result |= fcd_entries(canonical, [Chem.MolToSmiles(m) for m in read], training, notes)
    if notes:
        result["note"] = "; ".join(notes)
    return result


def internal_diversity(prints: Sequence[DataStructs.ExplicitBitVect]) -> tuple[float, float]:
    """1 - (mean T^p)^(1/p) for p = 1, 2 over all ordered pairs of n fingerprints, each with itself included.

    NaN for none. Memory O(n), time O(n^2): about 5 s for 10,000.
    """
    if not prints:
        return math.nan, math.nan
    n = len(prints)
    first = second = float(n)  # the diagonal
    for i in range(1, n):
        row = np.array(DataStructs.BulkTanimotoSimilarity(prints[i], prints[:i]))
        first, second = first + 2 * row.sum(), second + 2 * (row @ row)
    return float(1 - first / n**2), float(1 - math.sqrt(second / n**2))


def nearest_similarity(
    prints: Sequence[DataStructs.ExplicitBitVect], reference: Sequence[DataStructs.ExplicitBitVect]
) -> float:
    """Mean over `prints` of the largest Tanimoto similarity to `reference` (not empty); NaN for no prints."""
    best = [max(DataStructs.BulkTanimotoSimilarity(one, reference)) for one in prints]
    return float(np.mean(best)) if best else math.nan


def _collect(compute: Callable, molecules: Sequence) -> tuple[list, int]:
    """Results of compute(molecule), and how many failed with an error or a value that is not finite."""
    results = []
    for molecule in molecules:
        try:
            value = compute(molecule)
        except (RuntimeError, ValueError, ArithmeticError):  # rdkit's errors are ValueError and RuntimeError
            continue
        if not isinstance(value, float) or math.isfinite(value):
            results.append(value)
    return results, len(molecules) - len(results)


def _ratio(part: int, whole: int) -> float:
    """part / whole, NaN for 0 / 0."""
    return part / whole if whole else math.nan
