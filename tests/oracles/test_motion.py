"""Motion: fields by hand, warps that undo each other, flows that are known, a blob that goes where it is sent."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.objectives.motion import affine_field, fetched, residual_flow

D = torch.float64


def blob(down, right, size=24, spread=3.0):
    """A Gaussian blob, (1, 1, size, size)."""
    y, x = torch.meshgrid(torch.arange(size, dtype=D), torch.arange(size, dtype=D), indexing="ij")
    return torch.exp(-((y - down) ** 2 + (x - right) ** 2) / (2 * spread**2))[None, None]


def turned(degrees):
    angle = math.radians(degrees)
    return torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=D)


def test_fields_by_hand():
    eye = torch.eye(2, dtype=D)
    shift = affine_field((5, 7), eye, torch.tensor([1.0, -2.0]))
    assert torch.equal(shift[0], torch.ones(5, 7, dtype=D)) and torch.equal(shift[1], torch.full((5, 7), -2.0, dtype=D))
    quarter = affine_field((5, 5), turned(90), torch.zeros(2))  # (down, right) -> (-right, down) about the middle
    torch.testing.assert_close(quarter[:, 0, 2], torch.tensor([2.0, -2.0], dtype=D))
    assert affine_field((5, 5), 2 * eye, torch.zeros(2))[:, 2, 2].abs().max() == 0


def test_whole_shifts_are_exact_and_edges_are_told():
    x = torch.randn(2, 1, 6, 6, dtype=D, generator=torch.Generator().manual_seed(0))
    seen, inside = fetched(x, affine_field((6, 6), torch.eye(2, dtype=D), torch.tensor([1.0, 2.0])))
    torch.testing.assert_close(seen[:, :, :5, :4], x[:, :, 1:, 2:])
    assert inside[:, :5, :4].all() and inside.sum() == 2 * 20


def test_small_flows_are_found():
    """A blob moved by a fifth of a pixel; where it has structure the flow is that, up to its second order."""
    source, moved = blob(11.5, 11.5), blob(11.7, 11.4)
    found = residual_flow(source, moved, firm=1e-6)[0]
    middle = found[:, 8:16, 8:16].flatten(1).mean(1)
    torch.testing.assert_close(middle, torch.tensor([0.2, -0.1], dtype=D), atol=0.02, rtol=0)
    assert residual_flow(source, source).abs().max() == 0


def test_the_moved_source_is_best_and_gradients_are_right():
    source = blob(9, 9)
    field = affine_field((24, 24), torch.eye(2, dtype=D), torch.tensor([4.0, 3.0]))
    motion = gk.objectives.Motion(source, field)
    assert float(motion(blob(13, 12))) == pytest.approx(0, abs=1e-4)
    places = [float(motion(blob(13 + d, 12))) for d in (-3, -2, -1, 0, 1, 2, 3)]
    assert places.index(max(places)) == 3 and places == sorted(places[:4]) + sorted(places[4:], reverse=True)
    x = (blob(12, 12) + 0.05 * torch.randn(1, 1, 24, 24, dtype=D, generator=torch.Generator().manual_seed(1)))[
        ..., 4:14, 4:14
    ].clone().requires_grad_()  # fmt: skip
    small = gk.objectives.Motion(source[..., 4:14, 4:14], field[:, :10, :10] / 4, flow=1.0, color=0.0)
    assert torch.autograd.gradcheck(lambda x: small(x), (x,))
    flow = gk.objectives.Motion(source, field, (source[0, 0] > 0.3).double(), flow=2.0, color=0.0)
    assert -2 * 0.3 < float(flow(blob(13.2, 11.9))) < -0.2  # |e|_1 = .2 + .1, less what firmness takes


def test_color_term_by_hand_and_masks():
    """Without a field: -color mean over the mask of |source - x|; what lies outside has no gradient."""
    source, x = torch.zeros(1, 1, 6, 6, dtype=D), torch.full((2, 1, 6, 6), 0.25, dtype=D, requires_grad=True)
    mask = torch.zeros(6, 6)
    mask[2:4, 2:5] = 1
    motion = gk.objectives.Motion(source, torch.zeros(2, 6, 6, dtype=D), mask, flow=0.0, color=8.0)
    torch.testing.assert_close(motion(x), torch.full((2,), -2.0, dtype=D))
    (slope,) = torch.autograd.grad(motion(x).sum(), x)
    torch.testing.assert_close(slope[0, 0], -8 / 6 * mask.double())


def test_each_sample_has_its_own_source_field_and_mask():
    sources = torch.cat([blob(9, 9), blob(12, 10)])
    fields = torch.stack([affine_field((24, 24), turned(a), torch.tensor([1.0, 0.0])) for a in (10, -20)])
    masks = (sources[:, 0] > 0.3).double()
    x = torch.cat([blob(10, 10), blob(10, 12)])
    each = gk.objectives.Motion(sources, fields, masks)
    alone = [gk.objectives.Motion(sources[i : i + 1], fields[i], masks[i])(x[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(each(x, 0.0, each.rows(2)), torch.cat(alone))
    with pytest.raises(ValueError, match="2 rows for 3 samples"):
        each.rows(3)


def test_a_blob_goes_where_it_is_sent():
    """Exact prior of four blobs; the source is one, the field leads to another: all samples are that one."""
    places = [(7.0, 7.0), (7.0, 16.0), (16.0, 7.0), (16.0, 16.0)]
    means = torch.cat([blob(*place).flatten(1) for place in places])

    prior = gk.priors.GaussianMixture(means.float(), 0.05)
    field = affine_field((24, 24), torch.eye(2), torch.tensor([9.0, 0.0]))
    motion = gk.objectives.Motion(blob(7, 16).float(), field)
    seen = gk.objectives.Reward(lambda x: motion(x.unflatten(1, (1, 24, 24))))
    x = gk.sample(prior, gk.guidance.GradientGuidance(seen, 0.3), 24, steps=40, sampler="ancestral").samples
    assert (torch.cdist(x, means.float()).argmin(1) == 3).double().mean() > 0.9
    plain = gk.sample(prior, None, 24, steps=40, sampler="ancestral").samples
    assert (torch.cdist(plain, means.float()).argmin(1) == 3).double().mean() < 0.6


def test_wrong_shapes_are_told():
    with pytest.raises(ValueError, match="\\(2, H, W\\) fit"):
        gk.objectives.Motion(blob(9, 9), torch.zeros(2, 5, 5))
    motion = gk.objectives.Motion(blob(9, 9), torch.zeros(2, 24, 24))
    with pytest.raises(gk.GuidanceError, match="the source is \\(1, 24, 24\\)"):
        gk.sample(
            gk.priors.GaussianField(torch.zeros(1, 4, 4), torch.ones(1, 4, 4)), gk.guidance.GradientGuidance(motion), 2
        )
