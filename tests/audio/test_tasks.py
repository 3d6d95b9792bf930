import json

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.cli import main
from guidekit.core.prediction import GaussianPrediction
from guidekit.domains.audio import Audio, Chorales, midi, tasks
from guidekit.domains.audio.codec import STATES
from guidekit.errors import UnknownNameError
from guidekit.objectives import GaussianLikelihood
from guidekit.objectives import tasks as measurements
from guidekit.objectives.operators.masks import Keep
from guidekit.objectives.tasks import observe

SHAPES = {**STATES, "roll": (2, 64, 56)}
LINEAR = [
    (name, kind)
    for name in ("continuation", "infill", "regeneration", "transition", "band_infill", "bandwidth")
    for kind in SHAPES
    if not (name == "band_infill" and kind == "waveform") and not (name == "bandwidth" and kind != "waveform")
]


def make(name, shape, **options):
    return measurements.make(tasks.TASKS, name, shape, options)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name, kind", LINEAR)
def test_adjoint_and_pseudo_inverse(name, kind):
    operator = make(name, SHAPES[kind]).operator
    x, y = normal(3, *SHAPES[kind]), normal(3, *SHAPES[kind], seed=1)
    left, right = (operator.forward(x) * y).sum(), (x * operator.adjoint(y)).sum()
    assert operator.linear and abs(left - right) <= 1e-5 * abs(left)
    measured = operator.forward(x)
    assert torch.allclose(operator.forward(operator.pinv(measured)), measured, atol=1e-9)  # A A+ A = A
    assert torch.allclose(operator.forward(2 * x + y), 2 * measured + operator.forward(y), atol=1e-9)
    assert torch.allclose(operator.forward(x[:1]), measured[:1])  # rows do not mix


def test_gaps_are_where_they_should_be():
    assert make("continuation", (1, 64, 64), known=0.25).gap.flatten().nonzero().min() == 16
    for shape, size in (((1, 64, 64), (1, 1, 64)), ((1, 16384), (1, 16384)), ((2, 64, 56), (1, 64, 1))):
        gap = make("infill", shape).gap
        assert gap.shape == size and gap.double().mean() == 0.25
    assert make("band_infill", (1, 64, 64)).gap.shape == (1, 64, 1)
    assert make("band_infill", (2, 64, 56), first=0.0, last=0.5).gap[0, 0, :28].all()


def test_clipping_consistency():
    x = Audio("waveform").codec.encode(Audio().reference()[:3])
    task = make("declip", (1, 16384), threshold=0.3)
    y = observe(x, task)
    assert not task.operator.linear and y.abs().max() <= 0.3
    found = task.judge(x, y, x)
    assert found["consistency"].abs().max() == 0 and found["misfit"].max() == 0 and (found["snr"] == 120).all()
    assert (task.judge(0.5 * y, y)["consistency"] > 0).all() and "snr" not in task.judge(y, y)
    louder = torch.where(y.abs() >= 0.3, 2 * y, y)
    assert task.operator.violation(louder, y).max() == 0


def test_signal_to_noise_in_the_gap():
    x = normal(2, 1, 16384)
    task = make("infill", (1, 16384))
    y = observe(x, task)
    found = task.judge(torch.where(task.gap, 0.9 * x, x), y, x)
    assert found["snr_gap"].tolist() == pytest.approx([20.0, 20.0]) and found["misfit"].max() == 0
    noisy = observe(x, task, 0.1)
    assert noisy[:, task.gap[0][None]].abs().max() == 0 and (noisy - y).std() == pytest.approx(
        0.1 * 0.75**0.5, rel=0.05
    )


