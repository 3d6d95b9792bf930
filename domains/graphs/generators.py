"""The graph families of the field, drawn by number: the same seed gives the same graphs, however many are asked for."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from scipy.spatial import Delaunay

from guidekit.errors import UnknownNameError

SEED = 1234
"""Of the standard sets."""


@dataclass(frozen=True)
class Family:
    """A law of graphs.

    Args:
        draw: (generator, nodes, number) to a graph; the number counts the graphs of a set.
        nodes: of the standard graphs, the most where their number varies.
        count: graphs of the standard set.
        told: what they are, in a few words.
    """

    draw: Callable[[np.random.Generator, int, int], nx.Graph]
    nodes: int
    count: int
    told: str


def planar(rng: np.random.Generator, nodes: int, number: int = 0) -> nx.Graph:
    """Delaunay triangulation of uniform points in the unit square."""
    triangles = Delaunay(rng.random((nodes, 2))).simplices
    return _graph(nodes, np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]]))


def tree(rng: np.random.Generator, nodes: int, number: int = 0) -> nx.Graph:
    """Uniform over labelled trees, by a Pruefer sequence."""
    return nx.from_prufer_sequence(rng.integers(0, nodes, nodes - 2).tolist())


def blocks(rng: np.random.Generator, sizes: Sequence[int], inside: float, between: float) -> nx.Graph:
    """Independent edges, of one probability inside blocks of the given sizes and another between them."""
    member = np.repeat(np.arange(len(sizes)), sizes)
    i, j = np.triu_indices(len(member), 1)
    edges = rng.random(len(i)) < np.where(member[i] == member[j], inside, between)
    return _graph(len(member), np.stack([i, j], 1)[edges])


def sbm(rng: np.random.Generator, nodes: int, number: int = 0) -> nx.Graph:
    """2 to 5 blocks of 20 to 40 nodes, .3 inside and .005 between, connected; smaller in proportion to `nodes`.

    The mean degree is that of the standard set: with blocks of b times the size, edges are 1 / b as probable.
    """
    scale = nodes / 200
    low, high = max(3, round(20 * scale)), max(4, round(40 * scale))
    while True:
        sizes = rng.integers(low, high + 1, rng.integers(2, 6))
        graph = blocks(rng, sizes.tolist(), min(0.9, 0.3 / scale), min(0.1, 0.005 / scale))
        if nx.is_connected(graph):
            return graph


def community(rng: np.random.Generator, nodes: int, number: int = 0) -> nx.Graph:
    """Two halves of .7 inside and .05 between, one edge between them at least; .6 to 1 times `nodes` nodes."""
    size = int(rng.integers(round(0.6 * nodes), nodes + 1))
    half = size // 2
    graph = blocks(rng, (half, size - half), 0.7, 0.05)
    if not any(i < half <= j for i, j in graph.edges):
        graph.add_edge(int(rng.integers(half)), int(rng.integers(half, size)))
    return graph


def grid(rng: np.random.Generator, nodes: int, number: int = 0) -> nx.Graph:
    """Two-dimensional grids with sides from 10 to 19 (400 nodes at most stand for these); smaller ones by `nodes`."""
    most = max(2, round(nodes**0.5))
    sides = [(a, b) for a in range(max(2, most // 2), most) for b in range(max(2, most // 2), most)] or [(2, 2)]
    return nx.convert_node_labels_to_integers(nx.grid_2d_graph(*sides[number % len(sides)]))


def lobster(rng: np.random.Generator, nodes: int, number: int = 0) -> nx.Graph:
    """Trees within two edges of a path: a leg at every place of it with .7, and a second edge to it with .7.

    The path has 1.6 `nodes` times a uniform number of places; graphs below a tenth of `nodes`, or above, are rejected.
    """
    while True:
        spine = int(2 * rng.random() * 0.8 * nodes + 0.5)
        edges = [(i, i + 1) for i in range(spine - 1)]
        size = spine
        for place in range(spine):
            while rng.random() < 0.7:  # as many legs as come
                edges.append((place, size))
                leg, size = size, size + 1
                while rng.random() < 0.7:
                    edges.append((leg, size))
                    size += 1
        if max(2, nodes / 10) <= size <= nodes:
            return _graph(size, np.array(edges))


FAMILIES: dict[str, Family] = {
    "planar": Family(planar, 64, 200, "Delaunay triangulations of uniform points"),
    "sbm": Family(sbm, 200, 200, "stochastic block models of 2 to 5 blocks"),
    "tree": Family(tree, 64, 200, "uniform labelled trees"),
    "community": Family(community, 20, 100, "two communities"),
    "grid": Family(grid, 400, 100, "two-dimensional grids"),
    "lobster": Family(lobster, 100, 100, "lobster trees"),
}
"""By name. `name-64` has another number of nodes; "community-small" is the field's name of "community"."""
ALIASES = {"community-small": "community", "trees": "tree"}
LEAST = {"planar": 4, "sbm": 20, "tree": 3, "community": 6, "grid": 9, "lobster": 10}
"""Fewest nodes of which a family is one."""
RANGES = ("planar", "tree")
"""Families whose graphs have one number of nodes, unless a range is asked for."""


