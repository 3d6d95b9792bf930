import math

import numpy as np
import pytest
import torch

from guidekit.domains.audio import Audio, AudioError, Chorales, RollError, SampleRateMismatch, Sound, mel, rolls
from guidekit.domains.audio.data import CLASSES, chorales, class_of, clips, trimmed
from guidekit.domains.audio.metrics import log_spectral_distance
from guidekit.errors import UnknownNameError
from guidekit.installed import load_domain

SOUNDS = Audio().reference()[:6]
PIECES = Chorales().reference()[:6]
TIME = np.arange(mel.SAMPLES) / mel.RATE


def tone(hertz, amplitude=0.5):
    return (amplitude * np.sin(2 * np.pi * hertz * TIME)).astype(np.float32)


def test_registered_with_their_shapes():
    assert load_domain("audio").shape == (1, 64, 64) and load_domain("audio", state="waveform").shape == (1, 16384)
    assert load_domain("chorales").shape == (2, 64, 56)
    with pytest.raises(UnknownNameError, match="no kind of state named 'mels'"):
        Audio("mels")
    with pytest.raises(ValueError, match="tempo=0"):
        Chorales(0)


@pytest.mark.parametrize("hertz", [200.0, 1000.0, 5000.0])
def test_a_full_scale_sine_is_at_0_decibels_in_its_band(hertz):
    centre = float(mel.centres()[(mel.centres() - hertz).abs().argmin()])
    levels = mel.decibels(mel.encode(torch.from_numpy(tone(centre, 1.0))[None]))[0, :, 5:-5]
    assert levels.amax().item() == pytest.approx(0.0, abs=1.5)
    assert int(levels.mean(1).argmax()) == int((mel.centres() - centre).abs().argmin())


def test_mel_round_trip_keeps_the_spectrum():
    states = Audio().codec.encode(SOUNDS)
    assert states.shape == (6, 1, 64, 64) and states.dtype == torch.float32 and states.abs().max() <= 1
    again = Audio().codec.encode(Audio().codec.decode(states))
    distance = log_spectral_distance(mel.decibels(states), mel.decibels(again))
    assert distance.median() < 1.0 and distance.max() < 3.0  # dB


def test_decoding_is_reproducible_and_independent_of_the_batch():
    states = Audio().codec.encode(SOUNDS)
    both, alone = Audio().codec.decode(states), [Audio().codec.decode(state[None])[0] for state in states]
    # Sixty-four rounds of Griffin-Lim let rounding grow to a few 1e-4, other on every processor.
    assert all(np.allclose(a.wave, b.wave, atol=2e-3) for a, b in zip(both, alone, strict=True))
    assert np.array_equal(both[0].wave, Audio().codec.decode(states)[0].wave)


def test_waveform_states_are_the_samples():
    domain = Audio("waveform")
    states = domain.codec.encode(SOUNDS)
    assert states.shape == (6, 1, 16384)
    back = domain.codec.decode(states)
    assert all(np.array_equal(a.wave, b.wave) for a, b in zip(back, SOUNDS, strict=True))
    loud = domain.codec.decode(3 * states[:1] / states[:1].abs().max())[0]
    assert np.abs(loud.wave).max() == pytest.approx(1.0)  # made quieter, not clipped
    with pytest.raises(ValueError, match=r"\(1, 16384\) are expected"):
        domain.load_prior("one_shots")


def test_invalid_states_are_reported(shown):
    domain, states = Audio(), Audio().codec.encode(SOUNDS[:3])
    states[0, 0, 0, 0], states[1] = math.nan, -1.0
    assert [sound is None for sound in domain.codec.decode(states)] == [True, True, False]
    assert [row["reason"] for row in domain.table(shown(domain, states))] == ["not finite", "silent", ""]
    pieces = Chorales().codec.encode(PIECES[:3])
    pieces[0, 0, 0, 0], pieces[1] = math.inf, -1.0
    assert [row["reason"] for row in Chorales().table(shown(Chorales(), pieces))] == ["not finite", "no notes", ""]
    with pytest.raises(AudioError, match=r"\(B, 1, 64, 64\)"):
        domain.codec.decode(pieces)
    with pytest.raises(RollError, match=r"\(B, 2, 64, 56\)"):
        Chorales().codec.decode(states)


@pytest.mark.parametrize(
    "sound, message",
    [
        (np.zeros(100, np.float32), "is silent"),
        (np.zeros(0, np.float32), "has no samples"),
        (np.full(10, np.nan), "10 samples that are not finite"),
        (np.full(10, 2.0), "reaches 2"),
        (np.ones(10, np.int16), "samples of type int16"),
        (np.ones((2, 10)), "one channel"),
        (tone(440).repeat(2), "lasts 2.048 s, at most 1.024 s fit"),
    ],
)
def test_unusable_sounds_are_named(sound, message):
    with pytest.raises(AudioError, match=message):
        Audio().codec.encode([tone(440), sound])


def test_another_rate_is_refused():
    with pytest.raises(SampleRateMismatch, match="44,100 samples a second, 16,000 are expected"):
        Audio().codec.encode([Sound(tone(440), 44100)])


