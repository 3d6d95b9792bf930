"""Rewards on DNA: frozen, callable on a string of A, C, G, T, higher is better; see `relaxed` for those on batches.

`name` is the key in `REWARDS`; `floor` is the lowest possible value, None where there is none.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Sequence
from typing import ClassVar

from guidekit.errors import UnknownNameError
from guidekit.extras import require
from guidekit.objectives.window import Window

from .complexity import longest_run
from .iupac import COMPLEMENT, IUPAC
from .onehot import OneHotModel
from .relaxed import GC, CpG, MotifCount, MotifPair, SoftMotif


@dataclasses.dataclass(frozen=True)
class Homopolymer:
    """Minus the letters by which the longest run of one base exceeds a limit (synthesis houses refuse long runs).

    Args:
        limit: longest run without penalty.
    """

    limit: int = 6
    name: ClassVar[str] = "homopolymer"
    floor: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"limit={self.limit}; a run has at least 1 letter")

    def __call__(self, sequence: str) -> float:
        """Minus the excess of one sequence, 0 or below."""
        return float(min(0, self.limit - longest_run(sequence)))


@dataclasses.dataclass(frozen=True)
class Restriction:
    """Minus the number of restriction sites on both strands; present=True: the share of the sites that occur, 0 to 1.

    Args:
        sites: names of enzymes (EcoRI, BsaI; REBASE through Biopython) or recognition sequences of at least 4 IUPAC
            letters (GAATTC, GGTCTC); a list, or one string with commas. A site that is its own reverse complement
            counts once.
        present: reward occurrence instead of absence.
        circular: the sequence is a ring (a plasmid): sites may run over its end.

    Raises:
        ValueError: no site given, or UnknownNameError: one is neither an enzyme nor IUPAC letters.
    """

    sites: Sequence[str] | str
    present: bool = False
    circular: bool = False
    name: ClassVar[str] = "restriction"

    def __post_init__(self) -> None:
        given = str(self.sites).split(",") if isinstance(self.sites, str | int | float) else self.sites
        object.__setattr__(self, "sites", tuple(str(site).strip() for site in given if str(site).strip()))
        if not self.sites:
            raise ValueError("restriction needs sites, such as [EcoRI,BsaI] or [GAATTC]")
        self._patterns  # noqa: B018  fail here, not at the first sequence

    @property
    def floor(self) -> float | None:
        """0 for shares, None for counts."""
        return 0.0 if self.present else None

    @functools.cached_property
    def _patterns(self) -> list[tuple[re.Pattern, int]]:
        sites = [recognition_sequence(site) for site in self.sites]
        return [(site_pattern(site), len(site)) for site in sites]

    def __call__(self, sequence: str) -> float:
        """Minus the number of sites in one sequence, or the share of sites that occur."""
        counts = [
            sum(1 for _ in pattern.finditer(sequence + sequence[: width - 1] if self.circular else sequence))
            for pattern, width in self._patterns
        ]
        return sum(count > 0 for count in counts) / len(counts) if self.present else -float(sum(counts)) or 0.0


@functools.cache
def recognition_sequence(site: str, shortest: int = 4) -> str:
    """IUPAC letters of an enzyme's site, or the letters themselves.

    Raises:
        UnknownNameError: neither an enzyme with a known site nor at least `shortest` IUPAC letters.
    """
    from Bio.Restriction.Restriction_Dictionary import rest_dict

    if site in rest_dict:
        return str(rest_dict[site]["site"]).upper()
    if len(site) >= shortest and set(site.upper()) <= set(IUPAC):
        return site.upper()
    raise UnknownNameError("restriction enzyme (or site of IUPAC letters)", site, rest_dict)


def site(text: str) -> str:
    """The IUPAC letters of a restriction enzyme's site, or the word as it is."""
    from Bio.Restriction.Restriction_Dictionary import rest_dict

    return str(rest_dict[text]["site"]).upper() if text in rest_dict else text


def strands_of(word: str) -> list[str]:
    """A word, maybe with [AC], {T} and N(16,18), and the same on the other strand; once where they are the same."""
    elements = re.findall(r"(\[[^\]]*\]|\{[^}]*\}|[^-\s()])(\([^)]*\))?", word.upper())
    return list(
        dict.fromkeys(
            [
                "".join(map("".join, elements)),
                "".join(symbol.translate(COMPLEMENT) + repeats for symbol, repeats in reversed(elements)),
            ]
        )
    )


def site_pattern(letters: str) -> re.Pattern:
    """Finds every occurrence, overlapping ones too, of IUPAC letters or their reverse complement; each start once.

    Two different sites of one enzyme that start at the same letter, one a strand, count as one.
    """
    return re.compile("(?=" + "|".join("".join(f"[{IUPAC[c]}]" for c in strand) for strand in strands(letters)) + ")")


def strands(letters: str) -> list[str]:
    """IUPAC letters and their reverse complement, once where they are the same."""
    return list(dict.fromkeys([letters, letters.translate(COMPLEMENT)[::-1]]))


@dataclasses.dataclass(frozen=True)
class MeltingTemperature(Window):
    """Nearest-neighbour melting temperature (degrees C) in a window: minus the distance to [low, high].

    The model was made for oligomers; of several hundred bases it still tells how stable the duplex is, on average.

    Args:
        low, high: the window, degrees C.
        sodium: mM.
        strand: concentration of each strand, nM.

    Source: Allawi & SantaLucia 1997, doi:10.1021/bi962590c; salt correction of SantaLucia 1998, as in Biopython.
    """

    low: float = 75.0
    high: float = 80.0
    sodium: float = 50.0
    strand: float = 25.0
    name: ClassVar[str] = "melting_temperature"
    bounds: ClassVar[tuple[float, float]] = (-273.15, math.inf)

    def measure(self, sequence: str) -> float:
        """Melting temperature, degrees C."""
        from Bio.SeqUtils import MeltingTemp

        return float(MeltingTemp.Tm_NN(sequence, Na=self.sodium, dnac1=self.strand, dnac2=self.strand, check=False))


@dataclasses.dataclass(frozen=True)
class FoldingEnergy(Window):
    """Minimum free energy (kcal/mol, 37 degrees C) of the transcript (T read as U) in a window; 0 = unfolded.

    Raises:
        MissingExtraError: ViennaRNA is not installed (the extra "rna").

    Source: Lorenz et al. 2011, doi:10.1186/1748-7188-6-26.
    """

    low: float = -20.0
    high: float = 0.0
    name: ClassVar[str] = "folding_energy"

    def __post_init__(self) -> None:
        super().__post_init__()
        require("rna", "RNA")

    def measure(self, sequence: str) -> float:
        """Minimum free energy, kcal/mol."""
        return float(require("rna", "RNA").fold(sequence.replace("T", "U"))[1])


REWARDS: dict[str, type] = {
    reward.name: reward
    for reward in (
        SoftMotif,
        MotifCount,
        MotifPair,
        GC,
        CpG,
        Homopolymer,
        Restriction,
        MeltingTemperature,
        FoldingEnergy,
        OneHotModel,
    )
}
