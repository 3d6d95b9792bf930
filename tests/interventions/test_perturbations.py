"""Sites and operators: what a hook changes, for which rows, and that nothing of it stays."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from guidekit.errors import UnknownNameError
from guidekit.interventions.installation import installed, narrowed
from guidekit.interventions.operators import (
    BlurQuery,
    Custom,
    DropAttention,
    DropBlock,
    DropFeed,
    IdentityAttention,
    NegativeExtrapolate,
    NoiseEmbedding,
    Record,
    RecordMaps,
    ShuffleTokens,
    TemperAttention,
)
from guidekit.interventions.operators.blocks import how_many
from guidekit.interventions.operators.inputs import shuffled
from guidekit.interventions.operators.negative import extrapolated
from guidekit.interventions.selection import choose, describe, find_sites
from guidekit.interventions.sites import Site, Sited, SiteError
from guidekit.interventions.smoothing import smoothed
from guidekit.networks import DilatedConvolution, ImageTransformer, Perceptron, SequenceTransformer, UNet

ROWS = 5
CODE = torch.tensor([0, 1, 0, 1, 1])


def randomised(network):
    """Weights of a size at which everything has an effect, float64."""
    torch.manual_seed(0)
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.3)
    return network.double().eval().requires_grad_(False)


class Cross(nn.Module):
    """Attention to a context, with projections of their own."""

    def __init__(self, width):
        super().__init__()
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, context):
        q, k, v = (
            f(z).unflatten(-1, (2, -1)).transpose(1, 2)
            for f, z in zip((self.to_q, self.to_k, self.to_v), (x, context, context), strict=True)
        )
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Encoder(nn.Module):
    """torch's own transformer layers, with padding, and attention to a context."""

    def __init__(self):
        super().__init__()
        layer = lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)  # noqa: E731
        self.layers = nn.ModuleList(layer() for _ in range(3))
        self.cross = Cross(8)

    def forward(self, x, ignored, context):
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=ignored)
        return x + self.cross(x, context)


def sequences():
    tokens = torch.randint(1, 6, (ROWS, 7), generator=torch.Generator().manual_seed(1))
    tokens[1, 4:] = tokens[3, 5:] = 0
    labels = torch.tensor([[0], [1], [0], [-1], [1]])
    network = SequenceTransformer(6, 7, width=8, depth=3, heads=2, pad_id=0, labels=[2], timed=True)
    return randomised(network), (tokens, None, labels, torch.linspace(0, 1, ROWS).double())


def pictures(network):
    return randomised(network), (torch.randn(ROWS, 1, 8, 8).double(), torch.linspace(0, 1, ROWS).double())


def encoder():
    network = randomised(Encoder())
    ignored = torch.arange(6) >= torch.tensor([6, 4, 6, 5, 6])[:, None]
    return network, (torch.randn(ROWS, 6, 8).double(), ignored, torch.randn(ROWS, 3, 8).double())


NETWORKS = {
    "sequence": sequences,
    "dit": lambda: pictures(ImageTransformer(1, 8, 8, 3, 2, patch=2)),
    "unet": lambda: pictures(UNet(1, 8, (1, 2), heads=2, patch=1)),
    "convolution": lambda: (
        randomised(DilatedConvolution(4, 9, 8, 3, (1, 2, 1))),
        (torch.randint(4, (ROWS, 9), generator=torch.Generator().manual_seed(1)),),
    ),
    "encoder": encoder,
}
OPERATORS = {
    "identity": IdentityAttention(),
    "temper": TemperAttention(3.0),
    "mean": TemperAttention(),
    "blur": BlurQuery(1.5),
    "mean query": BlurQuery(),
    "shuffle": ShuffleTokens(),
    "drop": DropBlock(),
    "draw": DropBlock(0.4),
    "drop attention": DropAttention(),
    "drop feed": DropFeed(),
    "noise": NoiseEmbedding(0.5),
    "custom": Custom(lambda x, place: x * place.uniform(x[0].numel()).view(x.shape), draws=True),
}


