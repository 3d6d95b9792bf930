"""Inverse problems from the command line: files of a field in, samples, mean, spread and a picture out."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.cli import main
from guidekit.core.prediction import GaussianPrediction
from guidekit.domains.images import Images
from guidekit.domains.images.codec import ImageCodec
from guidekit.domains.images.files import png, write_folder
from guidekit.running.posterior import posterior
from guidekit.running.tasks import COMMON, build_task

SHAPE = (1, 28, 28)


class Flat(gk.priors.Prior):
    """Independent pixels: states of mean -0.4 and variance 0.3."""

    name, process, event_shape, codec, dataset = "flat", gk.processes.EDM(), SHAPE, ImageCodec(SHAPE), "fashion_mnist"

    def predict(self, x, t, condition=None):
        a, s = self.process.coefficients(t)
        return GaussianPrediction(-0.4 + 0.3 * a / (0.3 * a * a + s * s) * (x + 0.4 * a), x, a, s)


@pytest.fixture
def flat(monkeypatch):
    monkeypatch.setattr("guidekit.domains.images.Images.load_prior", lambda self, name: Flat())


def sampled(*settings):
    return main(["sample", "domain=images", "num_samples=3", "steps=6", "baseline=false", *settings])


def figures(folder):
    return json.loads((folder / "run.json").read_text())["figures"]["guided"]


@pytest.mark.parametrize(
    "settings",
    [
        "task=inpaint task.missing=0.5 guidance=replacement",
        "task=superresolution guidance=dps",
        "task=deblur task.std=1.0 guidance=dps task.add_noise=true",
        "task=phase guidance=dps",
    ],
)
def test_command(settings, flat, tmp_path):
    assert sampled(*settings.split(), "task.input=3", f"output={tmp_path}/run") == 0
    found = figures(tmp_path / "run")
    assert {"misfit", "chi", "snr", "psnr", "ssim", "spread", "snr of the mean", "psnr of the mean"} <= set(found)
    assert (tmp_path / "run" / "posterior.png").is_file()
    with np.load(tmp_path / "run" / "posterior.npz") as held:
        assert held["mean"].shape == held["std"].shape == held["truth"].shape == (1, *SHAPE)
        assert held["truth"].min() >= 0 and held["truth"].max() <= 1  # pixels, not states
    if "replacement" in settings:
        assert found["misfit"] < 1e-6 and found["psnr"] > 10


def test_several_measurements_times_several_samples(flat, tmp_path):
    """A folder of pictures; every sample belongs to one, and a single one gives the same numbers."""
    pictures = Images().reference()[:3]
    write_folder(tmp_path / "in", pictures)
    settings = ["task=inpaint", "task.missing=0.5", "guidance=replacement"]
    assert sampled(*settings, f"task.input={tmp_path}/in", f"output={tmp_path}/all") == 0
    with np.load(tmp_path / "all" / "posterior.npz") as held:
        mean, known = held["mean"], held["y"] > 0
        assert mean.shape == (3, *SHAPE)
        np.testing.assert_allclose(mean[known], held["truth"][known], atol=1e-6)
    rows = (tmp_path / "all" / "samples.csv").read_text().splitlines()
    place = rows[0].split(",").index("input")
    assert [row.split(",")[place] for row in rows[1:]] == list("000111222")
    assert sampled(*settings, f"task.input={tmp_path}/in/image-00000.png", f"output={tmp_path}/one") == 0
    with np.load(tmp_path / "one" / "posterior.npz") as held:
        np.testing.assert_allclose(held["mean"][0], mean[0], atol=1e-6)


def test_a_measurement_of_another_size_and_its_truth(flat, tmp_path):
    """What was measured is a picture of 7 x 7 pixels; the truth is another file."""
    truth = Images().reference()[0]
    small = truth.reshape(7, 4, 7, 4).mean((1, 3)).round().astype(np.uint8)
    for name, image in (("small", small), ("truth", truth)):
        (tmp_path / f"{name}.png").write_bytes(png(image))
    np.save(tmp_path / "small.npy", small[None] / 255)
    settings = ["task=superresolution", "task.damaged=true", "guidance=dps", f"task.truth={tmp_path}/truth.png"]
    for name in ("small.png", "small.npy"):
        assert sampled(*settings, f"task.input={tmp_path}/{name}", f"output={tmp_path}/{name}-run") == 0
        with np.load(tmp_path / f"{name}-run" / "posterior.npz") as held:
            np.testing.assert_allclose(held["y"], small[None, None] / 255, atol=1e-6)
            assert "psnr" in figures(tmp_path / f"{name}-run")


OPERATOR = '''
import dataclasses
import torch
from guidekit.objectives.operators.base import Linear, Operator


@dataclasses.dataclass(frozen=True)
class Rows(Linear):
    """Means of rows."""

    shape: tuple
    scale: float = 1.0

    def forward(self, x):
        assert x.min() > -5  # pixels
        return self.scale * x.mean(-1)


class Counts(Operator):
    """A black box."""

    differentiable = False

    def forward(self, x):
        return (10 * x.detach()).round()


class Moody(Counts):
    """Measures the truth, and then fails on the first state of every call."""

    asked = 0

    def forward(self, x):
        Moody.asked += 1
        found = super().forward(x)
        return found if Moody.asked == 1 else found.index_fill(0, torch.tensor([0]), torch.nan)


def doubled(x):
    return 2 * x
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_operators.py").write_text(OPERATOR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize("name", ["Rows", "doubled"])
def test_an_operator_of_ones_own(name, own, flat, tmp_path):
    settings = ["task=custom", f"task.operator=own_operators:{name}", "task.input=0", f"output={tmp_path}/run"]
    options = ["task.options={scale: 2.0}"] if name == "Rows" else []
    assert sampled(*settings, *options, "guidance=dps") == 0
    with np.load(tmp_path / "run" / "posterior.npz") as held:
        wanted = 2 * held["truth"] if name == "doubled" else 2 * held["truth"].mean(-1)
        np.testing.assert_allclose(held["y"], wanted, atol=1e-5)


def refused(capsys, *settings):
    assert sampled(*settings) == 2
    told = capsys.readouterr().err
    assert told.startswith("guidekit: ") and told.count("\n") == 1
    return told


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("task=inpaint task.input=0 guidance=none", "task=inpaint needs a guidance that obeys it: guidance="),
        ("task=inpaint task.input=0 guidance=rescale", "would ignore task=inpaint: guidance="),
        ("task=hdr task.input=0 guidance=replacement", "replacement needs a linear measurement with a pseudo-inverse"),
        ("task=hdr task.input=0 guidance=replacement", "HighDynamicRange is none"),
        ("task=hdr task.input=0 guidance=replacement", "use guidance=daps, "),
        ("task=inpaint task.input=0 guidance=classifier", "guidance=classifier needs guidance.value="),
        ("task=quantize task.input=0 guidance=dps", "Quantized is a black box"),
        ("task=inpaint task.input=0 guidance=dps task.noise_std=-1.0", "task.noise_std=-1.0; a number of at least 0"),
        ("task=inpaint task.input=0 guidance=dps task.missing=1.5", "missing=1.5; a share above 0"),
    ],
)
def test_bad_commands(settings, message, flat, tmp_path, capsys):
    assert message.lower() in refused(capsys, *settings.split(), f"output={tmp_path}/run").lower()
    assert not (tmp_path / "run").exists()


def test_a_black_box_is_refused_by_gradients_and_taken_by_searches(own, flat, tmp_path, capsys):
    settings = ["task=custom", "task.operator=own_operators:Counts", "task.input=0", f"output={tmp_path}/run"]
    assert "Counts is a black box: search instead" in refused(capsys, *settings, "guidance=dps")
    assert sampled(*settings, "guidance=best_of_n", "guidance.particles=2") == 0


def test_failures_of_a_forward_model_are_not_put_down_to_a_reward(own, flat, tmp_path, capsys):
    settings = ["task=custom", "task.operator=own_operators:Moody", "task.input=0", f"output={tmp_path}/run"]
    assert sampled(*settings, "guidance=ensemble_kalman_guidance", "guidance.particles=4") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "the forward model failed on" in told and "they count for nothing: the forward model gave numbers" in told
    assert "the reward failed" not in told


def config(name, **settings):
    from guidekit.running.groups import load_group

    return {**load_group("task", name), **settings}


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        (
            "superresolution",
            lambda f: np.save(f, np.zeros((8, 8))),
            r"holds numbers \(8, 8\); \(1, 7, 7\) or n of these",
        ),
        (
            "superresolution",
            lambda f: np.save(f, np.full((1, 7, 7), np.nan)),
            "has 49 numbers that are NaN or infinite",
        ),
        ("superresolution", lambda f: np.save(f, np.zeros((7, 7), complex)), "save real and imaginary parts"),
        ("superresolution", lambda f: f.write_bytes(b"nothing"), "is damaged or no .npy file"),
        ("superresolution", lambda f: np.save(f, np.array(["a"])), "numbers are expected"),
    ],
)
def test_bad_measurements(name, make, message, tmp_path):
    make(tmp_path / "y.npy")
    with pytest.raises(ValueError, match=message) as told:
        build_task(Images(), config(name, input=str(tmp_path / "y.npy"), damaged=True), Flat())
    assert "\n" not in str(told.value)


def test_masks_as_files(tmp_path):
    mask = np.zeros((28, 28), np.uint8)
    mask[:7] = 255
    (tmp_path / "mask.png").write_bytes(png(mask))
    np.save(tmp_path / "mask.npy", mask > 0)
    np.savez(tmp_path / "mask.npz", mask=mask > 0, other=mask)
    for name in ("mask.png", "mask.npy", "mask.npz"):
        given = build_task(Images(), config("inpaint", input=0, mask=str(tmp_path / name)), Flat())
        assert given.task.gap.expand(SHAPE).double().mean() == 0.75 and not given.task.gap[0, :7].any()
    (tmp_path / "wrong.png").write_bytes(png(mask[:14, :14]))
    (tmp_path / "grey.png").write_bytes(png(np.arange(784).reshape(28, 28).astype(np.uint8)))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for name, message in (
        ("wrong.png", r"the mask is \(14, 14\); \(1, 28, 28\) or \(28, 28\) is expected"),
        ("grey.png", "the mask has 256 different numbers; two are expected"),
        ("broken.png", "broken.png is damaged or no mask"),
        ("none.png", "there is no file"),
    ):
        with pytest.raises(ValueError, match=message):
            build_task(Images(), config("inpaint", input=0, mask=str(tmp_path / name)), Flat())


def test_mean_and_spread():
    """Of two objects, with weights; the spread of one sample is not known."""
    given = build_task(Images(), config("inpaint", input=[0, 1]), Flat(), 2)
    assert given.num_samples == 4 and len(given.likelihood.y) == 4
    states = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, *SHAPE)
    result = gk.sample(Flat(), num_samples=4, steps=2)
    found = posterior(given, type(result)(states, torch.zeros(4, 1), torch.zeros(4), result.ledger, {}))
    assert found.mean[:, 0, 0, 0].tolist() == [0.75, 1.75]  # pixels of states 0.5 and 2.5
    assert found.std[:, 0, 0, 0].tolist() == pytest.approx([0.5 * 0.5**0.5] * 2)
    skewed = type(result)(states, torch.tensor([[0.0], [-1e9], [-1e9], [0.0]]), torch.zeros(4), result.ledger, {})
    assert posterior(given, skewed).mean[:, 0, 0, 0].tolist() == pytest.approx([0.5, 2.0])
    assert posterior(given, skewed).std.isnan().all()


def test_common_settings_are_everywhere():
    from guidekit.running.groups import group_choices

    for name in group_choices("task"):
        if name != "none":
            assert set(COMMON) - {"second"} <= set(config(name))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("takes_arrays", r"returns one, with a row for each; it returned an ndarray; .*needs task\.workers=1"),
        ("takes_lists", r"it returned a list; a function of one NumPy array needs task\.workers=1"),
        ("asserts", r"it raised AssertionError: an array .*no_operators\.py, line 15\); .*needs task\.workers=1"),
        ("Asserts", r"operator Asserts takes a tensor of all states.* it raised AssertionError: .*, line 25\)$"),
        ("forgets_rows", r"the operator gave \(\) for 1 states: a measurement is needed for each"),
        ("transforms", "the operator gave complex numbers; real ones are needed"),
    ],
)
@pytest.mark.parametrize("damaged", ["false", "true"])
def test_a_function_that_is_no_operator_is_told_before_anything_else(
    name, told, damaged, flat, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("no_operators.py").write_text(OPERATORS)
    np.save("y.npy", np.ones((1, 28, 28)))
    what = "y.npy" if damaged == "true" else "3"
    settings = [f"task.operator=no_operators:{name}", f"task.input={what}", f"task.damaged={damaged}"]
    assert sampled("task=custom", "guidance=dps", *settings) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(told, line)


OPERATORS = """
import numpy as np
import torch
from guidekit.objectives.operators.base import Operator


