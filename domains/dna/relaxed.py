"""Objectives of DNA tokens, most of them differentiable in relaxed letters.

`relaxed(probabilities)` takes (B, L, 4), probabilities of A C G T (or any real numbers in their place), and has a
gradient.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.objective import Number, Objective
from guidekit.core.prior import Prior
from guidekit.core.requirements import GuidanceError
from guidekit.objectives.window import Windowed, outside, refuse_empty

from .alphabet import DNA, Alphabet
from .codec import SequenceCodec
from .motifs import Motif, best_scores, find_hits, load_motif, scan, threshold


class TokenReward(Objective[None]):
    """Base: a reward of clean DNA tokens (B, L), minus infinity where an id is no letter.

    Differentiable ones have `relaxed`, values (B,) of letter probabilities (B, L, 4) with a gradient; the others have
    their own `_values`.
    """

    differentiable = True
    floor: float | None = None

    def scores(self, states: Tensor, t: Number, rows: None) -> Tensor:
        """Rewards (B,) float64 of tokens (B, L)."""
        values = self._values(states.clamp_max(3)).double()
        return values.masked_fill((states > 3).any(1), -math.inf)

    def check(self, prior: Prior) -> None:
        """See `Objective.check`: tokens must be those of DNA."""
        language = getattr(prior.codec, "language", None)
        if language is not None and language != SequenceCodec(DNA, 1).language:
            raise GuidanceError(f"reward {self.name} is of DNA, and this prior ({prior.name}) is of something else")

    def _values(self, tokens: Tensor) -> Tensor:
        """Values (B,) of clean tokens: by default the relaxed reward of certain letters."""
        reward: Any = self
        return reward.relaxed(F.one_hot(tokens, 4).double())


@dataclasses.dataclass(frozen=True)
class OfLetters:
    """A reward of tokens as a function of one sequence, for priors whose tokens are longer than a letter.

    Args:
        reward: of letters.
        alphabet: theirs.
    """

    reward: TokenReward
    alphabet: Alphabet

    @property
    def temperature(self) -> float | None:
        """That of the reward."""
        return self.reward.temperature

    @property
    def floor(self) -> float | None:
        """That of the reward."""
        return self.reward.floor

    def __call__(self, sequence: str) -> float:
        """The reward of a sequence."""
        return float(self.reward.scores(self.alphabet.encode([sequence]), 0.0, None)[0])


@dataclasses.dataclass(frozen=True, eq=False)
class SoftMotif(TokenReward):
    """Best log-odds (bits) of a JASPAR motif over all positions and both strands; relaxed: a smooth maximum.

    relaxed(p) = log sum_sites exp(sharpness * E_p[score]) / sharpness, between the maximum and log(sites) / sharpness
    above it, with site scores expected under independent letters.

    Args:
        motif: name or matrix id, such as CTCF or MA0139.2.
        relative: divide by the best score the motif can have, so that 1 is a perfect site.
        sharpness: of the smooth maximum, per bit.
        circular: the sequence is a ring (a plasmid): sites may run over its end.

    Raises:
        UnknownNameError: no such motif, no file of one, and no word of IUPAC letters; see `motifs.load_motif`.
    """

    motif: str | Motif
    relative: bool = False
    sharpness: float = 2.0
    circular: bool = False
    name: ClassVar[str] = "motif"

    def __post_init__(self) -> None:
        load_motif(self.motif)
        if not self.sharpness > 0:
            raise ValueError(f"sharpness={self.sharpness}; it must be above 0")

    @functools.cached_property
    def _table(self) -> Tensor:
        return torch.from_numpy(load_motif(self.motif).log_odds())

    @property
    def temperature(self) -> float:  # type: ignore[override]
        """What searches take where they are given none: two bits, which leave the rest of a sequence as it was."""
        return 2 / self._unit

    @property
    def _unit(self) -> float:
        return load_motif(self.motif).best_score if self.relative else 1.0

    def _values(self, tokens: Tensor) -> Tensor:
        return best_scores(self._table, self._around(tokens)) / self._unit

    def _around(self, states: Tensor) -> Tensor:
        """Tokens or probabilities (B, L, ...), of a ring with its beginning once more behind its end."""
        return around(states, len(self._table)) if self.circular else states

    def relaxed(self, probabilities: Tensor) -> Tensor:
        """Smooth maximum (B,) of expected log-odds, in the unit of the reward; see the class."""
        table = self._table.to(probabilities)
        if probabilities.shape[1] < len(table):
            raise ValueError(
                f"sequences of {probabilities.shape[1]} letters cannot hold a motif of {len(table)}; take longer ones"
            )
        scores = site_scores(self._around(probabilities), table).flatten(1)
        return torch.logsumexp(self.sharpness * scores, 1) / self.sharpness / self._unit


def around(states: Tensor, width: int) -> Tensor:
    """States (B, L, ...) of a ring with the first width - 1 letters once more behind the last one."""
    return torch.cat([states, states[:, : width - 1]], 1)


def site_scores(probabilities: Tensor, table: Tensor) -> Tensor:
    """Expected log-odds (B, 2, N - L + 1) of every site on both strands, of letter probabilities (B, N, 4)."""
    kernel = torch.stack([table, table.flip(0, 1)]).transpose(1, 2)
    return F.conv1d(probabilities.transpose(1, 2), kernel)


@dataclasses.dataclass(frozen=True, eq=False)
class MotifPair(TokenReward):
    """Best sum of the log-odds (bits) of two motifs with so many letters between them; relaxed: a smooth maximum.

    Either motif may come first, each on either strand.

    Args:
        motifs: two of them; see `motifs.load_motif`.
        low, high: letters between the end of the first and the beginning of the second.
        sharpness: of the smooth maximum, per bit.
        circular: the sequence is a ring.

    Raises:
        ValueError: not two motifs, or no such spacing.
    """

    motifs: Sequence[str | Motif]
    low: int = 0
    high: int = 20
    sharpness: float = 2.0
    circular: bool = False
    name: ClassVar[str] = "motif_pair"
    temperature = 2.0

    def __post_init__(self) -> None:
        if isinstance(self.motifs, str):
            object.__setattr__(self, "motifs", tuple(one.strip() for one in self.motifs.split(",")))
        if len(self.motifs) != 2:
            raise ValueError(f"motifs={list(self.motifs)}; two are needed, such as [CTCF,TGACTCA]")
        self._tables  # noqa: B018  fail here, not at the first sequence
        refuse_empty(self.low, self.high, (0, math.inf), "the number of letters between two motifs")
        if not self.sharpness > 0:
            raise ValueError(f"sharpness={self.sharpness}; it must be above 0")

    @functools.cached_property
    def _tables(self) -> tuple[Tensor, Tensor]:
        first, second = (torch.from_numpy(load_motif(motif).log_odds()) for motif in self.motifs)
        return first, second

    def _sums(self, states: Tensor, score: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Sums (B, pairs of places) of the better strands of both motifs, in either order."""
        width = sum(map(len, self._tables))
        if states.shape[1] < width + self.low:
            raise ValueError(
                f"sequences of {states.shape[1]} letters cannot hold two motifs of {width} and {self.low} letters "
                "between them; take longer ones"
            )
        if self.circular:
            states = around(states, min(width + self.high, states.shape[1]))
        found = []
        for one, other in (self._tables, self._tables[::-1]):
            head, tail = score(states, one).amax(1), score(states, other).amax(1)
            for gap in range(self.low, min(self.high, states.shape[1] - width) + 1):
                places = tail.shape[1] - len(one) - gap
                found.append(head[:, :places] + tail[:, len(one) + gap :])
        return torch.cat(found, 1)

    def _values(self, tokens: Tensor) -> Tensor:
        return self._sums(tokens, lambda states, table: scan(table, states)).amax(1)

    def relaxed(self, probabilities: Tensor) -> Tensor:
        """Smooth maximum (B,) of expected log-odds, bits."""
        sums = self._sums(probabilities, lambda states, table: site_scores(states, table.to(states)))
        return torch.logsumexp(self.sharpness * sums, 1) / self.sharpness


