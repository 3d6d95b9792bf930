"""What the field compares of graphs: one row of numbers a graph, and the distances of sets of them.

Bins and kernels follow Martinkus et al. 2022 (SPECTRE), arXiv:2204.01613, as Vignac et al. 2022 (DiGress),
arXiv:2209.14734, and later work do; "emd" is the kernel of You et al. 2018 (GraphRNN), arXiv:1802.08773.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from scipy.spatial.distance import cdist

from .orbits import orbits

BINS = {"clustering": 100, "spectral": 200}


@dataclass(frozen=True)
class Descriptor:
    """A statistic of graphs and the width of its kernel.

    Args:
        rows: graphs to one row of numbers each, (n, D); D may depend on the graphs.
        width: sigma of exp(-distance^2 / (2 sigma^2)).
        bins: bins to one unit of the earth mover's distance; 0 where rows are no histograms.
    """

    rows: Callable[[Sequence[nx.Graph]], np.ndarray]
    width: float
    bins: float = 1.0


def degrees(graphs: Sequence[nx.Graph]) -> np.ndarray:
    """Shares of nodes by degree."""
    return _padded([np.array(nx.degree_histogram(graph), float) for graph in graphs], share=True)


def clustering(graphs: Sequence[nx.Graph]) -> np.ndarray:
    """Shares of nodes by clustering coefficient, in 100 bins of [0, 1]."""
    found = [np.histogram(list(nx.clustering(graph).values()), BINS["clustering"], (0, 1))[0] for graph in graphs]
    return _padded(found, share=True)


def spectra(graphs: Sequence[nx.Graph]) -> np.ndarray:
    """Shares of eigenvalues of the normalized Laplacian, in 200 bins of [0, 2]."""
    found = [np.histogram(eigenvalues(graph), BINS["spectral"], (-1e-5, 2))[0] for graph in graphs]
    return _padded(found, share=True)


def mean_orbits(graphs: Sequence[nx.Graph]) -> np.ndarray:
    """Mean over nodes of the counts of the 15 orbits of graphs of up to four nodes."""
    return np.stack([orbits(graph).mean(0) for graph in graphs])


def eigenvalues(graph: nx.Graph) -> np.ndarray:
    """Of the normalized Laplacian, (n,), rising; a node without edges gives 0."""
    a = nx.to_numpy_array(graph, weight=None)
    d = a.sum(1)
    scale = np.where(d > 0, 1 / np.sqrt(d.clip(1)), 0)
    return np.linalg.eigvalsh(np.diag((d > 0).astype(float)) - scale[:, None] * a * scale)


DESCRIPTORS: dict[str, Descriptor] = {
    "degree": Descriptor(degrees, 1.0),
    "clustering": Descriptor(clustering, 0.1, bins=100),
    "orbit": Descriptor(mean_orbits, 30.0, bins=0),
    "spectral": Descriptor(spectra, 1.0, bins=100),
}
"""By name."""


def rows_of(graphs: Sequence[nx.Graph]) -> dict[str, np.ndarray]:
    """All descriptors of graphs, (n, D) each."""
    return {name: one.rows(graphs) for name, one in DESCRIPTORS.items()}


def mmd(name: str, first: np.ndarray, second: np.ndarray, kernel: str = "tv") -> float:
    """Squared maximum mean discrepancy of two sets of rows of a descriptor; biased, as the field reports it.

    Args:
        name: of the descriptor.
        first, second: (n, D) and (m, D'); what one lacks is zero.
        kernel: "tv", by half the absolute differences, or "emd", by those of cumulative sums.

    Raises:
        ValueError: no such kernel.
    """
    if kernel not in ("tv", "emd"):
        raise ValueError(f"kernel={kernel!r}; tv or emd is expected")
    one = DESCRIPTORS[name]
    size = max(first.shape[1], second.shape[1])
    a, b = (np.pad(each, ((0, 0), (0, size - each.shape[1]))) for each in (first, second))
    scale = 2.0
    if kernel == "emd" and one.bins:
        a, b, scale = a.cumsum(1), b.cumsum(1), one.bins

    def mean(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.exp(-((cdist(x, y, "cityblock") / scale) ** 2) / (2 * one.width**2)).mean())

    return mean(a, a) + mean(b, b) - 2 * mean(a, b)


def distances(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], kernel: str = "tv"
) -> dict[str, float]:
    """`mmd` by descriptor."""
    return {name: mmd(name, first[name], second[name], kernel) for name in DESCRIPTORS}


def _padded(rows: Sequence[np.ndarray], share: bool = False) -> np.ndarray:
    """Rows of one length (n, D), of sum 1 where shares are asked for."""
    size = max((len(row) for row in rows), default=1)
    found = np.stack([np.pad(np.asarray(row, float), (0, size - len(row))) for row in rows])
    return found / found.sum(1, keepdims=True).clip(1) if share else found
