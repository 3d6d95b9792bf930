"""Processes with any transition matrix: tokens that prefer to turn into some others (blocks, neighbours on a scale)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from guidekit.core.prediction import CategoricalPrediction
from guidekit.core.random import Draw, pick
from guidekit.core.requirements import Fact
from guidekit.processes.discrete import DiscreteProcess
from guidekit.processes.numbers import Number

LARGEST = 1024
"""Most tokens for which (V, V) matrices are kept."""


@dataclasses.dataclass(frozen=True)
class Structured(DiscreteProcess):
    """A continuous-time chain with one generator G run at the speed of the alpha schedule: exp(-log a(t) G).

    With G = 1 limit^T - I this is `Marginal`, computed densely.

    Args:
        generator: (V, V) rates; off-diagonal entries non-negative, rows sum to zero.

    Raises:
        ValueError: not square, not a generator, or more than 1,024 tokens.

    Source: Campbell et al. 2022, arXiv:2205.14987, section 3 (continuous time); Austin et al. 2021, arXiv:2107.03006,
    appendix A.2 (structured matrices).
    """

    generator: Sequence[Sequence[float]] = ()

    def __post_init__(self) -> None:
        """Check the generator and keep it as numbers, so that equal processes compare equal."""
        g = _square(self.generator, "generator")
        off = g - torch.diag(g.diag())
        if (off < 0).any() or (g.sum(1).abs() > 1e-8 * (1 + g.abs().max())).any():
            row = int((g.sum(1).abs() + off.clamp_max(0).abs().sum(1)).argmax())
            raise ValueError(
                f"generator row {row} is no row of rates: off-diagonal entries must be non-negative, the sum zero"
            )
        object.__setattr__(self, "generator", _rows(g))
        object.__setattr__(self, "vocab_size", len(g))
        super().__post_init__()

    @cached_property
    def matrix(self) -> Tensor:
        """The generator, (V, V) float64; jumps from and into the pinned id are left out."""
        return _isolated(torch.tensor(self.generator, dtype=torch.float64), self.pinned, 0.0)

    @cached_property
    def limit(self) -> Tensor:
        """Law at t = 1 of a uniformly drawn clean token, (V,) float64; the stationary law where noise is complete."""
        law = self._lost(1.0)
        return law / law.sum() @ self.transition(1.0, 0.0)

    def _time(self, t: float) -> float:
        return -math.log(max(float(self.alpha(t)), 1e-22))

    def transition(self, t: float, u: float) -> Tensor:
        """See `DiscreteProcess.transition`."""
        return torch.linalg.matrix_exp((self._time(t) - self._time(u)) * self.matrix)

    def rates(self, t: float) -> Tensor:
        """Forward rates (V, V) at t, zero on the diagonal."""
        return self.hazard(t) * (self.matrix - torch.diag(self.matrix.diag()))

    def sample_limit(self, draw: Draw, shape: tuple[int, ...]) -> Tensor:
        """Tokens of shape (B, L) from the limit law."""
        u = draw.uniform(*shape)
        return pick(self.limit.to(u.device).log().expand(*shape, -1), u)

    def noise(self, x0: Tensor, t: Number, u: Tensor) -> Tensor:
        """Noisy tokens for clean x0 (B, L), t number or (B,), u (B, L) uniform."""
        z = pick(_looked_up(self._whole, x0, t).log(), u)
        return z if self.pinned is None else torch.where(x0 == self.pinned, x0, z)

    def _whole(self, t: float) -> Tensor:
        """q(z_t | x_0), (V, V)."""
        return self.transition(t, 0.0)

    def likelihood(self, z: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.likelihood`."""
        return _looked_up(lambda v: self._whole(v).T, z, t)

    def rates_into(self, z: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.rates_into`."""
        return _looked_up(lambda v: self.rates(v).T, z, t)

    def rates_from(self, z: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.rates_from`."""
        return _looked_up(self.rates, z, t)

    def spread(self, weights: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.spread`."""
        return _times(weights, self._whole, t)

    def unspread(self, ratios: Tensor, t: Number) -> Tensor:
        """See `DiscreteProcess.unspread`."""
        return _times(ratios, self._inverse, t)

    def _inverse(self, t: float) -> Tensor:
        """Inverse of q(z_t | x_0), (V, V); time stops after 14 jumps of the quickest token, which has forgotten."""
        most = 14 / float(self.matrix.diag().abs().max().clamp_min(1e-9))
        return torch.linalg.matrix_exp(-min(self._time(t), most) * self.matrix)

    def reverse_table(self, prediction: CategoricalPrediction, t: Number, u: Number) -> Tensor:
        """See `DiscreteProcess.reverse_table`: sum_x p(x | z_t) q(z_t | z_u) q(z_u | x) / q(z_t | x)."""
        forward = _looked_up(lambda v, w: self.transition(v, w).T, prediction.z, t, u)
        law = forward * self.spread(self.weights(prediction, t), u)
        return law / law.sum(-1, keepdim=True)


@dataclasses.dataclass(frozen=True)
class Stepped(Structured):
    """A discrete-time chain given by its one-step matrices Q_1 .. Q_T, as in D3PM; only times i / T exist.

    Args:
        matrices: T matrices (V, V) with rows that sum to one; Q_i is the step from (i - 1) / T to i / T.

    Raises:
        ValueError: a matrix that is not stochastic (which one and which row is said).

    Source: Austin et al. 2021, arXiv:2107.03006, eq. 2-3.
    """

    matrices: Sequence[Sequence[Sequence[float]]] = ()
    provides = frozenset({Fact.TOKENS, Fact.SEQUENCE})

    def __post_init__(self) -> None:
        """Check the matrices and keep them as numbers, so that equal processes compare equal."""
        steps = [_square(matrix, f"matrix {i}") for i, matrix in enumerate(self.matrices, 1)]
        if not steps or len({len(step) for step in steps}) != 1:
            raise ValueError(f"{len(steps)} matrices; one or more of one size are needed")
        for i, step in enumerate(steps, 1):
            wrong = (step < 0).any(1) | ((step.sum(1) - 1).abs() > 1e-6)
            if wrong.any():
                row = int(wrong.nonzero()[0])
                raise ValueError(
                    f"transition matrix {i} is not stochastic: row {row} sums to {float(step[row].sum()):.6g}, "
                    f"its least entry is {float(step[row].min()):.3g}; rows must be non-negative and sum to 1"
                )
        object.__setattr__(self, "matrices", tuple(map(_rows, steps)))
        object.__setattr__(self, "generator", ())
        object.__setattr__(self, "vocab_size", len(steps[0]))

    def grid(self, steps: int) -> list[float]:
        """About `steps` of the chain's own times, from 1 to 0."""
        total = len(self.matrices)
        steps = min(steps, total)
        return [1 - round(i * total / steps) / total for i in range(steps)] + [0.0]

    @cached_property
    def _products(self) -> list[Tensor]:
        """Q_1 ... Q_i for i = 0 .. T."""
        products = [torch.eye(self.vocab_size, dtype=torch.float64)]
        for matrix in self.matrices:
            products.append(products[-1] @ self._step(matrix))
        return products

    def _step(self, matrix: Sequence[Sequence[float]]) -> Tensor:
        """A one-step matrix in which the pinned id stays, and what would have become it."""
        return _isolated(torch.tensor(matrix, dtype=torch.float64), self.pinned, 1.0)

    def _inverse(self, t: float) -> Tensor:
        """See `Structured._inverse`; the pseudo-inverse."""
        return torch.linalg.pinv(self._whole(t), rtol=1e-6)

    def _index(self, t: float) -> int:
        index = round(float(t) * len(self.matrices))
        if abs(index / len(self.matrices) - float(t)) > 1e-6:
            raise ValueError(f"t = {float(t):.6g} is no step of this chain: its times are i / {len(self.matrices)}")
        return index

    def transition(self, t: float, u: float) -> Tensor:
        """See `DiscreteProcess.transition`."""
        if u == 0:
            return self._products[self._index(t)]
        product = torch.eye(self.vocab_size, dtype=torch.float64)
        for matrix in self.matrices[self._index(u) : self._index(t)]:
            product = product @ self._step(matrix)
        return product

    def rates(self, t: float) -> Tensor:
        """A chain in discrete time has no rates."""
        raise ValueError("a chain given by one-step matrices has no rates: use sampler=ancestral, or a generator")


def blocks(groups: Sequence[int], within: float = 1.0, between: float = 0.25) -> list[list[float]]:
    """Generator of tokens that change within their group at one rate and to other groups at another.

    Args:
        groups: group of each token, (V,). For DNA in the order ACGT, (0, 1, 0, 1) are purines and pyrimidines, and the
            generator is Kimura's two-parameter model of transitions and transversions.
        within, between: rates to each token of the same and of another group, relative to each other.

    Source of the two-parameter model: Kimura 1980, doi:10.1007/BF01731581.
    """
    g = torch.as_tensor(groups)
    return normalized(torch.where(g[:, None] == g, within, between))


def ordinal(size: int, width: float = 0.1) -> list[list[float]]:
    """Generator of tokens on a scale: rates exp(-4 d^2 / ((V - 1)^2 width)) for a jump over d positions.

    The limit law is uniform. Source: the discretized Gaussian of Austin et al. 2021, arXiv:2107.03006, appendix A.2.3,
    in continuous time.
    """
    d = torch.arange(size, dtype=torch.float64)
    return normalized((-4 * (d[:, None] - d).square() / ((size - 1) ** 2 * width)).exp())


def normalized(rates: Tensor) -> list[list[float]]:
    """A generator from non-negative rates (V, V): zero row sums, a mean exit rate of one."""
    rates = rates.double() - torch.diag(rates.double().diag())
    rates = rates / rates.sum(1).mean()
    return (rates - torch.diag(rates.sum(1))).tolist()


def discretized_gaussian(size: int, betas: Sequence[float]) -> list[list[list[float]]]:
    """One-step matrices of D3PM's discretized Gaussian: Q[i, j] prop. to exp(-4 |i-j|^2 / ((V-1)^2 beta)) off diagonal.

    The normalizer runs over all offsets and the diagonal takes what is left, so the matrices are doubly stochastic.

    Source: Austin et al. 2021, arXiv:2107.03006, eq. 8.
    """
    offsets = torch.arange(-(size - 1), size, dtype=torch.float64)
    d = torch.arange(size, dtype=torch.float64)
    matrices = []
    for beta in betas:
        scale = 4 / ((size - 1) ** 2 * beta)
        matrix = (-scale * (d[:, None] - d).square()).exp() / (-scale * offsets.square()).exp().sum()
        matrix.fill_diagonal_(0.0)
        matrices.append((matrix + torch.diag(1 - matrix.sum(1))).tolist())
    return matrices


def _square(matrix: object, name: str) -> Tensor:
    values = torch.as_tensor(matrix, dtype=torch.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not values.isfinite().all():
        raise ValueError(f"{name} has shape {tuple(values.shape)}; finite numbers of shape (V, V) are needed")
    if len(values) > LARGEST:
        raise ValueError(f"{name} is for {len(values)} tokens; dense matrices are kept up to {LARGEST}")
    return values


def _isolated(matrix: Tensor, pinned: int | None, stay: float) -> Tensor:
    """The matrix without jumps from and into the pinned id, whose diagonal entry becomes `stay`."""
    if pinned is not None:
        matrix = matrix + torch.diag(matrix[:, pinned])
        matrix[:, pinned] = matrix[pinned] = 0.0
        matrix[pinned, pinned] = stay
    return matrix


def _rows(matrix: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, matrix.tolist()))


def _looked_up(table: Callable[..., Tensor], z: Tensor, *times: Number) -> Tensor:
    """Rows table(t)[z] (B, L, V) of the table (V, V) at the time of each sequence."""
    if all(not isinstance(t, Tensor) or t.ndim == 0 for t in times):
        return table(*map(float, times)).to(z.device)[z]
    each = list(zip(*(_each(t, z) for t in times), strict=True))
    tables = {at: table(*at).to(z.device) for at in set(each)}
    return torch.stack([tables[at][row] for at, row in zip(each, z, strict=True)])


def _times(rows: Tensor, table: Callable[[float], Tensor], t: Number) -> Tensor:
    """Products (B, L, V) of rows (B, L, V) with the table (V, V) at the time of each sequence."""
    each = _each(t, rows)
    tables = {at: table(at).to(rows) for at in set(each)}
    if len(tables) == 1:
        return rows @ tables[each[0]]
    return torch.stack([row @ tables[at] for at, row in zip(each, rows, strict=True)])


def _each(t: Number, like: Tensor) -> list[float]:
    """One time a row."""
    return t.tolist() if isinstance(t, Tensor) and t.ndim else [float(t)] * len(like)
