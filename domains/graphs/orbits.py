"""How often a node stands in each place of each connected graph of up to four nodes.

Subgraphs are counted by products of the adjacency matrix, whatever else connects their nodes; those that are induced
follow by subtracting what a denser subgraph contributes, from the clique down.

Source of the numbering: Przulj 2007, doi:10.1093/bioinformatics/btl301.
"""

from __future__ import annotations

import networkx as nx
import numpy as np

ORBITS = 15
"""0 edge; 1, 2 path of three (end, middle); 3 triangle; 4, 5 path of four; 6, 7 star (leaf, center); 8 square; 9, 10,
11 triangle with a tail (tail, far corner, near corner); 12, 13 square with a diagonal (off, on); 14 clique of four."""


def orbits(graph: nx.Graph) -> np.ndarray:
    """Counts (n, 15) of the nodes of a graph without loops, in its order of nodes."""
    a = nx.to_numpy_array(graph, weight=None)
    n = len(a)
    d, squared = a.sum(1), a @ a
    shared = squared * a  # triangles on an edge
    t = shared.sum(1) / 2
    cliques = np.zeros(n)
    for i in np.flatnonzero(t >= 3):
        around = np.flatnonzero(a[i])
        if len(around) >= 3:
            inner = a[np.ix_(around, around)]
            cliques[i] = ((inner @ inner) * inner).sum() / 6
    off = squared * (squared - 1) / 2  # pairs of common neighbours
    np.fill_diagonal(off, 0)
    # Subgraphs, induced or not, by the place of the node.
    on_diagonal = (a * off).sum(1)
    off_diagonal = ((a @ (a * (squared - 1).clip(0))) * a).sum(1) / 2
    square = off.sum(1)
    tail, far, near = a @ t - shared.sum(1), shared @ (d - 2), t * (d - 2)
    leaf = a @ ((d - 1) * (d - 2) / 2)
    center = d * (d - 1) * (d - 2) / 6
    end = a @ (a @ (d - 1)) - d * (d - 1) - 2 * t
    middle = (d - 1) * (a @ (d - 1)) - 2 * t
    # Those that are induced.
    found = np.zeros((n, ORBITS))
    found[:, 0], found[:, 3], found[:, 14] = d, t, cliques
    found[:, 1] = a @ (d - 1) - 2 * t
    found[:, 2] = d * (d - 1) / 2 - t
    found[:, 13] = on_diagonal - 3 * cliques
    found[:, 12] = off_diagonal - 3 * cliques
    found[:, 11] = near - 2 * found[:, 13] - 3 * cliques
    found[:, 10] = far - 2 * found[:, 13] - 2 * found[:, 12] - 6 * cliques
    found[:, 9] = tail - 2 * found[:, 12] - 3 * cliques
    found[:, 8] = square - found[:, 12] - found[:, 13] - 3 * cliques
    found[:, 7] = center - found[:, 11] - found[:, 13] - cliques
    found[:, 6] = leaf - found[:, 9] - found[:, 10] - found[:, 13] - 2 * found[:, 12] - 3 * cliques
    found[:, 5] = (
        middle - 2 * found[:, 8] - 2 * found[:, 11] - found[:, 10] - 4 * found[:, 13] - 2 * found[:, 12] - 6 * cliques
    )
    found[:, 4] = (
        end - 2 * found[:, 8] - 2 * found[:, 9] - found[:, 10] - 2 * found[:, 13] - 4 * found[:, 12] - 6 * cliques
    )
    return found
