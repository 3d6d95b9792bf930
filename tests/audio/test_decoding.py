"""Sounds of states: made once, one by one, at their level; what files may hold; ratios that have a value."""

import csv
import json
import math

import numpy as np
import pytest
import soundfile
import torch

from guidekit.cli import main
from guidekit.domains.audio import Audio, codec, files, mel, midi
from guidekit.domains.audio.codec import limited
from guidekit.objectives.fidelity import signal_to_noise
from guidekit.objectives.tasks import observe

SOUNDS = Audio().reference()


def level(waves):
    return 10 * waves.square().mean(-1).log10()


def test_a_limiter_leaves_alone_what_is_not_too_loud():
    time = torch.arange(16384) / mel.RATE
    wave = 0.5 * torch.sin(2 * math.pi * 440 * time)[None]
    assert torch.equal(limited(wave), wave)
    loud = wave.clone()
    loud[:, 8000:8200] *= 12
    made = limited(loud)
    assert made.abs().max() <= 1 and torch.allclose(made[:, :7900], wave[:, :7900], atol=1e-6)  # 6.25 ms before
    assert torch.allclose(made[:, 8300:], wave[:, 8300:], atol=1e-6) and (made * loud >= 0).all()  # a gain, no clipping


def test_a_state_with_a_loud_gap_keeps_the_level_of_the_rest():
    x = Audio().codec.encode(SOUNDS[:1])
    first = Audio().codec.decode(x)[0]
    x[..., 32:48] = 1.0  # 0 dB in all bands
    assert mel.invert(x).abs().max() > 3
    sound = Audio().codec.decode(x)[0]
    part = slice(0, 25 * mel.HOP)
    change = level(torch.from_numpy(sound.wave[part])) - level(torch.from_numpy(first.wave[part]))
    assert change.abs() < 0.5 and np.abs(sound.wave).max() <= 1


def test_real_sounds_come_back_at_their_level():
    x = Audio().codec.encode(SOUNDS[::4])
    back = Audio().codec.encode(Audio().codec.decode(x))
    heard = [10 * mel.to_powers(one).sum((1, 2)).log10() for one in (x, back)]
    assert (heard[1] - heard[0]).abs().max() < 3  # 8 dB where a sound is made quieter as a whole


def test_a_sound_is_made_once_and_does_not_depend_on_its_batch(monkeypatch):
    calls = []
    invert = mel.invert
    monkeypatch.setattr(mel, "invert", lambda states: calls.append(len(states)) or invert(states))
    x = (Audio().codec.encode(SOUNDS[:3]) + 0.003).clamp(-1, 1)  # of no other test
    together = Audio().codec.decode(x.repeat(2, 1, 1, 1))
    assert calls == [1, 1, 1]  # never more in memory
    alone = Audio().codec.decode(x[1:2])
    assert np.array_equal(alone[0].wave, together[1].wave) and len(calls) == 3
    alone[0].wave[:] = 0
    assert np.abs(Audio().codec.decode(x[1:2])[0].wave).max() > 0  # what is remembered cannot be changed


def test_rewards_and_tables_look_at_the_same_objects(tmp_path, monkeypatch):
    rows = []
    decode = codec.SoundCodec.decode
    monkeypatch.setattr(
        codec.SoundCodec, "decode", lambda self, states: rows.append(len(states)) or decode(self, states)
    )
    settings = ["num_samples=3", "steps=2", "baseline=false", f"output={tmp_path}/run"]
    assert main(["sample", "domain=audio", "reward=onsets", *settings]) == 0
    assert sum(rows) == 3


def test_peaks_above_full_scale_are_made_quieter(tmp_path):
    square = np.sign(np.sin(2 * np.pi * 150 * np.arange(8000) / 16000)).astype(np.float32)
    soundfile.write(tmp_path / "a.ogg", square, 16000, format="OGG", subtype="VORBIS")
    assert np.abs(files.samples(tmp_path / "a.ogg")[0]).max() > 1.2
    found = files.read(tmp_path / "a.ogg")
    assert np.abs(found.sounds[0].wave).max() == 1 and "above full scale (the first: a.ogg)" in found.notes[-1]
    whole = (1000 * square).astype(np.float32)  # integers that were stored as floats are no sound
    soundfile.write(tmp_path / "b.wav", whole, 16000, subtype="FLOAT")
    with pytest.raises(codec.AudioError, match="b.wav reaches 1e"):
        files.read(tmp_path / "b.wav")


@pytest.mark.parametrize("second, gain, said", [(-1.0, 1.0, "cancel"), (-0.999, 1.0, "cancel"), (0.5, 0.75, "mixed")])
def test_channels_that_cancel_are_not_silence(second, gain, said, tmp_path):
    wave = 0.4 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)
    soundfile.write(tmp_path / "a.wav", np.stack([wave, second * wave], 1), 16000)
    found = files.read(tmp_path / "a.wav")
    assert said in found.notes[0] and np.allclose(found.sounds[0].wave, gain * wave, atol=1e-4)


def test_what_is_wrong_is_named_with_its_class(tmp_path):
    files.write_sounds(tmp_path / "high", SOUNDS[:1], ["a"])
    (tmp_path / "low").mkdir()
    (tmp_path / "low" / "a.wav").write_bytes(b"RIFFxx")
    with pytest.raises(codec.AudioError, match="low/a.wav is damaged or no sound file") as told:
        files.read(tmp_path)
    assert str(tmp_path) not in str(told.value)
    (tmp_path / "low" / "a.mid").write_bytes(b"MThd")
    with pytest.raises(ValueError, match="low/a.mid is damaged"):
        midi.read(tmp_path)


def test_a_ratio_without_a_signal_has_no_value():
    truth = torch.ones(3, 1, 8)
    truth[1, 0, 4:] = 0
    truth[2] = 0
    gap = torch.arange(8) >= 4
    x = truth.clone()
    x[0] *= 0.9
    for wrong in (0.0, 0.1):  # of a silent gap: nan and -inf
        x[1:, 0, 4:] = wrong
        assert signal_to_noise(x, truth, gap).tolist() == pytest.approx([20, math.nan, math.nan], nan_ok=True, abs=1e-4)
    assert signal_to_noise(truth, truth).tolist() == pytest.approx([120, 120, math.nan], nan_ok=True)


def test_a_silent_gap_is_said_and_leaves_means_alone(tmp_path, capsys):
    x = Audio().codec.encode(SOUNDS)
    task = Audio().tasks["infill"](Audio().shape)
    silent = task.judge(x, observe(x, task), x)["snr_gap"].isnan()
    assert 5 < silent.sum() < 48
    inputs = f"[{silent.nonzero()[0].item()},{(~silent).nonzero()[0].item()}]"
    settings = [f"task.input={inputs}", "num_samples=1", "steps=4", "baseline=false", f"output={tmp_path}/run"]
    assert main(["sample", "domain=audio", "task=infill", "guidance=replacement", *settings]) == 0
    assert "1 of 2 sounds have nothing in the gap: snr_gap has no value" in " ".join(capsys.readouterr().out.split())
    figures = json.loads((tmp_path / "run" / "run.json").read_text())["figures"]["guided"]
    with (tmp_path / "run" / "samples.csv").open() as file:
        ratios = [float(row["snr_gap"]) for row in csv.DictReader(file)]
    assert math.isnan(ratios[0]) and math.isfinite(ratios[1]) and figures["snr_gap"] == pytest.approx(ratios[1])
    assert all(math.isfinite(figures[name]) for name in ("snr", "misfit", "snr of the mean"))
