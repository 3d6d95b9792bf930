"""What works and gives little is said before it is run."""

import warnings

import pytest
import torch

import guidekit as gk
from guidekit.cli import main
from guidekit.guidance.contrast.cfg import safe_momentum
from guidekit.sampling import prepare

CLASSES = gk.priors.GaussianMixture(torch.tensor([[2.0, 0.0], [-2.0, 1.0]]), 0.5)
LINE = gk.priors.Gaussian(torch.zeros(3), 1.0)
SEEN = gk.objectives.GaussianLikelihood(lambda x: x[:, :1], torch.ones(1, 1), 0.1)


@pytest.mark.parametrize("steps, momentum", [(1, 0.0), (12, 0.0), (13, -0.125), (14, -0.25), (16, -0.5), (64, -0.5)])
def test_the_momentum_of_apg_follows_the_steps(steps, momentum):
    assert safe_momentum(steps) == momentum
    run = dict(num_samples=3, steps=steps, condition=0, sampler="ddim")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen = gk.sample(CLASSES, gk.guidance.APG(8.0), **run).samples
        assert torch.equal(chosen, gk.sample(CLASSES, gk.guidance.APG(8.0, momentum=momentum), **run).samples)
    if steps > 1:
        with pytest.warns(UserWarning, match=f"momentum=-0.7 may turn the guidance round in {steps} steps"):
            other = gk.sample(CLASSES, gk.guidance.APG(8.0, momentum=-0.7), **run).samples
        assert not torch.equal(chosen, other)


@pytest.mark.parametrize("scale, told", [(None, False), (2.0, False), (2.5, True), (3.0, True)])
def test_long_steps_of_the_residual(scale, told):
    sampling = prepare(LINE, gk.guidance.DPS(SEEN, scale), 2, steps=4)
    assert bool(sampling.cautions) == told
    assert not told or "DPS: scale" in sampling.cautions[0] and "take at most 2" in sampling.cautions[0]
    assert not prepare(LINE, gk.guidance.DPS(SEEN, 3.0, loss="norm"), 2, steps=4).cautions  # another unit
    assert not prepare(LINE, gk.guidance.DPS(lambda x: -x.square().sum(1), 3.0), 2, steps=4).cautions


def test_the_command_says_it_first(tmp_path, capsys):
    words = [
        "sample",
        "domain=images",
        "condition=bag",
        "guidance=apg",
        "guidance.weight=8",
        "num_samples=1",
        "steps=3",
    ]
    assert main([*words, "guidance.momentum=-0.5", f"output={tmp_path}/a", "baseline=false"]) == 0
    assert "note: APG: momentum=-0.5 may turn the guidance round in 3 steps" in " ".join(
        capsys.readouterr().out.split()
    )
    assert main([*words, f"output={tmp_path}/b", "baseline=false"]) == 0
    assert "note: APG" not in capsys.readouterr().out


def test_no_white_blobs_in_few_steps():
    """Pixels near white at weight 8 in ten steps of 2M: .016 of real clothes, .096 of these with a momentum of -.5."""
    prior = gk.load_domain("images").load_prior()
    run = dict(num_samples=10, steps=10, condition=torch.arange(10), sampler=gk.samplers.DPMSolver(times="karras"))
    found = gk.sample(prior, gk.guidance.APG(8.0), seed=0, **run).samples
    assert (found > 0.95).double().mean() < 0.06


@pytest.mark.parametrize(
    ("alone", "words"),
    [
        (lambda n: gk.guidance.EnsembleKalmanGuidance(SEEN, particles=n), "one member has nobody to learn from"),
        (lambda n: gk.guidance.SVDD(SEEN, candidates=n), "one candidate leaves nothing to choose"),
    ],
)
def test_guidance_by_one_alone_says_that_it_is_none(alone, words):
    assert words in prepare(LINE, alone(1), 2, steps=4).cautions[0]
    assert not prepare(LINE, alone(2), 2, steps=4).cautions
