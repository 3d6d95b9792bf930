"""Priors of graphs as real numbers: codec, masks, order of the nodes, exact parts, training."""

from __future__ import annotations

import json
import math

import networkx as nx
import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.domains.graphs import GraphCodec, Graphs, generate
from guidekit.domains.graphs.codec import AdjacencyCodec
from guidekit.errors import UnknownNameError
from guidekit.networks import GraphTransformer
from guidekit.priors.adjacency import AdjacencyPrior, Property
from guidekit.priors.adjacency_layout import PRESENT, Layout
from guidekit.samples import Samples
from guidekit.testing import check_domain
from guidekit.training.adjacency_losses import AdjacencyError

SMALL = {"width": 16, "pair_width": 8, "depth": 2, "heads": 2, "global_width": 8}
CODEC = GraphCodec(8)
DENSITY = (Property("density", 0.4, 0.1),)


def made(properties=(), joint=True, types=(1, 1), process=None, nodes=8):
    torch.manual_seed(0)
    network = GraphTransformer(nodes, *types, **SMALL, stems=len(properties))
    with torch.no_grad():
        for weights in network.parameters():
            weights.add_(0.1 * torch.randn_like(weights))
    shares = [1 / types[0]] * types[0] + [0.6] + [0.4 / types[1]] * types[1]
    counts = [0] * (nodes - 1) + [1, 1]
    prior = AdjacencyPrior(
        network, process or gk.processes.VE(0.03, 40.0), counts, shares, properties=properties, joint=joint
    )
    prior.codec = AdjacencyCodec(GraphCodec(nodes), prior.layout)
    return prior


def test_states_hold_graphs():
    graphs = generate("community-8", 5)
    tokens = CODEC.encode(graphs)
    layout = Layout(8, stems=2)
    states = layout.encode(tokens, torch.ones(5, 2))
    assert states.shape == (5, 8 + 28 + 2)
    assert torch.equal(layout.decode(states), tokens)
    assert torch.equal(layout.decode(states + 0.4), tokens)
    law = layout.laws(states)
    assert torch.equal(law.argmax(-1), tokens) and torch.equal(law.sum(-1), torch.ones(5, 36))


def test_states_hold_types_of_nodes_and_edges():
    codec = GraphCodec(4, ("C", "N"), ("single", "double"))
    graph = nx.path_graph(3)
    nx.set_node_attributes(graph, {0: "C", 1: "N", 2: "C"}, "type")
    nx.set_edge_attributes(graph, {(0, 1): "double", (1, 2): "single"}, "type")
    tokens, layout = codec.encode([graph]), Layout(4, 2, 2)
    states = layout.encode(tokens)
    assert states.shape == (1, 4 + 8 + 12) and torch.equal(layout.decode(states), tokens)
    assert torch.equal(layout.laws(states).argmax(-1), tokens)


@pytest.mark.parametrize("properties", [(), DENSITY])
def test_the_order_of_the_nodes_does_not_matter(properties):
    prior = made(properties)
    layout = prior.layout
    x = gk.sample(prior, None, 3, 4, 0).samples
    noisy = layout.given(layout.there(x)).place(0.3 + 0.7 * torch.randn_like(x, dtype=torch.float64))
    order = torch.randperm(8)
    triangle = layout.triangle

    def permuted(states):
        nodes, _, edges, stems = layout.split(states)
        dense = triangle.dense(edges[..., 0].T)[order][:, order]
        return torch.cat([nodes[:, order], triangle.packed(dense).T, stems], 1)

    prior.network.double()
    one = permuted(prior.predict(noisy, 0.6).mean)
    other = prior.predict(permuted(noisy), 0.6).mean
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert (prior.predict(noisy, 0.6).mean - prior.predict(noisy + 0, 0.6).mean).abs().max() == 0
    edges = layout.split(one).edges
    assert edges.std() > 1e-3, "the network must have something to say"


def test_without_a_network_every_edge_is_believed_by_bayes_rule():
    """Independent edges of known shares: the posterior mean of an edge is that of two points under Gaussian noise."""
    prior = made()

    class Silent(torch.nn.Module):
        """What is frequent, whatever it sees."""

        def forward(self, law, **told):
            return torch.tensor([0.0, 0.0, math.log(0.6), math.log(0.4)]).expand(*law.shape)

    x = gk.sample(prior, None, 4, 1, 0).samples
    prior.network = Silent()
    layout, s = prior.layout, 0.7
    t = prior.process.at_level(s)
    noisy = layout.given(layout.there(x)).place(torch.randn_like(x))
    found = layout.split(prior.predict(noisy, t).mean).edges[..., 0]
    at = layout.split(noisy).edges[..., 0]
    likely = 0.4 * torch.exp(-((at - 1) ** 2) / (2 * s * s))
    unlikely = 0.6 * torch.exp(-(at**2) / (2 * s * s))
    wanted = torch.where(layout.both(layout.there(noisy)), likely / (likely + unlikely), 0.0)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("process", [gk.processes.VE(0.03, 40.0), gk.processes.EDM(), gk.processes.VP("linear")])
@pytest.mark.parametrize("sampler", ["ancestral", "heun", "dpm_solver"])
def test_nothing_moves_the_nodes(process, sampler):
    prior = made(process=process)
    result = gk.sample(prior.sized(7), None, 5, 6, 1, sampler=sampler)
    assert prior.layout.there(result.samples).sum(1).tolist() == [7] * 5
    assert [len(graph) for graph in result.objects()] == [7] * 5
    assert {len(graph) for graph in gk.sample(prior, None, 12, 2, 1, sampler=sampler).objects()} == {7, 8}