def takes_arrays(x):
    return np.asarray(x)[..., ::4, ::4]

def takes_lists(x):
    return [1, 2, 3]


def asserts(x):
    assert isinstance(x, np.ndarray), "an array"

def forgets_rows(x):
    return x.mean()

def transforms(x):
    return torch.fft.rfft2(x)

class Asserts(Operator):
    def forward(self, x):
        assert isinstance(x, np.ndarray), "an array"
"""


@pytest.mark.parametrize("guidance", ["ensemble_kalman_inversion", "dps_gsg"])
def test_a_function_that_fails_later_on_some_states_costs_these(guidance, flat, tmp_path, monkeypatch):
    """The first failure is no mistake of the operator's: guidances that can go on without some states do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "failing_operators", raising=False)  # its count of calls
    Path("failing_operators.py").write_text(FAILING)
    settings = ["task=custom", "task.operator=failing_operators:fails", "task.input=3", "task.noise_std=0.3"]
    assert sampled(*settings, f"guidance={guidance}", "output=run") == 0
    ledger = json.loads(Path("run", "run.json").read_text())["ledger"]["guided"]
    assert ledger["reward_reasons"] == {"raised FloatingPointError: diverged": ledger["reward_failures"]}
    assert 0 < ledger["reward_failures"] <= 5


FAILING = """
calls = [0]


def fails(x):  # not at first, when the object is measured, but when the states of a run are, and then by themselves
    calls[0] += 1
    if 2 <= calls[0] <= 6:
        raise FloatingPointError("diverged")
    return x[..., ::4, ::4]
"""
