"""Every guidance of the registry on every domain, on every kind of analytic prior, and on states of several parts.

Rows come from the registry, columns from the registered domains: a new guidance or domain is covered by existing. What
must be refused follows from the facts that both declare; `CHECKED` has what facts cannot say.
"""

import copy
import re
import typing
from collections.abc import Callable
from types import SimpleNamespace

import networkx as nx
import pytest
import torch

import guidekit as gk
from guidekit import registry
from guidekit.core.requirements import Fact, suits
from guidekit.core.state import leaves
from guidekit.domains.graphs import GraphCodec
from guidekit.domains.graphs.codec import AdjacencyCodec
from guidekit.domains.trajectories import PathPrior, maze
from guidekit.domains.trajectories.cell_prior import CellPrior
from guidekit.domains.trajectories.cells import CellCodec
from guidekit.guidance.contrast.linear_ag import LinearCoefficients
from guidekit.guidance.contrast.linear_cfg import LinearModel
from guidekit.guidance.starts.refined_noise import Refiner
from guidekit.guidance.values.learned import LearnedValue
from guidekit.installed import domain_names, load_domain
from guidekit.networks import (
    DilatedConvolution,
    GraphTransformer,
    SequenceTransformer,
    TemporalUNet,
    UNet,
    ValueNetwork,
)
from guidekit.objectives import ForbiddenWords, GaussianLikelihood, ObjectReward, Reward
from guidekit.objectives.operators.masks import Keep
from guidekit.objectives.operators.resampling import BlockMean
from guidekit.priors import AdjacencyPrior, GraphPrior
from guidekit.priors.descriptions import process_from
from guidekit.priors.labels import Label
from guidekit.priors.neural import NeuralGaussian
from guidekit.priors.tokens import TokenPrior
from guidekit.running.kinds import members
from guidekit.running.settings import is_goal, takes_verifier
from guidekit.sampling import chosen_sampler
from guidekit.testing import check_guidance
from guidekit.training.graph_transitions import transitions
from guidekit.training.trunks import shared_trunk, small_trunk

VOCABULARY, STEPS, SAMPLES = 9, 4, 3


class Rows:
    """A codec: objects are rows of tokens, and those with a 3 are none."""

    language = "rows"

    def decode(self, states):
        return [None if 3 in row else row for row in states.tolist()]


def molecules():
    """A tiny untrained token prior of the kind the molecule domain ships, with a black-box reward."""
    torch.manual_seed(0)
    network = SequenceTransformer(VOCABULARY, 6, width=16, depth=1, heads=2, pad_id=0)
    prior = TokenPrior(network, VOCABULARY, torch.tensor([0, 0, 1, 2, 3, 2, 1]))
    prior.codec = Rows()
    return prior, ObjectReward(lambda row: float(row.count(5)))


def dna():
    """A tiny untrained conditional prior of DNA, with a differentiable reward of the domain."""
    torch.manual_seed(0)
    network = DilatedConvolution(4, 12, width=8, kernel=3, dilations=[1, 2], labels=[2])
    labels = [Label("species", ["ecoli", "human"])]
    prior = TokenPrior(network, 4, [0] * 12 + [1], pad_id=None, labels=labels)
    domain = load_domain("dna")
    prior.codec = domain.codec_for(prior, {})
    return prior, domain.rewards.make("motif", motif="SP1")


def proteins():
    """A tiny untrained prior of proteins under uniform noise, which looks at the time, with a black-box reward."""
    torch.manual_seed(0)
    network = SequenceTransformer(21, 8, width=16, depth=1, heads=2, pad_id=0, labels=[2], timed=True)
    process = gk.processes.Uniform(21, pinned=0)
    labels = [Label("kind", ["uniprot", "antimicrobial"])]
    prior = TokenPrior(network, 21, [0, 0, 0, 1, 1, 2, 2, 1, 1], process=process, labels=labels)
    domain = load_domain("proteins")
    prior.codec = domain.codec_for(prior, {})
    return prior, domain.rewards["charge"]


def mixture():
    prior = gk.priors.GaussianMixture(torch.tensor([[2.0, 0.0], [-2.0, 1.0]]), 0.5, process=gk.processes.VP("cosine"))
    return prior, gk.objectives.QuadraticReward(torch.tensor([1.0, 1.0]))