def test_rolls_round_trip():
    states = Chorales().codec.encode(PIECES)
    assert states.shape == (6, 2, 64, 56) and set(states.unique().tolist()) == {-1.0, 1.0}
    back = Chorales().codec.decode(states + 0.9 * torch.rand(states.shape) * -states.sign())
    assert all(np.array_equal(a, b) for a, b in zip(back, PIECES, strict=True))


def test_voices_attacks_and_unisons():
    voices = np.array([[60, 60], [60, 60], [62, -1], [62, 62]])
    assert rolls.from_voices(voices).tolist() == [[0, 2, 60], [0, 2, 60], [2, 2, 62], [3, 1, 62]]
    attack = np.array([[1, 1], [1, 0], [1, 0], [0, 1]], bool)
    notes = rolls.from_voices(voices, attack)
    assert notes.tolist() == [[0, 1, 60], [0, 2, 60], [1, 1, 60], [2, 2, 62], [3, 1, 62]]
    assert rolls.merged(notes).tolist() == [[0, 1, 60], [1, 1, 60], [2, 1, 62], [3, 1, 62]]
    four = np.tile([67, 64, 60, 48], (8, 1))
    assert Chorales().codec.decode(Chorales().codec.encode([four]))[0].tolist() == [[0, 8, p] for p in (48, 60, 64, 67)]


def test_held_cells_without_a_note_are_counted_and_left_out(shown):
    state = -torch.ones(1, *rolls.SHAPE)
    state[0, 0, 4, 10] = state[0, 1, 5, 10] = state[0, 1, 20:23, 30] = 1.0
    assert Chorales().codec.decode(state)[0].tolist() == [[4, 2, 41]]
    assert Chorales().table(shown(Chorales(), state))[0]["ghosts"] == 3


@pytest.mark.parametrize(
    "notes, message",
    [
        (np.zeros((0, 3), int), "has no notes"),
        (np.array([[0, 4, 20]]), "pitches from 20 to 20; 31 to 86 fit"),
        (np.array([[60, 8, 60]]), "ends at step 68; at most 64 fit"),
        (np.array([[0, 0, 60]]), "shorter than a step"),
        (np.array([[0.5, 1, 60]]), "whole numbers are expected"),
        (np.zeros((3, 2), int), r"has shape \(3, 2\)"),
    ],
)
def test_unusable_notes_are_named(notes, message):
    with pytest.raises(RollError, match=message):
        Chorales().codec.encode([notes])


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize("mode", ["major", "minor"])
def test_keys_are_found(tonic, mode):
    steps = rolls.SCALES[mode]
    line = [60 + tonic + steps[i] for i in (0, 4, 2, 0, 1, 2, 0, 4, 6 if mode == "minor" else 3, 4, 2, 0)]
    notes = np.array([[2 * i, 2, pitch] for i, pitch in enumerate(line)])
    assert rolls.key(notes) == (tonic, mode)
    moved = rolls.transposed(notes, rolls.to_c(notes))
    assert rolls.key(moved) == ((0, "major") if mode == "major" else (9, "minor"))


def test_shipped_data():
    train, test = clips("train"), clips("test")
    assert (len(train.waves), len(test.waves)) == (222, 53) and not set(train.names) & set(test.names)
    assert max(map(len, train.waves)) == mel.SAMPLES and set(test.labels) == set(range(len(CLASSES)))
    assert all(np.abs(wave).max() > 300 for wave in train.waves)
    whole = [chorales(split) for split in ("train", "test")]
    assert [len(part.notes) for part in whole] == [326, 35]
    for notes, label in zip(whole[1].notes, whole[1].labels, strict=True):
        assert rolls.key(notes) == ((9, "minor") if label else (0, "major"))
    assert min(n[:, 2].min() for part in whole for n in part.notes) >= rolls.LOWEST
    assert max(n[:, 2].max() for part in whole for n in part.notes) < rolls.LOWEST + rolls.PITCHES
    with pytest.raises(UnknownNameError, match="no split"):
        clips("validation")


@pytest.mark.parametrize(
    "name, kind, label",
    [
        ("drum_snare_soft.flac", "acoustic drum", "snare"),
        ("tabla_tun1.flac", "tabla", "tabla"),
        ("a.wav", "closed hh", "cymbal"),
        ("beats_07-18.flac", "bass drum 3", "bass_drum"),
        ("beats_01-10.flac", "unnamed percussion", "percussion"),
        ("loop_amen.flac", "loop", "other"),
        ("drum_tom_hi_hard.flac", "acoustic drum", "tom"),
    ],
)
def test_classes_are_read_off_names(name, kind, label):
    assert CLASSES[class_of(name, kind)] == label


def test_trimming_starts_at_the_attack_and_fades_the_cut():
    wave = np.concatenate([np.zeros(500), np.ones(40000)])
    cut = trimmed(wave)
    assert len(cut) == mel.SAMPLES and (cut[:32] == 0).all() and cut[32] == 1 and cut[-1] == 0
    assert len(trimmed(wave[:2000])) == 1532


def test_conditions_choose_the_reference():
    domain = Audio()
    for condition, wanted in ((("tom",), 3), ("snare", 1), (4, 4), ({"class": "tabla"}, 4)):
        assert domain.label_wanted(condition=condition) == wanted
    assert len(domain.reference(3)) == 2 and len(Chorales().reference(1)) < len(Chorales().reference())
