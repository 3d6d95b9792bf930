"""Whether a graph is one of a family, and which graphs are the same."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Sequence

import networkx as nx
import numpy as np
from scipy.stats import chi2

from .generators import FAMILIES, family

ROUNDS = 4
"""Of color refinement: graphs of other colors are not the same."""


def is_planar(graph: nx.Graph) -> bool:
    """Connected, and drawn without crossings."""
    return nx.is_connected(graph) and nx.check_planarity(graph)[0]


def is_lobster(graph: nx.Graph) -> bool:
    """A tree that is a path once its leaves are gone twice."""
    if not nx.is_tree(graph):
        return False
    for _ in range(2):
        graph = graph.subgraph([v for v, degree in graph.degree if degree > 1])
    return max((degree for _, degree in graph.degree), default=0) <= 2


def is_grid(graph: nx.Graph) -> bool:
    """A two-dimensional grid with sides of at least 2."""
    n, m = graph.number_of_nodes(), graph.number_of_edges()
    total = 2 * n - m  # a + b of an a x b grid
    root = total * total - 4 * n
    if root < 0 or not nx.is_connected(graph):
        return False
    side = (total + round(root**0.5)) // 2
    other = total - side
    return (
        side * other == n
        and other >= 2
        and nx.faster_could_be_isomorphic(graph, nx.grid_2d_graph(side, other))
        and (nx.is_isomorphic(graph, nx.grid_2d_graph(side, other)))
    )


def is_sbm(graph: nx.Graph, nodes: int = 200) -> bool:
    """2 to 5 blocks of 20 to 40 nodes, with shares of edges that .3 inside and .005 between explain.

    Blocks are those of least description length. A share p~ has the value 1 - F((p~ - p)^2 / (p~ (1 - p~))), F of the
    chi-squared law of one degree; their mean must be above .9, as in Martinkus et al. 2022. There, blocks come of
    another search; figures of the two are close and not the same.

    Args:
        graph: to judge.
        nodes: the "200" of `generators.sbm`.
    """
    scale = nodes / 200
    member = blocks_of(nx.to_numpy_array(graph, weight=None), scale)
    sizes = np.bincount(member)
    if (
        not 2 <= len(sizes) <= 5
        or (sizes < max(3, round(20 * scale))).any()
        or (sizes > max(4, round(40 * scale))).any()
    ):
        return False
    counts, places = _tables(nx.to_numpy_array(graph, weight=None), member)
    share = counts / places.clip(1)
    wanted = np.where(np.eye(len(sizes)) > 0, min(0.9, 0.3 / scale), min(0.1, 0.005 / scale))
    wald = (share - wanted) ** 2 / (share * (1 - share) + 1e-6)
    return float((1 - chi2.cdf(wald, 1)).mean()) > 0.9


def blocks_of(a: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Block (n,) of every node of an adjacency: the fewest bits among 1 to 6 blocks, found by spectra and moves."""
    n = len(a)
    d = a.sum(1)
    normal = a / np.sqrt(np.outer(d + d.mean() + 1e-9, d + d.mean() + 1e-9))
    vectors = np.linalg.eigh(normal)[1][:, ::-1]
    found: list[tuple[float, np.ndarray]] = []
    for k in range(1, min(7, n + 1)):
        embedded = vectors[:, :k] / np.linalg.norm(vectors[:, :k], axis=1, keepdims=True).clip(1e-9)
        member = _moved(a, _nearest(embedded, k), k)
        found.append((_bits(a, member), member))
    best = min(found, key=lambda each: each[0])[1]
    return np.unique(best, return_inverse=True)[1]


def _nearest(points: np.ndarray, k: int, tries: int = 5) -> np.ndarray:
    """Clusters (n,) of points (n, d) by k-means, the best of some starts."""
    best, least = np.zeros(len(points), int), np.inf
    for seed in range(tries):
        rng = np.random.default_rng(seed)
        centers = points[rng.integers(len(points), size=1)]
        while len(centers) < k:  # far ones are likely
            gap = ((points[:, None] - centers) ** 2).sum(-1).min(1)
            total = gap.sum()
            weights = gap / total if total > 0 else None
            centers = np.concatenate([centers, points[rng.choice(len(points), size=1, p=weights)]])
        for _ in range(30):
            member = ((points[:, None] - centers) ** 2).sum(-1).argmin(1)
            there = [(member == c).any() for c in range(k)]
            centers = np.stack([points[member == c].mean(0) if there[c] else centers[c] for c in range(k)])
        cost = ((points - centers[member]) ** 2).sum()
        if cost < least:
            best, least = member, cost
    return best


