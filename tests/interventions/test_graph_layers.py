"""Perturbed layers of torch_geometric: self-loops in place of attention, edges left out."""

import pytest
import torch
from torch import nn

from guidekit.interventions import find_sites, installed
from guidekit.interventions.operators import IdentityAttention, MaskEdges
from guidekit.interventions.sites import SiteError

layers = pytest.importorskip("torch_geometric.nn")
SIZES = [4, 3, 5]
NODES = torch.arange(3).repeat_interleave(torch.tensor(SIZES))
CODE = torch.tensor([1, 0, 1])


class Net(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.first = kind(6, 4, heads=2, **options)
        self.second = kind(8, 4, heads=1, **options)

    def forward(self, x, edges, features=None):
        told = {} if features is None else {"edge_attr": features}
        return self.second(self.first(x, edges, **told).relu(), edge_index=edges, **told)


def graphs(loops=False):
    torch.manual_seed(0)
    parts, begin = [], 0
    for size in SIZES:
        upper = torch.triu(torch.rand(size, size) < 0.8, 1)
        parts.append((upper | upper.T | (torch.eye(size) > 0) * loops).nonzero().T + begin)
        begin += size
    edges = torch.cat(parts, 1)
    return torch.randn(sum(SIZES), 6).double(), edges, torch.randn(edges.shape[1], 3).double()


NETS = {
    "gat": lambda: (Net(layers.GATConv), False),
    "gat with edge features": lambda: (Net(layers.GATv2Conv, edge_dim=3, add_self_loops=False), True),
    "transformer": lambda: (Net(layers.TransformerConv), False),
    "transformer with edge features": lambda: (Net(layers.TransformerConv, edge_dim=3), True),
}


def made(name):
    torch.manual_seed(1)
    network, featured = NETS[name]()
    x, edges, features = graphs()
    return network.double().eval(), (x, edges, features) if featured else (x, edges)


def part(inputs, graph):
    inside = graph == NODES
    edges = inputs[1]
    kept = inside[edges[0]]
    first = int(inside.nonzero()[0])
    return (inputs[0][inside], edges[:, kept] - first, *(z[kept] for z in inputs[2:]))


@pytest.mark.parametrize("operator", [IdentityAttention(), MaskEdges(0.5)])
@pytest.mark.parametrize("name", NETS)
def test_graphs_of_one_call_equal_separate_calls(name, operator):
    network, inputs = made(name)
    assert [site.name for site in find_sites(network)] == ["first", "second"]
    seed, plain = torch.tensor([5, 6, 7]), network(*inputs)
    with installed(network, operator, CODE, seed, NODES):
        mixed = network(*inputs)
    whose = CODE[NODES] == 1
    torch.testing.assert_close(mixed[~whose], plain[~whose], rtol=1e-12, atol=1e-12)
    assert (mixed - plain)[whose].abs().amax() > 1e-3
    for graph in range(3):
        alone = part(inputs, graph)
        with installed(network, operator, CODE[graph : graph + 1], seed[graph : graph + 1], 0 * NODES[graph == NODES]):
            torch.testing.assert_close(mixed[graph == NODES], network(*alone), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(network(*inputs), plain, rtol=0, atol=0)


def test_identity_attention_is_the_node_s_own_value():
    network, (x, edges) = made("transformer")
    own = lambda layer, x: layer.lin_value(x) + layer.lin_skip(x)  # noqa: E731
    with installed(network, IdentityAttention(), nodes=NODES, code=torch.ones(3).long()):
        torch.testing.assert_close(network(x, edges), own(network.second, own(network.first, x).relu()))
    network, (x, edges) = made("gat")
    own = lambda layer, x: layer.lin(x) + layer.bias  # noqa: E731
    with installed(network, IdentityAttention(), nodes=NODES, code=torch.ones(3).long()):
        torch.testing.assert_close(network(x, edges), own(network.second, own(network.first, x).relu()))


def test_identity_attention_commutes_with_a_permutation_of_nodes():
    network, (x, edges) = made("gat")
    order = torch.tensor([2, 0, 3, 1, 4, 6, 5, 11, 10, 7, 8, 9])
    new = order.argsort()
    with installed(network, IdentityAttention("first"), CODE, nodes=NODES):
        torch.testing.assert_close(network(x[order], new[edges]), network(x, edges)[order])


def test_share_of_masked_edges_and_both_directions():
    seen = {}

    class Spy(MaskEdges):
        def kept(self, source, target, draw):
            kept = super().kept(source, target, draw)
            seen.update({(int(a), int(b)): bool(k) for a, b, k in zip(source, target, kept, strict=True)})
            return kept

    network, _ = made("gat")
    size = 60
    edges = torch.combinations(torch.arange(size)).T
    edges = torch.cat([edges, edges.flip(0)], 1)
    with installed(network, Spy(0.3, "first"), nodes=torch.zeros(size).long(), code=torch.ones(1).long()):
        network(torch.randn(size, 6).double(), edges)
    assert all(seen[a, b] == seen[b, a] for a, b in seen)
    assert sum(seen.values()) / len(seen) == pytest.approx(0.7, abs=4 * (0.21 / 1770) ** 0.5)


def test_graph_layers_need_to_know_whose_nodes_are_whose():
    network, inputs = made("gat")
    with pytest.raises(SiteError, match="give nodes="), installed(network, IdentityAttention()):
        network(*inputs)
