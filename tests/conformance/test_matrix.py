"""Every guidance of the registry on every domain and on every kind of analytic prior.

Rows come from configs/guidance, columns from the registered domains: a new plug or domain is covered by existing.
"""

import pytest
import torch

import guidekit as gk
from guidekit.domain import domain_names, load_domain
from guidekit.networks import DilatedConvolution, SequenceTransformer, ValueNetwork
from guidekit.objectives import ForbiddenWords, ObjectReward
from guidekit.priors.labels import Label
from guidekit.priors.tokens import TokenPrior
from guidekit.running.build import build_guidance
from guidekit.running.groups import group_choices, load_group
from guidekit.testing import check_guidance
from guidekit.training.values import shared_trunk, small_trunk

VOCABULARY = 9


def molecules():
    """A tiny untrained token prior of the kind the molecule domain ships, with a black-box reward."""
    torch.manual_seed(0)
    network = SequenceTransformer(VOCABULARY, 6, width=16, depth=1, heads=2, pad_id=0)
    prior = TokenPrior(network, VOCABULARY, torch.tensor([0, 0, 1, 2, 3, 2, 1]))
    decode = lambda states: [None if 3 in row else row for row in states.tolist()]  # noqa: E731 - some are invalid
    return prior, ObjectReward(lambda row: float(row.count(5)), decode)


def dna():
    """A tiny untrained conditional prior of DNA, with a differentiable reward of the domain."""
    torch.manual_seed(0)
    network = DilatedConvolution(4, 12, width=8, kernel=3, dilations=[1, 2], labels=[2])
    labels = [Label("species", ["ecoli", "human"])]
    prior = TokenPrior(network, 4, [0] * 12 + [1], pad_id=None, labels=labels)
    return prior, load_domain("dna").rewards.make("motif", motif="SP1")


def proteins():
    """A tiny untrained prior of proteins under uniform noise, which looks at the time, with a black-box reward."""
    torch.manual_seed(0)
    network = SequenceTransformer(21, 8, width=16, depth=1, heads=2, pad_id=0, labels=[2], timed=True)
    process = gk.processes.Uniform(21, pinned=0)
    labels = [Label("kind", ["uniprot", "antimicrobial"])]
    prior = TokenPrior(network, 21, [0, 0, 0, 1, 1, 2, 2, 1, 1], process=process, labels=labels)
    domain = load_domain("proteins")
    return prior, domain.rewards["charge"]


def mixture():
    prior = gk.priors.GaussianMixture(torch.tensor([[2.0, 0.0], [-2.0, 1.0]]), 0.5, process=gk.processes.VP("cosine"))
    return prior, gk.objectives.QuadraticReward(torch.tensor([1.0, 1.0]))


def gaussian():
    prior = gk.priors.Gaussian(torch.zeros(3), torch.tensor([1.0, 2.0, 0.5]), gk.processes.EDM())
    return prior, gk.objectives.QuadraticReward(torch.tensor([1.0, 1.0, 0.0]))


def flow():
    prior = gk.priors.Gaussian(torch.zeros(2), 1.0, gk.processes.Flow())
    return prior, gk.objectives.LinearGaussian(torch.eye(2), torch.ones(2), 0.5)


def masked_chain():
    law = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    prior = gk.priors.CategoricalChain(law, conditionals=torch.stack([law.T, law**2]))
    return prior, gk.objectives.TableReward(torch.arange(9.0).view(3, 3))


def uniform_chain():
    law = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    chain = gk.priors.CategoricalChain(law, gk.processes.Uniform(), torch.stack([law.T, law**2]))
    return chain, gk.objectives.TableReward(torch.arange(9.0).view(3, 3))


DOMAINS = {"molecules": molecules, "dna": dna, "proteins": proteins}
ANALYTIC = {make.__name__: make for make in (mixture, gaussian, flow, masked_chain, uniform_chain)}
PLUGS = [name for name in group_choices("guidance") if name not in ("none", "chain")]
TOKENS = ("molecules", "dna", "proteins", "masked_chain", "uniform_chain")
REALS = ("mixture", "gaussian", "flow")
REFUSED = {(plug, column) for plug in ("dps", "gradient") for column in TOKENS}
REFUSED |= {("cfg", "molecules")}
REFUSED |= {(plug, column) for plug in ("kernel_cfg", "discrete_fkc") for column in ("molecules", *REALS)}
REFUSED |= {(plug, column) for plug in ("dcbg", "predictor", "tag", "sharpen") for column in REALS}
REFUSED |= {("tag", column) for column in ("molecules", "proteins")}  # rewards of objects have no gradient
REFUSED |= {("nos", column) for column in ("masked_chain", "uniform_chain", *REALS)}  # no network, no features
REFUSED |= {("reflection", column) for column in ("proteins", "uniform_chain", *REALS)}  # nothing can be masked


