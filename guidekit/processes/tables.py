"""Variance-preserving schedules in discrete time: tables of noise variances; see `schedules`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from guidekit.processes.numbers import Number, in_words
from guidekit.processes.variance_preserving import VariancePreserving


@dataclasses.dataclass(frozen=True)
class TableVP(VariancePreserving):
    """Variance preserving in discrete time: after i = 0 .. N - 1 comes noise with a_i^2 = prod_(j <= i) (1 - beta_j).

    Index i is the time t = (i + 1) / N, and t = 0 is clean; between two indices the angle atan2(s, a) is a straight
    line, so that the process can be asked at any time.

    Args:
        betas: N noise variances in (0, 1), and 1 at most for the last.
        zero_terminal_snr: a is shifted and stretched so that nothing is left of the signal at the last index, and the
            first index stays as it is.

    Raises:
        ValueError: no betas, or one outside (0, 1).

    Source: Ho et al. 2020, arXiv:2006.11239, eq. 4; Lin et al. 2023, arXiv:2305.08891, algorithm 1.
    """

    betas: Sequence[float]
    zero_terminal_snr: bool = False

    def __post_init__(self) -> None:
        """Keep the table as numbers."""
        object.__setattr__(self, "betas", tuple(float(beta) for beta in self.betas))
        wrong = [beta for beta in self.betas[:-1] if not 0 < beta < 1]
        wrong += [beta for beta in self.betas[-1:] if not 0 < beta <= 1]
        if wrong or not self.betas:
            raise ValueError(
                f"betas have {wrong[0] if wrong else 'no entry'}; noise variances between 0 and 1 are needed"
            )

    def __repr__(self) -> str:
        return f"TableVP({in_words(self.betas)}, zero_terminal_snr={self.zero_terminal_snr})"

    @property
    def steps(self) -> int:  # type: ignore[override]
        """N, number of indices."""
        return len(self.betas)

    def time(self, index: int) -> float:
        """The time of an index 0 .. N - 1."""
        return (index + 1) / self.steps

    def index(self, t: Number) -> Number:
        """The index of a time, between two whole numbers where the time is; what networks in discrete time are told."""
        return t * self.steps - 1

    @cached_property
    def _angles(self) -> Tensor:
        """Angles at t = 0, 1 / N, .. 1, (N + 1,) float64."""
        a = (1 - torch.tensor(self.betas, dtype=torch.float64)).cumprod(0).sqrt()
        if self.zero_terminal_snr:
            a = (a - a[-1]) * (a[0] / (a[0] - a[-1]))
        return torch.cat([torch.zeros(1, dtype=torch.float64), torch.atan2((1 - a * a).sqrt(), a)])

    def __call__(self, t: Number) -> tuple[Number, Number]:
        """(a, s) at t."""
        at = torch.as_tensor(t, dtype=torch.float64, device="cpu") * self.steps
        left = (at + 1e-9).floor().long().clamp(0, self.steps - 1)
        angle = torch.lerp(self._angles[left], self._angles[left + 1], (at - left).clamp(0, 1))
        a, s = angle.cos(), angle.sin()
        if self.zero_terminal_snr:
            a = torch.where(at >= self.steps, 0.0, a)
        return (a.to(t), s.to(t)) if isinstance(t, Tensor) else (float(a), float(s))


def legacy_betas(name: str = "linear", count: int = 1000, start: float = 1e-4, end: float = 0.02) -> list[float]:
    """Noise variances of a discrete-time process, by the names under which checkpoints of others know them.

    Args:
        name: "linear" (evenly spaced), "scaled_linear" (evenly spaced square roots) or "squaredcos_cap_v2" (a^2 falls
            as cos^2((t + .008) / 1.008 pi / 2), betas at most .999; start and end are not used).
        count: N.
        start, end: first and last variance.

    Raises:
        ValueError: no such name, or fewer than two.

    Source: Ho et al. 2020, arXiv:2006.11239, section 4; Rombach et al. 2022, arXiv:2112.10752 (scaled_linear); Nichol &
    Dhariwal 2021, arXiv:2102.09672, eq. 17.
    """
    if name not in BETAS or count < 2:
        raise ValueError(f"betas {name!r}, {count} of them; accepted: {', '.join(BETAS)}, 2 or more")
    share = [i / (count - 1) for i in range(count)]
    if name == "linear":
        return [start + v * (end - start) for v in share]
    if name == "scaled_linear":
        return [(start**0.5 + v * (end**0.5 - start**0.5)) ** 2 for v in share]
    kept = [math.cos((i / count + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(count + 1)]
    return [min(1 - kept[i + 1] / kept[i], 0.999) for i in range(count)]


BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")
"""Names of tables of noise variances."""
