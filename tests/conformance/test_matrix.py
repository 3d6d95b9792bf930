"""Every guidance of the registry on every domain and on every kind of analytic prior.

Rows come from configs/guidance, columns from the registered domains: a new plug or domain is covered by existing.
"""

import copy
from types import SimpleNamespace

import pytest
import torch

import guidekit as gk
from guidekit.domain import domain_names, load_domain
from guidekit.networks import DilatedConvolution, SequenceTransformer, UNet, ValueNetwork
from guidekit.objectives import ForbiddenWords, ObjectReward
from guidekit.objectives.measurements import Keep, Measured
from guidekit.priors.labels import Label
from guidekit.priors.neural import NeuralGaussian
from guidekit.priors.tokens import TokenPrior
from guidekit.running.build import build_guidance
from guidekit.running.groups import group_choices, load_group
from guidekit.testing import check_guidance
from guidekit.training.trunks import shared_trunk, small_trunk

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
    return pictures("audio", (1, 8, 8), ["tom", "snare"])


def chorales():
    """A tiny untrained conditional prior of two-channel piano rolls, with a user's network as reward."""
    return pictures("chorales", (2, 8, 8), ["major", "minor"])


def pictures(domain, shape, classes):
    torch.manual_seed(0)
    network = UNet(shape[0], width=8, multipliers=[1], attention=[], heads=2, labels=[len(classes)])
    torch.nn.init.normal_(network.head.weight, std=0.1)
    prior = NeuralGaussian(network, gk.processes.EDM(), shape, labels=[Label("class", classes)])
    judge = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64 * shape[0], 1))
    return prior, load_domain(domain).bind(judge.requires_grad_(False))


DOMAINS = {"molecules": molecules, "dna": dna, "proteins": proteins, "images": images}
DOMAINS |= {"audio": audio, "chorales": chorales}
ANALYTIC = {make.__name__: make for make in (mixture, gaussian, flow, masked_chain, uniform_chain)}
PLUGS = [name for name in group_choices("guidance") if name not in ("none", "chain")]
TOKENS = ("molecules", "dna", "proteins", "masked_chain", "uniform_chain")
REALS = ("images", "audio", "chorales", "mixture", "gaussian", "flow")
REFUSED = {(plug, column) for plug in ("dps", "gradient") for column in TOKENS}
REFUSED |= {("cfg", "molecules")}
REFUSED |= {(plug, column) for plug in ("kernel_cfg", "discrete_fkc") for column in ("molecules", *REALS)}
REFUSED |= {(plug, column) for plug in ("dcbg", "predictor", "tag", "sharpen") for column in REALS}
REFUSED |= {("tag", column) for column in ("molecules", "proteins")}  # rewards of objects have no gradient
REFUSED |= {("nos", column) for column in ("masked_chain", "uniform_chain", *REALS)}  # no network, no features
REFUSED |= {("reflection", column) for column in ("proteins", "uniform_chain", *REALS)}  # nothing can be masked
REFUSED |= {(plug, column) for plug in ("clamp", "boost_and_skip", "replacement", "refined_noise") for column in TOKENS}
REFUSED |= {("fgg", column) for column in (*TOKENS, *REALS) if column != "chorales"}  # verifiers without bounds
FAMILY = ("adaptive", "apg", "cfg_renorm", "cfg_rescale", "cfg_zero", "compose", "concepts", "gfcg", "icg", "mambo")
FAMILY = (*FAMILY, "guidance_interval", "perp_neg", "s_cfg", "tcfg")  # they need a conditional prior
VECTORS = ("mixture", "gaussian", "flow")
ON_REALS = ("cfg_plus_plus", "characteristic", "linear_ag", "linear_cfg", "upsample", "frequency_cfg")
REFUSED |= {(plug, "molecules") for plug in FAMILY}
REFUSED |= {(plug, column) for plug in (*ON_REALS, "dynamic_threshold") for column in TOKENS}
REFUSED |= {(plug, column) for plug in ("upsample", "frequency_cfg") for column in VECTORS}
REFUSED |= {("tsg", column) for column in ("molecules", "dna", "masked_chain")}  # their networks are told no time
REFUSED |= {("personalization", column) for column in ("molecules", *ANALYTIC)}  # no condition, or no network
SITES = ("pag", "seg", "tpg", "stg", "s2_guidance", "sag", "nag")
REFUSED |= {(plug, column) for plug in SITES for column in ANALYTIC}  # no network
REFUSED |= {(plug, "dna") for plug in ("pag", "seg", "tpg")}  # convolutions: blocks can be dropped, that is all
REFUSED |= {("s_cfg", column) for column in ("dna", *ANALYTIC)}  # regions of attention
REFUSED |= {("sag", column) for column in TOKENS} | {("nag", column) for column in DOMAINS}  # no cross-attention


