"""The graph transformer: order of the nodes, absent places, kinds of tokens, features."""

import networkx as nx
import torch

from guidekit.networks import GraphTransformer
from guidekit.networks.graph_features import features
from guidekit.networks.graph_layout import Triangle

N, NODES, EDGES = 7, 3, 2


def network(**options):
    torch.manual_seed(0)
    made = GraphTransformer(N, NODES, EDGES, width=16, pair_width=8, depth=2, heads=2, global_width=8, **options)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def graphs(rows, sizes=None):
    """Types of nodes (B, N) and symmetric matrices of ids (B, N, N) of random graphs."""
    random = torch.Generator().manual_seed(1)
    nodes = torch.randint(1, NODES + 1, (rows, N), generator=random)
    pairs = torch.randint(NODES + 1, NODES + 2 + EDGES, (rows, N * (N - 1) // 2), generator=random)
    matrix = Triangle(N).dense(pairs.T).permute(2, 0, 1)
    if sizes is not None:
        out = torch.arange(N) >= sizes[:, None]
        nodes = nodes.masked_fill(out, 0)
        matrix = matrix.masked_fill(out[:, :, None] | out[:, None, :], 0)
    return nodes, matrix


def tokens(nodes, matrix):
    return torch.cat([nodes, Triangle(N).packed(matrix.permute(1, 2, 0)).T], 1)


def test_the_order_of_the_nodes_does_not_matter():
    nodes, matrix = graphs(5)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    made, level = network(valences=(1.0, 2.0), labels=(4,)), torch.rand(5)
    labels = torch.tensor([[0], [1], [2], [3], [-1]])
    here = made(tokens(nodes, matrix), labels=labels, level=level).softmax(-1)
    there = made(tokens(nodes[:, order], matrix[:, order][:, :, order]), labels=labels, level=level).softmax(-1)
    moved = Triangle(N).dense(here[:, N:].transpose(0, 1))[order][:, order]
    assert torch.allclose(there[:, :N], here[:, :N][:, order], atol=1e-5)
    assert torch.allclose(there[:, N:], Triangle(N).packed(moved).transpose(0, 1), atol=1e-5)


def test_absent_places_change_nothing():
    nodes, matrix = graphs(3, torch.tensor([4, 4, 4]))
    made, level = network(), torch.rand(3)
    whole = made(tokens(nodes, matrix), level=level).softmax(-1)
    order = torch.tensor([6, 0, 1, 2, 3, 4, 5])  # an absent node in front
    moved = made(tokens(nodes[:, order], matrix[:, order][:, :, order]), level=level).softmax(-1)
    assert torch.allclose(whole[:, :4], moved[:, 1:5], atol=1e-5)
    small = GraphTransformer(4, NODES, EDGES, width=16, pair_width=8, depth=2, heads=2, global_width=8)
    assert not torch.equal(whole[0, 0], whole[0, 1]) and small.triangle.pairs == 6


def test_ids_of_the_other_kind_are_impossible_and_laws_of_tokens_are_read():
    x, made = tokens(*graphs(2)), network()
    logits = made(x, level=torch.rand(2))
    assert logits.shape == (2, N * (N + 1) // 2, 2 + NODES + EDGES)
    possible = logits.isfinite()
    assert possible[:, :N, 1 : NODES + 1].all() and possible[:, :N].sum(-1).unique().tolist() == [NODES]
    assert possible[:, N:, NODES + 1 :].all() and possible[:, N:].sum(-1).unique().tolist() == [EDGES + 1]
    level = torch.tensor([0.3, 0.6])
    law = torch.nn.functional.one_hot(x, made.vocab_size + 1).float()
    assert torch.equal(made(x, level=level), made(law, level=level))
    select = torch.zeros_like(x, dtype=torch.bool)
    select[0, 3] = select[1, 9] = True
    assert torch.equal(made(x, select, level=level), made(x, level=level)[select])


def test_features_count_what_they_say():
    made = [nx.cycle_graph(5), nx.complete_graph(4), nx.path_graph(6)]
    sizes = torch.tensor([len(graph) for graph in made])
    adjacency = torch.zeros(3, N, N)
    for row, graph in enumerate(made):
        adjacency[row, : len(graph), : len(graph)] = torch.tensor(nx.to_numpy_array(graph))
    there = (torch.arange(N)[:, None] < sizes).float()
    _, of_nodes, of_graphs = features(Triangle(N), adjacency, there)
    cycles = (10 * of_nodes[0, :, -3:]).round().tolist()
    assert cycles == [[0, 0, 1], [3, 3, 0], [0, 0, 0]]  # of 3, 4, 5 nodes, through a node of C5, K4, a path
    assert torch.allclose(of_graphs[:, 2] * N, torch.ones(3))  # components
    assert torch.allclose(of_graphs[:, 4] * N, torch.tensor([1.0, 3.0, 0.0]))  # independent cycles
