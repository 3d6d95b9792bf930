"""The domain of graphs answers as every domain does, and refuses in one line."""

from __future__ import annotations

import json
import math

import networkx as nx
import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.core.requirements import GuidanceError
from guidekit.domains.graphs import GraphCodec, Graphs, generate
from guidekit.domains.graphs.expected import ExpectedEdges, ExpectedModularity, ExpectedTriangles
from guidekit.domains.graphs.labels import label_of
from guidekit.domains.graphs.molecules import molecule_codec
from guidekit.domains.graphs.rewards import REWARDS, Edges, Triangles
from guidekit.errors import UnknownNameError
from guidekit.networks import GraphTransformer
from guidekit.objectives.objects import score
from guidekit.priors import GraphPrior
from guidekit.priors.descriptions import process_from
from guidekit.samples import Samples
from guidekit.testing import check_domain
from guidekit.training.graph_transitions import transitions

TRAINER = {"validation": 10, "graphs": 30, "labels": None}


def untrained(codec, dataset=""):
    torch.manual_seed(0)
    words = codec.vocabulary
    network = GraphTransformer(
        words.most, len(words.nodes), len(words.edges), width=16, pair_width=8, depth=1, heads=2, global_width=8
    )
    rows = codec.encode(generate("community-8", 4)) if not codec.node_types else torch.ones(1, words.length).long()
    process = process_from(
        {"process": transitions("absorbing", words.described(), rows.numpy()), "vocab_size": words.size, "pad_id": 0}
    )
    prior = GraphPrior(network, process, [0] * (words.most - 1) + [1, 1])
    prior.codec, prior.dataset = codec, dataset
    return prior


def test_contract():
    check_domain(Graphs(kind="community-8"), untrained(GraphCodec(8), "community-8"), steps=4, exact=False)


def test_molecules_are_written_and_drawn_as_such(tmp_path):
    chem = pytest.importorskip("rdkit.Chem")
    from guidekit.domains.graphs.molecules import graph_of

    domain, prior = Graphs(kind="qm9"), untrained(molecule_codec(("C", "O"), 4))
    broken = nx.complete_graph(4)
    nx.set_node_attributes(broken, "O", "type")
    nx.set_edge_attributes(broken, "double", "type")
    graphs = [graph_of(chem.MolFromSmiles(text)) for text in ("CCO", "C1CO1", "C.C")]
    samples = Samples(prior.encode([*graphs, broken]), prior)
    rows = domain.table(samples)
    assert [row["smiles"] for row in rows] == ["CCO", "C1CO1", "C.C", ""]
    assert [row["connected"] for row in rows] == [True, True, False, False]
    written = domain.write(tmp_path, samples, {"reward": [1.0, 2.0, 3.0, 4.0]})
    assert written == ["samples.npz", "samples.graphml", "samples.smi"]
    assert (tmp_path / "samples.smi").read_text().split() == [
        "CCO",
        "sample-00000",
        "C1CO1",
        "sample-00001",
        "C.C",
        "sample-00002",
    ]
    read = domain.read_samples(tmp_path)
    assert [len(graph) for graph in read] == [3, 3, 2] and read[0].edges[0, 1]["type"] == "single"
    assert domain.figure(samples, [1.0, 2.0, 3.0, math.nan], "qed", tmp_path / "a.png") == "a.png"
    assert domain.summary(rows, [1.0, 2.0, 3.0, math.nan], samples)["valid"] == 0.75
    assert domain.evaluate(samples.objects, [], training=[], prior=prior)["valid_connected"] == 0.5


def test_nodes_asked_for():
    prior = untrained(GraphCodec(8)).sized(7)
    graphs = gk.sample(prior, num_samples=4, steps=4).objects()
    assert [len(graph) for graph in graphs] == [7] * 4
    with pytest.raises(ValueError, match="num_nodes=9; graphs of this prior .* have 1 to 8 nodes"):
        prior.sized(9)


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"kind": "planer"}, UnknownNameError, "planer"),
        ({"directed": "yes"}, ValueError, "refuse or undirected"),
    ],
)
def test_settings_that_are_none(settings, kind, words):
    with pytest.raises(kind, match=words) as caught:
        Graphs(**settings)
    assert "\n" not in str(caught.value)


