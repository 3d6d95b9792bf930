"""S-CFG: regions from attention, and equal energy in them."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import guidekit as gk
from guidekit.core.loop import populate, prepare
from guidekit.core.random import Draw
from guidekit.core.sampler import Sampler
from guidekit.core.step import Moment
from guidekit.guidance.attention import regions as module
from guidekit.guidance.attention.maps import clustered, completed, cross_maps, foreground, self_regions
from guidekit.guidance.attention.regions import region_rates
from guidekit.interventions import installed
from guidekit.interventions.operators import RecordMaps
from guidekit.networks import SequenceTransformer, UNet
from guidekit.priors.labels import Label
from guidekit.priors.neural import NeuralGaussian
from guidekit.priors.tokens import TokenPrior
from guidekit.testing import check_guidance

g = gk.guidance
LABELS = [Label("class", ["a", "b"])]
BLOCKS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])


def randomised(network, std=0.3):
    torch.manual_seed(0)
    for weight in network.parameters():
        nn.init.normal_(weight, std=std)
    return network.eval()


def unet():
    network = randomised(UNet(1, 8, (1, 2), heads=2, patch=1, labels=[2]))
    return NeuralGaussian(network, gk.processes.EDM(), (1, 8, 8), labels=LABELS)


class Attention(nn.Module):
    """Attention whose logits do not depend on what is attended to."""

    def __init__(self, logits, heads=2):
        super().__init__()
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(4, 4) for _ in range(4))
        self.logits, self.heads = logits, heads

    def forward(self, x, context=None):
        value = self.to_v(x if context is None else context).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        q = self.logits.to(x).expand(len(x), self.heads, *self.logits.shape)
        k = math.sqrt(q.shape[-1]) * torch.eye(q.shape[-1]).to(x).expand(len(x), self.heads, -1, -1)
        return self.to_out(F.scaled_dot_product_attention(q, k, value).transpose(1, 2).flatten(2))


class Vectors(nn.Module):
    """Eight numbers as tokens with given attention logits among themselves, and to two tokens of a label."""

    def __init__(self, own, cross=None):
        super().__init__()
        self.first, self.table, self.head = nn.Linear(1, 4), nn.Embedding(3, 8), nn.Linear(4, 1)
        self.attention = Attention(own)
        self.cross = None if cross is None else Attention(cross)

    def forward(self, x, level, labels=None):
        labels = torch.full((len(x), 1), -1) if labels is None else labels
        told = self.table(torch.where(labels[:, 0] < 0, 2, labels[:, 0])).view(-1, 2, 4)
        h = self.first(x[..., None]) + told[:, :1] * torch.linspace(0.2, 3, 8)[:, None]
        h = h + self.attention(h)
        if self.cross is not None:
            h = h + self.cross(h, told)
        return self.head(F.silu(h))[..., 0]


def vectors(own, cross=None):
    return NeuralGaussian(randomised(Vectors(own, cross), 0.5), gk.processes.EDM(), (8,), labels=LABELS)


def blocks(spread=0.25):
    """Logits that are random inside the blocks and minus infinity between them."""
    inside = BLOCKS[:, None] == BLOCKS
    return (spread * torch.randn(8, 8, generator=torch.Generator().manual_seed(0))).masked_fill(~inside, -1e9)


def asked(prior, plug, rows=4, t=0.6, network_batch=None, sampler=None):
    """A population from noise, and its condition."""
    given = torch.full((rows, 1), 1)
    sampler = sampler or gk.samplers.Ancestral()
    options = dict(sampler=sampler, steps=4, groups=(0, rows), condition=given, network_limit=network_batch)
    setup = prepare(prior, plug, **options)
    x = prior.start(Draw(setup.random, (-1,), "start"), rows)
    return populate(setup, x, Moment(t, 1), 1), given


def found_regions(prior, plug, monkeypatch, **options):
    """The regions, sizes and foreground of one call, and the guided prediction."""
    seen = []
    monkeypatch.setattr(module, "region_rates", lambda *args: seen.append(args) or region_rates(*args))
    population, _ = asked(prior, plug, **options)
    with torch.no_grad():
        guided = population.predict()
    monkeypatch.undo()
    return seen[0], guided, population.setup.network.ledger


# Functions of maps -------------------------------------------------------------------------------------------------


def test_completed_maps_are_the_mean_of_powers():
    maps = torch.softmax(torch.randn(3, 5, 5, dtype=torch.float64), -1)
    wanted = sum(torch.linalg.matrix_power(maps, k) for k in range(1, 5)) / 4
    torch.testing.assert_close(completed(maps), wanted)
    torch.testing.assert_close(completed(maps).sum(-1), torch.ones(3, 5, dtype=torch.float64))


def test_clusters():
    maps = torch.softmax(blocks(), -1).expand(2, 8, 8)
    label = clustered(torch.cat([maps, torch.full((1, 8, 8), 1 / 8)]), apart=0.5)
    for row in label[:2]:
        assert all(len(row[b == BLOCKS].unique()) == 1 for b in range(3)) and len(row.unique()) == 3
    assert (label[2] == 0).all()  # equal rows are one cluster, whatever lies beside them in the batch
    assert torch.equal(clustered(maps[:1], apart=0.5), label[:1])
    assert len(clustered(maps[:1], most=2, apart=0.5).unique()) == 2
    assert (clustered(maps[:1], apart=1.0) == 0).all()


def test_maps_of_several_grids_and_leading_tokens():
    coarse = torch.softmax(torch.tensor([[9.0, 0], [0, 9.0]]), -1).expand(1, 2, 2)  # left and right halves
    fine = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2)).expand(1, 4, 4) / 2  # one token more, in front
    lead = torch.cat([torch.full((1, 1, 4), 0.25), fine], 1)
    lead = torch.cat([torch.full((1, 5, 1), 0.5), lead * 0.5], 2)
    found = self_regions([(coarse, (2,)), (lead, (4,))], (8,), apart=0.5)
    assert found.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]


def test_regions_and_foreground_of_a_context():
    """Three places of which one attends to the start token, one to the second, one to the third."""
    maps = torch.tensor([[[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.2, 0.1, 0.7]]], dtype=torch.float64)
    own = torch.eye(3, dtype=torch.float64)[None]
    told, dims = cross_maps([(maps, (3,))], [(own, (3,))], smooth=0.0)
    torch.testing.assert_close(told, maps / maps.mean(1, keepdim=True))
    assert told.argmax(-1).tolist() == [[0, 1, 2]]
    assert foreground(told, dims, (6,), 0).tolist() == [[False] * 2 + [True] * 4]
    half = torch.full((1, 3, 3), 1 / 3, dtype=torch.float64)  # self-attention spreads what a place attends to
    told, _ = cross_maps([(maps, (3,))], [(half, (3,))], smooth=0.0)
    torch.testing.assert_close(told, torch.ones(1, 3, 3, dtype=torch.float64))


# The plug ----------------------------------------------------------------------------------------------------------


def test_blocks_of_attention_are_the_regions_and_get_equal_energy(monkeypatch):
    prior = vectors(blocks())
    plug = g.RegionalCFG(2.0, low=1e-3, high=1e3, most=1e9, smooth=0.0)
    (size, regions, inside, *_), guided, ledger = found_regions(prior, plug, monkeypatch)
    assert inside is None and (ledger.network_calls, ledger.network_rows) == (1, 8)
    for row in regions:
        assert all(len(row[b == BLOCKS].unique()) == 1 for b in range(3)) and len(row.unique()) == 3
    base, positive = guided.branches.null, guided.branches.conditional
    torch.testing.assert_close(size, (positive.mean - base.mean).abs())
    energy = ((guided.mean - base.mean) / 2).abs()
    means = torch.stack([energy[:, b == BLOCKS].mean(1) for b in range(3)], 1)
    plain = torch.stack([size[:, b == BLOCKS].mean(1) for b in range(3)], 1)
    torch.testing.assert_close(means, size.mean(1, keepdim=True).expand(-1, 3), rtol=0.01, atol=0)
    assert (plain.amax(1) > 1.4 * plain.amin(1)).all()  # which CFG does not do
    assert not any(part.notes for part in (guided, base, positive))


def test_constant_attention_is_one_region_and_cfg_bit_for_bit():
    prior = vectors(torch.zeros(8, 8))
    options = dict(num_samples=6, steps=5, condition=1)
    plain = gk.sample(prior, g.CFG(2.5), **options)
    for plug in (g.RegionalCFG(2.5), g.RegionalCFG(2.5, regions=None)):
        guided = gk.sample(prior, plug, **options)
        assert torch.equal(guided.samples, plain.samples)
        assert guided.ledger.network_rows == plain.ledger.network_rows
    other = gk.sample(vectors(blocks()), g.RegionalCFG(2.5), **options).samples
    assert not torch.equal(other, gk.sample(vectors(blocks()), g.CFG(2.5), **options).samples)
    one = gk.sample(unet(), g.RegionalCFG(2.5, apart=1.0), **options).samples
    assert torch.equal(one, gk.sample(unet(), g.CFG(2.5), **options).samples)


def test_given_maps_are_taken_in_place_of_attention(monkeypatch):
    prior, given = vectors(torch.zeros(8, 8)), BLOCKS
    options = dict(low=1e-3, high=1e3, most=1e9, smooth=0.0)
    _, recorded, _ = found_regions(vectors(blocks()), g.RegionalCFG(2.0, **options), monkeypatch)
    for regions in (given, lambda x: given.expand(x.shape)):
        (_, used, *_), _, _ = found_regions(prior, g.RegionalCFG(2.0, regions=regions, **options), monkeypatch)
        assert torch.equal(used, given.expand(4, 8))
    _, same, _ = found_regions(vectors(blocks()), g.RegionalCFG(2.0, regions=given, **options), monkeypatch)
    torch.testing.assert_close(same.mean, recorded.mean)
    half = g.RegionalCFG(2.0, spatial_weight=lambda x, base, positive, w: torch.full((8,), 0.5))
    population, c = asked(prior, half)
    with torch.no_grad():
        torch.testing.assert_close(population.predict().mean, prior.predict(population.state, 0.6, c).mean)


def test_rates_are_smoothed_along_the_grid(monkeypatch):
    prior = vectors(blocks())
    (size, regions, *_), guided, _ = found_regions(prior, g.RegionalCFG(2.0, smooth=0.5), monkeypatch)
    rate = region_rates(size, regions, None, torch.full((4,), 2.0))
    kernel = torch.exp(-0.5 * ((torch.arange(8)[:, None] - torch.arange(8)) / 0.5) ** 2)
    rate = rate @ (kernel / kernel.sum(1, keepdim=True)).T
    base, positive = guided.branches.null.mean, guided.branches.conditional.mean
    torch.testing.assert_close(guided.mean, base + 2 * rate * (positive - base))


def test_regions_of_the_condition_s_tokens_and_their_foreground(monkeypatch):
    cross = torch.tensor([[3.0, 0.0]] * 3 + [[0.0, 3.0]] * 5)
    eye = torch.full((8, 8), -1e9).fill_diagonal_(0.0)
    prior = vectors(eye, cross)
    (size, regions, inside, *_), guided, _ = found_regions(prior, g.RegionalCFG(2.0, start_token=0), monkeypatch)
    assert regions.tolist() == [[0] * 3 + [1] * 5] * 4
    assert inside.tolist() == [[False] * 3 + [True] * 5] * 4
    rate = region_rates(size, regions, inside, torch.full((4,), 2.0), (1e-3, 1e3))
    torch.testing.assert_close((rate * size)[:, :3].mean(1), size[:, 3:].mean(1))
    (_, _, inside, *_), _, _ = found_regions(prior, g.RegionalCFG(2.0), monkeypatch)
    assert inside is None
    with pytest.raises(gk.GuidanceError, match="start_token=2, and the condition has 2 tokens"):
        found_regions(prior, g.RegionalCFG(2.0, start_token=2), monkeypatch)


def test_one_call_on_a_u_net_and_nothing_stays(monkeypatch):
    prior = unet()
    network = prior.network
    state = lambda: [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()]  # noqa: E731
    before = state()
    plug = g.RegionalCFG(2.0, apart=0.02, sites="middle")
    (_, regions, *_), guided, ledger = found_regions(prior, plug, monkeypatch)
    assert (ledger.network_calls, ledger.network_rows) == (1, 8)
    assert state() == before and torch.overrides._get_current_function_mode() is None
    x, c = guided.x, torch.full((4, 1), 1)
    with installed(network, RecordMaps("middle")) as probe, torch.no_grad():
        prior.predict(x, 0.6, c)
    _, maps, dims = probe.records["middle.0.attention"][0]
    assert dims == (4, 4) and len(regions.unique()) > 1
    assert torch.equal(regions, self_regions([(maps, dims)], (8, 8), apart=0.02))
    seen = []
    monkeypatch.setattr(module, "self_regions", lambda found, *args: seen.append(found) or self_regions(found, *args))
    with torch.no_grad():
        asked(prior, plug)[0].predict()
        with installed(network, RecordMaps("middle")) as probe:
            prior.predict(x, 0.6, None)
    monkeypatch.undo()
    null = probe.records["middle.0.attention"][0].value
    torch.testing.assert_close(seen[0][0][0], maps, rtol=1e-5, atol=1e-6)  # of the condition, and not of the null
    assert (null - maps).abs().max() > 1e-3
    for rows in (3, 5):  # branches of one sample in several calls
        _, parted, _ = found_regions(prior, plug, monkeypatch, network_batch=rows)
        torch.testing.assert_close(parted.mean, guided.mean, rtol=1e-4, atol=1e-4)
    check_guidance(prior, g.RegionalCFG(2.0, apart=0.02), num_samples=3, steps=3, condition=1)


def test_rows_at_weight_one_keep_the_conditional_prediction():
    prior = vectors(blocks(), torch.tensor([[3.0, 0.0]] * 3 + [[0.0, 3.0]] * 5))
    weight = lambda t: torch.where(t > 0.5, 3.0, 1.0) if isinstance(t, torch.Tensor) else 3.0  # noqa: E731
    t, given = torch.tensor([0.6, 0.4, 0.6, 0.4]), torch.full((4, 1), 1)
    times = Timed(t)
    with torch.no_grad():
        population, _ = asked(prior, g.RegionalCFG(weight, start_token=0), sampler=times)
        mixed, x = population.predict(), population.state
        assert population.setup.network.ledger.network_rows == 6
        whole = asked(prior, g.RegionalCFG(3.0, start_token=0), sampler=times)[0].predict()
        torch.testing.assert_close(mixed.mean[::2], whole.mean[::2], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(mixed.mean[1::2], prior.predict(x, t, given).mean[1::2], rtol=1e-5, atol=1e-5)


class Timed(Sampler):
    """A sampler whose rows have times of their own; it takes no steps."""

    def __init__(self, given):
        self.given = given

    def time(self, moment, memory):
        return self.given

    def grid(self, prior, steps):
        return prior.process.grid(steps)


def test_tokens_have_a_rate_for_every_position():
    network = SequenceTransformer(6, 7, width=8, depth=2, heads=2, pad_id=0, labels=[2])
    prior = TokenPrior(randomised(network, 0.5), 6, [0, 0, 0, 1, 1, 1, 1, 2], labels=LABELS)
    check_guidance(prior, g.RegionalCFG(2.0, apart=0.02), num_samples=4, steps=4, condition=1)
    plug = g.RegionalCFG(2.0, spatial_weight=lambda *args: torch.tensor([0.5, 1] * 4)[:7, None])
    population, c = asked(prior, plug)
    with torch.no_grad():
        half, plain = population.predict().log_probs, prior.predict(population.state, 0.6, c).log_probs
        cfg = asked(prior, g.CFG(2.0))[0].predict().log_probs
    torch.testing.assert_close(half[:, ::2].exp(), plain[:, ::2].exp(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(half[:, 1::2].exp(), cfg[:, 1::2].exp(), rtol=1e-4, atol=1e-5)


def test_what_cannot_work_is_refused_with_the_reason():
    mixture = gk.priors.GaussianMixture(torch.zeros(2, 2), 1.0)
    grid = NeuralGaussian(unet().network, gk.processes.EDM(), (1, 8, 8), labels=LABELS)
    for prior, plug, text in (
        (mixture, g.RegionalCFG(), "finds no attention in this prior .gaussian mixture.*give regions="),
        (grid, g.chain(g.CFG(), g.RegionalCFG()), "cannot wrap CFG: give regions="),
    ):
        with pytest.raises(gk.GuidanceError, match=text):
            gk.sample(prior, plug, 2, steps=2, condition=0)
    with pytest.raises(ValueError, match="did you mean 'middle.0.attention'"):
        gk.sample(grid, g.RegionalCFG(sites="middle.0.atention"), 2, steps=2, condition=0)
    for options, text in (
        (dict(regions="self"), "regions='self'; accepted: attention"),
        (dict(low=2.0, high=1.0), "low=2.0, high=1.0"),
        (dict(count=0), "count=0"),
        (dict(apart=1.5), "apart=1.5"),
    ):
        with pytest.raises(ValueError, match=text):
            g.RegionalCFG(**options)


def test_limits_hold_before_the_cap():
    """A rate is within its limits, and the weight times it never above the most."""
    size = torch.rand(5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) ** 4
    regions = torch.arange(12).expand(5, 12) // 3
    for w, most in itertools.product((1.5, 10.0, 40.0), (15.0, 1e9)):
        rate = region_rates(size, regions, None, torch.full((5,), w).double(), (0.8, 3.0), most)
        assert (rate * w <= most * (1 + 1e-12)).all() and (rate <= 3).all()
        assert (rate >= min(0.8, most / w) - 1e-12).all()
