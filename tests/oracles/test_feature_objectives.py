"""Objectives of spectra, embeddings, examples and styles: gradients in closed form, invariances, limits."""

import math

import pytest
import torch

import guidekit as gk
from guidekit.objectives.spectra import log_spectrum, rings
from guidekit.objectives.statistics import gram

D = torch.float64


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=D, generator=torch.Generator().manual_seed(seed))


def slope(objective, x, t=0.0, rows=None):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(objective(x, t, rows).sum(), x)[0]


def field(*shape):
    """White noise."""
    return gk.priors.GaussianField(torch.zeros(shape), torch.ones(shape))


# spectra


def test_rings_count_every_coefficient_but_the_mean_once():
    for sizes, bands in (((16,), 8), ((12, 10), 5)):
        ring = rings(sizes, bands)
        assert (ring >= 0).sum() == math.prod(sizes) - 1 and int(ring.flatten()[0]) == -1
        assert set(ring.flatten()[1:].tolist()) == set(range(bands))


def test_known_spectra():
    """White noise of variance v has power v everywhere; a sine has all of it in its own band: n amplitude^2 / 4."""
    noise = 2.0 * normal(4000, 1, 16)
    torch.testing.assert_close(
        log_spectrum(noise, 8, 1).exp().mean(0), torch.full((8,), 4.0, dtype=D), atol=0.25, rtol=0
    )
    wave = 3.0 * torch.cos(2 * math.pi * 2 * torch.arange(32, dtype=D) / 32)[None, None]
    found = log_spectrum(wave, 16, 1)[0].exp()
    assert float(found[1]) == pytest.approx(32 * 9 / 4, rel=1e-6) and float(found.sum()) == pytest.approx(
        32 * 9 / 4, rel=1e-4
    )


@pytest.mark.parametrize(("shape", "axes"), [((3, 2, 24), 1), ((3, 1, 12, 10), 2)])
def test_spectrum_does_not_see_shifts_or_signs_and_scales(shape, axes):
    x = normal(*shape)
    wanted = gk.objectives.LogSpectrum.of(normal(5, *shape[1:], seed=1), 4, axes)
    torch.testing.assert_close(wanted(x), wanted(x.roll(3, -1)))
    torch.testing.assert_close(wanted(x), wanted(-x))
    torch.testing.assert_close(log_spectrum(2 * x, 4, axes), log_spectrum(x, 4, axes) + math.log(4), atol=1e-4, rtol=0)
    own = gk.objectives.LogSpectrum(log_spectrum(x, 4, axes), axes)
    assert own(x, 0.0, own.rows(3)).abs().max() < 1e-20
    assert slope(own, x, rows=own.rows(3)).abs().max() < 1e-9
    assert torch.autograd.gradcheck(lambda x: wanted(x), (x.requires_grad_(),))


def test_gradient_of_one_band_in_closed_form():
    """P = ||x||^2 / (n - 1) without a mean: d/dx -(log P - target)^2 = -4 (log P - target) x / ||x||^2."""
    x = normal(2, 1, 9)
    x = x - x.mean(2, keepdim=True)
    objective = gk.objectives.LogSpectrum(torch.tensor([0.3], dtype=D), 1)
    power = x.square().sum((1, 2))
    expected = -4 * ((power / 8).log() - 0.3)[:, None, None] * x / power[:, None, None]
    torch.testing.assert_close(slope(objective, x), expected, atol=1e-5, rtol=1e-5)


def test_spectra_of_other_sizes_are_refused():
    wanted = gk.objectives.LogSpectrum.of(normal(5, 1, 16, seed=1), 4)
    with pytest.raises(gk.GuidanceError, match="spectrum of states \\(1, 16\\)"):
        gk.sample(field(1, 8), gk.guidance.GradientGuidance(wanted), 2, steps=2)
    with pytest.raises(ValueError, match="1 to 8"):
        gk.objectives.LogSpectrum.of(normal(5, 1, 16), 9)


def test_guided_noise_takes_the_spectrum():
    prior = field(1, 32)
    wanted = gk.objectives.LogSpectrum(torch.linspace(1.0, -2.0, 4, dtype=D), 1)
    x = gk.sample(prior, gk.guidance.GradientGuidance(wanted, 0.5), 64, steps=60, sampler="ancestral").samples
    plain = gk.sample(prior, None, 64, steps=60).samples
    assert wanted(x).mean() > 0.2 * wanted(plain).mean()


# embeddings


@pytest.fixture
def linear():
    matrix = normal(3, 5, seed=2)
    return matrix, lambda x, t=0.0: x @ matrix.T


