"""Guidances of tokens in chains: exact where they compose, refused where they would sample something else."""

import pytest
import torch

import guidekit as gk
from guidekit import processes, samplers
from guidekit.guidance.values import LearnedValue
from guidekit.testing import exact_law

LAW = torch.tensor([[0.30, 0.05, 0.05], [0.02, 0.20, 0.08], [0.10, 0.05, 0.15]], dtype=torch.float64)
CONDITIONAL = torch.tensor([[0.05, 0.25, 0.05], [0.20, 0.02, 0.08], [0.05, 0.10, 0.20]], dtype=torch.float64)
REWARD = gk.objectives.TableReward(torch.tensor([[0.0, 1, 2], [1, 0, 1], [2, 1, -1]], dtype=torch.float64))
g = gk.guidance


def conditional_chain(process=None):
    return gk.priors.CategoricalChain(LAW, process, conditionals=torch.stack([CONDITIONAL, LAW]))


@pytest.mark.parametrize("sampler", [samplers.Ancestral(), samplers.FirstHitting()])
def test_a_tilt_outside_the_corrector_is_a_proposal_that_is_corrected(sampler):
    chain, product, weigh = conditional_chain(), g.KernelProduct(2.0), g.ParticleFilter()
    corrector, tilted = g.chain(product, weigh), g.chain(product, g.DCBG(REWARD, 0.7), weigh)
    options = dict(steps=6, condition=0)
    expected = exact_law(chain, sampler, corrector, weighted=True, **options)
    torch.testing.assert_close(exact_law(chain, sampler, tilted, weighted=True, **options), expected)
    assert (exact_law(chain, sampler, tilted, **options) - expected / expected.sum()).abs().sum() > 0.1


def test_a_learned_value_tilts_what_was_mixed():
    """`SLCD` is a tilt of tokens, and has no say in predictions that could meet the mixing."""
    chain = conditional_chain(processes.Uniform())
    network = torch.nn.Module()
    network.forward = lambda z, level: torch.stack([(z == 1).sum(1).float(), torch.zeros(len(z))], 1)
    value = LearnedValue(network, chain.process, torch.tensor([1.0, 0.0]))
    guidance = g.chain(g.KernelCFG(2.0), g.SLCD(value, 2.0, first_order=False))
    plain, guided = (exact_law(chain, samplers.Ancestral(), p, 8, 0) for p in (g.KernelCFG(2.0), guidance))
    ones = torch.tensor([[0.0, 1, 0], [1, 2, 1], [0, 1, 0]], dtype=torch.float64)
    assert (guided * ones).sum() > (plain * ones).sum() + 0.05


@pytest.mark.parametrize(
    ("guidances", "reason"),
    [
        ((g.DiscreteFKC(), g.Sharpen(0.5)), r"chain\(Sharpen, DiscreteFKC\)"),
        ((g.KernelCFG(), g.Sharpen(0.5)), r"chain\(Sharpen, KernelCFG\)"),
        ((g.DCBG(REWARD), g.KernelCFG()), r"chain\(KernelCFG, DCBG\)"),
        ((g.DCBG(REWARD), g.DiscreteFKC()), r"chain\(KernelProduct, DCBG, ParticleFilter\)"),
        ((g.FKSteering(REWARD), g.DiscreteFKC()), "two particle filters"),
        ((g.BestOfN(REWARD), g.FKSteering(REWARD)), r"chain\(FKSteering\(output=\"all\"\), BestOfN\)"),
    ],
)
def test_orders_that_would_sample_another_law_are_refused(guidances, reason):
    with pytest.raises(gk.GuidanceError, match=reason):
        gk.sample(conditional_chain(), g.chain(*guidances), 2, steps=4, condition=0)


def test_no_particle_is_the_best_without_a_reward():
    """It was the first one, whatever its weight."""
    mask = gk.objectives.LinearGaussian(torch.eye(2)[:1], torch.ones(1), 0.1)
    makes = (g.DiscreteFKC, g.FKCAnneal, lambda output: g.SMCDiff(mask, output=output), g.ParticleFilter)
    for make in makes:
        with pytest.raises(ValueError, match="output='best' needs a reward.*accepted here: draw, all"):
            make(output="best")


def test_remasking_by_confidence_takes_a_tilt():
    """How sure the model was of a token is known whatever chose it."""
    sampler, chain = samplers.ReMDM("rescale", 0.5, by_confidence=True), conditional_chain()
    plain, tilted = (gk.sample(chain, one, 500, 8, sampler=sampler).samples for one in (None, g.DCBG(REWARD, 2.0)))
    assert REWARD(tilted).mean() > REWARD(plain).mean() + 0.3


def test_branches_without_a_common_token_leave_the_positive_one():
    """Nuclei of the two branches may be disjoint."""
    chain = gk.priors.CategoricalChain(
        torch.tensor([0.9, 0.1]).double(), conditionals=torch.tensor([[0.1, 0.9], [0.9, 0.1]]).double()
    )
    for guidance in (g.CFG(3.0), g.KernelCFG(3.0), g.DiscreteFKC(weight=3.0)):
        z = gk.sample(chain, g.chain(g.Sharpen(nucleus=0.5), guidance), 50, steps=4, condition=0).samples
        assert (z == 1).all(), type(guidance).__name__


@pytest.mark.parametrize("sampler", [samplers.EulerCTMC(), samplers.TauLeaping(), samplers.PredictorCorrector()])
def test_chains_in_discrete_time_have_no_rates(sampler):
    step = torch.full((3, 3), 0.1) + 0.7 * torch.eye(3)
    chain = gk.priors.CategoricalChain(LAW, processes.Stepped(matrices=[step.tolist()] * 4))
    with pytest.raises(gk.GuidanceError, match="samplers for it: Ancestral"):
        gk.sample(chain, None, 2, steps=4, sampler=sampler)
    gk.sample(chain, g.PredictorGuidance(REWARD), 2, steps=4)  # takes the prior's own sampler instead