def test_every_registered_domain_has_a_column():
    assert set(DOMAINS) == set(domain_names())


def verifier(forbidden):
    """What a domain gives: every token prior here has the ids 1 and 2."""
    return ForbiddenWords([[1], [2, 2]])


def condition_of(prior):
    return None if prior.null_condition is None else 0


def learned(plug, prior):
    """A value with random weights, where the plug needs one from a file."""
    torch.manual_seed(0)
    if plug == "nos" and hasattr(prior, "network"):
        network = shared_trunk(prior, 4)
    else:
        network = ValueNetwork(small_trunk(prior), 4)
    torch.nn.init.normal_(network.judge.head.weight)
    return gk.guidance.LearnedValue(network.eval(), prior.process, torch.arange(4.0).double())


@pytest.mark.parametrize("column", [*DOMAINS, *ANALYTIC])
@pytest.mark.parametrize("plug", PLUGS)
def test_plug_on_prior(plug, column):
    prior, reward = {**DOMAINS, **ANALYTIC}[column]()
    config = load_group("guidance", plug)
    if config.get("value") == "???":
        config = {**config, "value": learned(plug, prior)}
    guidance = build_guidance(config, reward, verifier)
    options = dict(steps=6, condition=condition_of(prior))
    if (plug, column) in REFUSED:
        with pytest.raises(gk.GuidanceError) as refusal:
            gk.sample(prior, guidance, 5, **options)
        assert prior.name in str(refusal.value)  # the reason names what does not fit
    else:
        check_guidance(prior, guidance, **options)


@pytest.mark.parametrize("column", [*DOMAINS, *ANALYTIC])
def test_no_guidance(column):
    prior, _ = {**DOMAINS, **ANALYTIC}[column]()
    check_guidance(prior, None, steps=6, condition=condition_of(prior))


@pytest.mark.parametrize("column", [*DOMAINS, *ANALYTIC])
def test_search_inside_particle_filter_inside_best_of_n(column):
    prior, reward = {**DOMAINS, **ANALYTIC}[column]()
    g = gk.guidance
    plugs = g.chain(g.SVDD(reward, 3), g.FKSteering(reward, particles=4, output="all"), g.BestOfN(reward))
    result = check_guidance(prior, plugs, steps=6, particles=4, condition=condition_of(prior))
    assert result.log_weights.shape == (5, 1)


@pytest.mark.parametrize("column", [*DOMAINS, *ANALYTIC])
def test_one_candidate_or_one_particle_is_the_plain_sampler(column):
    prior, reward = {**DOMAINS, **ANALYTIC}[column]()
    options = dict(steps=6, condition=condition_of(prior))
    plain = gk.sample(prior, None, 5, **options).samples
    assert torch.equal(gk.sample(prior, gk.guidance.SVDD(reward, 1), 5, **options).samples, plain)
    assert torch.equal(gk.sample(prior, gk.guidance.FKSteering(reward, particles=1), 5, **options).samples, plain)
    assert torch.equal(gk.sample(prior, gk.guidance.BestOfN(reward, 1), 5, **options).samples, plain)


@pytest.mark.parametrize("column", ["mixture", "molecules", "dna", "proteins", "uniform_chain"])
@pytest.mark.parametrize("sampler", gk.samplers.SAMPLERS)
def test_every_sampler_runs_or_says_why_not(column, sampler):
    prior, _ = {**DOMAINS, **ANALYTIC}[column]()
    sampler = gk.samplers.SAMPLERS[sampler]()
    if isinstance(prior.process, sampler.processes):
        check_guidance(prior, None, steps=6, sampler=sampler)
    else:
        with pytest.raises(gk.GuidanceError, match=type(sampler).__name__):
            gk.sample(prior, sampler=sampler)