def gaussian():
    prior = gk.priors.Gaussian(torch.zeros(3), torch.tensor([1.0, 2.0, 0.5]), gk.processes.EDM())
    return prior, gk.objectives.QuadraticReward(torch.tensor([1.0, 1.0, 0.0]))


def flow():
    prior = gk.priors.Gaussian(torch.zeros(2), 1.0, gk.processes.Flow())
    return prior, gk.objectives.LinearGaussian(torch.eye(2), torch.ones(1, 2), 0.5)


def masked_chain():
    law = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    prior = gk.priors.CategoricalChain(law, conditionals=torch.stack([law.T, law**2]))
    return prior, gk.objectives.TableReward(torch.arange(9.0).view(3, 3))


def uniform_chain():
    law = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    chain = gk.priors.CategoricalChain(law, gk.processes.Uniform(), torch.stack([law.T, law**2]))
    return chain, gk.objectives.TableReward(torch.arange(9.0).view(3, 3))


def positions_and_types():
    """Rows of two or three places with positions and types, and two classes; half the reward comes from each part."""
    law = torch.rand(3, 3, 3, generator=torch.Generator().manual_seed(0))
    chain = gk.priors.CategoricalChain(law, conditionals=torch.stack([law.transpose(0, 2), law**2]))
    prior = gk.priors.PositionsAndTypes(chain, 0.7, smallest=2, class_stds=[0.5, 1.0])

    def worth(clean):
        positions, types = clean.parts["positions"], clean.parts["types"]
        return (types == 1).sum(1).double() - positions.square().flatten(1).sum(1).double()

    return prior, Reward(worth)


def images():
    """A tiny untrained conditional prior of pictures, with a differentiable reward of the domain."""
    torch.manual_seed(0)
    network = UNet(1, width=8, multipliers=[1], attention=[], heads=2, labels=[3])
    torch.nn.init.normal_(network.head.weight, std=0.1)
    labels = [Label("class", ["bag", "shirt", "coat"])]
    prior = NeuralGaussian(network, gk.processes.EDM(), (1, 8, 8), labels=labels)
    return prior, load_domain("images").rewards["brightness"]


def audio():
    """A tiny untrained conditional prior of log-mel pictures, with a user's network as reward."""
    return pictures((1, 8, 8), ["tom", "snare"])


def inverse():
    """A tiny untrained prior of fields without conditions, with a measurement in degrees."""
    torch.manual_seed(0)
    network = UNet(1, width=8, multipliers=[1], attention=[], heads=2)
    torch.nn.init.normal_(network.head.weight, std=0.1)
    prior = NeuralGaussian(network, gk.processes.EDM(), (1, 8, 8))
    units = load_domain("inverse", kind="climate").codec.units
    likelihood = GaussianLikelihood(BlockMean((1, 8, 8), 4), torch.full((1, 1, 2, 2), 25.0), 2.0)
    return prior, gk.objectives.in_units(likelihood, units, (1, 8, 8))


def trajectories():
    """A tiny untrained prior of paths through a maze that is told start and goal, with a cost that has a gradient."""
    torch.manual_seed(0)
    domain = load_domain("trajectories", maze="u")
    prior = PathPrior(TemporalUNet(length=16, width=8, multipliers=(1, 2)), gk.processes.EDM(), (2, 16))
    torch.nn.init.normal_(prior.network.head.weight, std=0.1)
    prior.codec = domain.codec_for(prior, {})
    return prior, domain.rewards.make("through", point=(3.5, 2.5))


def cells():
    """A tiny untrained prior of paths as cells of a maze that is told start and goal, with a black box as reward."""
    torch.manual_seed(0)
    prior = CellPrior(SequenceTransformer(7, 8, width=16, depth=1, heads=2), 7, [0] * 8 + [1], None)
    prior.codec = CellCodec(maze("u"), 8)
    return prior, load_domain("cells", maze="u").rewards["executed"]