def pairs():
    for name, operator in itertools.product(NETWORKS, OPERATORS):
        network = NETWORKS[name]()[0]
        if any({*operator_ports(operator)} & {*site.ports} for site in find_sites(network)):
            yield pytest.param(name, operator, id=f"{name}-{operator}")


def operator_ports(name):
    return OPERATORS[name].ports


def rows_of(inputs, rows):
    return tuple(None if z is None else z[rows] for z in inputs)


@pytest.mark.parametrize(("name", "operator"), [*pairs()])
def test_rows_of_one_call_equal_separate_calls_in_any_order(name, operator):
    network, inputs = NETWORKS[name]()
    operator, seed = OPERATORS[operator], torch.arange(ROWS) + 100
    plain = network(*inputs)
    with installed(network, operator, CODE, seed, measure=True) as probe:
        mixed = network(*inputs)
    assert all(effect > 0 for effect in probe.effects.values()) or operator == DropBlock(0.4)
    if name == "encoder":  # hooks turn torch's fused layer off, which rounds otherwise
        torch.testing.assert_close(mixed[CODE == 0], plain[CODE == 0], rtol=1e-12, atol=1e-12)
    else:
        assert torch.equal(mixed[CODE == 0], plain[CODE == 0])
    assert (mixed[CODE == 1] - plain[CODE == 1]).flatten(1).abs().amax(1).gt(1e-6).all()
    for row in (CODE == 1).nonzero()[:, 0].tolist():
        with installed(network, operator, torch.ones(1, dtype=torch.int64), seed[row : row + 1]):
            alone = network(*rows_of(inputs, slice(row, row + 1)))
        torch.testing.assert_close(mixed[row : row + 1], alone, rtol=1e-6, atol=1e-6)
    order = torch.tensor([4, 2, 0, 3, 1])
    with installed(network, operator, CODE[order], seed[order]):
        turned = network(*rows_of(inputs, order))
    torch.testing.assert_close(turned, mixed[order], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "operator"), [*pairs()])
def test_no_trace_is_left_also_after_an_exception(name, operator):
    network, inputs = NETWORKS[name]()
    operator = OPERATORS[operator]
    state, plain, before = copy.deepcopy(network.state_dict()), network(*inputs), hooks(network)
    with installed(network, operator, CODE):
        network(*inputs)
    with pytest.raises(ZeroDivisionError), installed(network, operator, CODE):
        network(*inputs)
        raise ZeroDivisionError
    fails = Custom(lambda *_: 1 / 0, port=operator.ports[0] if operator.ports[0] != "message_passing" else "block")
    with pytest.raises(ZeroDivisionError), installed(network, [operator, fails], CODE):
        network(*inputs)
    assert hooks(network) == before
    assert torch.overrides._get_current_function_mode() is None
    assert torch.equal(network(*inputs), plain)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def hooks(network):
    parts = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")
    parts = (*parts, "_forward_hooks_always_called", "_backward_hooks")
    return [len(getattr(module, part)) for module in network.modules() for part in parts]


def test_installations_nest():
    network, inputs = sequences()
    with installed(network, IdentityAttention("blocks.0"), CODE), installed(network, DropFeed("blocks.2"), 1 - CODE):
        both = network(*inputs)
    with installed(network, {1: [IdentityAttention("blocks.0")], 2: [DropFeed("blocks.2")]}, 2 - CODE):
        torch.testing.assert_close(both, network(*inputs))
    with installed(network, IdentityAttention(0)), installed(network, TemperAttention(2.0, 0)), torch.no_grad():
        network(*inputs)
    assert torch.overrides._get_current_function_mode() is None


# Operators against what they are by hand ---------------------------------------------------------------------------


