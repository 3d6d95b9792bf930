"""Networks of other libraries, as they come."""

import pytest
import torch

from guidekit._compat import mended
from guidekit.interventions import find_sites, installed
from guidekit.interventions.operators import BlurQuery, DropAttention, IdentityAttention, NoiseEmbedding

OPERATORS = [IdentityAttention("middle"), BlurQuery(1.0, "middle"), DropAttention("middle"), NoiseEmbedding(0.3)]


@pytest.mark.parametrize("operator", OPERATORS)
def test_unet_of_diffusers(operator):
    diffusers = mended("test", "diffusers")
    torch.manual_seed(0)
    network = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        layers_per_block=1,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).double()
    network.eval().requires_grad_(False)
    names = [site.name for site in find_sites(network) if "self_attention" in site.ports]
    assert "mid_block.attentions.0" in names and len(names) == 4
    assert [site.name for site in find_sites(network) if "time_embedding" in site.ports] == ["time_embedding"]
    x, t, code = torch.randn(3, 1, 8, 8).double(), torch.tensor([10, 500, 900]), torch.tensor([0, 1, 1])
    plain = network(x, t).sample
    seed = torch.arange(3)
    with installed(network, operator, code, seed, measure=True) as probe:
        mixed = network(x, t).sample
    assert all(effect > 1e-3 for effect in probe.effects.values())
    assert torch.equal(mixed[:1], plain[:1]) and (mixed - plain)[1:].abs().flatten(1).amax(1).gt(1e-9).all()
    with installed(network, operator, seed=seed[1:]):
        torch.testing.assert_close(network(x[1:], t[1:]).sample, mixed[1:], rtol=1e-9, atol=1e-9)
    assert torch.equal(network(x, t).sample, plain)