def graphs():
    """A tiny untrained conditional prior of graphs whose edges are absorbed, with a reward that has a gradient."""
    torch.manual_seed(0)
    codec = GraphCodec(5)
    network = GraphTransformer(5, 1, 1, width=16, pair_width=8, depth=1, heads=2, global_width=8, labels=[2])
    tokens = codec.encode([nx.path_graph(4), nx.cycle_graph(5)]).numpy()
    described = {
        "process": transitions("absorbing", codec.vocabulary.described(), tokens),
        "vocab_size": 4,
        "pad_id": 0,
    }
    labels = [Label("triangles", ["few", "many"])]
    prior = GraphPrior(network, process_from(described), [0, 0, 0, 1, 2, 1], labels=labels)
    prior.codec = codec
    return prior, load_domain("graphs").rewards["expected_edges"]


def adjacency():
    """A tiny untrained conditional prior of graphs as real numbers, with a reward that has a gradient."""
    torch.manual_seed(0)
    network = GraphTransformer(5, 1, 1, width=16, pair_width=8, depth=1, heads=2, global_width=8, labels=[2])
    labels = [Label("triangles", ["few", "many"])]
    prior = AdjacencyPrior(network, gk.processes.VE(), [0, 0, 0, 1, 2, 1], [1.0, 0.6, 0.4], labels=labels)
    prior.codec = AdjacencyCodec(GraphCodec(5), prior.layout)
    return prior, load_domain("graphs").rewards["expected_edges"]


def chorales():
    """A tiny untrained conditional prior of two-channel piano rolls, with a user's network as reward."""
    return pictures((2, 8, 8), ["major", "minor"])


def pictures(shape, classes):
    torch.manual_seed(0)
    network = UNet(shape[0], width=8, multipliers=[1], attention=[], heads=2, labels=[len(classes)])
    torch.nn.init.normal_(network.head.weight, std=0.1)
    prior = NeuralGaussian(network, gk.processes.EDM(), shape, labels=[Label("class", classes)])
    judge = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64 * shape[0], 1)).requires_grad_(False)
    return prior, Reward(lambda states: judge(states)[:, 0])


DOMAINS = {"molecules": molecules, "dna": dna, "proteins": proteins, "images": images}
DOMAINS |= {"audio": audio, "chorales": chorales, "inverse": inverse, "trajectories": trajectories}
DOMAINS |= {"cells": cells, "graphs": graphs}
ANALYTIC = {make.__name__: make for make in (mixture, gaussian, flow, masked_chain, uniform_chain)}
COLUMNS = {**DOMAINS, **ANALYTIC, "adjacency": adjacency, "positions_and_types": positions_and_types}
TOKENS = ("molecules", "dna", "proteins", "cells", "graphs", "masked_chain", "uniform_chain")
PICTURES = ("images", "audio", "chorales", "inverse")
REALS = (*PICTURES, "trajectories", "adjacency", "mixture", "gaussian", "flow")
PARTS = ("positions_and_types",)
ROWS = list(registry.entries("guidance"))


def test_every_registered_domain_has_a_column():
    assert set(DOMAINS) == set(domain_names())


def verifier_of(column):
    """What a domain gives: every token prior here has the ids 1 and 2, and rolls are bounded."""
    if column == "chorales":
        return SimpleNamespace(upper=lambda states: torch.full_like(states[:1], 0.1))
    return ForbiddenWords([[1], [2, 2]])


