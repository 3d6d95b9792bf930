"""Numbers that describe a set of generated molecules, with every denominator stated.

Definitions follow Polykovskiy et al. 2020 (MOSES), doi:10.3389/fphar.2020.565644, except for 2,048 fingerprint bits.
"""

import functools
import math
import random
import warnings
from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch
from rdkit import Chem, DataStructs
from rdkit.Chem import Crippen, Descriptors
from rdkit.Chem.QED import qed

from .files import parse
from .rewards import morgan, sa_score

FCD_LEAST = 50  # fewer molecules: NaN
FCD_TRUSTED = 5_000  # fewer molecules: a note
BATCH = 64  # larger ones are slower on a CPU
PROPERTIES: dict[str, Callable[[Chem.Mol], float]] = {
    "qed": qed,
    "logp": Crippen.MolLogP,
    "sa": sa_score,
    "molecular_weight": Descriptors.MolWt,
}


def evaluate(
    molecules: Sequence[Chem.Mol | None],
    reference: Sequence[str] | None = None,
    training: Collection[str] | None = None,
    fcd: bool = True,
) -> dict[str, float | int | str]:
    """Judge generated molecules; 10,000 against 10,000 take about a minute on one core.

    Args:
        molecules: sanitised molecules; None (or one without atoms) counts as invalid.
        reference: SMILES to compare with, e.g. `reference_smiles(5000)`; None leaves out `snn` and `fcd`.
        training: canonical SMILES the model was trained on; None leaves out `novelty` and `fcd_floor`.
        fcd: False leaves out `fcd` and `fcd_floor`, the slow ones.

    Returns:
        n, n_valid: all molecules; valid ones that have a canonical SMILES.
        validity: n_valid / n.
        uniqueness: distinct canonical SMILES / n_valid.
        novelty: distinct canonical SMILES not in `training` / distinct canonical SMILES.
        internal_diversity_1, internal_diversity_2: 1 - (mean T^p)^(1/p) for p = 1, 2; T is the Tanimoto similarity of
            Morgan fingerprints (radius 2, 2,048 bits), the mean runs over all ordered pairs of valid molecules
            including each with itself, repeated molecules included, as in MOSES.
        snn: mean over valid molecules of the largest T to a reference molecule.
        fcd: Frechet ChemNet distance of valid molecules (repeats included) to the reference; NaN below 50 molecules.
        fcd_floor: the same distance for n_valid molecules drawn from `training` (seed 0): what a perfect copy of the
            training distribution would get at this sample size.
        mean_qed, mean_logp (log10 units), mean_sa (1 easy to 10 hard), mean_molecular_weight (Da): over valid ones.
        n_failed_canonical, n_failed_qed, ..., n_failed_reference: molecules left out because rdkit failed on them.
        note: sentences on what is missing or to be read with care; only where there is something to say.
        A ratio whose denominator is 0 is NaN.

    Raises:
        ValueError: `molecules` is empty, or no reference molecule can be read.
    """
    if not len(molecules):
        raise ValueError("there are no molecules to evaluate; pass at least one (None stands for an invalid one)")
    notes: list[str] = []
    present = [m for m in molecules if m is not None and m.GetNumAtoms()]
    named, failed = _collect(lambda m: (m, Chem.MolToSmiles(m)), present)
    valid, canonical = [m for m, _ in named], [s for _, s in named]
    distinct = set(canonical)
    result: dict[str, float | int | str] = {
        "n": len(molecules),
        "n_valid": len(valid),
        "validity": len(valid) / len(molecules),
        "uniqueness": _ratio(len(distinct), len(valid)),
    }
    if training is not None:
        known = training if isinstance(training, set | frozenset) else distinct.intersection(training)
        result["novelty"] = _ratio(sum(s not in known for s in distinct), len(distinct))
    prints = [morgan(2, 2048).GetFingerprint(m) for m in valid]
    result["internal_diversity_1"], result["internal_diversity_2"] = internal_diversity(prints)
    result["n_failed_canonical"] = failed
    for name, compute in PROPERTIES.items():
        values, result[f"n_failed_{name}"] = _collect(compute, valid)
        result[f"mean_{name}"] = float(np.mean(values)) if values else math.nan
    if reference is not None:
        read = [m for m, _ in map(parse, reference) if m is not None]
        result["n_failed_reference"] = len(reference) - len(read)
        if not read:
            raise ValueError(f"none of the {len(reference)} reference SMILES can be read; pass valid SMILES or None")
        result["snn"] = nearest_similarity(prints, [morgan(2, 2048).GetFingerprint(m) for m in read])
        if fcd:
            result |= _fcd_entries(canonical, [Chem.MolToSmiles(m) for m in read], training, notes)
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