def by_hand(network, tokens, maps):
    """A SequenceTransformer without padding, labels and time, with a function of (q, k) as attention map of a layer."""
    index = torch.arange(tokens.shape[1])
    h = network.embed(tokens) + network.from_start(index) + network.from_end(tokens.shape[1] - 1 - index)
    for i, block in enumerate(network.blocks):
        q, k, v = block.qkv(block.attention_norm(h)).view(*h.shape[:2], 3, block.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = block.query_norm(q), block.key_norm(k)
        weights = maps[i](q, k) if i in maps else torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1)
        h = h + block.out((weights @ v).transpose(1, 2).flatten(2))
        h = h + block.down(F.gelu(block.up(block.feed_norm(h)), approximate="tanh"))
    return network.logits(h)


def plain_sequences():
    network = randomised(SequenceTransformer(6, 7, width=8, depth=3, heads=2))
    return network, torch.randint(6, (ROWS, 7), generator=torch.Generator().manual_seed(1))


def softmax(q, k):
    return torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1)


@pytest.mark.parametrize(
    ("operator", "attention"),
    [
        (IdentityAttention([1, 2]), lambda q, k: torch.eye(7).double().expand(ROWS, 2, 7, 7)),
        (BlurQuery(math.inf, [1, 2]), lambda q, k: softmax(q.mean(2, keepdim=True).expand_as(q), k)),
        (TemperAttention(math.inf, [1, 2]), lambda q, k: torch.ones(ROWS, 2, 7, 7).double() / 7),
        (TemperAttention(2.0, [1, 2]), lambda q, k: softmax(q / 2, k)),
        (TemperAttention(1e-9, [1, 2]), lambda q, k: F.one_hot((q @ k.mT).argmax(-1), 7).double()),
        (BlurQuery(0.0, [1, 2]), softmax),
        (TemperAttention(1.0, [1, 2]), softmax),
    ],
)
def test_attention_equals_a_reference_forward(operator, attention):
    network, tokens = plain_sequences()
    with installed(network, operator):
        found = network(tokens)
    torch.testing.assert_close(found, by_hand(network, tokens, {1: attention, 2: attention}), rtol=1e-9, atol=1e-9)


def test_blurred_queries_are_blurred_logits():
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 4, 3, 5).double(), torch.randn(2, 1, 6, 5).double()
    first = smoothed(q, (2, 3), 0.8).flatten(2, 3) @ k.mT
    then = smoothed((q.flatten(2, 3) @ k.mT).unflatten(2, (4, 3)), (2, 3), 0.8).flatten(2, 3)
    torch.testing.assert_close(first, then, rtol=1e-10, atol=1e-10)
    wide = smoothed(q, (2, 3), 1e4)
    torch.testing.assert_close(wide, q.mean((2, 3), keepdim=True).expand_as(q), rtol=1e-4, atol=1e-5)
    assert torch.equal(smoothed(q, (2, 3), 0.0), q)
    weights = torch.tensor([math.exp(-0.5 * (j / 0.8) ** 2) for j in range(3)]).double()
    line, mask = torch.tensor([[1.0, 5.0, 2.0]]).double(), torch.tensor([[True, False, True]])
    assert smoothed(line, (1,), 0.8)[0, 0].item() == pytest.approx(float((weights * line[0]).sum() / weights.sum()))
    valid = smoothed(line, (1,), 0.8, mask)[0]
    expected = float((weights[0] + 2 * weights[2]) / (weights[0] + weights[2]))
    assert valid[0].item() == pytest.approx(expected) and valid[1] == 5
    ones = torch.ones(1, 1, 5, 1).double()
    torch.testing.assert_close(smoothed(ones, (2,), 2.0), ones)


def test_blur_on_a_map_acts_along_height_and_width():
    network, inputs = NETWORKS["unet"]()
    seen = []

    class Spy(BlurQuery):
        def attention(self, heads, place, companion):
            seen.append((place.dims, heads.q))
            return super().attention(heads, place, companion)

    with installed(network, Spy(1.0, "middle.0.attention")):
        network(*inputs)
    assert seen[0][0] == (4, 4) and seen[0][1].shape[2] == 16


