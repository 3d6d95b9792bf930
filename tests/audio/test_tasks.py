import pytest
import torch

import guidekit as gk
from guidekit.domain import UnknownNameError
from guidekit.domains.audio import Audio, Chorales, tasks
from guidekit.domains.audio.codec import STATES

SHAPES = {**STATES, "roll": (2, 64, 56)}
LINEAR = [
    (name, kind)
    for name in ("continuation", "infill", "regeneration", "transition", "band_infill", "bandwidth")
    for kind in SHAPES
    if not (name == "band_infill" and kind == "waveform") and not (name == "bandwidth" and kind != "waveform")
]


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name, kind", LINEAR)
def test_adjoint_and_pseudo_inverse(name, kind):
    operator = tasks.make(name, SHAPES[kind]).operator
    x, y = normal(3, *SHAPES[kind]), normal(3, *SHAPES[kind], seed=1)
    left, right = (operator.forward(x) * y).sum(), (x * operator.adjoint(y)).sum()
    assert operator.linear and abs(left - right) <= 1e-5 * abs(left)
    measured = operator.forward(x)
    assert torch.allclose(operator.forward(operator.pinv(measured)), measured, atol=1e-9)  # A A+ A = A
    assert torch.allclose(operator.forward(2 * x + y), 2 * measured + operator.forward(y), atol=1e-9)
    assert torch.allclose(operator.forward(x[:1]), measured[:1])  # rows do not mix


def test_gaps_are_where_they_should_be():
    assert tasks.make("continuation", (1, 64, 64), known=0.25).gap.flatten().nonzero().min() == 16
    for shape, size in (((1, 64, 64), (1, 1, 64)), ((1, 16384), (1, 16384)), ((2, 64, 56), (1, 64, 1))):
        gap = tasks.make("infill", shape).gap
        assert gap.shape == size and gap.double().mean() == 0.25
    assert tasks.make("band_infill", (1, 64, 64)).gap.shape == (1, 64, 1)
    assert tasks.make("band_infill", (2, 64, 56), first=0.0, last=0.5).gap[0, 0, :28].all()


def test_clipping_consistency():
    x = Audio("waveform").encode(Audio().reference()[:3])
    task = tasks.make("declip", (1, 16384), threshold=0.3)
    y = tasks.observe(x, task)
    assert not task.operator.linear and y.abs().max() <= 0.3
    found = task.judge(x, y, x)
    assert found["consistency"].abs().max() == 0 and found["misfit"].max() == 0 and (found["snr"] == torch.inf).all()
    assert (task.judge(0.5 * y, y)["consistency"] > 0).all() and "snr" not in task.judge(y, y)
    louder = torch.where(y.abs() >= 0.3, 2 * y, y)
    assert task.operator.consistency(louder, y).max() == 0


def test_signal_to_noise_in_the_gap():
    x = normal(2, 1, 16384)
    task = tasks.make("infill", (1, 16384))
    y = tasks.observe(x, task)
    found = task.judge(torch.where(task.gap, 0.9 * x, x), y, x)
    assert found["snr_gap"].tolist() == pytest.approx([20.0, 20.0]) and found["misfit"].max() == 0
    assert torch.equal(task.operator.paste(torch.zeros_like(x), y)[..., :6144], x[..., :6144])
    noisy = tasks.observe(x, task, 0.1)
    assert noisy[:, task.gap[0][None]].abs().max() == 0 and (noisy - y).std() == pytest.approx(
        0.1 * 0.75**0.5, rel=0.05
    )


def test_start_of_regeneration_and_transition():
    x, noise = torch.ones(1, 1, 1000), normal(1, 1, 1000)
    assert torch.allclose(tasks.start_of(x, noise, 0.36), 0.6 * noise + 0.8)
    task = tasks.make("transition", (1, 1000))
    made = tasks.crossfaded(x, -x, task)
    assert torch.equal(made[..., :375], x[..., :375]) and torch.allclose(made[..., 625:], -x[..., 625:])
    assert made[..., 500].abs().item() < 0.01
    with pytest.raises(ValueError, match="has no transition"):
        tasks.crossfaded(x, -x, tasks.make("infill", (1, 1000)))


def test_dps_pulls_an_exact_prior_to_the_measurement():
    prior = gk.priors.Gaussian(torch.zeros(16), 1.0, gk.processes.VP("cosine"))
    mask = torch.arange(16) < 8
    y = torch.linspace(-1, 1, 16)[None] * mask
    measured = tasks.Measured(tasks.Keep(mask), y, 0.1)
    guided = gk.sample(prior, gk.guidance.DPS(measured, 0.3), 200, steps=100).samples
    plain = gk.sample(prior, num_samples=200, steps=100).samples
    assert measured.distance(guided).mean() < 0.5 * measured.distance(plain).mean()
    assert (guided[:, ~mask].std() - 1).abs() < 0.15  # what is not measured keeps the prior
    assert torch.allclose(measured(plain), -0.5 * measured.distance(plain) ** 2 / 0.01, rtol=1e-4)


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
    ],
)
def test_refusals(name, shape, options, error, message):
    with pytest.raises(error, match=message):
        tasks.make(name, shape, **options)
    with pytest.raises(ValueError, match="above 0"):
        tasks.Measured(tasks.Keep(torch.ones(1, dtype=torch.bool)), torch.zeros(1, 1), 0.0)


def test_tasks_of_real_pieces():
    x = Chorales().encode(Chorales().reference()[:2])
    task = tasks.make("continuation", x.shape[1:])
    y = tasks.observe(x, task)
    assert torch.equal(y[:, :, :16], x[:, :, :16]) and y[:, :, 16:].abs().max() == 0
