"""The sampler `insertion` against laws known by enumeration, and its constraints against networkx."""

import dataclasses
import itertools
import math

import networkx as nx
import pytest
import torch

import guidekit as gk
from guidekit import guidance as g
from guidekit.networks import GraphTransformer
from guidekit.priors import GraphPrior
from guidekit.processes import Kinds, Masked
from guidekit.samplers import Insertion
from guidekit.samplers.constraints import Constraint
from guidekit.samplers.graph_constraints import Fixed, Layout, Without

EDGES = Kinds(kinds=(0, 0), laws=((1, 0),))
SITES = torch.tensor(list(itertools.product(range(2), repeat=3)))


def correlated(size, seed=0):
    return torch.rand((size,) * 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 3


def excess(chain, samples, law=None):
    """Pearson's statistic of samples against a law, less its mean, in standard deviations."""
    law = (chain.probabilities if law is None else law).flatten()
    size = chain.process.vocab_size
    index = (samples * size ** torch.arange(samples.shape[1] - 1, -1, -1)).sum(1)
    found = torch.bincount(index, minlength=len(law)).double()
    here = law > 0
    assert found[~here].sum() == 0
    statistic = ((found - len(samples) * law) ** 2 / (len(samples) * law))[here].sum()
    free = int(here.sum()) - 1
    return float((statistic - free) / math.sqrt(2 * free))


def two_of_three():
    law = correlated(2)
    return law * (SITES.sum(1) == 2).double().reshape(2, 2, 2)


@pytest.mark.parametrize(
    ("law", "process"),
    [
        (correlated(3), Masked()),
        ((-0.4 * SITES.sum(1).square()).exp().double().reshape(2, 2, 2) * (1 + correlated(2)) ** 0.2, EDGES),
        (torch.einsum("i,j,k->ijk", *torch.tensor([[0.6, 0.4], [0.75, 0.25], [0.8, 0.2]]).double()), EDGES),
        (two_of_three(), EDGES),
    ],
    ids=["masks", "edges that replace each other", "independent edges", "a fixed number of edges"],
)
def test_the_law_is_exact(law, process):
    """Pearson's statistic within 4 standard deviations of its mean."""
    chain = gk.priors.CategoricalChain(law, process)
    samples = gk.sample(chain, num_samples=4000, steps=24, sampler=Insertion(), seed=3).samples
    assert excess(chain, samples) < 4


def test_a_margin_makes_room_for_edges_that_bring_others():
    chain = gk.priors.CategoricalChain(torch.tensor([[0.4, 0.05], [0.05, 0.5]]), EDGES)
    biased, exact = (
        excess(chain, gk.sample(chain, num_samples=3000, steps=64, sampler=Insertion(margin=m), seed=3).samples)
        for m in (1.0, 4.0)
    )
    assert exact < 4 < 10 < biased


def test_masks_need_a_call_each_and_a_complete_row_none():
    chain = gk.priors.CategoricalChain(correlated(3))
    result = gk.sample(chain, num_samples=50, steps=64, sampler=Insertion())
    assert result.ledger.network_rows + result.ledger.cached_rows <= 50 * 4 and (result.samples < 3).all()


@dataclasses.dataclass(frozen=True, eq=False)
class Value(gk.core.objective.Objective):
    """log E[f(x_0) | z_t], exact."""

    chain: gk.priors.CategoricalChain
    table: torch.Tensor
    on = "noisy"

    def scores(self, states, t, rows=None):
        return self.chain.expectation(self.table, states, t).log()


@pytest.mark.parametrize("process", [Masked(), EDGES], ids=["masks", "edges"])
def test_predictor_guidance_by_an_exact_value_samples_the_tilted_law(process):
    """Edges by rates: which one, and when."""
    chain = gk.priors.CategoricalChain(correlated(2), process)
    tilt = torch.exp(torch.tensor([0.0, 0.4, -0.3, 0.5, 0.2, -0.6, 0.3, 0.1])).reshape(2, 2, 2).double()
    wanted = chain.probabilities * tilt
    guided = g.PredictorGuidance(value=Value(chain, tilt))
    samples = gk.sample(chain, guided, num_samples=3000, steps=24, sampler=Insertion(margin=2.0), seed=1).samples
    assert excess(chain, samples, wanted / wanted.sum()) < 4
    assert excess(chain, samples) > 8  # and is no longer the prior's


class NoTwoAlike(Constraint):
    """Neighbors in a string differ: a constraint of strings."""

    def begin(self, tokens, process):
        return tokens.tolist()

    def allows(self, held, place, token):
        return token not in held[max(0, place - 1) : place] + held[place + 1 : place + 2]

    def insert(self, held, place, token):
        held[place] = token


def test_strings_obey_a_constraint_at_every_insertion():
    chain = gk.priors.CategoricalChain(torch.ones((4,) * 4) / 256)
    for steps in (2, 8):
        samples = gk.sample(chain, num_samples=300, steps=steps, sampler=Insertion([NoTwoAlike()])).samples
        assert (samples < 4).all() and (samples[:, 1:] != samples[:, :-1]).all()
    free = gk.sample(chain, num_samples=300, steps=8, sampler=Insertion()).samples
    assert not (free[:, 1:] != free[:, :-1]).all()


N = 8


@pytest.fixture(scope="module")
def prior():
    """Of graphs with 5 to 8 nodes of 2 types and edges of 2, by an untrained network that draws many edges."""
    torch.manual_seed(0)
    network = GraphTransformer(N, 2, 2, width=16, pair_width=8, depth=1, heads=2, global_width=8)
    kinds, laws = (0, 0, 0, 1, 1, 1), ((0, 0, 0, 0, 0, 0, 1), (0, 0, 0, 1, 0, 0, 0))
    return GraphPrior(network, Kinds(pinned=0, kinds=kinds, laws=laws), [0] * 5 + [1] * 4)


def graphs(samples):
    places = Layout(N, 3)
    for row in samples:
        graph = places.graph(row)
        graph.remove_nodes_from([i for i in range(N) if row[i] == 0])
        assert all(row[i] in (1, 2) for i in graph) and ((row[N:] == 0) | (row[N:] >= 3)).all()
        yield graph


@pytest.mark.parametrize("steps", [4, 24])
@pytest.mark.parametrize(
    ("names", "holds"),
    [
        (["acyclic"], nx.is_forest),
        (["planar"], lambda graph: nx.check_planarity(graph)[0]),
        (["degree=3"], lambda graph: max(dict(graph.degree).values()) <= 3),
        (["acyclic", "connected"], nx.is_tree),
        (["planar", "degree=4"], lambda graph: nx.check_planarity(graph)[0] and max(d for _, d in graph.degree) <= 4),
    ],
    ids=["acyclic", "planar", "degree", "tree", "two"],
)
def test_constraints_hold_for_certain(prior, names, holds, steps):
    samples = gk.sample(prior, num_samples=12, steps=steps, sampler=Insertion(names)).samples
    assert all(map(holds, graphs(samples)))


def test_shapes_are_forbidden_and_subgraphs_contained(prior):
    samples = gk.sample(prior, num_samples=12, steps=24, sampler=Insertion([Without(nx.cycle_graph(4))])).samples
    for graph in graphs(samples):
        assert not nx.isomorphism.GraphMatcher(graph, nx.cycle_graph(4)).subgraph_is_monomorphic()
    i, j = torch.triu_indices(N, N, 1)
    given = torch.full((N * (N + 1) // 2,), -1)
    given[:3], given[N:][(i == 0) & (j < 3)] = torch.tensor([1, 2, 2]), 5
    given[N:][(i == 1) & (j == 2)] = 3  # no edge
    made = gk.sample(prior.sized(6), num_samples=12, steps=24, sampler=Insertion([Fixed(given), "planar"])).samples
    assert (made[:, given >= 0] == given[given >= 0]).all() and len(set(map(tuple, made.tolist()))) > 6
    assert all(nx.check_planarity(graph)[0] for graph in graphs(made))
    with pytest.raises(gk.GuidanceError, match="3 nodes are given"):
        gk.sample(prior.sized(2), sampler=Insertion([Fixed(given)]))


def test_without_a_constraint_they_do_not_hold(prior):
    made = list(graphs(gk.sample(prior, num_samples=20, steps=24, sampler=Insertion()).samples))
    assert not all(map(nx.is_forest, made)) and not all(nx.check_planarity(graph)[0] for graph in made)
    assert {len(graph) for graph in made} == {5, 6, 7, 8}
    five = gk.sample(prior.sized(5), num_samples=10, steps=48, sampler=Insertion()).samples
    assert all(len(graph) == 5 for graph in graphs(five))


def test_what_cannot_be_constrained_is_refused(prior):
    with pytest.raises(gk.GuidanceError, match="Planar constrains graphs, and states of this prior"):
        gk.sample(gk.priors.CategoricalChain(correlated(2)), sampler=Insertion("planar"))
    with pytest.raises(ValueError, match="degree=3"):
        Insertion("degree")
    with pytest.raises(ValueError, match="no constraint"):
        Insertion("outerplanar")
    with pytest.raises(ValueError, match="num_nodes=9"):
        prior.sized(9)