def test_prepared_sets(tmp_path):
    Graphs(kind="community-8").prepare_training(tmp_path / "a.npz", None, TRAINER)
    held = np.load(tmp_path / "a.npz")
    described = json.loads(str(held["description"]))
    assert described["dataset"] == "community-8" and described["graph"]["most"] == 8
    assert held["tokens"].shape == (30, 36) and sum(described["length_counts"]) == 30


def test_prepared_files_with_labels(tmp_path):
    graphs = [nx.gnp_random_graph(6, 0.1 + 0.03 * i, seed=i) for i in range(30)]
    from guidekit.domains.graphs import write_graphs

    write_graphs(tmp_path / "mine.graphml", graphs)
    Graphs().prepare_training(tmp_path / "a.npz", str(tmp_path / "mine.graphml"), {**TRAINER, "labels": ["edges"]})
    held = np.load(tmp_path / "a.npz")
    (label,) = json.loads(str(held["description"]))["labels"]
    assert label["values"] == ["low", "middle", "high"] and len(held["labels"]) == 27
    assert np.bincount(held["labels"][:, 0]).min() >= 6
    assert [label_of(graph, [label])[0] for graph in graphs[:1] + graphs[-1:]] == [0, 2]
    with pytest.raises(UnknownNameError, match="label of graphs"):
        Graphs().prepare_training(tmp_path / "a.npz", str(tmp_path / "mine.graphml"), {**TRAINER, "labels": ["qed"]})
    write_graphs(tmp_path / "few.graphml", graphs[:5])
    with pytest.raises(ValueError, match="few.graphml holds 5 graphs; 10 at least"):
        Graphs().prepare_training(tmp_path / "a.npz", str(tmp_path / "few.graphml"), TRAINER)


def test_rewards_have_targets():
    square = nx.cycle_graph(4)
    assert REWARDS["edges"]()(square) == 4 and REWARDS["edges"](target=6)(square) == -2
    assert REWARDS["diameter"]()(square) == 2 and REWARDS["acyclic"]()(square) == 0.5
    assert REWARDS["connected"]()(nx.empty_graph(4)) == 0.25 and REWARDS["planar"]()(nx.complete_graph(5)) == 0
    assert REWARDS["modularity"]()(nx.empty_graph(3)) == 0
    assert REWARDS["modularity"]()(nx.disjoint_union(nx.complete_graph(4), nx.complete_graph(4))) == pytest.approx(0.5)
    assert REWARDS["spectral_gap"]()(nx.complete_graph(4)) == pytest.approx(4 / 3)
    assert Edges().floor == 0 and Edges(target=3).floor is None
    with pytest.raises(ValueError, match="target=nan; a finite number"):
        Edges(target=math.nan)


def test_expected_numbers_are_those_of_certain_edges():
    graphs = generate("planar-9", 3)
    states = GraphCodec(10).encode(graphs)
    law = torch.nn.functional.one_hot(states, 4).double()
    assert ExpectedEdges()(states).tolist() == [graph.number_of_edges() for graph in graphs]
    assert ExpectedTriangles().relaxed(law).tolist() == [Triangles()(graph) for graph in graphs]
    assert ExpectedTriangles(target=Triangles()(graphs[0])).relaxed(law)[0] == 0
    half = law.clone()
    half[..., 3] *= 0.5
    assert ExpectedTriangles().relaxed(half)[0] == pytest.approx(Triangles()(graphs[0]) / 8)
    masked = states.clone()
    masked[0, 0] = 4
    assert ExpectedEdges()(masked)[0] == -math.inf


def test_a_gradient_of_edges_is_followed():
    prior = untrained(GraphCodec(8))
    reward = Graphs().rewards.make("expected_edges")
    for sampler, scale in ((gk.samplers.Ancestral(), 2.0), (gk.samplers.Insertion(), -2.0)):
        plain, guided = (
            score(prior, reward, gk.sample(prior, guidance, 24, 8, 0, sampler=sampler).samples).mean()
            for guidance in (None, gk.guidance.GradientGuidance(reward, scale))
        )
        assert (guided - plain) * scale > 4
    with pytest.raises(GuidanceError, match="graphs without types, .* reward=edges is of any graphs"):
        reward.check(untrained(molecule_codec(("C", "O"), 4)))


