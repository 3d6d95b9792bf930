"""Row 96: missing traces of seismic pictures and volumes, with a prior that is told the known ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import guidekit as gk
from guidekit.evidence.claim import Check, Claim
from guidekit.objectives.operators.masks import Keep

SIZE, TRAINING, HELD, DRAWS, STEPS = 16, 300, 8, 8, 8


def layered(count: int, axes: int, seed: int) -> Tensor:
    """Reflections of dipping, gently folded layers with a fault, (n, 1, depth, traces, ...), standard deviation 1."""
    generator = np.random.default_rng(seed)
    places = np.meshgrid(*[np.arange(SIZE, dtype=float)] * (axes - 1), indexing="ij")
    found = []
    for _ in range(count):
        slopes = generator.normal(0, 0.35, axes - 1)
        shift = sum(slope * place for slope, place in zip(slopes, places, strict=True))
        along, width = generator.normal(size=axes - 1), generator.uniform(10, 24)
        phase = sum(part * place for part, place in zip(along / np.linalg.norm(along), places, strict=True))
        shift = shift + generator.uniform(0, 1.2) * np.sin(2 * np.pi * phase / width + generator.uniform(0, 6.3))
        shift = shift + generator.uniform(-3, 3) * (phase > generator.uniform(0.2, 0.8) * phase.max())
        layers = generator.normal(size=6 * SIZE) * (generator.random(6 * SIZE) < 0.6)
        lag = np.arange(-6, 7)
        bend = (np.pi * 0.16 * lag) ** 2
        trace = np.convolve(layers, (1 - 2 * bend) * np.exp(-bend), "same")
        depth = np.arange(SIZE).reshape(-1, *(1,) * (axes - 1)) + 2.5 * SIZE + shift[None]
        found.append(np.interp(depth, np.arange(6 * SIZE), trace))
    states = torch.from_numpy(np.stack(found)[:, None]).float()
    return states / states.flatten(1).std(1).view(-1, *(1,) * (axes + 1))


def linear(states: Tensor, mask: Tensor) -> Tensor:
    """Linear interpolation between known traces, the nearest one beyond them, at every depth."""
    from scipy.interpolate import griddata

    known = mask[0, 0].numpy()
    at, wanted = np.argwhere(known).astype(float), np.argwhere(np.ones_like(known)).astype(float)
    values = states[:, 0][..., torch.from_numpy(known)].flatten(0, 1).numpy().T
    if known.ndim == 1:
        found = np.stack([np.interp(wanted[:, 0], at[:, 0], column) for column in values.T], 1)
    else:
        found, near = griddata(at, values, wanted, "linear"), griddata(at, values, wanted, "nearest")
        found = np.where(np.isnan(found), near, found)
    return torch.from_numpy(found.T).float().view(len(states), 1, SIZE, *known.shape)


def measure(seed: int) -> dict[str, float]:
    """SNR of missing traces in dB, half of them missing; of means of 8 draws, and of the first draw."""
    figures = {}
    for axes in (2, 3):
        states = layered(TRAINING + HELD * (4 if axes == 2 else 1), axes, 100 * seed + axes)
        training, truth = states[:TRAINING], states[TRAINING:]
        generator = torch.Generator().manual_seed(seed)
        mask = torch.rand(1, 1, *(SIZE,) * (axes - 1), generator=generator) < 0.5
        whole = mask.expand(1, SIZE, *mask.shape[2:]).contiguous()
        field = gk.priors.GaussianField.fit(training, "cosine", uniform_mean=True)
        y = (truth * whole).repeat_interleave(DRAWS, 0)
        fit = gk.objectives.GaussianLikelihood(Keep(whole), y, 0.01)
        grid = gk.samplers.Ancestral(times=gk.processes.grids.Karras(0.02, 10.0))

        def run(prior: gk.priors.Prior, guidance: gk.Guidance, y: Tensor = y, grid: gk.samplers.Ancestral = grid):
            return gk.sample(prior, guidance, len(y), STEPS, seed, grid).samples

        told = run(gk.priors.InformedField(field, 0.05, 1e-2), gk.guidance.MaskedInput(fit))
        plain = run(field, gk.guidance.Replacement(fit))
        figures[f"known, {axes}-D"] = float(((told - y) * whole).abs().max())

        def snr(found: Tensor, truth: Tensor = truth, whole: Tensor = whole) -> float:
            power, error = (((each * ~whole) ** 2).sum() for each in (truth, found - truth))
            return 10 * float((power / error).log10())

        interpolated = snr(linear(truth, mask))
        for name, first in (("", False), (", one draw", True)):
            ours, replaced = (
                snr(each.unflatten(0, (-1, DRAWS))[:, 0] if first else each.unflatten(0, (-1, DRAWS)).mean(1))
                for each in (told, plain)
            )
            figures[f"SNR, {axes}-D{name}"] = ours
            figures[f"over linear, {axes}-D{name}"] = ours - interpolated
            figures[f"over replacement, {axes}-D{name}"] = ours - replaced
        figures[f"SNR of linear, {axes}-D"] = interpolated
    return figures


CLAIM = Claim(
    row=96,
    method="SeisFusion",
    provides=("guidance.MaskedInput", "priors.InformedField"),
    tier="A",
    says="Layered models with dips, folds and a fault, 16 traces or 16 x 16 x 16, half of the traces missing: known "
    "traces are reproduced exactly, and the mean of 8 draws (8 steps) has an SNR on missing traces at least 1 dB above "
    "linear interpolation and above replacement. The prior that is told the known traces is a Gaussian field fitted to "
    "300 models, exact for that field, in place of a trained network.",
    domains=("synthetic volumes", "synthetic pictures"),
    checks=(
        Check("known traces of volumes: largest error", "known, 3-D", most=0.0),
        Check("known traces of pictures: largest error", "known, 2-D", most=0.0),
        Check("volumes: SNR above linear interpolation, dB", "over linear, 3-D", least=1),
        Check("volumes: SNR above replacement, dB", "over replacement, 3-D", least=1),
        Check("pictures: SNR above linear interpolation, dB", "over linear, 2-D", least=1),
        Check("pictures: SNR above replacement, dB", "over replacement, 2-D", least=1),
    ),
    measure=measure,
    oracles=("tests/oracles/test_inverse_loops.py::test_a_prior_that_is_told_what_is_known_is_exact",),
    longer="a 3-D network trained with random masks, an hour on a GPU",
)