@pytest.mark.parametrize("name, kind, blank", [("infill", "mel", -1.0), ("band_infill", "roll", -1.0)])
def test_silence_in_the_gap_has_0_decibels(name, kind, blank):
    x, task = normal(2, *SHAPES[kind]), make(name, SHAPES[kind])
    y = observe(x, task)
    shown = task.shown(y)
    assert task.judge(shown, y, x)["snr_gap"].abs().max() < 1e-12 and task.blank == blank
    assert torch.equal(shown[~task.gap.expand_as(x)], x[~task.gap.expand_as(x)])
    assert (shown[task.gap.expand_as(x)] == blank).all()


def test_start_of_regeneration_and_transition():
    assert make("infill", (1, 1000)).start == 1 and make("regeneration", (1, 1000), start=0.3).start == 0.3
    task, x = make("transition", (1, 1000)), torch.ones(1, 1, 1000)
    made = task.join(x, -x)
    assert torch.equal(made[..., :375], x[..., :375]) and torch.allclose(made[..., 625:], -x[..., 625:])
    assert made[..., 500].abs().item() < 0.01
    loud = task.join(x, torch.zeros_like(x)).square() + task.join(torch.zeros_like(x), x).square()
    assert torch.allclose(loud, torch.ones_like(loud), atol=1e-6)  # equal power


def test_dps_pulls_an_exact_prior_to_the_measurement():
    prior = gk.priors.Gaussian(torch.zeros(16), 1.0, gk.processes.VP("cosine"))
    mask = torch.arange(16) < 8
    y = torch.linspace(-1, 1, 16)[None] * mask
    measured = GaussianLikelihood(Keep(mask), y, 0.1)
    guided = gk.sample(prior, gk.guidance.DPS(measured, 0.3), 200, steps=100).samples
    plain = gk.sample(prior, num_samples=200, steps=100).samples
    assert measured.distance(guided).mean() < 0.5 * measured.distance(plain).mean()
    assert (guided[:, ~mask].std() - 1).abs() < 0.15  # what is not measured keeps the prior
    rest = measured(plain) + 0.5 * measured.distance(plain) ** 2 / 0.01  # what makes it a density
    assert torch.allclose(rest, rest[:1].expand(200), rtol=1e-4)


@pytest.mark.parametrize(
    "name, shape, options, error, message",
    [
        ("infil", (1, 64, 64), {}, UnknownNameError, "no task named 'infil'"),
        ("declip", (1, 64, 64), {}, ValueError, "is of waveforms"),
        ("band_infill", (1, 16384), {}, ValueError, "is of pictures and rolls"),
        ("declip", (1, 16384), {"threshold": 2.0}, ValueError, "threshold=2.0; a share"),
        ("bandwidth", (1, 16384), {"cutoff": 9000.0}, ValueError, "cutoff=9000.0 Hz"),
        ("infill", (1, 64, 64), {"first": 0.7, "last": 0.6}, ValueError, "gap from 0.7 to 0.6"),
        ("infill", (1, 64, 64), {"start": 0.7}, ValueError, "unexpected keyword"),
        ("transition", (1, 64, 64), {"start": 0.0}, ValueError, "task transition: start=0.0; a time above 0"),
    ],
)
def test_refusals(name, shape, options, error, message):
    with pytest.raises(error, match=message):
        make(name, shape, **options)
    with pytest.raises(ValueError, match="noise must be"):
        GaussianLikelihood(Keep(torch.ones(1, dtype=torch.bool)), torch.zeros(1, 1), -0.1)


def test_tasks_of_real_pieces():
    x = Chorales().codec.encode(Chorales().reference()[:2])
    task = make("continuation", x.shape[1:])
    y = observe(x, task)
    assert torch.equal(y[:, :, :16], x[:, :, :16]) and y[:, :, 16:].abs().max() == 0


class Flat(gk.priors.Prior):
    """Independent numbers of mean -0.5 and variance 0.3."""

    name, process = "flat", gk.processes.EDM()

    def __init__(self, domain):
        self.event_shape, self.codec = domain.shape, domain.codec

    def predict(self, x, t, condition=None):
        a, s = self.process.coefficients(t)
        return GaussianPrediction(-0.5 + 0.3 * a / (0.3 * a * a + s * s) * (x + 0.5 * a), x, a, s)


