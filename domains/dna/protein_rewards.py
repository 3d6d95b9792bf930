"""Rewards on proteins: frozen, callable on a string of the 20 amino acids, higher is better."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

from guidekit.objectives.window import Window

from .amp import probability


def _analysis(sequence: str) -> Any:
    from Bio.SeqUtils.ProtParam import ProteinAnalysis

    return ProteinAnalysis(sequence)


def charge(sequence: str) -> float:
    """Net charge at pH 7, elementary charges. Source: pK values of Bjellqvist et al. 1993, as in Biopython."""
    return float(_analysis(sequence).charge_at_pH(7.0))


def gravy(sequence: str) -> float:
    """Grand average of hydropathy, -4.5 to 4.5. Source: Kyte & Doolittle 1982, doi:10.1016/0022-2836(82)90515-0."""
    return float(_analysis(sequence).gravy())


def instability(sequence: str) -> float:
    """Instability index; below 40 counts as stable. Source: Guruprasad et al. 1990, doi:10.1093/protein/4.2.155."""
    return float(_analysis(sequence).instability_index())


def aromaticity(sequence: str) -> float:
    """Share of F, W and Y, 0 to 1."""
    return float(_analysis(sequence).aromaticity())


def isoelectric_point(sequence: str) -> float:
    """pH of zero net charge. Source: Bjellqvist et al. 1993, doi:10.1002/elps.11501401163."""
    return float(_analysis(sequence).isoelectric_point())


PROPERTIES: dict[str, Callable[[str], float]] = {
    "charge": charge,
    "gravy": gravy,
    "instability": instability,
    "aromaticity": aromaticity,
    "isoelectric_point": isoelectric_point,
}


@dataclasses.dataclass(frozen=True)
class Charge(Window):
    """Net charge at pH 7 (elementary charges) in a window: minus the distance to [low, high]."""

    low: float = 4.0
    high: float = 8.0
    name: ClassVar[str] = "charge"

    def measure(self, sequence: str) -> float:
        """See `charge`."""
        return charge(sequence)


@dataclasses.dataclass(frozen=True)
class Gravy(Window):
    """Mean hydropathy (Kyte-Doolittle, -4.5 to 4.5) in a window: minus the distance to [low, high]."""

    low: float = -0.8
    high: float = -0.2
    name: ClassVar[str] = "gravy"
    bounds: ClassVar[tuple[float, float]] = (-4.5, 4.5)

    def measure(self, sequence: str) -> float:
        """See `gravy`."""
        return gravy(sequence)


@dataclasses.dataclass(frozen=True)
class Instability(Window):
    """Instability index in a window, by default up to 40, which counts as stable: minus the distance to [low, high]."""

    low: float = -math.inf
    high: float = 40.0
    name: ClassVar[str] = "instability"

    def measure(self, sequence: str) -> float:
        """See `instability`."""
        return instability(sequence)


@dataclasses.dataclass(frozen=True)
class Aromaticity(Window):
    """Share of F, W and Y (0 to 1) in a window: minus the distance to [low, high]."""

    low: float = 0.1
    high: float = 0.2
    name: ClassVar[str] = "aromaticity"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def measure(self, sequence: str) -> float:
        """See `aromaticity`."""
        return aromaticity(sequence)


@dataclasses.dataclass(frozen=True)
class IsoelectricPoint(Window):
    """pH of zero net charge in a window: minus the distance to [low, high]."""

    low: float = 9.0
    high: float = 11.0
    name: ClassVar[str] = "isoelectric_point"
    bounds: ClassVar[tuple[float, float]] = (0.0, 14.0)

    def measure(self, sequence: str) -> float:
        """See `isoelectric_point`."""
        return isoelectric_point(sequence)


@dataclasses.dataclass(frozen=True)
class Antimicrobial:
    """Probability (0 to 1) that a peptide is antimicrobial, by a logistic regression on its composition."""

    name: ClassVar[str] = "amp"
    floor: ClassVar[float | None] = 0.0

    def __call__(self, sequence: str) -> float:
        """Probability of one peptide, in (0, 1)."""
        return probability(sequence)


PROTEIN_REWARDS: dict[str, type] = {
    reward.name: reward for reward in (Charge, Gravy, Instability, Aromaticity, IsoelectricPoint, Antimicrobial)
}
