"""Losses that train for guidance, on a linear network at one noise level, where the answer is known exactly."""

import copy
import math

import pytest
import torch

from guidekit.errors import UnknownNameError
from guidekit.processes import EDM
from guidekit.training.guided_losses import GuidedError, ModelGuidance, guided_loss
from guidekit.training.regression import DenoisingError

CONDITIONAL, NULL, SIGMA, DATA = (1.0, 0.5), (0.2, 1.3), 0.8, 0.5
PLAIN = DenoisingError(EDM(), "x0", DATA, (math.log(SIGMA), 0.0))


def exact(law):
    """Gain and offset of the posterior mean of N(mean, std^2), as a function of the input of unit size."""
    mean, std = law
    gain = std**2 / (std**2 + SIGMA**2)
    return torch.tensor([gain * math.hypot(DATA, SIGMA), (1 - gain) * mean])


class Linear(torch.nn.Module):
    """Gain and offset for the class and, frozen where `null` is given, for no class."""

    def __init__(self, null=None):
        super().__init__()
        self.own = torch.nn.Parameter(torch.zeros(2))
        self.null = torch.nn.Parameter(torch.zeros(2) if null is None else null, requires_grad=null is None)

    def forward(self, x, level, labels):
        """See the class."""
        given = torch.where(labels < 0, self.null, self.own)
        return given[:, :1] * x + given[:, 1:]


def trained(loss, network, steps=400, null_share=0.0):
    generator = torch.Generator().manual_seed(0)
    average = copy.deepcopy(network)
    adam = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 0.05)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 0.05 * (1 - step / steps)
        labels = (torch.rand(2048, 1, generator=generator) < null_share).long() * -1
        mean, std = (torch.where(labels < 0, n, c) for c, n in zip(CONDITIONAL, NULL, strict=True))
        x0 = mean + std * torch.randn(2048, 1, generator=generator)
        more = {"average": average} if getattr(loss, "averaged", False) else {}
        adam.zero_grad()
        loss(network, x0, labels, generator, **more).mean().backward()
        adam.step()
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
                slow.lerp_(fast, 0.1)
    return network


# The loss is quadratic; what is left is the noise of Adam's last steps, about 2048^-1/2 = 0.02 of a unit each.
CLOSE = 0.03


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.5])
def test_model_guidance_learns_the_guided_prediction(strength):
    network = trained(ModelGuidance(PLAIN, strength), Linear(exact(NULL)))
    w = 1 / (1 - strength)
    expected = exact(NULL) + w * (exact(CONDITIONAL) - exact(NULL))
    assert torch.allclose(network.own.detach(), expected, atol=CLOSE * w)
    assert strength == 0 or not torch.allclose(network.own.detach(), exact(CONDITIONAL), atol=3 * CLOSE)


def test_the_guided_error_makes_the_guided_prediction_the_conditional_one():
    w = 2.5
    network = trained(GuidedError(PLAIN, (w, w), mix=0.0), Linear(), 1500, null_share=0.3)
    own, null = network.own.detach(), network.null.detach()
    assert torch.allclose(null + w * (own - null), exact(CONDITIONAL), atol=2 * CLOSE)
    assert not torch.allclose(own, exact(CONDITIONAL), atol=3 * CLOSE)


def test_the_plain_loss_alone_leaves_both_predictions():
    network = trained(GuidedError(PLAIN, (2.5, 2.5), mix=1.0), Linear(), 800, null_share=0.3)
    assert torch.allclose(network.own.detach(), exact(CONDITIONAL), atol=CLOSE)
    assert torch.allclose(network.null.detach(), exact(NULL), atol=2 * CLOSE)


def test_settings():
    assert guided_loss(PLAIN, None) is PLAIN
    assert guided_loss(PLAIN, {"name": "model_guidance", "strength": 0.25}) == ModelGuidance(PLAIN, 0.25)
    with pytest.raises(ValueError, match="strength=1"):
        guided_loss(PLAIN, {"name": "model_guidance", "strength": 1})
    for wrong in (
        "model_guidance",
        {"name": "model_guidance", "strength": "much"},
        {"name": "cfg_consistent", "weights": 3},
    ):
        with pytest.raises(ValueError, match="trainer.guided="):
            guided_loss(PLAIN, wrong)
    with pytest.raises(UnknownNameError, match="did you mean 'cfg_consistent'"):
        guided_loss(PLAIN, {"name": "cfg_consistant"})
    with pytest.raises(UnknownNameError, match="did you mean 'strength'"):
        guided_loss(PLAIN, {"name": "model_guidance", "strenght": 0.2})


@pytest.mark.parametrize("stop", [False, True])
def test_the_null_learns_from_the_guided_error_unless_it_is_stopped(stop):
    network, labels = Linear(), torch.zeros(256, 1, dtype=torch.long)
    torch.nn.init.normal_(network.own)
    loss = GuidedError(PLAIN, weights=(3.0, 3.0), mix=0.0, stop_null=stop)
    loss(network, torch.randn(256, 1, generator=torch.Generator().manual_seed(0)), labels).mean().backward()
    assert network.own.grad.abs().min() > 0
    assert (network.null.grad is None or float(network.null.grad.abs().max()) == 0) == stop