def test_rewards_of_molecules_are_those_of_the_domain_molecules():
    chem = pytest.importorskip("rdkit.Chem")
    from guidekit.domains.graphs.molecules import graph_of
    from guidekit.domains.molecules.rewards import REWARDS as MOLECULAR

    molecule = chem.MolFromSmiles("CC(=O)Oc1ccccc1")
    for name in ("qed", "logp", "sa"):
        assert REWARDS[name]()(graph_of(molecule)) == pytest.approx(MOLECULAR[name]()(molecule))
    with pytest.raises(ValueError, match="is of molecules"):
        REWARDS["qed"]()(nx.path_graph(2))
    with pytest.raises(GuidanceError, match="reward qed is of molecules, and graphs of this prior"):
        Graphs().rewards.make("qed").check(untrained(GraphCodec(8)))


def test_evaluation_names_the_set():
    domain = Graphs(kind="community-8")
    found = domain.evaluate([*generate("community-8", 25, seed=4), None])
    assert found["n"] == 26 and {"vun", "ratio", "exact_ratio", "polygraph", "of_family"} <= found.keys()
    plain = Graphs(kind="community-8").evaluate(
        generate("community-8", 25), generate("tree-9", 20), training=[], exact=False
    )
    assert "novel" not in plain and plain["mmd_clustering"] > 0.1


def test_a_reference_of_ones_own_is_not_mixed_with_a_shipped_training_set():
    graphs, mine = generate("community-8", 6), generate("community-8", 6, seed=3)
    found = Graphs().evaluate(graphs, mine)
    assert found["mmd_degree"] > 0 and not {"novel", "vun", "ratio"} & found.keys()
    assert {"novel", "ratio"} <= Graphs().evaluate(graphs, mine, training=mine).keys()


def test_guidances_that_need_classes_are_refused_in_words():
    with pytest.raises(GuidanceError):
        gk.sample(untrained(GraphCodec(8)), gk.guidance.CFG(2.0), num_samples=2, steps=2)


def test_a_prior_brings_its_sampler():
    """Communities end where they were trained, whatever else is set; planar graphs take errors back; trees go on."""
    of_set = gk.load_domain("graphs", kind="community-small").load_prior()
    assert isinstance(of_set.default_sampler, gk.samplers.Insertion)
    kept = gk.samplers.Insertion(["connected"]).suited(of_set)
    assert (kept.last, kept.margin, len(kept.constraints)) == (1e-3, 2.0, 1)
    assert gk.samplers.Insertion(last=0.01).suited(of_set).last == 0.01
    plain, told, other = (
        gk.sample(of_set, num_samples=2, steps=12, seed=3, sampler=sampler).samples
        for sampler in (None, gk.samplers.Insertion(last=1e-3, margin=2.0), gk.samplers.Insertion(last=0.9, margin=2.0))
    )
    assert torch.equal(plain, told) and not torch.equal(plain, other)
    assert isinstance(Graphs(kind="planar-20").load_prior().default_sampler, gk.samplers.RateMatching)
    assert Graphs(kind="tree-32").load_prior().default_sampler is None


def test_sets_whose_edges_are_noise_are_trained_with_their_sampler(tmp_path):
    for kind, sampled in (("community-8", True), ("tree-8", False)):
        Graphs(kind=kind).prepare_training(tmp_path / "a.npz", None, TRAINER)
        described = json.loads(str(np.load(tmp_path / "a.npz")["description"]))
        assert ("sampling" in described) is sampled


def test_expected_modularity_is_that_of_a_split_in_two():
    """Two cliques and one edge: the split between them, as networkx has it; a gradient raises it."""
    graph = nx.disjoint_union(nx.complete_graph(4), nx.complete_graph(4))
    graph.add_edge(0, 7)
    state = GraphCodec(10).encode([graph])
    value = ExpectedModularity()(state).item()
    assert value == pytest.approx(nx.community.modularity(graph, [range(4), range(4, 8)]))
    law = torch.nn.functional.one_hot(state, 4).double().requires_grad_()
    (slope,) = torch.autograd.grad(ExpectedModularity().relaxed(law).sum(), law)
    inside, between = 10 + 0, 10 + 6  # the pairs (0, 1) and (0, 7) of ten places
    assert slope[0, inside, 3] > 0 > slope[0, between, 3]
    assert ExpectedModularity()(GraphCodec(10).encode([nx.empty_graph(4)])).item() == 0
    assert ExpectedModularity(target=value)(state).item() == pytest.approx(0, abs=1e-9)
