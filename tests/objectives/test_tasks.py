"""Tasks on any real-valued states: what they measure, how results are judged, what is refused."""

import inspect
import math

import pytest
import torch

from guidekit.objectives.fidelity import peak_signal_to_noise, structural_similarity
from guidekit.objectives.operators.resampling import BlockMean
from guidekit.objectives.restoration import RESTORATION, fitted
from guidekit.objectives.tasks import make, observe
from guidekit.running.groups import load_group
from guidekit.running.tasks import COMMON

PICTURE, WAVE, VOLUME = (3, 16, 16), (1, 64), (1, 8, 16, 16)
SQUARE = (1, 16, 16)
SHAPES = {"mri": [SQUARE, (2, 16, 16)], "tomography": [PICTURE], "scattering": [SQUARE], "interferometry": [SQUARE]}
OPTIONS = {"custom": {"operator": torch.sigmoid}, "phase": {}}


def uniform(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", sorted(set(RESTORATION) - {"fwi"}))
def test_every_task_takes_the_states_it_is_for(name):
    for shape in SHAPES.get(name, [PICTURE, WAVE, *([VOLUME] if name != "phase" else [])]):
        task = make(RESTORATION, name, shape, OPTIONS.get(name, {}))
        x = uniform(2, *shape)
        y = observe(x, task, 0.1, seed=3)
        assert len(y) == 2 and y.isfinite().all()
        judged = task.judge(x, y, x, 0.1, 1.0)
        assert judged["chi"].shape == (2,) and (judged["snr"] == 120).all()
        if task.operator.differentiable and shape != VOLUME:  # the noise of the truth is that of the measurement
            assert judged["chi"].mean() == pytest.approx(1, abs=5 / math.sqrt(2 * y.numel() * 0.2))


@pytest.mark.parametrize("name", sorted(RESTORATION))
def test_files_of_settings_say_what_signatures_say(name):
    given = {key: value for key, value in load_group("task", name).items() if key not in COMMON}
    signature = list(inspect.signature(RESTORATION[name]).parameters.values())[1:]
    assert {one.name: one.default for one in signature} == given


def test_kinds_of_a_task():
    make_it = lambda name, shape=PICTURE, **options: make(RESTORATION, name, shape, options)  # noqa: E731
    assert type(make_it("superresolution", method="bicubic").operator).__name__ == "Separable"
    for kernel, borders, kind in (
        ("gaussian", "reflected", "Separable"),
        ("gaussian", "circular", "CircularBlur"),
        ("motion", "reflected", "ReflectedBlur"),
        ("motion", "circular", "CircularBlur"),
        ("nonlinear", "reflected", "NonlinearBlur"),
    ):
        assert type(make_it("deblur", kernel=kernel, borders=borders).operator).__name__ == kind
    assert type(make_it("mri", SQUARE, coils=3).operator).__name__ == "MultiCoil"
    hole = make_it("inpaint", hole=0.5).gap
    assert hole.double().mean() == 0.25 and make_it("inpaint", missing=0.9).gap.double().mean() == pytest.approx(
        0.9, abs=0.01
    )
    assert make_it("interpolate", VOLUME, every=2, axis=0).gap.flatten().tolist() == [False, True] * 4
    own = make_it("custom", operator=BlockMean, options={"factor": 2}).operator
    assert own.shape == PICTURE and own.factor == 2  # the shape of states is filled in


def test_masks_of_files():
    mask = torch.zeros(16, 16)
    mask[:4] = 255
    for given in (mask, mask[None], mask.expand(3, 16, 16)):
        assert torch.equal(fitted(given, PICTURE).expand(PICTURE)[0], mask > 0)
    with pytest.raises(ValueError, match=r"the mask is \(8, 8\); \(3, 16, 16\) or \(16, 16\) is expected"):
        fitted(torch.ones(8, 8), PICTURE)
    with pytest.raises(ValueError, match="has 3 different numbers; two are expected"):
        fitted(torch.tensor([0.0, 128.0, 255.0]).repeat(16, 6)[:, :16], PICTURE)


def test_fidelity_is_that_of_torchmetrics():
    image = pytest.importorskip("torchmetrics.functional.image")
    x, truth = uniform(2, 3, 20, 24).double(), uniform(2, 3, 20, 24, seed=1).double()
    wanted = image.structural_similarity_index_measure(x, truth, data_range=1.0, reduction="none")
    torch.testing.assert_close(structural_similarity(x, truth, 1.0), wanted)
    wanted = image.peak_signal_noise_ratio(x, truth, 1.0, reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(peak_signal_to_noise(x, truth, 1.0), wanted.double())
    assert structural_similarity(truth, truth, 1.0).tolist() == pytest.approx([1, 1])
    assert structural_similarity(x[..., :8], x[..., :8], 1.0).isnan().all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("inpaint", {"hole": 0.5, "mask": torch.ones(16, 16)}, "a mask or a hole, not both"),
        ("superresolution", {"factor": 5}, r"factor=5; .* divides the sides \(16, 16\)"),
        ("superresolution", {"method": "bikubic"}, "did you mean 'bicubic'"),
        ("deblur", {"kernel": "gausian"}, "did you mean 'gaussian'"),
        ("mri", {}, r"1 channel .magnitude. or 2"),
        ("mri", {"coils": 0}, "coils=0; a whole number"),
        ("custom", {}, "task custom needs task.operator=my_module:MyOperator"),
        ("custom", {"operator": BlockMean, "options": {"faktor": 2}}, "settings are given by task.options="),
        ("custom", {"operator": torch.sigmoid, "options": {"a": 2}}, "task.options= are settings of a class"),
        ("inpant", {}, "did you mean 'inpaint'"),
    ],
)
def test_refusals(name, options, message):
    with pytest.raises(ValueError, match=message) as told:
        make(RESTORATION, name, PICTURE, options)
    assert "\n" not in str(told.value)
