"""Frechet ChemNet distance between sets of molecules.

Source: Preuer et al. 2018, doi:10.1021/acs.jcim.8b00234.
"""

import functools
import math
import random
import warnings
from collections.abc import Collection, Sequence

import numpy as np
import torch
from rdkit import Chem

from .files import parse

FCD_LEAST = 50  # fewer molecules: NaN
FCD_TRUSTED = 5_000  # fewer molecules: a note
BATCH = 64  # larger ones are slower on a CPU


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
    return frechet_distance(*chemnet_moments(tuple(smiles)), *chemnet_moments(tuple(reference)))


def fcd_entries(
    canonical: list[str], reference: list[str], training: Collection[str] | None, notes: list[str]
) -> dict[str, float]:
    """The entries fcd and, with training molecules, fcd_floor; what stands in the way goes to `notes`."""
    try:
        chemnet()
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
        held = set(reference)
        pool = [s for s in (sorted(training) if isinstance(training, set | frozenset) else training) if s not in held]
        drawn = random.Random(0).sample(pool, min(n, len(pool)))
        sample = [Chem.MolToSmiles(m) for m, _ in map(parse, drawn) if m is not None]
        if len(sample) < n:
            notes.append(f"fcd_floor uses {len(sample)} training molecules instead of {n}")
        entries["fcd_floor"] = chemnet_distance(sample, reference) if len(sample) >= FCD_LEAST else math.nan
    return entries


@functools.cache
def chemnet() -> torch.nn.Module:
    """ChemNet on the CPU; (B, 35, 350) one-hot SMILES -> (B, 512)."""
    from fcd_torch import FCD

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FCD(device="cpu", n_jobs=1).model


@functools.lru_cache(maxsize=4)  # the reference and the training sample come back at every evaluation
def chemnet_moments(smiles: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Mean (512,) and covariance (512, 512) of ChemNet features; float64, from the hidden units of the last layer."""
    from fcd_torch.utils import SmilesDataset

    encoded = SmilesDataset(smiles, canonize=False)  # its own loader would warn and draw from torch's global generator
    features, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)  # its recurrent layers gain nothing from more, and lose tenfold on a busy machine
    try:
        for start in range(0, len(smiles), BATCH):
            batch = np.stack([encoded[i] for i in range(start, min(start + BATCH, len(smiles)))])
            with torch.no_grad():
                out = chemnet()(torch.from_numpy(batch).float().transpose(1, 2))
            features.append(out.numpy().astype(np.float64))  # a copy: `out` is a view of all 88 positions
    finally:
        torch.set_num_threads(threads)
    stacked = np.concatenate(features)
    return stacked.mean(0), np.cov(stacked, rowvar=False)
