"""Loops of ours, and the same written by hand on the same denoiser."""

from __future__ import annotations

import dataclasses
import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import guidekit as gk
from guidekit.core.guidance import Guidance, Move, Propose
from guidekit.core.population import Population
from guidekit.core.prediction import Prediction
from guidekit.core.proposal import Proposal
from guidekit.core.question import Denoise, Question
from guidekit.core.random import Draw, KeyedRandom
from guidekit.core.step import Step
from guidekit.installed import load_domain
from guidekit.networks import DilatedConvolution, UNet
from guidekit.priors.labels import Label
from guidekit.priors.neural import NeuralGaussian
from guidekit.priors.tokens import TokenPrior


@dataclasses.dataclass(frozen=True)
class Row:
    """Two jobs whose times are compared.

    Args:
        name: of the row.
        ours, bare: what is run.
        target: largest ratio of their times that is wanted.
    """

    name: str
    ours: Callable[[], object]
    bare: Callable[[], object]
    target: float


class PassThrough(Guidance):
    """A guidance that overrides every hook of a step and changes nothing."""

    timeless = True

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """The inner prediction."""
        return inner(question)

    def propose(self, inner: Propose, population: Population, step: Step) -> Proposal:
        """The inner proposal."""
        return inner(population, step)

    def move(self, inner: Move, population: Population, step: Step) -> Population:
        """The inner move."""
        return inner(population, step)


def imports() -> list[Row]:
    """All that a first sample needs, which an import of guidekit alone does not load yet, against torch alone.

    Each in a process of its own.
    """
    used = "import guidekit as gk; gk.sample, gk.priors.GaussianMixture, gk.guidance.CFG, gk.samplers.DDIM"

    def fresh(code: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True)

    return [Row("import guidekit / import torch", fresh(used), fresh("import torch"), 1.25)]


def mixture() -> gk.priors.GaussianMixture:
    """A 2-D mixture, whose exact denoiser takes about a tenth of a millisecond."""
    return gk.priors.GaussianMixture(torch.tensor([[2.0, 0.0], [-2.0, 0.0]]), 0.5, process=gk.processes.EDM())


def mixture_loops(steps: int = 1000, rows: int = 256) -> list[Row]:
    """Our loop, plain and with three pass-through guidances, against a hand-written Euler loop on a 2-D mixture."""
    prior = mixture()
    grid = prior.process.grid(steps)
    levels = [prior.process.coefficients(t)[1] for t in grid]

    def bare() -> Tensor:
        with torch.no_grad():
            x = torch.randn(rows, 2) * levels[0]
            for t, (s, r) in zip(grid, itertools.pairwise(levels), strict=False):
                mean = prior.predict(x, t).mean
                x = x + (r - s) * (x - mean) / s
        return x

    euler = gk.samplers.Euler()
    three = gk.chain(PassThrough(), PassThrough(), PassThrough())
    return [
        Row("2-D mixture, no guidance", lambda: gk.sample(prior, None, rows, steps, sampler=euler), bare, 1.20),
        Row(
            "2-D mixture, three pass-through guidances",
            lambda: gk.sample(prior, three, rows, steps, sampler=euler),
            bare,
            1.25,
        ),
    ]


def bare_dps(prior: Any, y: Tensor, measured: Callable[[Tensor], Tensor], steps: int, rows: int) -> Tensor:
    """Diffusion posterior sampling by hand: ancestral steps, and after each the gradient of the residual norm."""
    grid = prior.process.grid(steps)
    levels = [prior.process.coefficients(t)[1] for t in grid]
    x = torch.randn(rows, *prior.event_shape) * levels[0]
    for t, (s, r) in zip(grid, itertools.pairwise(levels), strict=False):
        leaf = x.requires_grad_()
        mean = prior.predict(leaf, t).mean
        norm = torch.linalg.vector_norm((y - measured(mean)).flatten(1), dim=1)
        (gradient,) = torch.autograd.grad(norm.sum(), leaf)
        with torch.no_grad():
            std = r * math.sqrt(max(1 - (r / s) ** 2, 0.0))
            kept = math.sqrt(r * r - std * std) / s
            x = torch.add(x * kept, mean, alpha=1 - kept)
            if std:
                x = torch.add(x, torch.randn(x.shape), alpha=std)
            x = torch.add(x, gradient, alpha=-SCALE)
    return x


SCALE = 0.01
"""Of the gradient in DPS, so small that states stay where they are whatever the weights of a network."""


def dps_on_a_mixture(steps: int = 1000, rows: int = 256) -> list[Row]:
    """DPS of the first coordinate, against the same by hand."""
    prior, y, ancestral = mixture(), torch.tensor([[0.5]]), gk.samplers.Ancestral()
    guidance = gk.guidance.DPS(gk.objectives.GaussianLikelihood(lambda x: x[:, :1], y, 0.1), SCALE, "norm")
    return [
        Row(
            "2-D mixture, DPS",
            lambda: gk.sample(prior, guidance, rows, steps, sampler=ancestral),
            lambda: bare_dps(prior, y, lambda x: x[:, :1], steps, rows),
            1.20,
        )
    ]