def test_padding_is_left_alone_and_does_not_matter():
    network, inputs = sequences()
    tokens = inputs[0]
    for operator in (IdentityAttention(), BlurQuery(), BlurQuery(1.0), ShuffleTokens(), TemperAttention()):
        with installed(network, operator):
            whole = network(*inputs)
        with installed(network, operator, seed=torch.tensor([1])):
            cut = network(tokens[1:2, :4], *rows_of(inputs[1:], slice(1, 2)))
        torch.testing.assert_close(whole[1, :4], cut[0], rtol=1e-9, atol=1e-9)
    movable = torch.tensor([[True, True, False, True, False], [True] * 5, [False] * 5])
    order = shuffled(torch.rand(3, 5).double(), movable)
    assert order.sort(1).values.tolist() == [list(range(5))] * 3
    assert (order == torch.arange(5))[~movable].all()


def test_leading_tokens_are_left_alone():
    network, tokens = plain_sequences()
    kinds = ("block", "tokens", "self_attention")
    rule = lambda name, module, root: (  # noqa: E731
        Site(name, dict.fromkeys(kinds, module), leading=2, dims=(5,))
        if name.startswith("blocks.") and name[-1].isdigit()
        else None
    )
    seen = {}
    watch = lambda key: Custom(lambda x, place: seen.setdefault(key, x) * 1, "block", "blocks.0")  # noqa: E731
    for operator in (IdentityAttention("blocks.0"), BlurQuery(1.0, "blocks.0"), ShuffleTokens("blocks.0")):
        with installed(network, [operator, watch("changed")], rules=[rule]):
            network(tokens)
        with installed(network, [watch("plain")], rules=[rule]):
            network(tokens)
        assert (seen["changed"] - seen["plain"])[:, 2:].abs().amax() > 1e-3
        if not isinstance(operator, ShuffleTokens):  # whose keys and values do change
            assert torch.equal(seen["changed"][:, :2], seen["plain"][:, :2])
        seen.clear()


def test_shuffled_tokens_keep_their_norms_and_differ_by_row_and_site():
    network, tokens = plain_sequences()
    orders = {}

    class Spy(ShuffleTokens):
        def input(self, x, place):
            new = super().input(x, place)
            assert torch.equal(new.norm(dim=-1).sort(1).values, x.norm(dim=-1).sort(1).values)
            orders[place.site.name] = shuffled(place.uniform(x.shape[1]), None)
            return new

    with installed(network, Spy()):
        network(tokens)
    rows = torch.cat(list(orders.values()))
    assert len({tuple(row) for row in rows.tolist()}) == len(rows) == 15


def test_a_shuffle_of_a_network_without_places_is_a_relabelling():
    network, tokens = plain_sequences()
    for table in (network.from_start, network.from_end):
        nn.init.zeros_(table.weight)
    order = shuffled(torch.rand(ROWS, 7).double(), None)
    move = Custom(lambda x, place: x.gather(1, order[..., None].expand_as(x)), "tokens", "blocks.0")
    with installed(network, move):
        moved = network(tokens)
    torch.testing.assert_close(moved, network(tokens).gather(1, order[..., None].expand(-1, -1, 6)))


