"""The reward timbre: best at its reference, blind to when, for pictures and waveforms."""

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.domains.audio.codec import Sound, encode
from guidekit.domains.audio.files import wav

DOMAIN = gk.load_domain("audio")


def tone(frequency, seconds=0.6):
    times = np.arange(int(16_000 * seconds)) / 16_000
    return Sound((0.5 * np.sin(2 * np.pi * frequency * times)).astype(np.float32))


@pytest.mark.parametrize("kind", ["mel", "waveform"])
def test_timbre_is_best_at_its_reference_and_blind_to_when(tmp_path, kind):
    (tmp_path / "low.wav").write_bytes(wav(tone(220)))
    reward = DOMAIN.rewards.make("timbre", reference=str(tmp_path / "low.wav"))
    states = encode([tone(220), tone(1760), tone(220, 0.2)], kind)
    same, other, short = reward(states).tolist()
    assert same == pytest.approx(0, abs=1e-3) and same > short > other
    if kind == "mel":
        shuffled = states[..., torch.randperm(64, generator=torch.Generator().manual_seed(0))]
        torch.testing.assert_close(reward(shuffled), reward(states))
    x = (0.9 * states[1:]).requires_grad_()
    (slope,) = torch.autograd.grad(reward(x).sum(), x)
    assert slope.isfinite().all() and slope.flatten(1).norm(dim=1).min() > 0


def test_a_missing_reference_is_told():
    with pytest.raises(ValueError, match=r"nowhere\.wav"):
        DOMAIN.rewards.make("timbre", reference="nowhere.wav")
