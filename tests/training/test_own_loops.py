"""Networks that are trained in a user's own loop, and networks of theirs as rewards: nothing of them is switched."""

import lightning
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import guidekit as gk
from guidekit.core.requirements import GuidanceError
from guidekit.domains.images.rewards import ImageModel
from guidekit.guidance.values.learned import LearnedValue
from guidekit.networks import ValueNetwork
from guidekit.objectives.objects import ObjectReward
from guidekit.priors.neural import NeuralGaussian
from guidekit.training.denoising import DenoisingModule, Together
from guidekit.training.trunks import small_trunk


class Network(nn.Module):
    """With dropout, and with statistics of batches in buffers."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))

    def forward(self, x, level, labels=None):
        return self.layers(torch.cat([x, level[:, None].to(x)], 1))


def state_of(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_sampling_leaves_a_network_in_training_as_it_is():
    network = Network().train()
    network.layers[2].eval()  # a part that its owner has switched
    prior = NeuralGaussian(network, gk.processes.EDM(), (2,))
    modes, before = [part.training for part in network.modules()], state_of(network)
    guidance = gk.guidance.GradientGuidance(lambda x: -x.square().sum(1), 0.1)
    result = gk.sample(prior, guidance, 4, 4)
    assert [part.training for part in network.modules()] == modes and all(p.requires_grad for p in network.parameters())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(result.samples, gk.sample(prior, guidance, 4, 4).samples)  # no dropout
    network(torch.zeros(4, 2), torch.zeros(4)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def plain_loss(network, states, labels):
    assert labels is None
    noisy = states + torch.randn_like(states)
    return (network(noisy, torch.ones(len(states))) - states).square().mean(1)


def fitted(loader, steps, precision="32-true"):
    torch.manual_seed(0)
    module = DenoisingModule(Network(), plain_loss, total_steps=steps, warmup=1)
    trainer = lightning.Trainer(
        max_steps=steps, precision=precision, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, loader)
    return module, trainer


def test_steps_are_updates_and_averages_follow_buffers():
    states = 5 + torch.randn(64, 2)
    for loader in (DataLoader(states, 16), DataLoader(TensorDataset(states), 16)):
        module, trainer = fitted(loader, 7)
        assert module.updates == 7 == trainer.global_step
    assert isinstance(trainer.optimizers[0], Together) and len(trainer.optimizers[0].parts) == 2
    mine, average = module.network.layers[1], module.average.layers[1]
    assert torch.equal(mine.running_mean, average.running_mean) and mine.running_mean.abs().sum() > 0
    assert int(average.num_batches_tracked) == 7
    assert not torch.equal(module.network.layers[0].weight, module.average.layers[0].weight)


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed"])
def test_half_precision(precision):
    """Losses and averages stay in float32."""
    module, _ = fitted(DataLoader(5 + torch.randn(64, 2), 16), 6, precision)
    weight = module.network.layers[0].weight
    assert weight.dtype == (torch.bfloat16 if precision == "bf16-true" else torch.float32)
    assert module.average.layers[0].weight.dtype == torch.float32 and weight.isfinite().all()
    assert torch.get_default_dtype() == torch.float32


def test_optimizers_together_go_on_from_their_state():
    def made():
        torch.manual_seed(0)
        return DenoisingModule(Network(), plain_loss).configure_optimizers()

    def stepped(optimizer, times):
        for i in range(times):
            for group in optimizer.param_groups:
                group["lr"] = 0.01 * (i + 1)
                for p in group["params"]:
                    p.grad = torch.ones_like(p) * (p.detach().mean() + i)
            optimizer.step()
        return [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]

    once, again = made(), made()
    stepped(once, 2)
    stepped(again, 2)
    kept = again.state_dict()
    fresh = made()
    for mine, theirs in zip(fresh.param_groups, again.param_groups, strict=True):
        for p, q in zip(mine["params"], theirs["params"], strict=True):
            p.data.copy_(q.data)
    fresh.load_state_dict(kept)
    for p, q in zip(stepped(once, 1), stepped(fresh, 1), strict=True):
        assert torch.equal(p, q)


def test_a_value_of_other_states_is_refused_with_the_reason():
    process = gk.processes.VP("cosine")
    ours, other = gk.priors.Gaussian(torch.zeros(2), 1.0, process), gk.priors.Gaussian(torch.zeros(3), 1.0, process)
    value = LearnedValue(ValueNetwork(small_trunk(ours), 4), process, torch.arange(4.0).double())
    gk.sample(ours, gk.guidance.GradientGuidance(value, 0.1), 2, 3)
    with pytest.raises(GuidanceError, match=r"not trained on states of this prior .*, \(3,\)"):
        gk.sample(other, gk.guidance.GradientGuidance(value, 0.1), 2, 3)


def test_a_network_as_reward_is_left_in_its_mode_and_says_why_it_fails():
    judge = nn.Sequential(nn.Flatten(), nn.Linear(16, 1), nn.Dropout(0.9)).train()
    reward, x = ImageModel(judge), torch.randn(4, 1, 4, 4)
    assert torch.equal(reward(x), reward(x)) and judge.training  # asked without dropout
    with pytest.raises(ValueError, match=r"failed on inputs \(4, 1, 5, 5\).*RuntimeError: mat1 and mat2"):
        reward(torch.randn(4, 1, 5, 5))


class Total(nn.Module):
    """One number a batch."""

    def forward(self, x):
        return x.sum()


def test_one_number_a_batch_is_one_a_state_for_one_state_only():
    reward, x = ImageModel(Total()), torch.rand(3, 1, 4, 4)
    assert torch.equal(reward(x[:1]), x[:1].sum()[None])
    with pytest.raises(ValueError, match=r"gave \(\) for \(3, 1, 4, 4\)"):
        reward(x)
    own = gk.objectives.Reward(lambda x: x.sum())
    assert own(x[:1]).shape == (1,)
    with pytest.raises(ValueError, match="one number a state"):
        own(x)


def test_a_failing_reward_prints_its_first_reason():
    def picky(row):
        raise KeyError("no such residue")

    prior = gk.priors.CategoricalChain(torch.full((3, 3), 1 / 9))
    ledger = gk.sample(prior, gk.guidance.BestOfN(ObjectReward(picky), particles=2), 2, 2).ledger
    from guidekit.objectives.scoring import failures

    assert "no such residue" in failures(ledger, "rows")