@dataclasses.dataclass(frozen=True, eq=False)
class MotifCount(TokenReward):
    """Number of sites of a JASPAR motif with p-value below p, both strands.

    Args:
        motif: name or matrix id.
        p: probability that a random site (uniform letters) scores as high.
        circular: the sequence is a ring: sites may run over its end.

    Raises:
        UnknownNameError: no such motif; see `motifs.load_motif`.
        ValueError: not even its best site is so rare.
    """

    motif: str | Motif
    p: float = 1e-4
    circular: bool = False
    name: ClassVar[str] = "motif_count"
    floor = 0.0
    differentiable = False

    def __post_init__(self) -> None:
        threshold(load_motif(self.motif).log_odds(), self.p)

    def _values(self, tokens: Tensor) -> Tensor:
        motif = load_motif(self.motif)
        return find_hits(motif, around(tokens, len(motif)) if self.circular else tokens, self.p).sum((1, 2))


@dataclasses.dataclass(frozen=True, eq=False)
class GC(TokenReward, Windowed):
    """Share of G and C (0 to 1) in a window: minus the distance to [low, high]."""

    low: float = 0.45
    high: float = 0.55
    name: ClassVar[str] = "gc"

    def __post_init__(self) -> None:
        refuse_empty(self.low, self.high, (0.0, 1.0), "a share")

    def relaxed(self, probabilities: Tensor) -> Tensor:
        """Minus the distance (B,) of the expected share to the window."""
        return outside(probabilities[..., 1:3].sum((1, 2)) / probabilities.shape[1], self.low, self.high)


@dataclasses.dataclass(frozen=True, eq=False)
class CpG(TokenReward, Windowed):
    """Observed / expected CpG, n_CG L / (n_C n_G), in a window: minus the distance to [low, high]; islands have > 0.6.

    The ratio is 0 without C or G. A bare ratio would be largest for one CG in a row of A and T; the window prevents it.

    Source: Gardiner-Garden & Frommer 1987, doi:10.1016/0022-2836(87)90689-9.
    """

    low: float = 0.6
    high: float = 1.2
    name: ClassVar[str] = "cpg"

    def __post_init__(self) -> None:
        refuse_empty(self.low, self.high, (0.0, math.inf), "the ratio")

    def relaxed(self, probabilities: Tensor) -> Tensor:
        """Minus the distance (B,) to the window, of expected counts under independent letters."""
        c, g = probabilities[..., 1], probabilities[..., 2]
        observed = (c[:, :-1] * g[:, 1:]).sum(1) * probabilities.shape[1]
        expected = c.sum(1) * g.sum(1)
        ratio = torch.where(expected > 0, observed / expected.clamp_min(1e-12), 0.0)
        return outside(ratio, self.low, self.high)