def family(name: str) -> tuple[str, int]:
    """Name and number of nodes, the most where it varies, of a set: "planar", "planar-256", "tree-9-12" and the like.

    Raises:
        UnknownNameError: no such family.
        ValueError: fewer nodes than it can have, or a range of them where it has its own.
    """
    head, _, high = _parts(name)
    return head, high


def generate(name: str, count: int, seed: int = SEED, first: int = 0) -> list[nx.Graph]:
    """`count` graphs of a set, from number `first` on.

    Args:
        name: see `family`; numbers of nodes are uniform in a range.
        count: graphs.
        seed: of all of them.
        first: number of the first one.

    Raises:
        UnknownNameError: no such set.
    """
    head, low, high = _parts(name)
    draw, key = FAMILIES[head].draw, zlib.crc32((f"{head}-{high}" if low == high else f"{head}-{low}-{high}").encode())
    graphs = []
    for number in range(first, first + count):
        rng = np.random.default_rng([seed, key, number])
        graphs.append(draw(rng, high if low == high else int(rng.integers(low, high + 1)), number))
    return graphs


def _parts(name: str) -> tuple[str, int, int]:
    """Family, least and most nodes of a set."""
    found = re.fullmatch(r"(.+?)(?:-(\d+))?(?:-(\d+))?", name)
    head, low, high = found.groups() if found else (name, None, None)
    head = ALIASES.get(head, head)
    if head not in FAMILIES:
        raise UnknownNameError("set of graphs", name, [*FAMILIES, *ALIASES])
    sizes = [int(size) for size in (low, high) if size] or [FAMILIES[head].nodes]
    if min(sizes) < LEAST[head]:
        raise ValueError(f"{name}: {head} graphs have at least {LEAST[head]} nodes")
    if len(sizes) > 1 and (head not in RANGES or sizes[0] >= sizes[1]):
        raise ValueError(f"{name}: a range of nodes, least first, is for {' and '.join(RANGES)} graphs")
    return head, sizes[0], sizes[-1]


def dataset(name: str, split: str = "train", count: int | None = None, seed: int = SEED) -> list[nx.Graph]:
    """Graphs of the standard split: a fifth for the test, a fifth of the others for validation, the rest to train on.

    Args:
        name: of the set.
        split: "train", "validation" or "test".
        count: graphs to train on; the standard ones and as many more as it takes. The others stay as they are.
        seed: of the graphs and their split.

    Raises:
        UnknownNameError: no such set.
        ValueError: no such split.
    """
    size = FAMILIES[family(name)[0]].count
    test, held = size // 5, round((size - size // 5) / 5)
    bounds = {"test": (0, test), "validation": (test, test + held), "train": (test + held, size)}
    if split not in bounds:
        raise ValueError(f"split={split!r}; one of {', '.join(bounds)} is expected")
    order = np.random.default_rng(seed).permutation(size)
    start, end = bounds[split]
    standard = generate(name, size, seed)
    chosen = [standard[i] for i in order[start:end]]
    if split != "train" or count is None:
        return chosen
    return chosen[:count] + generate(name, max(0, count - len(chosen)), seed, first=size)


def _graph(nodes: int, edges: np.ndarray) -> nx.Graph:
    """A graph of nodes 0 .. nodes - 1 and edges (E, 2)."""
    graph = nx.empty_graph(nodes)
    graph.add_edges_from(edges.tolist())
    return graph
