"""Log-mel pictures of waveforms and back: short-time Fourier transform, mel bands, Griffin-Lim with seeded phases."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from .library import functional

RATE = 16_000
"""Samples a second."""
WINDOW, HOP = 1024, 256
"""Samples of a Hann window and between two windows: 64 ms and 16 ms."""
BANDS, FRAMES = 64, 64
"""Mel bands (20 Hz to 8 kHz) and windows of a picture."""
SAMPLES = FRAMES * HOP
"""Of a clip: 16,384 samples, 1.024 s."""
FLOOR = -80.0
"""dB re a full-scale sine that the picture's -1 stands for; its +1 is 0 dB."""
LOWEST = 20.0  # Hz
BINS = WINDOW // 2 + 1


def filters() -> Tensor:
    """Triangular mel filters with peak 1, (BINS, BANDS) float32."""
    return _filters().clone()


@functools.cache
def _filters() -> Tensor:
    return functional().melscale_fbanks(BINS, LOWEST, RATE / 2, BANDS, RATE)


@functools.cache
def centres() -> Tensor:
    """Frequencies (BANDS,) in Hz at which the filters peak: equal steps on the mel scale 2595 log10(1 + f / 700)."""
    ends = [2595 * math.log10(1 + f / 700) for f in (LOWEST, RATE / 2)]
    mels = torch.linspace(ends[0], ends[1], BANDS + 2)[1:-1]
    return 700 * (10 ** (mels / 2595) - 1)


@functools.cache
def _inverse() -> Tensor:
    return torch.linalg.pinv(_filters().double()).float()


@functools.cache
def _window() -> Tensor:
    return torch.hann_window(WINDOW)


def spectrum(waves: Tensor) -> Tensor:
    """Complex spectrum (B, BINS, T / HOP + 1) of waveforms (B, T); 1 is the peak of a full-scale sine."""
    window = _window().to(waves)
    made = torch.stft(waves, WINDOW, HOP, window=window, pad_mode="constant", return_complex=True)
    return made * (2 / window.sum())


def power(waves: Tensor) -> Tensor:
    """Power in mel bands (B, BANDS, T / HOP) of waveforms (B, T) with T a multiple of HOP; the last window is left out.

    A full-scale sine at the centre of a band gives 1 there.
    """
    return (spectrum(waves)[..., :-1].abs().square().transpose(1, 2) @ _filters().to(waves)).transpose(1, 2)


def to_states(powers: Tensor) -> Tensor:
    """Pictures (B, 1, M, F) of powers (B, M, F): decibels from `FLOOR` to 0 as -1 to 1."""
    decibels = 10 * powers.clamp_min(10 ** (FLOOR / 10)).log10()
    return (decibels[:, None] * (-2 / FLOOR) + 1).clamp(-1, 1)


def decibels(states: Tensor) -> Tensor:
    """dB re a full-scale sine (B, M, F) of pictures (B, 1, M, F)."""
    return (states[:, 0] - 1) * (-FLOOR / 2)


def to_powers(states: Tensor) -> Tensor:
    """Powers (B, M, F) of pictures (B, 1, M, F); the floor is silence. Differentiable."""
    floor = 10 ** (FLOOR / 10)
    return (10 ** (decibels(states.clamp(-1, 1)) / 10) - floor).clamp_min(0)


def encode(waves: Tensor) -> Tensor:
    """Pictures (B, 1, BANDS, T / HOP) in [-1, 1] of waveforms (B, T)."""
    return to_states(power(waves))


def linear(powers: Tensor, updates: int = 32) -> Tensor:
    """Non-negative power spectra (B, BINS, F) with the given mel powers (B, M, F), about.

    The pseudo-inverse without what is negative, then multiplicative updates of non-negative least squares.
    """
    bank = _filters().to(powers).T
    guess = (_inverse().to(powers).T @ powers).clamp_min(0) + 1e-12
    above = bank.T @ powers
    for _ in range(updates):
        guess = guess * above / (bank.T @ (bank @ guess) + 1e-20)
    return guess


def invert(states: Tensor, iterations: int = 48, momentum: float = 0.99, seed: int = 0) -> Tensor:
    """Waveforms (B, T) float32 of pictures (B, 1, M, F); all start from the same random phases, so rows do not mix.

    Args:
        states: pictures.
        iterations: of Griffin-Lim, at least 1.
        momentum: of its fast version; 0 is the plain one.
        seed: of the phases.

    Source: Griffin & Lim 1984; fast version: Perraudin, Balazs & Sondergaard 2013, with their alpha = momentum.
    """
    target = linear(to_powers(states.detach().float())).sqrt()
    target = torch.cat([target, target[..., -1:]], 2)  # the window that `power` leaves out
    length, window = states.shape[-1] * HOP, _window().to(target)
    target = target * (window.sum() / 2)
    generator = torch.Generator().manual_seed(seed)
    angles = 2 * math.pi * torch.rand(target.shape[1:], generator=generator).to(target)
    phases, before = torch.polar(torch.ones_like(angles), angles).expand(target.shape), torch.zeros(())
    for _ in range(iterations):
        waves = torch.istft(target * phases, WINDOW, HOP, window=window, length=length)
        made = torch.stft(waves, WINDOW, HOP, window=window, pad_mode="constant", return_complex=True)
        pushed = made + momentum * (made - before)
        before, phases = made, pushed / pushed.abs().clamp_min(1e-12)
    return torch.istft(target * phases, WINDOW, HOP, window=window, length=length)