def test_dropped_blocks():
    network, tokens = plain_sequences()
    index = torch.arange(7)
    told = network.embed(tokens) + network.from_start(index) + network.from_end(6 - index)
    with installed(network, DropBlock()):
        torch.testing.assert_close(network(tokens), network.logits(told))
    with installed(network, [DropAttention(), DropFeed()]):
        torch.testing.assert_close(network(tokens), network.logits(told))
    for part in (network.blocks[1].out, network.blocks[1].down):
        nn.init.zeros_(part.weight)
    with installed(network, DropBlock(1.0, "blocks.1"), measure=True) as probe:
        assert torch.equal(network(tokens), network(tokens))
    assert set(probe.effects.values()) == {0.0}
    with installed(network, DropBlock(0.0)):
        changed = network(tokens)
    assert torch.equal(changed, network(tokens))
    convolution, inputs = NETWORKS["convolution"]()
    with installed(convolution, DropBlock()):
        torch.testing.assert_close(convolution(*inputs), convolution.logits(convolution.embed(inputs[0])))
    vectors = randomised(Perceptron(4, 8, 2))
    x = torch.randn(3, 4).double()
    with installed(vectors, DropBlock()):
        torch.testing.assert_close(vectors.features(x), vectors.embed(x)[:, None])


def test_shares_of_blocks_are_rounded_and_none_only_at_zero():
    assert [how_many(rate, 4) for rate in (0.0, 0.01, 0.3, 0.4, 0.6, 0.9, 1.0)] == [0, 1, 1, 2, 2, 4, 4]


def test_drawn_blocks_are_a_uniform_subset_of_the_wanted_size():
    network, tokens = plain_sequences()
    network = randomised(SequenceTransformer(6, 7, width=8, depth=5, heads=2))
    one = tokens[:1]
    subsets = {}
    for pair in itertools.combinations(range(5), 2):
        with installed(network, DropBlock(1.0, list(pair))):
            subsets[pair] = network(one)
    many = 2000
    with installed(network, DropBlock(0.4), seed=torch.arange(many)):
        drawn = network(one.expand(many, -1))
    gaps = torch.stack([(drawn - y).flatten(1).abs().amax(1) for y in subsets.values()])
    assert (gaps.amin(0) < 1e-9).all()
    counts = (gaps < 1e-9).sum(1)
    assert (counts - many / 10).abs().max() < 4 * math.sqrt(many * 0.09)
    exact = torch.stack(list(subsets.values())).mean(0)
    error = drawn.std(0) / math.sqrt(many)
    assert ((drawn.mean(0) - exact[0]).abs() < 5 * error + 1e-12).all()


def test_noise_of_the_time_embedding():
    network, inputs = sequences()
    seen = []
    spy = Custom(lambda x, place: seen.append(x) or x, "time_embedding")
    with installed(network, [NoiseEmbedding(0.3), spy], seed=torch.arange(ROWS)):
        network(*inputs)
    many = torch.zeros(4000).double()
    with installed(network.conditioning, NoiseEmbedding(0.3, "level"), seed=torch.arange(4000)):
        noisy = network.conditioning(4000, None, many, many[:, None])[:, 0]
    noise = noisy - network.conditioning(4000, None, many, many[:, None])[:, 0]
    assert noise.mean().abs() < 5 * 0.3 / math.sqrt(noise.numel())
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    with installed(network, NoiseEmbedding(0.3, port="condition_embedding"), measure=True) as probe:
        network(*inputs)
    assert list(probe.effects) == [("NoiseEmbedding", "conditioning.tables.0")]


# NAG ---------------------------------------------------------------------------------------------------------------


def test_extrapolation_by_numbers():
    positive, negative = torch.tensor([[[1.0, 2, -1]]]), torch.tensor([[[-2.0, 0.5, 1]]])
    found = extrapolated(positive, negative, 4.0, 2.5, 0.25)
    torch.testing.assert_close(found, torch.tensor([[[1.833333, 2.166667, -1.5]]]))
    assert torch.equal(extrapolated(positive, positive, 4.0, 2.5, 0.25), positive)
    assert torch.equal(extrapolated(positive, negative, 0.0, 2.5, 0.25), positive)
    assert torch.equal(extrapolated(0 * positive, negative * 0, 4.0, 2.5, 0.25), 0 * positive)
    torch.manual_seed(0)
    for norm in (1, 2):
        z, other = torch.randn(2, 50, 9, 6)
        out = extrapolated(z, other, 20.0, 2.5, 0.25, norm)
        bound = (0.25 * 2.5 + 0.75) * z.norm(p=norm, dim=-1)
        assert (out.norm(p=norm, dim=-1) <= bound * 1.00001).all()