@pytest.fixture
def flat(monkeypatch):
    monkeypatch.setattr("guidekit.domains.audio.domain.SoundDomain.load_prior", lambda self, name: Flat(self))


def sampled(*settings):
    return main(["sample", "num_samples=2", "steps=6", "prior=default", *settings])


@pytest.mark.parametrize("guidance", ["replacement", "dps"])
@pytest.mark.parametrize("task", ["infill", "regeneration", "transition", "continuation", "band_infill"])
def test_command(task, guidance, flat, tmp_path, capsys):
    settings = [f"task={task}", "task.input=3", f"guidance={guidance}", f"output={tmp_path}/run", "domain=chorales"]
    assert sampled(*settings, *(["task.second=4"] if task == "transition" else [])) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    guided, unguided = record["figures"]["guided"], record["figures"]["unguided"]
    assert guided["misfit"] < unguided["misfit"] and ("snr_gap" in guided) == (task != "transition")
    assert "misfit" in capsys.readouterr().out and (tmp_path / "run" / "figure.png").is_file()
    header = (tmp_path / "run" / "samples.csv").read_text().splitlines()[0].split(",")
    assert "misfit" in header and "reward" not in header
    if guidance == "replacement":
        assert guided["misfit"] < 1e-6


def test_a_file_is_read_by_the_domain(flat, tmp_path, capsys):
    piece = Chorales().reference()[3]
    longer = np.concatenate([piece, piece + np.array([64, 0, 0])])
    midi.write_pieces(tmp_path, [longer], ["piece"])
    settings = ["domain=chorales", "task=infill", f"task.input={tmp_path}/piece.mid", "guidance=replacement"]
    assert sampled(*settings, f"output={tmp_path}/run", "baseline=false") == 0
    assert "sixteenths 1 to 64 of 128 are taken" in " ".join(capsys.readouterr().out.split())
    made = midi.read(tmp_path / "run" / "samples").pieces[0]
    begins = lambda notes: {tuple(row) for row in notes[:, [0, 2]] if row[0] < 16}  # noqa: E731
    assert begins(made) == begins(piece)


def test_damaged_input_has_no_truth(flat, tmp_path):
    settings = ["domain=chorales", "task=infill", "task.input=0", "guidance=replacement", "task.damaged=true"]
    assert sampled(*settings, f"output={tmp_path}/run") == 0
    found = json.loads((tmp_path / "run" / "run.json").read_text())["figures"]["guided"]
    assert "misfit" in found and "snr" not in found


@pytest.mark.parametrize(
    "settings, message",
    [
        ("task=infill guidance=dps", "task=infill needs task.input=, a file of pieces or a number from 0 to 365"),
        ("task=infill guidance=dps task.input=400", "task.input=400; a file of pieces or a number"),
        ("task=infill guidance=dps task.input=no.mid", "there is no file or folder no.mid"),
        ("task=infill task.input=0", "task=infill needs a guidance that obeys it"),
        ("task=infill task.input=0 guidance=dps reward=key", "leave reward= out"),
        ("task=infil task.input=0 guidance=dps", "did you mean 'infill'"),
        ("task=declip task.input=0 guidance=dps", "task declip is of waveforms"),
        ("task=infill task.input=0 guidance=dps task.first=0.9", "gap from 0.9 to 0.625"),
        ("task=infill task.input=0 guidance=dps task.firts=0.9", "did you mean 'task.first'"),
        ("task=transition task.input=0 guidance=dps", "needs task.second="),
        (
            "reward=key guidance=replacement",
            "replacement needs a linear measurement with a pseudo-inverse, such as task=inpaint; key is none",
        ),
    ],
)
def test_bad_input_is_one_line(settings, message, flat, tmp_path, capsys):
    assert sampled("domain=chorales", f"output={tmp_path}/run", *settings.split()) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1 and not (tmp_path / "run").exists()
