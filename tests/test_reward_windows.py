"""Windows of measures: what no value can be is refused, in every domain, with the unit that is meant."""

import pytest

import guidekit as gk

OUT = [
    ("images", "brightness", {"low": 60, "high": 80}, "60 % is 0.6"),
    ("images", "brightness", {"low": -0.1, "high": 0.5}, "brightness is from 0 to 1"),
    ("audio", "centroid", {"low": 200, "high": 20_000}, "a frequency in Hz is from 0 to 8000"),
    ("audio", "loudness", {"low": -14, "high": 20}, "a level in dB re a full-scale sine is from -80 to 3"),
    ("audio", "onsets", {"low": -1, "high": 2}, "onsets is from 0"),
    ("audio", "duration", {"low": -1, "high": 2}, "duration is from 0"),
    ("chorales", "polyphony", {"low": 3, "high": 400}, "the number of notes that sound is from 0 to 56"),
    ("chorales", "note_count", {"low": -3, "high": 4}, "note_count is from 0"),
    ("dna", "gc", {"low": 60, "high": 80}, "60 % is 0.6"),
    ("dna", "melting_temperature", {"low": -300, "high": 80}, "melting_temperature is from -273"),
    ("proteins", "gravy", {"low": -10, "high": 0}, "gravy is from -4.5 to 4.5"),
    ("molecules", "tpsa", {"low": -10, "high": 0}, "tpsa is from 0"),
]


@pytest.mark.parametrize(("domain", "name", "window", "told"), OUT, ids=lambda v: v if isinstance(v, str) else "")
def test_no_value_can_be_there(domain, name, window, told):
    with pytest.raises(ValueError, match="window|is from") as error:
        gk.load_domain(domain).rewards.make(name, **window)
    assert told in str(error.value)


@pytest.mark.parametrize(("domain", "name"), sorted({(row[0], row[1]) for row in OUT}))
def test_an_empty_window_is_refused(domain, name):
    with pytest.raises(ValueError, match="window from .* is empty; low must not exceed high"):
        gk.load_domain(domain).rewards.make(name, low=0.6, high=0.5)
