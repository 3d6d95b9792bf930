"""What the loop costs beside loops written by hand on the same denoiser."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from rich.table import Table
from torch import Tensor

import guidekit as gk
from guidekit.core.random import Draw, KeyedRandom
from guidekit.core.guidance import Guidance
from guidekit.domain import MissingExtraError, load_domain
from guidekit.networks import DilatedConvolution, UNet
from guidekit.priors.labels import Label
from guidekit.priors.neural import NeuralGaussian
from guidekit.priors.tokens import TokenPrior

LONGEST = 20.0
"""Seconds after which no more repetitions of a loop are begun."""


class PassThrough(Guidance):
    """A guidance that overrides every hook and changes nothing."""

    timeless = True

    def denoise(self, inner, x, t, condition):
        """The inner prediction."""
        return inner(x, t, condition)

    def propose(self, inner, population, t, u):
        """The inner kernel."""
        return inner(population, t, u)

    def move(self, inner, population, t, u):
        """The inner move."""
        return inner(population, t, u)


def ratio(ours: Callable[[], object], bare: Callable[[], object], repeats: int) -> tuple[float, float, float, float]:
    """Median time of ours over the median of the bare loop; least and largest paired ratio; bare seconds.

    Both run in turn, so a busy machine slows both. Slow loops are stopped early, after at least three pairs.
    """
    pairs, began = [], time.perf_counter()
    for _ in range(repeats + 1):
        pairs.append((_seconds(ours), _seconds(bare)))
        if len(pairs) > 3 and time.perf_counter() - began > LONGEST:
            break
    pairs = pairs[1:]  # the first pair warms caches
    paired = [a / b for a, b in pairs]
    bare_seconds = statistics.median(b for _, b in pairs)
    return statistics.median(paired), min(paired), max(paired), bare_seconds


def _seconds(job: Callable[[], object]) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def mixture_loops(steps: int = 1000, rows: int = 256) -> dict[str, tuple[Callable, Callable]]:
    """Our loop, plain and with three pass-through plugs, against a hand-written Euler loop on a 2-D mixture."""
    prior = gk.priors.GaussianMixture(torch.tensor([[2.0, 0.0], [-2.0, 0.0]]), 0.5, process=gk.processes.EDM())
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
    plugs = gk.chain(PassThrough(), PassThrough(), PassThrough())
    return {
        "2-D mixture, no guidance": (lambda: gk.sample(prior, None, rows, steps, sampler=euler), bare),
        "2-D mixture, three pass-through plugs": (lambda: gk.sample(prior, plugs, rows, steps, sampler=euler), bare),
    }


def molecule_loops(rows: int = 64) -> dict[str, tuple[Callable, Callable]]:
    """Our first-hitting loop against the same one written by hand, on the shipped molecule prior."""
    prior = load_domain("molecules").load_prior()
    steps = prior.event_shape[0]
    mask = prior.process.mask_id

    def bare() -> Tensor:
        with torch.no_grad():
            draw = Draw(KeyedRandom(0, 0, rows), -1, "start")
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

    return {"molecule prior, no guidance": (lambda: gk.sample(prior, None, rows, steps), bare)}


def caching(steps: int = 1000, rows: int = 1) -> dict[str, tuple[Callable, Callable]]:
    """Ancestral sampling of molecules with per-row caching, against the same with a call for every row and step.

    A molecule has at most 18 tokens, so that its row changes in at most 18 of the steps.
    """
    prior = load_domain("molecules").load_prior()
    ancestral = gk.samplers.Ancestral()
    uncached = load_domain("molecules").load_prior()
    uncached.timeless = False
    return {
        CACHED: (
            lambda: gk.sample(prior, None, rows, steps, sampler=ancestral),
            lambda: gk.sample(uncached, None, rows, steps, sampler=ancestral),
        )
    }


def first_order(steps: int = 16, rows: int = 8) -> dict[str, tuple[Callable, Callable]]:
    """TAG towards a motif against no guidance, same sampler and steps, on the network of configs/trainer/dna.yaml.

    The weights are random, as only the cost is measured. The scale is small: guidance that reveals tokens sooner would
    spare itself network calls, and this ratio is to tell what a guided step costs.
    """
    domain, window = load_domain("dna"), 256
    network = DilatedConvolution(len("ACGT"), window)
    prior = TokenPrior(network, len("ACGT"), [0] * window + [1], pad_id=None)
    plug = gk.guidance.TAG(domain.rewards.make("motif", motif="CTCF"), scale=1e-3)
    jumps = gk.samplers.Jumps()
    return {
        TAG: (
            lambda: gk.sample(prior, plug, rows, steps, sampler=jumps),
            lambda: gk.sample(prior, None, rows, steps, sampler=jumps),
        )
    }


def joined(steps: int = 8, rows: int = 32) -> dict[str, tuple[Callable, Callable]]:
    """Classifier-free guidance against no guidance of twice as many images: both branches are one call.

    On the network of configs/trainer/images.yaml with random weights.
    """
    network = UNet(1, labels=[10])
    prior = NeuralGaussian(
        network, gk.processes.EDM(), (1, 28, 28), labels=[Label("class", [str(i) for i in range(10)])]
    )
    heun, guidance = gk.samplers.Heun(), gk.guidance.CFG(2.0)
    return {
        JOINED: (
            lambda: gk.sample(prior, guidance, rows, steps, sampler=heun, condition=3),
            lambda: gk.sample(prior, None, 2 * rows, steps, sampler=heun, condition=3),
        )
    }


CACHED, TAG = "molecules, 1,000 ancestral steps: cached / uncached", "DNA of 256 letters, jumps: TAG / unguided"
JOINED = "28 x 28 pixels, Heun: CFG of 32 / unguided 64"
TARGETS = {
    "2-D mixture, no guidance": 1.5,
    "2-D mixture, three pass-through plugs": 1.8,
    "molecule prior, no guidance": 1.03,
    CACHED: 0.5,
    TAG: 1.3,
    JOINED: 1.05,
}


def run(repeats: int = 5, only: Sequence[str] | None = None) -> Table:
    """Measure all loops and return a table of ratios with their spread."""
    loops = mixture_loops()
    for more in (molecule_loops, caching, first_order, joined):
        with contextlib.suppress(MissingExtraError):  # the table shows what can be measured
            loops.update(more())
    table = Table(
        title=f"seconds of guidekit / seconds of a bare loop, median of up to {repeats} pairs", title_justify="left"
    )
    for column in ("loop", "ratio", "least", "largest", "bare seconds", "target"):
        table.add_column(column, justify="left" if column == "loop" else "right")
    for name, (ours, bare) in loops.items():
        if only is None or name in only:
            middle, least, largest, seconds = ratio(ours, bare, repeats)
            target = f"<= {TARGETS[name]}" if name in TARGETS else ""
            table.add_row(name, f"{middle:.3f}", f"{least:.3f}", f"{largest:.3f}", f"{seconds:.3f}", target)
    return table