def test_similarity_gradients_of_a_linear_encoder(linear):
    """dot: W^T z. cosine: W^T (z / |z| - cos Wx / |Wx|) / |Wx|. distance: -2 W^T (Wx - z) / F."""
    matrix, encoder = linear
    x, z = normal(4, 5, seed=3), normal(3, seed=4)
    seen = x @ matrix.T
    size, cos = seen.norm(dim=1, keepdim=True), (seen @ z / seen.norm(dim=1) / z.norm())[:, None]
    expected = {
        "dot": (z @ matrix).expand(4, -1),
        "cosine": (z / z.norm() - cos * seen / size) / size @ matrix,
        "distance": -2 / 3 * (seen - z) @ matrix,
    }
    for measure, gradient in expected.items():
        torch.testing.assert_close(slope(gk.objectives.Similarity(encoder, z, measure), x), gradient)


def test_noised_reference_is_without_gradient_at_itself(linear):
    matrix, encoder = linear
    process = gk.processes.VP()
    objective = gk.objectives.NoisedReference(encoder, normal(1, 5, seed=5), process, "distance")
    for t in (0.2, torch.tensor([0.3, 0.7], dtype=D)):
        at = objective.noised(t, normal(2, 5))
        a, s = (torch.as_tensor(c, dtype=D) for c in process.coefficients(t))
        noise = torch.randn(1, 5, generator=torch.Generator().manual_seed(0)).double()
        torch.testing.assert_close(
            at, a.reshape(-1, 1) * normal(1, 5, seed=5) + s.reshape(-1, 1) * noise, rtol=1e-6, atol=1e-6
        )
        assert slope(objective, at, t).abs().max() == 0
        off = at + 0.1
        torch.testing.assert_close(slope(objective, off, t), -2 / 3 * (0.1 * matrix.sum(1) @ matrix).expand_as(off))


def test_with_an_exact_noisy_classifier_it_is_classifier_guidance():
    """Embedding log p(class | x_t), target one class: what `ClassifierGuidance` draws, bit for bit."""
    prior = gk.priors.GaussianMixture(torch.tensor([[2.0, 0.0], [-2.0, 1.0], [0.0, -2.0]]), 0.5)

    def logits(x, t):
        a, s = (torch.as_tensor(c, dtype=x.dtype) for c in prior.process.coefficients(t))
        gap = x[:, None] - a.reshape(-1, 1, 1) * prior.means.to(x)
        return (-0.5 * gap.square().sum(2) / (0.25 * a**2 + s**2).reshape(-1, 1)).log_softmax(1)

    embedding = gk.objectives.Similarity(logits, torch.tensor([0.0, 1.0, 0.0]), "dot", "noisy")
    value = gk.objectives.Value(lambda x, t: logits(x, t)[:, 1])
    options = dict(num_samples=600, steps=40, sampler="heun")
    mine, classifier = (
        gk.sample(prior, gk.guidance.ClassifierGuidance(one), **options).samples for one in (embedding, value)
    )
    assert torch.equal(mine, classifier)
    torch.testing.assert_close(
        mine.mean(0), torch.tensor([-2.0, 1.0]), atol=0.08, rtol=0
    )  # 4 errors of 0.5 / sqrt(600)
    assert ((mine - torch.tensor([-2.0, 1.0])).norm(dim=1) < 2).double().mean() > 0.98


def test_wrong_targets_are_told(linear):
    _, encoder = linear
    with pytest.raises(ValueError, match="gives 3 numbers a state, the target has 2"):
        gk.objectives.Similarity(encoder, torch.ones(2))(normal(4, 5))
    with pytest.raises(ValueError, match="no direction"):
        gk.objectives.Similarity(encoder, torch.zeros(2))
    with pytest.raises(ValueError, match="cosine"):
        gk.objectives.Similarity(encoder, torch.ones(3), "cosin")


def test_targets_of_each_sample_go_with_it(linear):
    matrix, encoder = linear
    targets, prior = normal(4, 3, seed=6), gk.priors.Gaussian(torch.zeros(5).double())
    each = gk.sample(prior, gk.guidance.GradientGuidance(gk.objectives.Similarity(encoder, targets), 0.5), 4, steps=8)
    alone = gk.sample(
        prior, gk.guidance.GradientGuidance(gk.objectives.Similarity(encoder, targets), 0.5), 4, steps=8, batch_size=1
    )
    torch.testing.assert_close(each.samples, alone.samples)


# examples


