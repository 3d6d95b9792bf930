"""The orthonormal Haar transform, and likelihoods that trust some of its bands more than others."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from guidekit.objectives.gaussian import GaussianLikelihood
from guidekit.objectives.operators.base import Linear, Operator
from guidekit.objectives.operators.composition import Composed


def split(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Sums and differences of neighbors over the root of 2, along an axis of n: ceil(n / 2) and floor(n / 2) of them.

    The last entry of an odd axis has no neighbor and goes to the sums as it is, which keeps the transform orthonormal.
    """
    pairs, left = x.shape[axis] // 2, x.shape[axis] % 2
    even = x.narrow(axis, 0, 2 * pairs).unflatten(axis, (pairs, 2))
    first, second = even.unbind(axis + 1 if axis >= 0 else axis)
    low, high = (first + second) / math.sqrt(2), (first - second) / math.sqrt(2)
    return (torch.cat([low, x.narrow(axis, 2 * pairs, 1)], axis) if left else low), high


def join(low: Tensor, high: Tensor, axis: int) -> Tensor:
    """The inverse of `split`."""
    pairs = high.shape[axis]
    paired = low.narrow(axis, 0, pairs)
    both = torch.stack([paired + high, paired - high], axis + 1 if axis >= 0 else axis) / math.sqrt(2)
    axis = axis % low.ndim
    whole = both.flatten(axis, axis + 1)
    return torch.cat([whole, low.narrow(axis, pairs, 1)], axis) if low.shape[axis] > pairs else whole


def haar(x: Tensor, axes: int = 2, levels: int = 1) -> dict[str, Tensor]:
    """Bands of x over its last axes, orthonormal: the squares of all bands add up to those of x.

    Args:
        x: (B, *S).
        axes: how many of the last axes, 1 for signals, 2 for pictures.
        levels: how often the sums are split again.

    Returns:
        Bands by name, from fine to coarse: a letter an axis (L sums, H differences) and the level, "LH1", ..., "LL2".

    Raises:
        ValueError: more levels than the shortest axis has halvings, or fewer axes than asked for.
    """
    least = min(x.shape[-axes:]) if 1 <= axes < x.ndim else 0
    if levels < 1 or least < 2**levels:
        raise ValueError(f"{levels} levels over the last {axes} axes of {tuple(x.shape)}: each needs 2^levels entries")
    bands: dict[str, Tensor] = {}
    for level in range(1, levels + 1):
        parts = {"": x}
        for axis in range(-axes, 0):
            halves = {name: split(part, axis) for name, part in parts.items()}
            parts = {
                name + letter: half for name, two in halves.items() for letter, half in zip("LH", two, strict=True)
            }
        x = parts.pop("L" * axes)
        bands |= {f"{name}{level}": part for name, part in parts.items()}
    return bands | {f"{'L' * axes}{levels}": x}


def inverse_haar(bands: Mapping[str, Tensor], axes: int = 2) -> Tensor:
    """x of its bands, see `haar`."""
    levels = max(int(name[axes:]) for name in bands)
    x = bands[f"{'L' * axes}{levels}"]
    for level in range(levels, 0, -1):
        letters = ["".join(word) for word in itertools.product("LH", repeat=axes)]
        parts = {word: x if "H" not in word else bands[f"{word}{level}"] for word in letters}
        for axis in range(-1, -axes - 1, -1):
            parts = {word[:-1]: join(parts[word], parts[word[:-1] + "H"], axis) for word in parts if word[-1] == "L"}
        x = parts[""]
    return x


@dataclasses.dataclass(frozen=True, eq=False)
class Haar(Linear):
    """Bands of a measurement, each times its gain, one after the other, (B, m); a unitary matrix but for the gains.

    Args:
        shape: of one measurement without the batch; its last axes are transformed.
        gains: by band, see `haar`, above 0; a band that is not named keeps its size.
        axes, levels: see `haar`.
    """

    shape: tuple[int, ...]
    gains: Mapping[str, float]
    axes: int = 2
    levels: int = 1

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        return torch.cat([self._gain(name) * band.flatten(1) for name, band in self._bands(x).items()], 1)

    def adjoint(self, y: Tensor) -> Tensor:
        """The bands times their gains, put together."""
        return self._together(y, 1)

    def pinv(self, y: Tensor) -> Tensor:
        """The bands over their gains, put together."""
        return self._together(y, -1)

    def _together(self, y: Tensor, power: int) -> Tensor:
        empty = self._bands(y.new_empty(1, *self.shape))
        parts = y.split([band.numel() for band in empty.values()], 1)
        found = {
            name: self._gain(name) ** power * part.unflatten(1, band.shape[1:])
            for (name, band), part in zip(empty.items(), parts, strict=True)
        }
        return inverse_haar(found, self.axes)

    def _bands(self, x: Tensor) -> dict[str, Tensor]:
        return haar(x, self.axes, self.levels)

    def _gain(self, name: str) -> float:
        return self.gains.get(name, 1.0)


@dataclasses.dataclass(frozen=True, eq=False)
class _Function(Operator):
    """A function of states as an operator."""

    function: Callable[[Tensor], Tensor]

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        return self.function(x)


def wavelet_likelihood(
    likelihood: GaussianLikelihood,
    detail: float | Sequence[float] = 3.0,
    coarse: float = 0.0,
    levels: int = 1,
    axes: int | None = None,
) -> GaussianLikelihood:
    """A likelihood that adds sum_b weight_b ||W_b r||^2 to ||r||^2, r = y - A(x_0), W_b the bands of `haar`.

    As the transform is orthonormal this is a Gaussian likelihood of the bands of y, whose noise is smaller by the root
    of 1 + weight_b in band b: equal weights only rescale the noise, and with weights of 0 the given likelihood is
    returned. What a blur leaves of fine detail is faint beside what it leaves of the rest; weights on the detail make a
    gradient heed both.

    Args:
        likelihood: with the measurement, the operator and the noise.
        detail: weight of the bands of differences, one for all levels, or one a level, fine ones first; at least 0.
        coarse: weight of what is left, the sums of the last level.
        levels: see `haar`.
        axes: last ones of a measurement that are transformed; None is 2 where there are two behind a channel, else 1.

    Raises:
        ValueError: weights below 0, another number of them than of levels, or a measurement too small for the levels.

    Source: the consistency loss of frequency-aware guidance, arXiv:2411.12450.
    """
    y, fine = likelihood.y, [detail] * levels if isinstance(detail, int | float) else list(detail)
    axes = max(1, min(2, y.ndim - 2)) if axes is None else axes
    if len(fine) != levels:
        raise ValueError(f"detail has {len(fine)} weights for {levels} levels; give one each")
    if not all(math.isfinite(weight) and weight >= 0 for weight in (*fine, coarse)):
        raise ValueError(f"weights of bands are at least 0, got detail={detail}, coarse={coarse}")
    if not any(fine) and not coarse:
        return likelihood
    weights = {name: coarse if "H" not in name else fine[int(name[axes:]) - 1] for name in haar(y[:1], axes, levels)}
    bands = Haar(tuple(y.shape[1:]), {name: math.sqrt(1 + w) for name, w in weights.items()}, axes, levels)
    given = likelihood.operator
    inner = given if isinstance(given, Operator) else _Function(getattr(given, "forward", given))
    return dataclasses.replace(likelihood, operator=Composed(bands, inner), y=bands.forward(y))


__all__ = ["Haar", "haar", "inverse_haar", "join", "split", "wavelet_likelihood"]