def frechet_distance(mean: np.ndarray, cov: np.ndarray, other_mean: np.ndarray, other_cov: np.ndarray) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of two Gaussians; means (D,), covariances (D, D), unit squared.

    tr (C C')^(1/2) is the sum of the square roots of the eigenvalues of R C' R with R = C^(1/2); that stays real for
    the singular covariances of small samples. Source: Preuer et al. 2018, doi:10.1021/acs.jcim.8b00234.
    """
    values, vectors = np.linalg.eigh(cov)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ other_cov @ root).clip(0)).sum()
    return float(np.square(mean - other_mean).sum() + np.trace(cov) + np.trace(other_cov) - 2 * cross)


def chemnet_distance(smiles: Sequence[str], reference: Sequence[str]) -> float:
    """Frechet ChemNet distance between two lists of canonical SMILES (at least 2 each), on the CPU.

    Raises:
        ImportError: fcd_torch, which carries the ChemNet weights, is not installed.
    """
    return frechet_distance(*_chemnet_moments(tuple(smiles)), *_chemnet_moments(tuple(reference)))


def _fcd_entries(
    canonical: list[str], reference: list[str], training: Collection[str] | None, notes: list[str]
) -> dict[str, float]:
    """The entries fcd and, with training molecules, fcd_floor; what stands in the way goes to `notes`."""
    try:
        _chemnet()
    except ImportError as error:
        notes.append(f"fcd is missing: {error}; pip install 'guidekit[molecules]'")
        return {}
    n = len(canonical)
    if min(n, len(reference)) < FCD_LEAST:
        notes.append(f"fcd is NaN: {n} molecules and {len(reference)} references, it needs {FCD_LEAST} of each")
        return {"fcd": math.nan}
    if n < FCD_TRUSTED:
        notes.append(f"fcd of only {n} molecules is biased upwards; read it against fcd_floor or sample {FCD_TRUSTED}")
    entries = {"fcd": chemnet_distance(canonical, reference)}
    if training is not None:
        # Sorting a set first: its order changes from run to run.
        pool = sorted(training) if isinstance(training, set | frozenset) else list(training)
        drawn = random.Random(0).sample(pool, min(n, len(pool)))
        sample = [Chem.MolToSmiles(m) for m, _ in map(parse, drawn) if m is not None]
        if len(sample) < n:
            notes.append(f"fcd_floor uses {len(sample)} training molecules instead of {n}")
        entries["fcd_floor"] = chemnet_distance(sample, reference) if len(sample) >= FCD_LEAST else math.nan
    return entries


@functools.cache
def _chemnet() -> torch.nn.Module:
    """ChemNet on the CPU; (B, 35, 350) one-hot SMILES -> (B, 512)."""
    from fcd_torch import FCD

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FCD(device="cpu", n_jobs=1).model


@functools.lru_cache(maxsize=4)  # the reference and the training sample come back at every evaluation
def _chemnet_moments(smiles: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Mean (512,) and covariance (512, 512) of ChemNet features; float64, from the hidden units of the last layer."""
    from fcd_torch.utils import SmilesDataset

    encoded = SmilesDataset(smiles, canonize=False)  # its own loader would warn and draw from torch's global generator
    features, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)  # its recurrent layers gain nothing from more, and lose tenfold on a busy machine
    try:
        for start in range(0, len(smiles), BATCH):
            batch = np.stack([encoded[i] for i in range(start, min(start + BATCH, len(smiles)))])
            with torch.no_grad():
                out = _chemnet()(torch.from_numpy(batch).float().transpose(1, 2))
            features.append(out.numpy().astype(np.float64))  # a copy: `out` is a view of all 88 positions
    finally:
        torch.set_num_threads(threads)
    stacked = np.concatenate(features)
    return stacked.mean(0), np.cov(stacked, rowvar=False)


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
