"""A transformer over nodes and pairs of nodes: the same answer whatever the order of the nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from guidekit.interventions.sites import Site, Sited
from guidekit.networks.conditioning import Conditioning
from guidekit.networks.graph_features import POWERS, features
from guidekit.networks.graph_layout import Triangle

MOST_NODES = 1024
"""Of a graph, whose pairs are all looked at."""


class GraphBlock(nn.Module, Sited):
    """Attention between nodes with a bias and a gate from pairs, then pairs updated from their two nodes.

    It has no sites: its attention is gated, its outputs are several, and rows of a batch are its second axis.

    Args:
        width, pair_width, heads: of nodes, of pairs, of attention.
        global_width: of what is known of the whole graph, which scales and shifts what is normalized.
    """

    def __init__(self, width: int, pair_width: int, heads: int, global_width: int) -> None:
        super().__init__()
        self.heads, self.sizes = heads, [width, width, pair_width, pair_width]
        self.node_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.pair_norm = nn.LayerNorm(pair_width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.bias = nn.Linear(pair_width, 2 * heads)
        self.out = nn.Linear(width, width)
        self.feed_norm, self.pair_feed_norm = nn.LayerNorm(width), nn.LayerNorm(pair_width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.to_pairs = nn.Linear(width, 2 * pair_width, bias=False)
        self.from_logits = nn.Linear(heads, pair_width, bias=False)
        self.pair_up, self.pair_down = nn.Linear(pair_width, 2 * pair_width), nn.Linear(2 * pair_width, pair_width)
        self.modulation = nn.Linear(global_width, sum(self.sizes))
        self.to_graph = nn.Linear(width, global_width)
        for layer in (self.out, self.down, self.pair_down):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def sites(self) -> Sequence[Site]:
        """See `Sited.sites`: one without ports, which is none."""
        return [Site("", {})]

    def forward(
        self, h: Tensor, e: Tensor, y: Tensor, there: Tensor, shut: Tensor, triangle: Triangle
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Nodes h (n, B, width), pairs e (P, B, pair_width), graphs y (B, global_width), all after the block.

        Args:
            h, e, y: before it.
            there: (n, B, 1), 1 at nodes that there are.
            shut: (B, 1, 1, n), added to the logits of attention to a node: large and negative at absent ones.
            triangle: layout of the pairs.
        """
        n, rows, width = h.shape
        scale, shift, pair_scale, pair_shift = self.modulation(F.silu(y)).split(self.sizes, -1)
        nodes = torch.addcmul(shift, self.node_norm(h), 1 + scale)
        pairs = torch.addcmul(pair_shift, self.pair_norm(e), 1 + pair_scale)
        q, k, v = self.qkv(nodes).view(n, rows, 3, self.heads, -1).permute(2, 1, 3, 0, 4)
        bias, gate = triangle.dense(self.bias(pairs)).permute(2, 3, 0, 1).split(self.heads, 1)
        logits = q @ k.transpose(-1, -2) / math.sqrt(width // self.heads) + bias
        attention = torch.softmax(logits + shut, -1) * torch.sigmoid(gate + 1)
        h = h + self.out((attention @ v).permute(2, 0, 1, 3).reshape(n, rows, width)) * there
        h = h + self.down(F.gelu(self.up(self.feed_norm(h)))) * there
        added, product = self.to_pairs(h).chunk(2, -1)
        (a, b), (c, d) = triangle.ends(added), triangle.ends(product)
        both = triangle.packed(((logits + logits.transpose(-1, -2)) / 2).permute(2, 3, 0, 1))
        e = e + (torch.addcmul(a + b, c, d) + self.from_logits(both)) / 2
        e = e + self.pair_down(F.gelu(self.pair_up(self.pair_feed_norm(e))))
        return h, e, y + self.to_graph((h * there).sum(0) / there.sum(0))


class GraphTransformer(nn.Module):
    """Tokens of a graph to logits of the clean token at every place, see `Triangle` for the order of the places.

    The first `nodes` places are those of nodes, the others those of pairs. Ids are `pad_id` for what is absent, then
    `node_types` types of nodes, "no edge", and `edge_types` types of edges; id V, the number of these, is a mask. What
    stands at absent places cannot change the logits of others. Logits of ids of the wrong kind are minus infinity.

    Args:
        nodes: most nodes of a graph, n.
        node_types, edge_types: numbers of types.
        width, pair_width, depth, heads, global_width: size of the network.
        valences: of the types of edges, such as 1, 2, 3 for bonds: nodes are told the sum of those of their edges.
        pad_id: 0, the id of what is absent.
        labels, timed: see `Conditioning`.
        stems: numbers of a graph that are told and predicted beside it.

    Source: Vignac et al. 2022, arXiv:2209.14734, section 5 and appendix C (graph transformer, features of structure);
    pairs are packed here, and updated from both nodes by a sum, a product and the logits of attention.
    """

    def __init__(
        self,
        nodes: int,
        node_types: int = 1,
        edge_types: int = 1,
        width: int = 64,
        pair_width: int = 32,
        depth: int = 5,
        heads: int = 8,
        global_width: int = 64,
        valences: Sequence[float] = (),
        pad_id: int = 0,
        labels: Sequence[int] = (),
        timed: bool = True,
        stems: int = 0,
    ) -> None:
        super().__init__()
        if not 1 <= nodes <= MOST_NODES:
            raise ValueError(f"nodes={nodes}; 1 to {MOST_NODES} are accepted")
        self.node_types, self.edge_types, self.pad_id = node_types, edge_types, pad_id
        self.vocab_size, self.width = 2 + node_types + edge_types, width
        self.triangle = Triangle(nodes)
        pairs, singles, graph = features(self.triangle, torch.zeros(1, nodes, nodes), torch.ones(nodes, 1), POWERS)
        self.valences: Tensor
        self.register_buffer("valences", torch.tensor([0.0, *valences]), persistent=False)
        more = 1 if len(valences) else 0
        ids = self.vocab_size + 1
        self.node_in = nn.Sequential(
            nn.Linear(ids + singles.shape[-1] + more, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.pair_in = nn.Sequential(
            nn.Linear(ids + pairs.shape[-1], 2 * pair_width), nn.GELU(), nn.Linear(2 * pair_width, pair_width)
        )
        self.graph_in = nn.Sequential(
            nn.Linear(graph.shape[-1] + 1 + 2 * stems, global_width), nn.SiLU(), nn.Linear(global_width, global_width)
        )
        self.conditioning = Conditioning(global_width, labels, timed)
        self.blocks = nn.ModuleList(GraphBlock(width, pair_width, heads, global_width) for _ in range(depth))
        self.head = nn.ModuleDict(
            {
                "nodes": nn.Sequential(nn.LayerNorm(width), nn.Linear(width, node_types)),
                "pairs": nn.Sequential(
                    nn.LayerNorm(pair_width), nn.Linear(pair_width, pair_width), nn.GELU(),
                    nn.Linear(pair_width, 1 + edge_types),
                ),
            }
        )  # fmt: skip
        if stems:
            self.head["stems"] = nn.Sequential(nn.LayerNorm(global_width), nn.Linear(global_width, stems))

    def hidden(
        self,
        tokens: Tensor,
        labels: Tensor | None = None,
        level: Tensor | None = None,
        stems: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Nodes (n, B, width), pairs (P, B, pair_width) and graphs (B, global_width) behind the last block.

        Args:
            tokens: (B, L) int64, or laws of tokens (B, L, C).
            labels: (B, K) int64, -1 where a label is not given; None gives none.
            level: noise level 1 - a(t), (B,).
            stems: (B, 2 K) numbers of unit size, 0 where they are not told, and whether they are, 1 or 0.
        """
        ids = self.vocab_size + 1
        given = F.one_hot(tokens, ids).float() if tokens.ndim == 2 else F.pad(tokens, (0, ids - tokens.shape[-1]))
        given = given.to(self.head["nodes"][1].weight).transpose(0, 1)  # type: ignore[index]
        nodes, pairs = given.split([self.triangle.nodes, self.triangle.pairs])
        first = self.node_types + 1
        edges = pairs[..., first + 1 : first + 1 + self.edge_types]
        there = 1 - nodes[..., self.pad_id]
        adjacency = self.triangle.dense(edges.sum(-1)).permute(2, 0, 1).contiguous()
        of_pairs, of_nodes, of_graphs = features(self.triangle, adjacency, there)
        seen = [nodes, of_nodes]
        if len(self.valences) > 1:
            bonds = self.triangle.dense(edges @ self.valences[1:])
            seen.append(bonds.sum(1)[..., None] / 4)
        h, e = self.node_in(torch.cat(seen, -1)), self.pair_in(torch.cat([pairs, of_pairs], -1))
        total = torch.zeros_like(of_graphs[:, :1]) if level is None else level[:, None].to(of_graphs)
        told = [] if stems is None else [stems.to(of_graphs)]
        y = self.graph_in(torch.cat([of_graphs, total, *told], -1))
        rest = self.conditioning(len(tokens), labels, level, y)
        y = y + (rest[:, 0] if isinstance(rest, Tensor) else rest)
        shut, there = (-1e9 * (1 - there)).T[:, None, None, :], there[..., None]
        h = h * there
        for block in self.blocks:
            h, e, y = block(h, e, y, there, shut, self.triangle)
        return h, e, y

    def forward(
        self,
        tokens: Tensor,
        select: Tensor | None = None,
        labels: Tensor | None = None,
        level: Tensor | None = None,
        stems: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (B, L, V) of tokens (B, L), or (N, V) of the N places where select (B, L) is True; see `hidden`.

        With stems also what is predicted of them, (B, K).
        """
        h, e, y = self.hidden(tokens, labels, level, stems)
        pad = (1, 1 + self.edge_types), (1 + self.node_types, 0)
        parts = [
            F.pad(self.head[name](part), around, value=-torch.inf)
            for name, part, around in zip(("nodes", "pairs"), (h, e), pad, strict=True)
        ]
        logits = torch.cat(parts).transpose(0, 1)
        logits = logits if select is None else logits[select]
        return logits if stems is None else (logits, self.head["stems"](y))
