"""Edges of torch_geometric's layers changed for some graphs of a batch; the library itself is not imported."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn

from guidekit.interventions.numbers import keyed_uniform, stream_of
from guidekit.interventions.operators.operator import Operator
from guidekit.interventions.sites import Site, SiteError


def changed_edges(
    module: nn.Module,
    args: tuple,
    kwargs: dict,
    operator: Operator,
    rows: Tensor,
    seed: Tensor,
    nodes: Tensor,
    site: Site,
) -> tuple[tuple, dict]:
    """The arguments of a layer's call with the edges that lead to nodes of the given rows changed.

    Args:
        module: a layer (x (N, C), edge_index (2, E), ...).
        args, kwargs: of its call.
        operator: one that acts on message passing.
        rows: nodes that are perturbed, (n,) int64.
        seed: of their graphs, (n,) int64.
        nodes: the graph of every node, (N,).
        site: for messages and random numbers.

    Raises:
        SiteError: the layer takes no edge_index, or a sparse matrix.
    """
    bound = inspect.signature(module.forward).bind(*args, **kwargs)
    edges = bound.arguments.get("edge_index")
    if not isinstance(edges, Tensor) or edges.layout != torch.strided:
        raise SiteError(f"site {site.name}: edges are needed as edge_index (2, E)")
    source, target = (edges[1], edges[0]) if getattr(module, "flow", "") == "target_to_source" else (edges[0], edges[1])
    whose = torch.zeros(len(nodes), dtype=torch.bool, device=edges.device).index_fill(0, rows, True)
    seeds = torch.zeros(len(nodes), dtype=torch.int64, device=edges.device).index_copy(0, rows, seed)
    order = torch.arange(len(nodes), device=edges.device)
    first = torch.full_like(nodes, len(nodes)).scatter_reduce(0, nodes, order, "amin")[nodes]  # of a node's graph

    def draw(names: Tensor) -> Tensor:
        return keyed_uniform(seeds[target], stream_of(site.name), names[:, None])[:, 0]

    kept = operator.kept(source - first[source], target - first[target], draw) | ~whose[target]
    loops = rows if operator.loops else rows[:0]
    bound.arguments["edge_index"] = torch.cat([edges[:, kept], loops.expand(2, -1)], 1)
    for name in ("edge_attr", "edge_weight", "edge_type"):
        value = bound.arguments.get(name)
        if isinstance(value, Tensor):
            empty = value.new_zeros(len(loops), *value.shape[1:])
            bound.arguments[name] = torch.cat([value[kept], empty])
    return bound.args, bound.kwargs