def test_every_registered_domain_has_a_column():
    assert set(DOMAINS) == set(domain_names())


def verifier_of(column):
    """What a domain gives: every token prior here has the ids 1 and 2, and rolls are bounded."""
    if column == "chorales":
        return lambda forbidden: SimpleNamespace(upper=lambda states: torch.full_like(states[:1], 0.1))
    return lambda forbidden: ForbiddenWords([[1], [2, 2]])


def measured(prior):
    """The first half of every state is known."""
    size = torch.Size(prior.event_shape).numel()
    mask = (torch.arange(size) < size // 2).view(prior.event_shape)
    return Measured(Keep(mask), 0.3 * mask[None])


def condition_of(prior):
    return None if prior.null_condition is None else 0


def learned(plug, prior):
    """A value with random weights, where the plug needs one from a file."""
    torch.manual_seed(0)
    if plug == "nos" and hasattr(prior, "from_features"):
        network = shared_trunk(prior, 4)
    else:
        network = ValueNetwork(small_trunk(prior), 4)
    torch.nn.init.normal_(network.judge.head.weight)
    return gk.guidance.LearnedValue(network.eval(), prior.process, torch.arange(4.0).double())


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
    process, shape = prior.process, tuple(prior.event_shape)
    return gk.guidance.starts.Refiner(Bend(), process, shape, tuple(process.grid(6)), given)


def second(prior):
    """Another prior of the same states: other weights of the network, or another analytic law."""
    other = copy.copy(prior)
    if hasattr(prior, "network"):
        other.network = copy.deepcopy(prior.network)
        torch.manual_seed(1)
        for weight in other.network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    elif hasattr(prior, "means"):
        other.means = prior.means * 0.8 + 0.1
    else:
        other._log_laws = prior._log_laws.flip(1)
    return other


def coefficients(prior):
    """Of LinearAG: fitted where the prior can be guided by it."""
    if isinstance(prior.process, gk.processes.GaussianProcess):
        return gk.guidance.fit_linear(prior, condition_of(prior), num_samples=8, steps=6)
    return gk.guidance.LinearCoefficients([], 2.0, [], [], [])


def settings(plug, prior):
    """What cannot be written in a configuration file."""
    size = torch.Size(prior.event_shape).numel()
    model = gk.guidance.LinearModel(torch.zeros(size), torch.ones(size), torch.eye(size), 2 * torch.eye(size))
    two_classes = lambda x: torch.stack([x.double().flatten(1).sum(1), torch.zeros(len(x))], 1)  # noqa: E731
    one_class = lambda x: torch.zeros(len(x), 1)  # noqa: E731
    return {
        "value": lambda: learned(plug, prior),
        "refiner": lambda: refiner(prior),
        "weak": lambda: second(prior),
        "reference": lambda: second(prior),
        "synthetic": lambda: second(prior),
        "pretrained": lambda: second(prior),
        "coefficients": lambda: coefficients(prior),
        "classifier": lambda: one_class if len(getattr(prior, "means", [0, 0])) == 1 else two_classes,
        "model": lambda: model,
    }


@pytest.mark.parametrize("column", [*DOMAINS, *ANALYTIC])
@pytest.mark.parametrize("plug", PLUGS)
def test_plug_on_prior(plug, column):
    prior, reward = {**DOMAINS, **ANALYTIC}[column]()
    config = load_group("guidance", plug)
    made = settings(plug, prior)
    config = {key: made[key]() if value == "???" else value for key, value in config.items()}
    wanted = measured(prior) if plug == "replacement" and column in REALS else reward
    guidance = build_guidance(config, wanted, verifier_of(column))
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
