"""Pieces that a task is about: all that was given is kept, in its key, tempo and meter."""

import json

import mido
import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.cli import main
from guidekit.core.prediction import GaussianPrediction
from guidekit.domains.audio import Chorales, RollError, midi, rolls
from guidekit.domains.audio.given import going_on, opening, window
from guidekit.domains.audio.timing import Timing

BASE = Chorales().reference()[40]


def piece(steps, semitones=0, whole=BASE):
    """A chorale, repeated, up to a step, moved."""
    notes = np.concatenate([whole + np.array([64 * i, 0, 0]) for i in range(1 + steps // 64)])
    return window(rolls.transposed(notes, semitones), 0, steps)


class Chord(gk.priors.Prior):
    """A C major chord that begins at every step: what a prior in C would have."""

    name, process = "chord", gk.processes.EDM()

    def __init__(self, domain):
        self.event_shape, self.codec = domain.shape, domain.codec
        self.mean = torch.full(domain.shape, -1.0)
        self.mean[0, :, [pitch - rolls.LOWEST for pitch in (48, 60, 64, 67)]] = 1.0

    def predict(self, x, t, condition=None):
        a, s = self.process.coefficients(t)
        mean = self.mean.expand_as(x)
        return GaussianPrediction(mean + 0.01 * a / (0.01 * a * a + s * s) * (x - a * mean), x, a, s)


@pytest.fixture
def chord(monkeypatch):
    monkeypatch.setattr("guidekit.domains.audio.domain.SoundDomain.load_prior", lambda self, name: Chord(self))


def goes_on(path, *settings, task="continuation"):
    arguments = [f"task={task}", f"task.input={path}", "guidance=replacement", f"output={path.parent}/run", *settings]
    return main(
        ["sample", "domain=chorales", "prior=default", "num_samples=2", "steps=6", "baseline=false", *arguments]
    )


def results(folder):
    return [midi.midi(file) for file in sorted((folder / "run" / "samples").iterdir())]


@pytest.mark.parametrize("steps, semitones", [(5, 0), (16, 2), (37, -5), (48, 0), (64, 4), (200, -1)])
def test_all_that_was_given_is_kept(steps, semitones, chord, tmp_path, capsys):
    notes = piece(steps, semitones)
    (tmp_path / "a.mid").write_bytes(midi.encoded(notes))
    assert goes_on(tmp_path / "a.mid") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"all {len(notes)} notes ({steps} sixteenths) are kept" in told
    tonic, mode = rolls.key(notes)
    assert f"{rolls.NAMES[tonic]} {mode}" in told
    for made in results(tmp_path):
        assert np.array_equal(made.notes[: len(notes)], notes)  # to the note, held ones and unisons too
        new = made.notes[len(notes) :]
        assert len(new) and new[:, 0].min() == steps and (new[:, 0] + new[:, 1]).max() % 16 == 0
        moved = (-tonic + (9 if mode == "minor" else 0)) % 12  # to C major or A minor; the prior's chord comes back
        assert {(pitch + moved) % 12 for pitch in new[:, 2].tolist()} == {0, 4, 7}


def test_how_much_the_prior_sees_can_be_told(chord, tmp_path, capsys):
    (tmp_path / "a.mid").write_bytes(midi.encoded(piece(128)))
    assert goes_on(tmp_path / "a.mid", "task.known=0.25") == 0
    assert "48 sixteenths go on from the last 16" in " ".join(capsys.readouterr().out.split())
    assert goes_on(tmp_path / "a.mid", "task.known=1.0") == 2
    assert "task.known=1.0; a share above 0 and below 1" in capsys.readouterr().err


@pytest.mark.parametrize("beats, unit, bar", [(3, 4, 12), (4, 4, 16), (5, 4, 20), (6, 8, 12)])
def test_tempo_and_meter_are_kept(beats, unit, bar, chord, tmp_path, capsys):
    when = Timing(((0, 132.0), (20, 66.0)), ((0, beats, unit),))
    notes = piece(3 * bar, 2)
    (tmp_path / "a.mid").write_bytes(midi.encoded(notes, when))
    assert goes_on(tmp_path / "a.mid") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"132, later 66 quarter notes a minute, in {beats}/{unit}" in told
    assert (f"bars of {bar} sixteenths" in told) == (bar != 16)
    for made in results(tmp_path):
        assert made.timing.meters == when.meters and made.timing.bar == bar
        assert np.allclose(made.timing.tempos, when.tempos, atol=1e-3)
        assert (made.notes[:, 0] + made.notes[:, 1]).max() % bar == 0  # whole bars of its own
    assert goes_on(tmp_path / "a.mid", "domain.tempo=90", "overwrite=true", "resume=never") == 0
    assert np.allclose(results(tmp_path)[0].timing.tempos, [(0, 90.0)], atol=1e-3)


def test_a_file_that_says_nothing_is_at_120_and_made_pieces_at_84(chord, tmp_path, capsys):
    assert midi.encoded(BASE) == midi.encoded(BASE, 84.0)
    (tmp_path / "a.mid").write_bytes(midi.encoded(BASE, Timing()))
    assert goes_on(tmp_path / "a.mid") == 0
    assert "120 (none is given) quarter notes a minute, in 4/4 (none is given)" in capsys.readouterr().out
    assert results(tmp_path)[0].timing == Timing()


@pytest.mark.parametrize("task", ["infill", "regeneration"])
def test_other_tasks_come_back_in_the_key_of_the_file(task, chord, tmp_path):
    notes = piece(64, 3)
    (tmp_path / "a.mid").write_bytes(midi.encoded(notes, Timing(((0, 60.0),))))
    assert goes_on(tmp_path / "a.mid", "task.first=0.5", "task.last=0.75", task=task) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "snr_gap" in record["figures"]["guided"]  # the whole is known
    for made in results(tmp_path):
        kept = lambda all_notes: {tuple(n) for n in all_notes.tolist() if n[0] + n[1] <= 30}  # noqa: E731
        assert kept(made.notes) == kept(rolls.merged(notes)) and made.timing.tempos[0][1] == pytest.approx(60)
        gap = made.notes[(made.notes[:, 0] >= 32) & (made.notes[:, 0] < 48)]
        assert {(pitch - 3) % 12 for pitch in gap[:, 2].tolist()} == {0, 4, 7} and gap[:, 0].max() == 47


def test_a_prior_is_shown_its_own_key():
    codec = going_on(midi.Score(piece(32, 2)))
    assert codec.semitones == -2
    state = codec.encode([piece(32, 2)])
    assert torch.equal(state, rolls.encode([piece(32)]))
    moved = Chorales().load_prior()
    moved.codec = codec
    cells = Chorales().verifier(["outside D major"], prior=moved).cells
    assert torch.equal(cells, Chorales().verifier(["outside C major"]).cells)


def test_the_window_begins_where_the_piece_does():
    late = piece(64) + np.array([80, 0, 0])
    assert opening(midi.Score(late)).start == 80
    wide = np.concatenate([piece(128), [[0, 4, 20], [0, 4, 100]]])  # beyond a roll, long before its end
    codec = going_on(midi.Score(wide))
    assert codec.encode([wide]).shape == (1, 2, 64, 56) and len(codec.kept) == len(wide)
    with pytest.raises(RollError, match="pitches from"):
        going_on(midi.Score(np.array([[0, 4, 20], [0, 4, 100]]))).encode([np.array([[0, 4, 20], [0, 4, 100]])])


def saved(path, *events, end=0):
    track = mido.MidiTrack([mido.Message(kind, note=note, time=time) for kind, note, time in events])
    track.append(mido.MetaMessage("end_of_track", time=end))
    mido.MidiFile(type=0, ticks_per_beat=4, tracks=[track]).save(str(path))  # a tick is a sixteenth
    return midi.midi(path)


def test_hanging_notes_are_closed(tmp_path):
    on, off = "note_on", "note_off"
    found = saved(tmp_path / "a.mid", (on, 60, 0), (on, 64, 4), (off, 64, 4), end=8)
    assert found.notes.tolist() == [[0, 16, 60], [4, 4, 64]]  # at the end of the track
    assert "1 notes without an end were closed" in found.remark
    found = saved(tmp_path / "a.mid", (on, 60, 0), (on, 60, 4), (off, 60, 4))
    assert found.notes.tolist() == [[0, 4, 60], [4, 4, 60]]  # where its pitch begins again
    found = saved(tmp_path / "a.mid", (on, 60, 0), (on, 60, 4), (off, 60, 2), (off, 60, 2))
    assert found.notes.tolist() == [[0, 6, 60], [4, 4, 60]] and found.remark == ""  # two voices
    many = [(on, 60, 1)] * 20_000
    assert len(saved(tmp_path / "a.mid", *many).notes) == 20_000  # in no time
