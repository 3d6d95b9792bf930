"""Every operator of the package: its identities, its slopes, and what it refuses."""

import importlib
import inspect
import math
import pkgutil

import numpy
import pytest
import torch
from torch.nn import functional

from guidekit.core.requirements import Fact
from guidekit.objectives import operators
from guidekit.objectives.operators import (
    base,
    blur,
    composition,
    dense,
    fourier,
    interferometry,
    masks,
    mri,
    navier_stokes,
    resampling,
    saturation,
    scattering,
    tomography,
    waves,
)
from guidekit.testing import check_operator
from guidekit.testing.operators import uniform

WAVE, PICTURE, VOLUME = (1, 32), (2, 12, 16), (1, 4, 6, 8)
motion = blur.motion_kernel(7, 0.5, 1)


def normal_matrix(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


EXAMPLES = {
    "Keep": [
        (masks.Keep(masks.random_pixels(PICTURE)), PICTURE),
        (masks.Keep(masks.outside_box(PICTURE, 0.4)), PICTURE),
        (masks.Keep(masks.traces(WAVE, every=3)), WAVE),
        (masks.Keep(masks.traces(VOLUME, 0.5, axis=-2)), VOLUME),
    ],
    "Dense": [
        (dense.Dense(normal_matrix(5, 32), WAVE), WAVE),
        (dense.Dense(normal_matrix(9, 3) @ normal_matrix(3, 6)), (6,)),
    ],
    "BlockMean": [
        (resampling.BlockMean(PICTURE, 4), PICTURE),
        (resampling.BlockMean(WAVE, 2), WAVE),
        (resampling.BlockMean(VOLUME, 2), VOLUME),
    ],
    "Separable": [
        (resampling.bicubic(PICTURE, 4), PICTURE),
        (blur.gaussian_blur(PICTURE, 1.0), PICTURE),
        (blur.gaussian_blur(WAVE, 3.0), WAVE),
        (resampling.bicubic(VOLUME, 2), VOLUME),
    ],
    "CircularBlur": [
        (blur.CircularBlur(PICTURE, motion), PICTURE),
        (blur.CircularBlur(WAVE, blur.gaussian_kernel(0.7, 1)), WAVE),
        (blur.CircularBlur((1, 7, 7, 7), blur.gaussian_kernel(0.6, 3)), (1, 7, 7, 7)),
    ],
    "ReflectedBlur": [
        (blur.ReflectedBlur(PICTURE, motion), PICTURE),
        (blur.ReflectedBlur(VOLUME, blur.gaussian_kernel(0.5, 3)), VOLUME),
    ],
    "NonlinearBlur": [(blur.NonlinearBlur(PICTURE, blur.gaussian_kernel(1.0)), PICTURE)],
    "LowPass": [(fourier.LowPass(PICTURE, 0.2), PICTURE), (fourier.LowPass(WAVE, 2000.0, 16_000), WAVE)],
    "PhaseRetrieval": [(fourier.PhaseRetrieval(PICTURE), PICTURE), (fourier.PhaseRetrieval(WAVE), WAVE)],
    "Clip": [(saturation.Clip(0.4), WAVE)],
    "HighDynamicRange": [(saturation.HighDynamicRange(), PICTURE)],
    "Quantized": [(saturation.Quantized(), PICTURE)],
    "SingleCoil": [
        (mri.SingleCoil(shape, mask), shape)
        for shape in ((1, 12, 16), (2, 12, 16), (1, 9, 11))
        for mask in (mri.sampled_columns(shape[2], 3), torch.rand(shape[1:]) < 0.5)
    ],
    "MultiCoil": [
        (mri.MultiCoil(shape, mri.sampled_columns(16, 4), mri.birdcage(3, (12, 16))), shape)
        for shape in ((1, 12, 16), (2, 12, 16))
    ],
    "Tomography": [(tomography.Tomography((2, 12, 12), 7, 15, 0.5), (2, 12, 12))],
    "LinearScattering": [(scattering.LinearScattering((1, 10, 10), receivers=12, transmitters=3), (1, 10, 10))],
    "ClosureQuantities": [(interferometry.ClosureQuantities((1, 12, 12), 5, 3), (1, 12, 12))],
    "AcousticWaves": [
        (waves.AcousticWaves((1, 12, 16), shots=2, receivers=5, seconds=0.1, step=0.001, frequency=30.0), (1, 12, 16))
    ],
    "NavierStokes": [
        (
            navier_stokes.NavierStokes(navier_stokes.Flow(16), time=0.02, dt=0.005, black_box=black_box),
            (1, 16, 16),
        )
        for black_box in (False, True)
    ],
    "Composed": [
        (composition.Composed(resampling.BlockMean(PICTURE, 2), blur.CircularBlur(PICTURE, motion)), PICTURE),
        (composition.Composed(saturation.Clip(0.4), blur.CircularBlur(PICTURE, motion)), PICTURE),
    ],
    "Stacked": [
        (
            composition.Stacked(
                [resampling.BlockMean(PICTURE, 2), masks.Keep(masks.traces(PICTURE)), fourier.LowPass(PICTURE, 0.1)],
                PICTURE,
            ),
            PICTURE,
        )
    ],
    "Scaled": [
        (composition.Scaled(resampling.BlockMean(PICTURE, 4), -2.0), PICTURE),
        (composition.Scaled(mri.SingleCoil((1, 12, 16), mri.sampled_columns(16)), 0.5), (1, 12, 16)),
    ],
}
"""Small ones of every class."""


def found():
    """All operators that the modules of the package define."""
    names = set()
    for module in pkgutil.iter_modules(operators.__path__):
        for name, kind in inspect.getmembers(
            importlib.import_module(f"{operators.__name__}.{module.name}"), inspect.isclass
        ):
            if issubclass(kind, base.Operator) and kind.forward not in (base.Operator.forward, base.Linear.forward):
                names.add(name)
    return names


def test_every_operator_is_here():
    assert found() - set(EXAMPLES) == {"Simulator"}  # of any function: see test_simulators.py


@pytest.mark.parametrize(
    ("operator", "shape"),
    [pytest.param(*example, id=f"{name}-{i}") for name, each in EXAMPLES.items() for i, example in enumerate(each)],
)
def test_contract(operator, shape):
    if isinstance(operator, waves.AcousticWaves):
        pytest.importorskip("deepwave")
        check_operator(operator, shape, lambda *size, seed: 2 + uniform(*size, seed=seed), slopes=1e-3)
    else:
        check_operator(operator, shape)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_pseudo_inverse_is_that_of_the_matrix(name):
    """Against numpy's decomposition of the operator written as a matrix."""
    for operator, shape in EXAMPLES[name]:
        if Fact.PSEUDO_INVERSE not in operator.provides:
            continue
        matrix = dense(operator, shape)
        y = normal(2, *operator.forward(torch.zeros(1, *shape)).shape[1:], seed=8)
        wanted = torch.from_numpy(numpy.linalg.pinv(matrix.numpy(), rcond=1e-6)) @ y.flatten(1).T
        torch.testing.assert_close(operator.pinv(y).flatten(1), wanted.T, atol=1e-7, rtol=1e-6)
        if Fact.SVD in operator.provides:
            values = numpy.linalg.svd(matrix.numpy(), compute_uv=False)
            mine = operator.svd.values.expand(
                shape if operator.svd.values.numel() != matrix.shape[1] else operator.svd.values.shape
            )
            mine = mine.flatten().sort(descending=True).values[: len(values)]
            torch.testing.assert_close(mine, torch.from_numpy(values), atol=1e-6, rtol=0)


def dense(operator, shape):
    """The matrix (m, n) of a linear operator."""
    n = math.prod(shape)
    return operator.forward(torch.eye(n, dtype=torch.float64).reshape(n, *shape)).flatten(1).T


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_masks():
    assert masks.random_pixels((3, 20, 30), 0.9).sum() == 60
    assert (masks.random_pixels((3, 8, 8), seed=1) != masks.random_pixels((3, 8, 8), seed=2)).any()
    box = masks.outside_box((3, 16, 16), 0.25, (0.25, 0.5))
    hidden = (~box[0]).nonzero()
    assert hidden.amin(0).tolist() == [2, 6] and hidden.amax(0).tolist() == [5, 9] and len(hidden) == 16
    known = masks.traces((1, 6, 20), 0.4, axis=-1)
    assert known.shape == (1, 1, 20) and known[..., 0] and known[..., -1] and known.sum() == 12
    assert masks.traces((1, 6, 20), every=4, axis=0).flatten().nonzero().flatten().tolist() == [0, 4]


def test_resampling():
    x = normal(2, 3, 8, 8)
    torch.testing.assert_close(resampling.BlockMean((3, 8, 8), 4).forward(x), functional.avg_pool2d(x, 4))
    ramp = torch.arange(64.0).double().expand(1, 1, 8, 64)
    small = resampling.bicubic((1, 8, 64), 4).forward(ramp)
    torch.testing.assert_close(small[0, 0, 0, 2:-2], torch.arange(16.0).double()[2:-2] * 4 + 1.5)  # exact on lines
    torch.testing.assert_close(resampling.bicubic((1, 8, 64), 4).forward(torch.ones_like(ramp)), torch.ones_like(small))


def test_bicubic_is_that_of_pillow():
    """Away from borders, which Pillow cuts off where they are mirrored here."""
    image = pytest.importorskip("PIL.Image")
    x = uniform(1, 1, 48, 64)
    wanted = image.fromarray(x[0, 0].float().numpy()).resize((16, 12), image.BICUBIC)
    found = resampling.bicubic((1, 48, 64), 4).forward(x)[0, 0, 2:-2, 2:-2]
    torch.testing.assert_close(found, torch.from_numpy(numpy.array(wanted)).double()[2:-2, 2:-2], atol=1e-5, rtol=0)


def test_blurs():
    """Circular and reflected agree away from borders, convolve rather than correlate, and keep the mean."""
    x = normal(1, 1, 20, 24)
    circular, reflected = (kind((1, 20, 24), motion) for kind in (blur.CircularBlur, blur.ReflectedBlur))
    torch.testing.assert_close(circular.forward(x)[..., 3:-3, 3:-3], reflected.forward(x)[..., 3:-3, 3:-3])
    point = torch.zeros(1, 1, 20, 24, dtype=torch.float64)
    point[..., 10, 12] = 1
    torch.testing.assert_close(circular.forward(point)[0, 0, 7:14, 9:16], motion)
    gaussian = blur.ReflectedBlur((1, 20, 24), blur.gaussian_kernel(1.0))
    torch.testing.assert_close(blur.gaussian_blur((1, 20, 24), 1.0).forward(x), gaussian.forward(x), atol=1e-3, rtol=0)
    made = blur.motion_kernel(31, 0.5, 3)
    assert made.shape == (31, 31) and float(made.sum()) == pytest.approx(1) and float(made.min()) >= 0
    assert torch.equal(made, blur.motion_kernel(31, 0.5, 3)) and not torch.equal(made, blur.motion_kernel(31, 0.5, 4))
    line = blur.motion_kernel(31, 0.0, 3)
    assert (line > 0).sum() < 31 * 4 and float(made.square().sum()) < 0.2
    light = blur.NonlinearBlur((1, 20, 24), blur.gaussian_kernel(1.0)).forward(torch.full((1, 1, 20, 24), 0.3).double())
    torch.testing.assert_close(light, torch.full_like(light, 0.3))  # nothing changes where nothing varies


def test_fourier():
    time = torch.arange(1600).double() / 16_000
    low, high = ((2 * math.pi * f * time).sin()[None, None] for f in (1000, 3000))
    torch.testing.assert_close(fourier.LowPass((1, 1600), 2000.0, 16_000).forward(low + high), low, atol=1e-12, rtol=0)
    x, retrieval = uniform(1, 1, 16, 16), fourier.PhaseRetrieval((1, 16, 16))
    y = retrieval.forward(x)
    assert y.shape == (1, 1, 24, 24)  # a margin of 2 / 8 of the side
    torch.testing.assert_close(y.square().sum(), x.square().sum())
    assert y[0, 0, 12, 12] == y.max() and torch.allclose(y[0, 0, 12, 12], x.sum() / 24)
    torch.testing.assert_close(retrieval.forward(x.flip(-1, -2)), y)  # turned by 180 degrees


def test_saturation():
    y = saturation.HighDynamicRange().forward(torch.tensor([0.0, 0.2, 0.4, 0.5, 0.7, 0.9]))
    torch.testing.assert_close(y, torch.tensor([0.0, 0.0, 0.3, 0.5, 0.9, 1.0]))  # clip(2 x, -1, 1) of 2 p - 1
    long = saturation.HighDynamicRange(center=0.0)
    torch.testing.assert_close(long.forward(torch.tensor([0.1, 0.4, 0.6])), torch.tensor([0.2, 0.8, 1.0]))
    x = torch.tensor([[0.1, 0.4, 2.0]])
    assert float(long.violation(x, long.forward(x))) == 0 and float(long.violation(0.5 * x, long.forward(x))) > 0
    assert saturation.Quantized(3).forward(torch.tensor([-1.0, 0.2, 0.3, 0.9])).tolist() == [0.0, 0.0, 0.5, 1.0]


def test_magnetic_resonance():
    """Against numpy's Fourier transform, centered; the mask has the columns that the acceleration says."""
    x, mask = normal(1, 2, 12, 16), mri.sampled_columns(16, 4)
    image = (x[0, 0] + 1j * x[0, 1]).numpy()
    k = numpy.fft.fftshift(numpy.fft.fft2(numpy.fft.ifftshift(image), norm="ortho")) * mask.numpy()
    y = mri.SingleCoil((2, 12, 16), mask).forward(x)
    torch.testing.assert_close(torch.complex(y[0, 0], y[0, 1]), torch.from_numpy(k))
    maps = mri.birdcage(4, (12, 16))
    torch.testing.assert_close(maps.abs().square().sum(0), torch.ones(12, 16).double())
    one = mri.MultiCoil((2, 12, 16), mask, torch.ones(1, 12, 16, dtype=torch.complex128)).forward(x)
    torch.testing.assert_close(one[:, 0], y)
    whole = mri.MultiCoil((2, 12, 16), torch.ones(16, dtype=torch.bool), maps)
    torch.testing.assert_close(whole.adjoint(whole.forward(x)), x)  # all of k-space: A^T A = 1
    for r, middle in ((4, 26), (8, 13)):
        columns = mri.sampled_columns(320, r)
        assert columns.sum() == 320 // r and columns[160 - middle // 2 : 160 + middle // 2].all()
        assert not columns[160 - middle : 160 + middle].all()


def test_tomography_of_a_bell():
    """The integral of exp(-r^2 / 2 s^2) along a ray at distance d is sqrt(2 pi) s exp(-d^2 / 2 s^2)."""
    n, s = 65, 6.0
    place = torch.arange(n).double() - 32
    bell = (-(place[:, None].square() + place.square()) / (2 * s * s)).exp()[None, None]
    found = tomography.Tomography((1, n, n), 8, spacing=0.1).forward(bell)[0, 0]
    wanted = 0.1 * math.sqrt(2 * math.pi) * s * (-place.square() / (2 * s * s)).exp()
    torch.testing.assert_close(found, wanted.expand(8, n), atol=0.01, rtol=0)  # of 1.5; bilinear interpolation
    corner = torch.zeros(1, 1, n, n).double()
    corner[..., 10, 40] = 1
    places = tomography.Tomography((1, n, n), 2).forward(corner)[0, 0].argmax(1)
    assert places.tolist() == [40, 10]  # 0 degrees looks along columns, 90 along rows


def test_scattering():
    """The sum over pixels written out, for one pair."""
    operator, f = scattering.LinearScattering((1, 8, 8), receivers=5, transmitters=3), uniform(1, 1, 8, 8)
    h, k = 0.18 / 8, 2 * math.pi / (6 * 0.18 / 8)
    total = 0
    for i in range(8):
        for j in range(8):
            place = numpy.array([(j - 3.5) * h, (i - 3.5) * h])
            wave = []
            for angle in (2 * math.pi / 3, 2 * math.pi * 2 / 5):  # transmitter 1, receiver 2
                r = k * numpy.linalg.norm(place - 1.6 * numpy.array([math.cos(angle), math.sin(angle)]))
                r = torch.tensor(r, dtype=torch.float64)
                wave.append(0.25j * complex(torch.special.bessel_j0(r), torch.special.bessel_y0(r)))
            total += h * h * (float(f[0, 0, i, j]) * wave[0]).conjugate() * k * k * wave[1]
    y = operator.forward(f)
    assert y.shape == (1, 2, 3, 5)
    torch.testing.assert_close(y[0, :, 1, 2], torch.tensor([total.real, total.imag], dtype=torch.float64))


def test_closure_quantities_do_not_see_errors_of_stations():
    operator, x = interferometry.ClosureQuantities((1, 16, 16), 5, 4), uniform(1, 1, 16, 16)
    y, seen = operator.forward(x), operator.visibilities(x)
    gains = torch.polar(uniform(4, 5), 6 * uniform(4, 5, seed=1))
    a, b = torch.tensor(operator.pairs).T
    wrong = seen * gains[:, a] * gains[:, b].conj()

    class Wrong(interferometry.ClosureQuantities):
        def visibilities(self, x):
            return wrong

    torch.testing.assert_close(Wrong((1, 16, 16), 5, 4).forward(x), y)
    direct = sum(
        x[0, 0, i, j]
        * torch.exp(-2j * math.pi * (operator.frequencies[2, 3] @ torch.tensor([j - 7.5, i - 7.5]).double()))
        for i in range(16)
        for j in range(16)
    )
    torch.testing.assert_close(seen[0, 2, 3], direct)
    torch.testing.assert_close(operator.forward(2 * x)[:, :-1], y[:, :-1])  # but for the flux
    small = torch.zeros(1, 1, 16, 16).double()
    small[..., 4:8, 5:9] = uniform(1, 1, 4, 4)
    torch.testing.assert_close(operator.forward(small.roll((2, 1), (-2, -1))), operator.forward(small))


def test_composition_and_stack():
    x, (mean, blurred) = normal(2, *PICTURE), (resampling.BlockMean(PICTURE, 2), blur.CircularBlur(PICTURE, motion))
    both = composition.Composed(mean, blurred)
    torch.testing.assert_close(dense(both, PICTURE), dense(mean, PICTURE) @ dense(blurred, PICTURE))
    assert both.linear and both.provides == {Fact.ADJOINT}
    cut = composition.Composed(saturation.Clip(0.4), blurred)
    assert not cut.linear and cut.provides == frozenset() and cut.differentiable
    assert not composition.Composed(saturation.Quantized(), blurred).differentiable
    stack = composition.Stacked([mean, blurred], PICTURE)
    torch.testing.assert_close(
        stack.forward(x), torch.cat([mean.forward(x).flatten(1), blurred.forward(x).flatten(1)], 1)
    )
    assert [part.shape[1:] for part in stack.split(stack.forward(x))] == [(2, 6, 8), PICTURE]


def test_noise_is_where_something_is_measured():
    """Of standard deviation 1 there (5 standard errors), and 0 elsewhere."""
    for name in ("Keep", "SingleCoil", "Tomography"):
        operator, shape = EXAMPLES[name][0]
        noise = operator.within(normal(400, *operator.forward(torch.zeros(1, *shape)).shape[1:]))
        heard = noise[:, noise.abs().amax(0) > 0]
        assert abs(float(heard.std()) - 1) < 5 / math.sqrt(2 * heard.numel())
    assert (EXAMPLES["Keep"][0][0].within(normal(2, *PICTURE)) == 0).double().mean() == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: masks.Keep(torch.tensor([0.5])), "a mask has 1 where something is known"),
        (lambda: masks.random_pixels((3, 8, 8), 1.0), "missing=1.0; a share above 0 and below 1"),
        (lambda: masks.outside_box((3, 8, 8), 0.5, (0.1, 0.5)), "does not lie within states"),
        (lambda: masks.traces((1, 8, 8), every=9), "every=9; a whole number from 2 to 7"),
        (lambda: masks.traces((1, 8, 8), axis=3), "axis=3; states"),
        (lambda: resampling.BlockMean((3, 9, 8), 4), r"factor=4; .* divides the sides \(9, 8\)"),
        (lambda: resampling.bicubic((3, 9, 8), 4), "factor=4; a whole number"),
        (lambda: resampling.Separable((1, 8), (torch.ones(3, 9),)), r"matrices \(\(3, 9\),\) do not fit"),
        (lambda: blur.CircularBlur((1, 8, 8), torch.ones(2, 3)), "odd sides within them"),
        (lambda: blur.ReflectedBlur((1, 8, 8), torch.ones(3)), "does not fit states"),
        (lambda: blur.gaussian_blur((1, 8, 8), -1.0), "std=-1.0; a number above 0"),
        (lambda: blur.motion_kernel(8), "size=8; an odd whole number"),
        (lambda: fourier.LowPass((1, 8), 0.6), "cutoff=0.6; above 0 and below 0.5"),
        (lambda: fourier.PhaseRetrieval((8,)), "phase retrieval is of states"),
        (lambda: saturation.Clip(0.0), "threshold=0.0"),
        (lambda: saturation.HighDynamicRange(gain=0.0), "gain=0.0"),
        (lambda: saturation.Quantized(1), "levels=1"),
        (lambda: mri.SingleCoil((3, 8, 8), torch.ones(8)), "1 channel .magnitude. or 2"),
        (lambda: mri.SingleCoil((1, 8, 8), torch.ones(9)), r"mask is \(9,\)"),
        (lambda: mri.MultiCoil((1, 8, 8), torch.ones(8), torch.ones(2, 8, 9)), r"maps are \(2, 8, 9\)"),
        (lambda: mri.sampled_columns(16, 0.5), "acceleration=0.5"),
        (lambda: tomography.Tomography((1, 8, 9)), "square slices; these are 8 x 9"),
        (lambda: tomography.Tomography((1, 8, 8), 0), "angles=0"),
        (lambda: scattering.LinearScattering((1, 8, 8), radius=0.1), "radius=0.1 m"),
        (lambda: interferometry.ClosureQuantities((1, 8, 8), 3), "stations=3"),
        (lambda: waves.AcousticWaves((1, 8, 8), at=9), "shots at 9"),
        (lambda: composition.Scaled(saturation.Clip(0.4), 2.0), "takes a linear operator"),
        (lambda: composition.Stacked([], (1, 8)), "one operator at least"),
        (lambda: resampling.BlockMean((3, 8, 8), 4).forward(torch.zeros(1, 3, 8, 4)), r"it was given \(3, 8, 4\)"),
    ],
)  # fmt: skip
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message) as told:
        make()
    assert "\n" not in str(told.value)