def test_examples_by_hand_and_limits(linear):
    """One example: minus the distance over h. Small h: the nearest one. Negative examples turn the sign."""
    _, encoder = linear
    x, positive = normal(6, 5, seed=7), normal(4, 3, seed=8)
    distance = torch.cdist(encoder(x), positive)
    one = gk.objectives.Examples(encoder, positive[:1], bandwidth=2.0)
    torch.testing.assert_close(one(x), -distance[:, 0] / 2)
    near = gk.objectives.Examples(encoder, positive, bandwidth=1e-3)
    torch.testing.assert_close(near(x) * 1e-3, -distance.amin(1), atol=2e-3, rtol=0)
    wide = gk.objectives.Examples(encoder, positive, bandwidth=1e4)
    torch.testing.assert_close(wide(x) * 1e4, -distance.mean(1), atol=1e-2, rtol=0)
    both = gk.objectives.Examples(encoder, positive[:2], positive[2:], 1.5)
    turned = gk.objectives.Examples(encoder, positive[2:], positive[:2], 1.5)
    torch.testing.assert_close(both(x), -turned(x))
    assert torch.autograd.gradcheck(lambda x: both(x), (x.requires_grad_(),))


def test_two_examples_share_samples_and_a_negative_one_takes_its_half_away():
    """A wide plan distribution, ends at +2 or -2: half and half; with one of them negative all are at the other."""
    prior = gk.priors.GaussianMixture(torch.tensor([[2.0], [-2.0]]), 0.5)
    good, bad = torch.tensor([[2.0]]), torch.tensor([[-2.0]])
    options = dict(num_samples=400, steps=40, sampler="ancestral")
    both = gk.objectives.Examples(lambda x: x, torch.cat([good, bad]), bandwidth=0.5)
    share = (gk.sample(prior, gk.guidance.GradientGuidance(both, 0.1), **options).samples > 0).double().mean()
    assert float(share) == pytest.approx(0.5, abs=0.1)  # 4 standard errors
    one = gk.objectives.Examples(lambda x: x, good, bad, bandwidth=0.5)
    share = (gk.sample(prior, gk.guidance.GradientGuidance(one, 0.3), **options).samples > 0).double().mean()
    assert float(share) > 0.98
    none = gk.sample(prior, gk.guidance.GradientGuidance(one, 0.0), **options).samples
    assert torch.equal(none, gk.sample(prior, None, **options).samples)


# styles


def test_gram_by_hand_and_shuffled():
    maps = normal(2, 3, 4, 5, seed=9)
    expected = torch.einsum("bchw,bdhw->bcd", maps, maps) / 20
    torch.testing.assert_close(gram(maps), expected)
    shuffled = maps.flatten(2)[:, :, torch.randperm(20, generator=torch.Generator().manual_seed(0))]
    torch.testing.assert_close(gram(shuffled), expected)


def test_style_is_met_at_its_reference_and_has_the_gradient_by_hand():
    """Identity features, one channel: G = mean x^2; d/dx -(G - T)^2 / T^2 = -4 (G - T) x / (n T^2)."""
    reference, x = normal(1, 2, 6, 6, seed=10), normal(3, 1, 4, 4, seed=11)
    own = gk.objectives.Style.of(lambda x: (x, x[:, :, ::2]), reference)
    assert float(own(reference)) == 0 and slope(own, reference).abs().max() == 0
    objective = gk.objectives.Style(lambda x: x, (torch.tensor([[0.5]], dtype=D),))
    power = x.square().mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(slope(objective, x), -4 * (power - 0.5) * x / (16 * 0.25))
    assert objective(x)[1] == objective(x[1:2])  # no other sample counts


def test_each_sample_may_have_a_style_of_its_own():
    references, x = normal(3, 1, 4, 4, seed=12), normal(3, 1, 4, 4, seed=13)
    each = gk.objectives.Style.of(lambda x: x, references, each=True)
    alone = torch.cat([gk.objectives.Style.of(lambda x: x, references[i : i + 1])(x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(each(x, 0.0, each.rows(3)), alone)
    with pytest.raises(ValueError, match="3 rows for 2 samples"):
        each.rows(2)


def test_styles_of_other_sizes_are_refused():
    style = gk.objectives.Style.of(lambda x: x, normal(1, 1, 6, 6))
    with pytest.raises(gk.GuidanceError, match="reference \\(1, 6, 6\\)"):
        gk.sample(field(1, 4, 4), gk.guidance.GradientGuidance(style), 2, steps=2)
    with pytest.raises(ValueError, match="without features"):
        gk.objectives.Style.of(lambda x: x, torch.zeros(1, 1, 6, 6))