def _moved(a: np.ndarray, member: np.ndarray, k: int, rounds: int = 10) -> np.ndarray:
    """Blocks after every node has gone where its own edges are most probable, until none moves."""
    for _ in range(rounds):
        counts, places = _tables(a, member, k)
        share = (counts / places.clip(1)).clip(1e-4, 1 - 1e-4)
        one_hot = np.eye(k)[member]
        edges, sizes = a @ one_hot, one_hot.sum(0)
        others = sizes[None] - one_hot  # nodes of every block but oneself
        score = edges @ np.log(share).T + (others - edges) @ np.log(1 - share).T
        new = score.argmax(1)
        if (new == member).all():
            break
        member = new
    return member


def _tables(a: np.ndarray, member: np.ndarray, k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Edges and pairs of nodes between blocks, (k, k) each."""
    one_hot = np.eye(k or int(member.max()) + 1)[member]
    counts, sizes = one_hot.T @ a @ one_hot, one_hot.sum(0)
    places = np.outer(sizes, sizes) - np.diag(sizes)
    half = np.where(np.eye(len(sizes)) > 0, 0.5, 1.0)
    return counts * half, places * half


def _bits(a: np.ndarray, member: np.ndarray) -> float:
    """Description length of edges, shares and blocks, nats."""
    member = np.unique(member, return_inverse=True)[1]
    k, n = int(member.max()) + 1, len(a)
    counts, places = _tables(a, member)
    share = (counts / places.clip(1)).clip(1e-9, 1 - 1e-9)
    likelihood = np.triu(counts * np.log(share) + (places - counts) * np.log(1 - share)).sum()
    return float(-likelihood + k * (k + 1) / 4 * np.log(n * (n - 1) / 2) + n * np.log(k))


VALID: dict[str, Callable[[nx.Graph], bool]] = {
    "planar": is_planar,
    "tree": nx.is_tree,
    "lobster": is_lobster,
    "grid": is_grid,
    "community": nx.is_connected,
    "sbm": is_sbm,
}
"""Whether a graph is one of a family of `generators.FAMILIES`."""
assert VALID.keys() == FAMILIES.keys()


def validity(name: str) -> Callable[[nx.Graph], bool]:
    """Whether a graph may be of a set such as "planar-20"; the number of nodes counts for block models only."""
    head, nodes = family(name)
    return functools.partial(is_sbm, nodes=nodes) if head == "sbm" else VALID[head]


def fingerprint(graph: nx.Graph) -> Hashable:
    """What graphs that are the same share, by color refinement from the types; it holds within a process."""
    colors = {node: hash((kind, graph.degree[node])) for node, kind in graph.nodes(data="type")}
    for _ in range(ROUNDS):
        colors = {
            node: hash(
                (color, tuple(sorted((str(edge.get("type")), colors[other]) for other, edge in graph[node].items())))
            )
            for node, color in colors.items()
        }
    return graph.number_of_nodes(), graph.number_of_edges(), tuple(sorted(colors.values()))


def same(one: nx.Graph, other: nx.Graph) -> bool:
    """Whether two graphs are isomorphic, types included."""
    return nx.is_isomorphic(one, other, _alike, _alike)


class Known:
    """Graphs that were seen, up to isomorphism.

    Args:
        graphs: seen before.
    """

    def __init__(self, graphs: Iterable[nx.Graph] = ()) -> None:
        self._seen: dict[Hashable, list[nx.Graph]] = {}
        for graph in graphs:
            self._seen.setdefault(fingerprint(graph), []).append(graph)

    def __contains__(self, graph: object) -> bool:
        assert isinstance(graph, nx.Graph)
        return any(same(graph, other) for other in self._seen.get(fingerprint(graph), ()))

    def add(self, graph: nx.Graph) -> bool:
        """Remember a graph; whether it is new."""
        group = self._seen.setdefault(fingerprint(graph), [])
        new = not any(same(graph, other) for other in group)
        if new:
            group.append(graph)
        return new


def fresh(graphs: Sequence[nx.Graph | None]) -> np.ndarray:
    """Whether each graph is there and none before it was the same, (n,) bool."""
    known = Known()
    return np.array([graph is not None and known.add(graph) for graph in graphs], bool)


def _alike(one: dict, other: dict) -> bool:
    return one.get("type") == other.get("type")
