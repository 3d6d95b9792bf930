import json

import mido
import numpy as np
import pytest
import soundfile

from guidekit.cli import main
from guidekit.domains.audio import Audio, AudioError, Chorales, RollError, Sound, files, mel, midi
from guidekit.domains.audio.preparation import prepare_chorales, prepare_sounds
from guidekit.io.files import write_npz

SOUNDS = Audio().reference()[:4]
PIECES = Chorales().reference()[:4]


def tone(rate, seconds=0.5, hertz=440.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def test_wav_round_trip_is_exact_to_16_bits(tmp_path):
    assert files.write_sounds(tmp_path / "a", SOUNDS)[1] == "sample-00001.wav"
    back = files.read(tmp_path / "a")
    assert back.notes == [] and back.labels is None
    assert all(np.abs(a.wave - b.wave).max() < 2**-15 for a, b in zip(SOUNDS, back.sounds, strict=True))
    assert soundfile.info(tmp_path / "a" / "sample-00000.wav").subtype == "PCM_16"


def test_other_rates_and_channels_are_converted_and_said(tmp_path):
    wave = np.stack([tone(44100), np.zeros(22050)], 1)
    soundfile.write(tmp_path / "stereo.wav", wave, 44100)
    found = files.read(tmp_path / "stereo.wav")
    assert found.notes == [
        "1 sounds: 2 channels were mixed (the first: stereo.wav)",
        "1 sounds: resampled from 44,100 to 16,000 Hz (the first: stereo.wav)",
    ]
    expected = tone(16000) / 2
    assert found.sounds[0].rate == 16000 and len(found.sounds[0].wave) == 8000
    assert np.abs(found.sounds[0].wave - expected)[200:-200].max() < 2e-3
    soundfile.write(tmp_path / "long.wav", tone(16000, 2.0), 16000)
    assert "cut to 1.024 s" in Audio().read_samples(tmp_path / "long.wav").notes
    assert "clipped" in files.ready(np.ones((2000, 1), np.float32), 16000, "x")[1][0]


def test_unusable_files_are_named_or_skipped(tmp_path):
    soundfile.write(tmp_path / "a_good.wav", tone(16000), 16000)
    soundfile.write(tmp_path / "b_silent.wav", np.zeros(2000), 16000)
    soundfile.write(tmp_path / "c_nan.wav", np.full(100, np.nan), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "d_empty.wav", np.zeros(0), 16000)
    (tmp_path / "e_broken.wav").write_bytes(b"RIFF no sound at all")
    found = files.read(tmp_path, on_error="skip")
    reasons = ["silent", "not finite", "no samples", "damaged or no sound file"]
    assert len(found.sounds) == 1 and len(found.skipped) == 4
    assert all(word in why for word, (_, why) in zip(reasons, found.skipped, strict=True))
    objects = Audio().read_samples(tmp_path)
    assert [one is None for one in objects] == [False] + [True] * 4 and "4 files count as invalid" in objects.notes
    with pytest.raises(AudioError, match="b_silent.wav is silent"):
        Audio().read_reference(tmp_path)
    for name, message in (("nothing", "no file or folder"), ("x.txt", "has suffix '.txt'")):
        (tmp_path / "x.txt").write_text("")
        with pytest.raises(ValueError, match=message):
            files.read(tmp_path / name)


def test_npz_of_waves(tmp_path):
    waves = np.stack([files.integers(sound.wave) for sound in SOUNDS])
    write_npz(tmp_path / "a.npz", {"waves": waves, "rate": 16000, "labels": [0, 1, 0, 1], "classes": ["a", "b"]})
    found = files.read(tmp_path / "a.npz")
    assert found.labels.tolist() == [0, 1, 0, 1] and found.classes == ("a", "b")
    assert all(np.array_equal(files.integers(s.wave), w) for s, w in zip(found.sounds, waves, strict=True))
    np.savez(tmp_path / "b.npz", waves=waves)
    with pytest.raises(ValueError, match=r"waves \(n, T\) and rate"):
        files.read(tmp_path / "b.npz")


@pytest.mark.parametrize(
    "more, said",
    [
        ({"rate": 0}, "a.npz has a sample rate of 0 Hz; whole numbers from 1,000 to 768,000"),
        ({"rate": np.inf}, "sample rate of inf Hz"),
        ({"rate": 16000.5}, "sample rate of 16,000.5 Hz"),
        ({"lengths": [1, 2, 3, -4]}, "lengths from -4 to 3"),
        ({"rate": [16000, 8000]}, "one number of samples a second"),
        ({"lengths": [1, 2]}, r"lengths are \(2,\) int64; \(4,\) whole numbers"),
        ({"labels": [0, 1, 2, 0], "classes": ["a", "b"]}, "labels from 0 to 2, and there are 2 classes"),
    ],
)
def test_npz_that_does_not_fit_is_told(more, said, tmp_path):
    waves = np.stack([files.integers(sound.wave) for sound in SOUNDS])
    write_npz(tmp_path / "a.npz", {"waves": waves, "rate": 16000, **more})
    with pytest.raises(ValueError, match=said):
        files.read(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "arrays, said",
    [
        ({"notes": PIECES[0], "offsets": [0.0, 5.0]}, "offsets are"),
        ({"notes": PIECES[0], "offsets": [0, len(PIECES[0]) + 1]}, "from 0 to the number of rows"),
        ({"pitch": np.full(64, 60), "offsets": [0, 64]}, r"for arrays \(64,\)"),
        ({"pitch": np.full((64, 4), 60), "attack": np.ones((64, 3), bool), "offsets": [0, 64]}, "attack is"),
        ({"notes": PIECES[0]}, "offsets, and notes or pitch are needed"),
    ],
)
def test_npz_of_pieces_that_does_not_fit_is_told(arrays, said, tmp_path):
    write_npz(tmp_path / "a.npz", arrays)
    with pytest.raises(ValueError, match=said):
        midi.read(tmp_path / "a.npz")


def test_a_tempo_no_file_can_hold():
    for tempo in (3.0, 1000.0, float("nan")):
        with pytest.raises(ValueError, match="from 4 to 960"):
            Chorales(tempo)
    assert midi.encoded(PIECES[0], 4.0) and midi.encoded(PIECES[0], 960.0)


def test_midi_round_trip(tmp_path):
    assert midi.write_pieces(tmp_path / "a", PIECES, tempo=100)[0] == "sample-00000.mid"
    back = midi.read(tmp_path / "a")
    assert back.notes == [] and all(np.array_equal(a, b) for a, b in zip(PIECES, back.pieces, strict=True))
    ends = np.cumsum([0, *map(len, PIECES)])
    write_npz(tmp_path / "a.npz", {"notes": np.concatenate(PIECES), "offsets": ends})
    back = Chorales().read_reference(tmp_path / "a.npz")
    assert all(np.array_equal(a, b) for a, b in zip(PIECES, back, strict=True))


def test_foreign_midi_is_read_on_the_grid_with_notes(tmp_path):
    track, drums = mido.MidiTrack(), mido.MidiTrack()
    for program, pitch, wait in ((0, 60, 0), (5, 64, 13)):
        track.append(mido.Message("program_change", program=program, time=0))
        track.append(mido.Message("note_on", note=pitch, velocity=70, time=wait))
        track.append(mido.Message("note_on", note=pitch, velocity=0, time=96))  # the other way of ending a note
    track.append(mido.Message("note_on", note=70, velocity=60, time=0))
    drums.append(mido.Message("note_on", channel=9, note=38, velocity=60, time=0))
    mido.MidiFile(type=1, ticks_per_beat=96, tracks=[track, drums]).save(str(tmp_path / "x.mid"))
    notes, _, told = midi.midi(tmp_path / "x.mid")
    assert notes.tolist() == [[0, 4, 60], [5, 4, 64], [9, 1, 70]]
    for words in ("67% of notes are off", "1 drum notes", "1 notes without an end were closed", "2 instruments"):
        assert words in told
    mido.MidiFile(type=1, tracks=[drums]).save(str(tmp_path / "drums.mid"))
    (tmp_path / "broken.mid").write_bytes(b"MThd")
    found = midi.read(tmp_path, on_error="skip")
    assert len(found.pieces) == 1 and "damaged" in found.skipped[0][1] and "that is no drum" in found.skipped[1][1]
    with pytest.raises(RollError, match="broken.mid is damaged"):
        midi.read(tmp_path)


def test_whole_pieces_are_cut_into_excerpts(tmp_path):
    notes = np.array([[4 * i, 4, 60 + i % 5] for i in range(40)])
    (tmp_path / "a.mid").write_bytes(midi.encoded(notes))
    assert [piece[:, 0].min() for piece in midi.read(tmp_path / "a.mid").pieces] == [0, 0, 0]
    assert np.array_equal(midi.read(tmp_path / "a.mid", whole=True).pieces[0], notes)


@pytest.mark.parametrize("name", ["audio", "chorales"])
def test_output_of_a_run(name, tmp_path, shown):
    domain, things = {"audio": (Audio(), SOUNDS), "chorales": (Chorales(), PIECES)}[name]
    states = domain.codec.encode(things)
    states[1] = float("nan")
    samples = shown(domain, states)
    assert domain.write(tmp_path, samples, {"reward": [1.0, 2.0, 3.0, 4.0]}) == ["samples", "samples.npz"]
    assert sorted(path.stem[-1] for path in (tmp_path / "samples").iterdir()) == ["0", "2", "3"]
    with np.load(tmp_path / "samples.npz") as file:
        assert file["index"].tolist() == [0, 2, 3] and file["reward"].tolist() == [1.0, 3.0, 4.0]
    one, two = (domain.read_samples(tmp_path / part) for part in ("samples", "samples.npz"))
    assert [domain.stored(a) for a in one] == [domain.stored(b) for b in two]
    rows = domain.table(samples)
    assert [row["valid"] for row in rows] == [True, False, True, True]
    figures = domain.summary(rows, [1.0, 9.0, 3.0, 4.0])
    assert (figures["valid"], figures["unique"], figures["best"]) == (0.75, 1.0, 4.0)
    assert domain.figure(samples, [1.0, 2.0, 3.0, 4.0], "reward", tmp_path / "f.png") == "f.png"
    again = domain.figure(samples, [1.0] * 4, "reward", tmp_path / "g.png", unguided=(samples, [0.0] * 4))
    assert again == "g.png" and (tmp_path / "g.png").stat().st_size > 5000
    assert domain.figure(shown(domain, samples.states * float("nan")), [1.0] * 4, "reward", tmp_path / "h.png") is None


def test_training_data_of_sounds(tmp_path):
    for kind in ("low", "high"):
        sounds = [
            Sound(tone(16000, 0.3, hertz)) for hertz in ((100, 120, 140) if kind == "low" else (3000, 4000, 5000))
        ]
        files.write_sounds(tmp_path / "data" / kind, sounds)
    prepare_sounds(
        tmp_path / "p.npz", str(tmp_path / "data"), {"variants": 3, "validation": 1, "network": {"name": "unet"}}
    )
    with np.load(tmp_path / "p.npz") as file:
        made = json.loads(str(file["description"]))
        assert file["images"].shape == (15, 64, 64) and file["images"].dtype == np.uint8
        assert file["labels"].shape == (15, 1) and file["val_images"].shape == (1, 64, 64)
        low = file["images"][:, :32].astype(float).mean((1, 2)) > file["images"][:, 32:].astype(float).mean((1, 2))
        assert np.array_equal(low, file["labels"][:, 0] == 1)
        assert len(np.unique(file["images"].reshape(15, -1), axis=0)) == 15  # versions differ
    assert made["event_shape"] == [1, 64, 64] and made["labels"] == [{"name": "class", "values": ["high", "low"]}]
    with pytest.raises(ValueError, match="6 sounds are too few to hold out 2"):
        prepare_sounds(
            tmp_path / "p.npz", str(tmp_path / "data"), {"variants": 3, "validation": 2, "network": {"name": "unet"}}
        )


def test_training_data_of_pieces(tmp_path):
    moved = [piece + np.array([0, 0, 2]) for piece in Chorales().reference()[::60]]
    midi.write_pieces(tmp_path / "data", moved)
    for most, least in ((0, 6), (1, 15)):  # a piece that spans nearly all pitches cannot be moved far
        prepare_chorales(tmp_path / "p.npz", str(tmp_path / "data"), {"transpose": most, "validation": 1})
        with np.load(tmp_path / "p.npz") as file:
            made = json.loads(str(file["description"]))
            assert least <= len(file["images"]) <= 6 * (2 * most + 1) and file["images"].shape[1:] == (64, 56, 2)
            assert set(np.unique(file["images"])) == {0, 255} and file["labels"].shape[1] == 1
    assert made["event_shape"] == [2, 64, 56] and made["labels"][0]["values"] == ["major", "minor"]


def test_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write_sounds("sounds", SOUNDS)
    assert main(["evaluate", "domain=audio", "samples=sounds", "reference=sounds", "output=f.json"]) == 0
    found = json.loads((tmp_path / "f.json").read_text())
    assert found["n_valid"] == 4 and found["frechet_logmel"] == pytest.approx(0, abs=1e-3)
    midi.write_pieces("pieces", PIECES)
    assert main(["evaluate", "domain=chorales", "samples=pieces", "training=pieces", "output=f.json"]) == 0
    assert json.loads((tmp_path / "f.json").read_text())["nearest_mean"] == 0
    assert main(["evaluate", "domain=chorales", "samples=sounds"]) == 2
    assert "holds no MIDI files" in capsys.readouterr().err
    assert mel.RATE == 16000