def images() -> NeuralGaussian:
    """A prior with the network of configs/trainer/images.yaml and random weights."""
    labels = [Label("class", [str(i) for i in range(10)])]
    return NeuralGaussian(UNet(1, labels=[10]), gk.processes.EDM(), (1, 28, 28), labels=labels)


def dps_on_images(steps: int = 8, rows: int = 16) -> list[Row]:
    """DPS of the left half of a picture, against the same by hand."""
    prior, y, ancestral = images(), torch.zeros(1, 1, 28, 14), gk.samplers.Ancestral()
    guidance = gk.guidance.DPS(gk.objectives.GaussianLikelihood(lambda x: x[..., :14], y, 0.1), SCALE, "norm")
    return [
        Row(
            "28 x 28 pixels, DPS",
            lambda: gk.sample(prior, guidance, rows, steps, sampler=ancestral),
            lambda: bare_dps(prior, y, lambda x: x[..., :14], steps, rows),
            1.03,
        )
    ]


def joined(steps: int = 8, rows: int = 32) -> list[Row]:
    """Classifier-free guidance against no guidance of twice as many images: both branches are one call."""
    prior, heun, guidance = images(), gk.samplers.Heun(), gk.guidance.CFG(2.0)
    return [
        Row(
            "28 x 28 pixels, Heun: CFG of 32 / unguided 64",
            lambda: gk.sample(prior, guidance, rows, steps, sampler=heun, condition=3),
            lambda: gk.sample(prior, None, 2 * rows, steps, sampler=heun, condition=3),
            1.05,
        )
    ]


def molecule_loops(rows: int = 64) -> list[Row]:
    """Our first-hitting loop against the same one written by hand, on the shipped molecule prior."""
    prior: Any = load_domain("molecules").load_prior()
    steps = prior.event_shape[0]
    mask = prior.process.mask_id

    def bare() -> Tensor:
        with torch.no_grad():
            draw = Draw(KeyedRandom(0, 0, rows), (-1,), "start")
            z = prior.start(draw, rows)
            while (masked := z == mask).any():
                # One token a row, of the rows that still have one: what a careful hand-written loop does.
                busy = masked.any(1).nonzero()[:, 0]
                order = torch.rand(len(busy), z.shape[1]).masked_fill(~masked[busy], -1.0)
                position = order.argmax(1)
                width = int((z[busy] != prior.pad_id).sum(1).amax())
                logits = prior.network(z[busy][:, :width], select=masked[busy][:, :width])
                logits[:, prior.pad_id] = -torch.inf
                rank = masked[busy].cumsum(1).gather(1, position[:, None])[:, 0] - 1
                start = torch.nn.functional.pad(masked[busy].sum(1).cumsum(0), (1, 0))[:-1]
                probs = torch.softmax(logits[start + rank].double(), -1)
                z[busy, position] = torch.multinomial(probs, 1)[:, 0]
        return z

    return [Row("molecule prior, no guidance", lambda: gk.sample(prior, None, rows, steps), bare, 1.03)]


def caching(steps: int = 1000, rows: int = 1) -> list[Row]:
    """Ancestral sampling of molecules with per-row caching, against the same with a call for every row and step.

    A molecule has at most 18 tokens, so that its row changes in at most 18 of the steps.
    """
    prior = load_domain("molecules").load_prior()
    ancestral = gk.samplers.Ancestral()
    uncached = load_domain("molecules").load_prior()
    uncached.timeless = False
    return [
        Row(
            "molecules, 1,000 ancestral steps: cached / uncached",
            lambda: gk.sample(prior, None, rows, steps, sampler=ancestral),
            lambda: gk.sample(uncached, None, rows, steps, sampler=ancestral),
            0.5,
        )
    ]


def first_order(steps: int = 16, rows: int = 8) -> list[Row]:
    """TAG towards a motif against no guidance, same sampler and steps, on the network of configs/trainer/dna.yaml.

    The weights are random, as only the cost is measured. The scale is small: guidance that reveals tokens sooner would
    spare itself network calls, and this ratio is to tell what a guided step costs.
    """
    domain, window = load_domain("dna"), 256
    network = DilatedConvolution(len("ACGT"), window)
    prior = TokenPrior(network, len("ACGT"), [0] * window + [1], pad_id=None)
    tag = gk.guidance.TAG(domain.rewards.make("motif", motif="CTCF"), scale=1e-3)
    jumps = gk.samplers.EulerCTMC()
    return [
        Row(
            "DNA of 256 letters, jumps: TAG / unguided",
            lambda: gk.sample(prior, tag, rows, steps, sampler=jumps),
            lambda: gk.sample(prior, None, rows, steps, sampler=jumps),
            1.3,
        )
    ]


LOOPS = (imports, mixture_loops, dps_on_a_mixture, molecule_loops, caching, first_order, joined, dps_on_images)