def test_nodes_survive_new_noise_and_late_starts():
    prior = made()
    clean = prior.encode(generate("community-8", 6))
    sizes = prior.layout.there(clean).sum(1)
    again = gk.sample(prior, gk.guidance.FromSample(clean, 0.6), 6, 8, 0).samples
    assert torch.equal(prior.layout.there(again).sum(1), sizes)
    travelled = gk.sample(prior, gk.guidance.Restart(), 6, 12, 0).samples
    assert set(prior.layout.there(travelled).sum(1).tolist()) <= {7, 8}


def test_a_process_without_signal_is_refused():
    with pytest.raises(ValueError, match="signal at t = 1"):
        made(process=gk.processes.VP("cosine"))
    with pytest.raises(ValueError, match="num_nodes=9"):
        made().sized(9)
    with pytest.raises(ValueError, match="2 marginals"):
        AdjacencyPrior(GraphTransformer(8, **SMALL), gk.processes.VE(), [0] * 8 + [1], [1.0, 1.0])


def test_gradients_of_expected_edges_move_edges():
    """Guidance of real-valued states: fewer edges are wanted, and fewer come."""
    prior, domain = made().sized(8), Graphs(kind="community-8")
    few = domain.rewards.make("expected_edges", target=4)
    plain, guided = (
        np.mean([graph.number_of_edges() for graph in gk.sample(prior, guidance, 16, 40, 0).objects()])
        for guidance in (None, gk.guidance.GradientGuidance(few, 0.5))
    )
    assert abs(guided - 4) < abs(plain - 4) / 2
    for guidance in (gk.guidance.LGD(few), gk.guidance.MPGD(few, 0.1), gk.guidance.UniversalGuidance(few)):
        assert len(gk.sample(prior, guidance, 2, 4, 0).objects()) == 2


def test_told_properties_are_a_condition():
    prior = made(DENSITY, joint=False)
    assert prior.condition({"density": 0.5}).tolist() == [[8.0]]
    low, high = (gk.sample(prior, None, 2, 4, 0, condition={"density": value}).samples for value in (0.1, 0.9))
    assert not torch.equal(low, high)
    assert torch.equal(gk.sample(prior, gk.guidance.CFG(0.0), 2, 4, 0, condition={"density": 0.1}).samples,
                       gk.sample(prior, None, 2, 4, 0).samples)  # fmt: skip
    with pytest.raises(UnknownNameError, match="densty"):
        prior.condition({"densty": 0.5})
    with pytest.raises(ValueError, match="density=nan"):
        prior.condition({"density": math.nan})
    with pytest.raises(ValueError, match="density: 0.4"):
        prior.condition(0.5)


TRAINER = {"validation": 10, "graphs": 30, "labels": None, "kind": "adjacency"}


def test_a_domain_with_it(tmp_path):
    check_domain(Graphs(kind="community-8"), made(), steps=4, exact=False)
    Graphs(kind="community-8").prepare_training(tmp_path / "a.npz", None, {**TRAINER, "properties": ["density"]})
    held = np.load(tmp_path / "a.npz")
    (told,) = json.loads(str(held["description"]))["properties"]
    assert held["properties"].shape == (30, 1) and told["mean"] == pytest.approx(held["properties"].mean())
    for trainer, kind, words in (
        ({"properties": ["densty"]}, UnknownNameError, "densty"),
        ({"properties": ["density"], "labels": ["edges"]}, ValueError, "one of them"),
    ):
        with pytest.raises(kind, match=words):
            Graphs(kind="community-8").prepare_training(tmp_path / "a.npz", None, {**TRAINER, **trainer})


def test_the_loss_is_least_at_the_truth():
    """A network that knows the graphs has no loss; what is absent costs nothing, whatever is believed of it."""
    graphs = generate("community-8", 6)
    tokens, layout = CODEC.encode(graphs), Layout(8, stems=1)
    x0 = layout.encode(tokens, torch.full((6, 1), 3.0))
    error = AdjacencyError(gk.processes.VE(0.03, 40.0), layout, [1.0, 0.6, 0.4])

    def knowing(law, stems=None, **told):
        sure = 50.0 * torch.nn.functional.one_hot(tokens, 4).float()
        return sure, torch.zeros(6, 1)

    torch.manual_seed(0)
    hidden = torch.full((6, 1), -1)
    loss = error(knowing, x0, hidden)
    torch.testing.assert_close(loss, torch.full((6,), 0.25 * (3 / 8) ** 2), atol=1e-3, rtol=0)
    assert PRESENT > 100 * 40


def test_tables_tell_the_properties():
    """Of the graphs that came, beside what was asked for."""
    prior, domain = made(DENSITY), Graphs(kind="community-8")
    result = gk.sample(prior, gk.guidance.LoopGuidance({"density": 0.5}), 3, 4, 0)
    samples = Samples(result.samples, prior)
    rows = domain.table(samples)
    assert [row["density"] for row in rows] == pytest.approx([nx.density(graph) for graph in result.objects()])
    told = domain.summary(rows, [math.nan] * 3, samples)
    assert told["density"] == pytest.approx(np.mean([row["density"] for row in rows]))