def measured(prior):
    """The first half of every state is known; of graphs the last one, as nodes are no noise."""
    size = torch.Size(prior.event_shape).numel()
    mask = ((torch.arange(size) < size // 2) ^ hasattr(prior, "layout")).view(prior.event_shape)
    return GaussianLikelihood(Keep(mask), 0.3 * mask[None], 0.1)


def condition_of(prior):
    if isinstance(prior, PathPrior | CellPrior):
        return {"start": [1.5, 1.5], "goal": [1.5, 3.5]}
    return None if prior.null_condition is None else 0


def learned(kind, prior):
    """A value with random weights; of the prior's features for a guidance that moves these."""
    torch.manual_seed(0)
    if Fact.PARTS in prior.provides:
        return LearnedValue(torch.nn.Identity(), gk.processes.VP(), torch.arange(4.0).double())
    if kind is gk.guidance.NOS and hasattr(prior, "from_features"):
        network = shared_trunk(prior, 4)
    else:
        network = ValueNetwork(small_trunk(prior), 4)
    torch.nn.init.normal_(network.judge.head.weight)
    return LearnedValue(network.eval(), prior.process, torch.arange(4.0).double())


class Bend(torch.nn.Module):
    """A network of a refiner, of states of any shape."""

    def __init__(self):
        super().__init__()
        self.size = torch.nn.Parameter(torch.tensor(0.3))

    def forward(self, x, level, labels):
        """See the class."""
        return self.size * x.tanh()


def refiner(prior):
    """A refiner for any prior, of the steps asked for here."""
    given = prior.condition(condition_of(prior))
    given = None if given is None else torch.as_tensor(given).reshape(1, *torch.as_tensor(given).shape[1:])
    return Refiner(Bend(), prior.process, prior.event_shape, tuple(prior.process.grid(STEPS)), given)


def second(prior):
    """Another prior of the same states: other weights of the network, or another analytic law."""
    other = copy.copy(prior)
    if prior.network is not None:
        other.network = copy.deepcopy(prior.network)
        torch.manual_seed(1)
        with torch.no_grad():
            for weight in other.network.parameters():
                weight.add_(0.1 * torch.randn_like(weight))
    elif hasattr(prior, "means"):
        other.means = prior.means * 0.8 + 0.1
    elif hasattr(prior, "chain"):
        other.chain = second(prior.chain)
    else:
        other._log_laws = prior._log_laws.flip(1)
    return other


def coefficients(prior):
    """Of LinearAG: fitted where the prior can be guided by it."""
    if isinstance(prior.process, gk.processes.GaussianProcess):
        return gk.guidance.fit_linear(prior, condition_of(prior), num_samples=8, steps=STEPS)
    return LinearCoefficients([], 2.0, [], [], [])


def a_state(prior):
    """(1, *S), or of several parts."""
    return gk.sample(prior, num_samples=1, steps=STEPS, condition=condition_of(prior)).samples


def scores(x):
    """Of two classes."""
    x = leaves(x)[0]
    return torch.stack([x.double().flatten(1).sum(1), torch.zeros(len(x))], 1)


def field(prior):
    """A white field of states on a grid; for others a second prior."""
    shape = tuple(prior.event_shape or ())
    if Fact.REAL not in prior.provides or Fact.PARTS in prior.provides or len(shape) < 2:
        return second(prior)
    return gk.priors.GaussianField(torch.zeros(shape), torch.ones(shape), "cosine")


def linear_model(prior):
    size = 2 if Fact.PARTS in prior.provides else torch.Size(prior.event_shape).numel()
    return LinearModel(torch.zeros(size), torch.ones(size), torch.eye(size), 2 * torch.eye(size))


MADE = {
    LearnedValue: learned,
    Refiner: lambda kind, prior: refiner(prior),
    gk.priors.Prior: lambda kind, prior: second(prior),
    LinearCoefficients: lambda kind, prior: coefficients(prior),
    LinearModel: lambda kind, prior: linear_model(prior),
    gk.priors.GaussianField: lambda kind, prior: field(prior),
    torch.Tensor: lambda kind, prior: a_state(prior),
    Callable: lambda kind, prior: (
        scores if len(getattr(prior, "means", "ab")) > 1 else lambda x: torch.zeros(len(x), 1)
    ),
}
"""What cannot be written in a configuration, by type."""


def guidance_on(name, column):
    """(prior, guidance as it is without settings); a GuidanceError where it cannot be made for the column."""
    prior, reward = COLUMNS[column]()
    kind, given = registry.get("guidance", name), {}
    for setting in registry.settings(kind):
        types = [typing.get_origin(member) or member for member in members(setting.annotation)]
        if is_goal(setting):
            likelihood = GaussianLikelihood in types and column in REALS
            given[setting.name] = measured(prior) if likelihood else reward
        elif takes_verifier(setting):
            given[setting.name] = verifier_of(column)
        elif setting.required:
            made = next(MADE[one] for one in types if one in MADE)
            given[setting.name] = made(kind, prior)
    return prior, kind(**given)


def missing(prior, guidance, options):
    """What some part of a guidance needs and nobody provides, by the facts that all declare."""
    parts = guidance.members
    sampler = chosen_sampler(None, prior, parts)
    known = set(prior.provides | sampler.provides)
    known |= {Fact.CONDITION} if options["condition"] is not None else set()
    known = known.union(*(one.provides for part in parts for one in (part, *part.objectives)))
    return set().union(*(part.requires for part in parts)) - known


CHAINS = ("masked_chain", "uniform_chain")
ONE_KIND = "one kind of state, and those of positions and types have several parts"
CHECKED = [
    # (names, columns, what the refusal says)
    (["upsample", "frequency_cfg"], ["mixture", "gaussian", "flow", *PARTS], "sides that 2 divides"),
    (["cfg_plus_plus", "characteristic"], PARTS, ONE_KIND),
    (["fgg"], ["adjacency"], "needs a verifier with bounds"),
    (["field_correction"], ["adjacency"], "needs a Gaussian field"),
    (["frequency_cfg", "upsample"], ["adjacency"], "sides that 2 divides"),
    (["pag", "seg", "tpg", "nag", "s_cfg", "sag", "s2_guidance", "stg"], ["adjacency"], "no .* sites? in this network"),
    (["loop_guidance"], COLUMNS, "whose states hold properties"),
    (["linear_ag", "linear_cfg"], PARTS, "of this prior|for this prior"),
    (["upsample"], ["trajectories"], "of one size"),
    (
        ["gfcg", "icg"],
        ["trajectories", "cells"],
        "does not know the (classes|conditions)|one of the classifier's classes",
    ),
    (
        ["fgg"],
        ["images", "audio", "inverse", "trajectories", "mixture", "gaussian", "flow"],
        "needs a verifier with bounds",
    ),
    (["linear_ag"], ["inverse"], "needs a conditional prior"),
    (["pag", "seg", "tpg", "nag", "s_cfg"], ["dna"], "no .* sites? in this network"),
    (["pag", "seg", "tpg", "nag", "s_cfg", "s2_guidance", "stg"], ["graphs"], "no .* sites? in this network"),
    (["nag"], ["proteins", "trajectories", "cells", *PICTURES], "no cross_attention site in this network"),
    (["s_cfg"], [*ANALYTIC, *PARTS], "finds no attention in this prior"),
    (["nos"], ("graphs", *CHAINS), "moves a network's features, and this prior"),
    (["personalization"], [*ANALYTIC, *PARTS], "weights are interpolated between networks"),
    (["tsg"], ["molecules", "dna", "cells", "masked_chain"], "ignores the time"),
    (["tag"], [*(column for column in COLUMNS if column not in ("dna", "graphs", *CHAINS))], "is a black box: use"),
    (
        ["time_travel", "restart", "path_search"],
        ["molecules", "dna", "cells", "graphs", "masked_chain"],
        "keeps a time for every row",
    ),
    (["slcd", "minority"], PARTS, "trained on"),
    (["noise_search"], [*TOKENS, *PARTS, "adjacency"], "take reach=1"),
    (["masked_input"], REALS, "was not made to be told"),
    (["input_adaptation"], PARTS, "takes states of real numbers alone"),
    (["discrete_fkc", "kernel_product"], ["graphs"], "tells reversal from added noise"),
    (["discrete_fkc_product"], ["graphs"], "whose noising is known"),
    (["grammar"], ["molecules", "dna", "masked_chain"], "has a codec without one"),
    (["repair"], [column for column in COLUMNS if column != "trajectories"], "asks the prior's codec to mend samples"),
    (["field_correction"], ["mixture"], "needs a Gaussian field"),
    (["freedom", "geoguide", "lgd", "tfg", "dreamguider"], ["dna", "graphs"], "tokens of this prior .* have none"),
]
"""Refusals by checks beyond the facts."""


def reason_of(name, column):
    """Why a check beyond the facts refuses a guidance on a column; None where none does."""
    return next((reason for names, columns, reason in CHECKED if name in names and column in columns), None)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("name", ROWS)
def test_guidance_on_prior(name, column):
    torch.manual_seed(0)
    options = dict(steps=STEPS, condition=condition_of(COLUMNS[column]()[0]))
    reason, lacking = reason_of(name, column), set()
    try:
        prior, guidance = guidance_on(name, column)
        lacking = missing(prior, guidance, options)
        if not lacking and reason is None:
            check_guidance(prior, guidance, SAMPLES, **options)
            return
        gk.sample(prior, guidance, SAMPLES, **options)
    except gk.GuidanceError as error:
        refusal, prior = str(error), COLUMNS[column]()[0]
    else:
        pytest.fail(f"it ran, and should not for want of {lacking or reason}")
    assert registry.entries("guidance")[name].attribute in refusal or " needs " not in refusal
    told = [re.escape(fact.value[0]) for fact in lacking] + ([] if reason is None else [reason])
    assert told and re.search("|".join(told), refusal), refusal
    assert reason is not None or prior.name in refusal or lacking <= {Fact.GRADIENT, Fact.BRANCHES, Fact.WEIGHTS}, (
        refusal
    )


@pytest.mark.parametrize("column", COLUMNS)
def test_no_guidance(column):
    prior, _ = COLUMNS[column]()
    check_guidance(prior, None, SAMPLES, steps=STEPS, condition=condition_of(prior))


@pytest.mark.parametrize("column", COLUMNS)
def test_search_inside_particle_filter_inside_best_of_n(column):
    prior, reward = COLUMNS[column]()
    g = gk.guidance
    guidance = g.chain(g.SVDD(reward, 3), g.FKSteering(reward, particles=4, output="all"), g.BestOfN(reward))
    options = dict(steps=STEPS, particles=4, condition=condition_of(prior))
    assert check_guidance(prior, guidance, SAMPLES, **options).log_weights.shape == (SAMPLES, 1)


@pytest.mark.parametrize("column", COLUMNS)
def test_one_candidate_or_one_particle_is_the_plain_sampler(column):
    prior, reward = COLUMNS[column]()
    options = dict(steps=STEPS, condition=condition_of(prior))
    plain = leaves(gk.sample(prior, None, SAMPLES, **options).samples)
    g = gk.guidance
    for guidance in (g.SVDD(reward, 1), g.FKSteering(reward, particles=1), g.BestOfN(reward, 1)):
        found = leaves(gk.sample(prior, guidance, SAMPLES, **options).samples)
        assert all(torch.equal(one, other) for one, other in zip(found, plain, strict=True))


@pytest.mark.parametrize("column", ["mixture", "molecules", "dna", "proteins", "uniform_chain", *PARTS])
@pytest.mark.parametrize("name", registry.entries("sampler"))
def test_every_sampler_runs_or_says_why_not(column, name):
    prior, _ = COLUMNS[column]()
    sampler = registry.get("sampler", name)()
    if suits(sampler, prior):
        check_guidance(prior, None, SAMPLES, steps=STEPS, sampler=sampler)
    else:
        with pytest.raises(gk.GuidanceError, match=f"{sampler.name} (needs|takes)") as refusal:
            gk.sample(prior, sampler=sampler)
        assert prior.name in str(refusal.value)


MULTISTEP = ("dpm_solver", "dpm_solver_single", "unipc", "adams_bashforth", "heun", "euler", "ddim")
INSIDE = ("cfg", "apg", "dps", "svdd", "fk_steering", "best_of_n")


@pytest.mark.parametrize("sampler", [None, *MULTISTEP])
@pytest.mark.parametrize("name", INSIDE)
def test_states_of_several_parts_run_with_every_solver_and_engine(name, sampler):
    """Not only where facts allow it: these must. A filter wants noise in what its objective sees, here in the types."""
    prior, reward = positions_and_types()
    if name in ("svdd", "fk_steering") and sampler is not None:
        reward = Reward(lambda seen: (seen.parts["types"] == 1).sum(1).double(), parts=frozenset({"types"}))
    kind = registry.get("guidance", name)
    wants = [setting.name for setting in registry.settings(kind) if is_goal(setting)]
    guidance = kind(**dict.fromkeys(wants, reward))
    options = {} if sampler is None else {"sampler": gk.samplers.Each({"positions": sampler})}
    check_guidance(prior, guidance, SAMPLES, steps=STEPS, condition=0, **options)