def test_negative_context_in_companion_rows():
    network, (x, ignored, context) = encoder()
    negative = torch.randn(ROWS, 3, 8).double()
    operator = NegativeExtrapolate(4.0, 2.5, 0.25)
    doubled = (torch.cat([x, torch.randn_like(x)]), torch.cat([ignored] * 2), torch.cat([context, negative]))
    code = torch.cat([torch.ones(ROWS), -torch.ones(ROWS)]).long()
    with installed(network, operator, code):
        found = network(*doubled)[:ROWS]
    h = x
    for layer in network.layers:
        h = layer(h, src_key_padding_mask=ignored)
    attend, cross = [], network.cross
    for told in (context, negative):
        q, k, v = (
            f(z).unflatten(-1, (2, -1)).transpose(1, 2)
            for f, z in ((cross.to_q, h), (cross.to_k, told), (cross.to_v, told))
        )
        attend.append((softmax(q, k) @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(found, h + cross.to_out(extrapolated(*attend, 4.0, 2.5, 0.25)))
    with installed(network, operator, code):
        same = network(torch.cat([x, x]), torch.cat([ignored] * 2), torch.cat([context, context]))[:ROWS]
    torch.testing.assert_close(same, network(x, ignored, context))
    with pytest.raises(SiteError, match="companion"), installed(network, operator):
        network(x, ignored, context)


# Records, rows -----------------------------------------------------------------------------------------------------


def test_recorded_attention_averages_one_over_keys():
    network, tokens = plain_sequences()
    plain = network(tokens)
    with installed(network, [Record("blocks.1"), RecordMaps("blocks.2")], CODE) as probe:
        assert torch.equal(network(tokens), plain)
    rows, received, dims = probe.records["blocks.1"][0]
    assert rows.tolist() == [1, 3, 4] and dims == (7,)
    torch.testing.assert_close(received.mean(1), torch.ones(3).double())
    assert received.std() > 0.01  # a sum over keys would be constant
    whole = probe.records["blocks.2"][0][1]
    torch.testing.assert_close(whole.sum(-1), torch.ones(3, 7).double())


def test_codes_follow_rows_that_are_left_out():
    network, tokens = plain_sequences()
    seed = torch.arange(ROWS) + 7
    with installed(network, ShuffleTokens(), CODE, seed):
        whole = network(tokens)
    busy = torch.tensor([False, True, True, False, True])
    with installed(network, ShuffleTokens(), CODE, seed):
        with narrowed(network, busy):
            part = network(tokens[busy])
        assert torch.equal(network(tokens), whole)
    torch.testing.assert_close(part, whole[busy])


# Refusals ----------------------------------------------------------------------------------------------------------


def test_what_never_fires_raises():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.unused = nn.Linear(4, 12), nn.Linear(4, 4)

        def forward(self, x):
            q, k, v = self.qkv(x).chunk(3, -1)
            return softmax(q, k) @ v  # attention that nothing can see

    network = Own()
    with pytest.raises(SiteError, match="IdentityAttention never fired"), installed(network, IdentityAttention([""])):
        network(torch.randn(2, 3, 4))
    with pytest.raises(SiteError, match="never fired at site unused"), installed(network, DropBlock(sites="unused")):
        network(torch.randn(2, 3, 4))
    with installed(network, DropBlock(sites="unused")):
        pass  # the network was not called


def test_names():
    network = NETWORKS["unet"]()[0]
    sites = find_sites(network)
    names = lambda chosen: [site.name for site, _ in choose(network, sites, ("self_attention",), chosen)]  # noqa: E731
    assert names("all") == names("*") and len(names("all")) == 4
    assert names("middle") == ["middle.0.attention"] and names("early") == ["down.1.0.attention"] == names(0)
    assert names(-1) == names("up.0.1") == ["up.0.1.attention"]
    assert names(["up", 0]) == ["down.1.0.attention", "up.0.0.attention", "up.0.1.attention"]
    with pytest.raises(UnknownNameError, match="did you mean 'middle.0.attention'"):
        names("middle.0.atention")
    with pytest.raises(UnknownNameError, match="no self_attention site named '9'"):
        names(9)
    sequence = sequences()[0]
    deep = SequenceTransformer(6, 7, width=4, depth=6, heads=1)
    blocks = lambda chosen: [s.name[-1] for s, _ in choose(deep, find_sites(deep), ("block",), chosen)]  # noqa: E731
    assert (
        blocks("middle") == ["2", "3"]
        and blocks("inner") == ["1", "2", "3", "4"]
        and blocks("early") == ["0", "1", "2"]
    )
    with (
        pytest.raises(UnknownNameError, match="did you mean 'blocks.1'"),
        installed(sequence, DropBlock(sites="block.1")),
    ):
        pass
    with pytest.raises(
        SiteError, match="no self_attention or message_passing site in this network .DilatedConvolution"
    ):
        installed(NETWORKS["convolution"]()[0], IdentityAttention()).__enter__()


def test_a_network_says_its_sites_and_parts_of_a_nested_unet_are_known():
    class Own(nn.Module, Sited):
        def __init__(self):
            super().__init__()
            self.inner, self.extra = UNet(1, 8, (1, 2), heads=2, patch=1), nn.Linear(2, 2)

        def sites(self):
            return [Site("extra", {"feed": self.extra}), Site("inner.middle.1.block", {"feed": self.extra})]

    network = Own()
    sites = find_sites(network)
    assert {"extra", "inner.conditioning.level"} <= {site.name for site in sites}
    said = next(site for site in sites if site.name == "inner.middle.1.block")
    assert set(said.ports) == {"feed"}  # what is said farther outside holds
    rule = lambda name, module, root: Site(name, {"block": module}) if name == "extra" else None  # noqa: E731
    assert [set(site.ports) for site in find_sites(network, [rule]) if site.name == "extra"] == [{"block"}]
    names = lambda chosen: [site.name for site, _ in choose(network, sites, ("self_attention",), chosen)]  # noqa: E731
    assert names("middle") == ["inner.middle.0.attention"] and names("early") == ["inner.down.1.0.attention"]
    assert [name.split(".")[1] for name in names("all")] == ["down", "middle", "up", "up"]


def test_the_table_of_sites(capsys):
    describe(NETWORKS["dit"]()[0])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and "blocks.1" in lines[3] and "self_attention" in lines[3] and "4 x 4" in lines[3]
    describe(nn.Linear(2, 2))
    assert "no sites" in capsys.readouterr().out


def test_bad_input_is_one_clear_line():
    for make, text in (
        (lambda: DropBlock(1.5), "rate=1.5; accepted: 0"),
        (lambda: BlurQuery(-1.0), "sigma=-1.0"),
        (lambda: TemperAttention(0.0), "temperature=0.0"),
        (lambda: NegativeExtrapolate(norm=3), "norm=3"),
    ):
        with pytest.raises(ValueError, match=text):
            make()
    network, inputs = encoder()
    wrong = lambda name, module, root: Site(name, {"self_attention": module}) if name == "cross" else None  # noqa: E731
    with (
        pytest.raises(SiteError, match="6 queries and 3 values"),
        installed(network, IdentityAttention("cross"), rules=[wrong]),
    ):
        network(*inputs)
    dit, pictures_ = NETWORKS["dit"]()
    with (
        pytest.raises(SiteError, match="sees a batch of 5 where the call has 3"),
        installed(dit, DropBlock(), CODE[:3]),
    ):
        dit(*pictures_)
