"""How well a classifier tells generated graphs from real ones: 0 not at all, 1 always.

Half of the graphs teach a logistic regression of a descriptor's first principal components and their squares; on the
other half, 1 + (mean log2 of p(real) over real ones + mean log2 of p(generated) over generated ones) / 2 is a lower
bound of the Jensen-Shannon divergence of the two laws, and its root is the distance. The descriptor is chosen on the
first half, by cross-validation.

Source: Krimmel et al. 2025 (PolyGraph discrepancy), arXiv:2510.06122, which uses another classifier and more
descriptors: compare figures of this one with each other only.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

COMPONENTS, FOLDS, LEAST = 10, 4, 20
"""Principal components, parts of the first half for the choice, and the fewest graphs of a side that it judges."""


def discrepancy(generated: Mapping[str, np.ndarray], real: Mapping[str, np.ndarray], seed: int = 0) -> float:
    """The distance of two sets of graphs by their descriptors, (n, D) and (m, D'); NaN for fewer than 20 of either."""
    sizes = {len(next(iter(side.values()))) for side in (generated, real)}
    if min(sizes) < LEAST:
        return float("nan")
    bounds = {}
    for name in generated:
        x, y = _joined(generated[name], real[name])
        first, second = _halves(y, seed)
        inner = [(first[k::FOLDS], np.setdiff1d(first, first[k::FOLDS])) for k in range(FOLDS)]
        chosen = np.mean([_bound(x, y, fit, held) for held, fit in inner])
        bounds[name] = (chosen, _bound(x, y, first, second))
    best = max(bounds.values(), key=lambda each: each[0])
    return float(np.sqrt(np.clip(best[1], 0, 1)))


def _joined(generated: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both (n, D), and 1 for real ones (n,)."""
    size = max(generated.shape[1], real.shape[1])
    rows = [np.pad(each, ((0, 0), (0, size - each.shape[1]))) for each in (generated, real)]
    return np.concatenate(rows), np.repeat([0.0, 1.0], [len(generated), len(real)])


def _halves(y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two halves of both sides."""
    rng = np.random.default_rng(seed)
    parts = [rng.permutation(np.flatnonzero(y == side)) for side in (0, 1)]
    first, second = (np.concatenate([part[start::2] for part in parts]) for start in (0, 1))
    return rng.permutation(first), second


def _bound(x: np.ndarray, y: np.ndarray, fit: np.ndarray, held: np.ndarray) -> float:
    """Lower bound of the divergence, bits, on rows `held` of a classifier of rows `fit`."""
    features = _features(x[fit])
    weights = _logistic(features(x[fit]), y[fit])
    scores = features(x[held]) @ weights[1:] + weights[0]
    right = -np.logaddexp(0, np.where(y[held] == 1, -scores, scores)) / np.log(2)
    return 1 + 0.5 * sum(right[y[held] == side].mean() for side in (0, 1))


def _features(x: np.ndarray):
    """Function of rows (n, D): principal components of x of unit variance, and their squares, cut at ten deviations."""
    mean = x.mean(0)
    _, values, vectors = np.linalg.svd(x - mean, full_matrices=False)
    kept = values > 1e-6 * max(values[0], 1e-12)
    basis = (vectors[kept] / values[kept, None])[:COMPONENTS] * np.sqrt(len(x))

    def features(rows: np.ndarray) -> np.ndarray:
        z = ((rows - mean) @ basis.T).clip(-10, 10)
        return np.concatenate([z, z * z - 1], 1)

    return features


def _logistic(x: np.ndarray, y: np.ndarray, ridge: float = 1.0, rounds: int = 30) -> np.ndarray:
    """Weights (1 + D,) of p(y = 1), the constant first, both sides of one weight; by Newton's method."""
    ones = np.concatenate([np.ones((len(x), 1)), x], 1)
    balance = np.where(y == 1, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
    weights, penalty = np.zeros(ones.shape[1]), ridge * np.eye(ones.shape[1])
    penalty[0, 0] = 1e-6
    for _ in range(rounds):
        p = 0.5 * (1 + np.tanh(0.5 * (ones @ weights)))
        gradient = ones.T @ (balance * (y - p)) - penalty @ weights
        step = np.linalg.solve(ones.T @ (ones * (balance * p * (1 - p))[:, None]) + penalty, gradient)
        weights = weights + step * min(1.0, 5.0 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-6:
            break
    return weights
