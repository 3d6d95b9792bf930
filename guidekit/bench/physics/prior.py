"""Priors of systems of particles: how they are trained, kept and loaded."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidekit.bench.physics.network import PairNetwork
from guidekit.bench.physics.reference import draws
from guidekit.bench.physics.systems import SYSTEMS, System
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Time
from guidekit.core.random import Draw
from guidekit.core.state import altered
from guidekit.priors.checkpoints import CheckpointError
from guidekit.priors.neural import NeuralGaussian, denoised
from guidekit.priors.weights import read_weights
from guidekit.processes import EDM

ASSETS = Path(__file__).parent / "assets"
PROCESS = EDM(0.01, 10.0)
LEVELS = (-1.0, 1.3)
"""Mean and std of the log of the noise that a network is trained on."""


class SystemPrior(NeuralGaussian):
    """A neural prior of a system, without a center of mass where the system has none.

    Args:
        system: of what.
        network: a `PairNetwork`.
        scale: standard deviation of the data.
        card: how it was made.
    """

    def __init__(self, system: System, network: PairNetwork, scale: float, card: dict | None = None) -> None:
        super().__init__(network, PROCESS, system.shape, "edm", scale, card=card)
        self.system, self.name = system, f"prior of {system.name}"

    def start(self, draw: Draw, rows: int, dtype: torch.dtype | None = None, condition: Any = None) -> Tensor:
        """See `Prior.start`."""
        found: Any = super().start(draw, rows, dtype)
        return self.system.support(rows, found.device).project(found)

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> GaussianPrediction:
        """See `Prior.predict`."""
        found, support = super().predict(x, t), self.system.support(len(x), x.device)
        return altered(found, mean=support.project(found.mean), support=support)


def trained(
    system: System,
    minutes: float,
    states: int = 10_000,
    batch: int = 128,
    width: int = 48,
    depth: int = 2,
    seed: int = 0,
) -> SystemPrior:
    """A prior of a system at its hot temperature, trained for so many minutes of the processor on draws that it makes.

    The weights are the averages of an exponential window of 500 steps; the rate falls to nothing by the end.

    Args:
        system: of what.
        minutes: of training, draws not counted; on a busy machine they take longer by the clock.
        states: how many draws.
        batch: states a step, each turned at random.
        width, depth: of the network.
        seed: of draws and training.
    """
    data = draws(system, system.hot, states, seed, chains=min(1000, states), burn=120, thin=8).float()
    torch.manual_seed(seed)
    scale = float(data.std())
    network = PairNetwork(*system.shape, width, depth)
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, betas=(0.9, 0.99))
    losses: list[float] = []
    began, steps = time.process_time(), 0
    while (spent := (time.process_time() - began) / (60 * minutes)) < 1:
        clean = turned(data[torch.randint(len(data), (batch,))], system)
        level = (LEVELS[0] + LEVELS[1] * torch.randn(batch)).exp()
        noisy = clean + level[:, None, None] * system.support(batch).project(torch.randn_like(clean))
        mean = denoised(network, noisy, torch.ones(batch), level, "edm", scale)
        weight = (level**2 + scale**2) / (level * scale) ** 2
        loss = (weight * (mean - clean).square().flatten(1).sum(1)).mean() / system.freedom
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, (steps + 1) / 100) * 0.5 * (1 + math.cos(math.pi * spent))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        steps, losses = steps + 1, [*losses[-499:], float(loss.detach())]
        with torch.no_grad():
            keep = min(0.998, (1 + steps) / (10 + steps))
            for kept, new in zip(average.parameters(), network.parameters(), strict=True):
                kept.lerp_(new, 1 - keep)
    card = {
        "system": system.name,
        "temperature": system.hot,
        "data": f"{states} states by Hamiltonian Monte Carlo (guidekit.bench.physics.reference), seed {seed}",
        "training": f"{minutes:g} minutes of a CPU thread, {steps} steps of {batch} states, seed {seed}",
        "loss": round(sum(losses) / len(losses), 4),
        "network": {"width": width, "depth": depth},
        "scale": scale,
        "source": system.source,
    }
    return SystemPrior(system, average.eval().requires_grad_(False), scale, card)


def turned(x: Tensor, system: System) -> Tensor:
    """States (B, N, D) turned and mirrored at random where the energy does not change."""
    if not system.centered:
        return x
    basis, upper = torch.linalg.qr(torch.randn(len(x), system.dimensions, system.dimensions))
    return x @ (basis * upper.diagonal(dim1=1, dim2=2).sign()[:, None])


def save(prior: SystemPrior, folder: Path = ASSETS) -> Path:
    """Weights as safetensors and the card as JSON beside them; the path of the weights."""
    from safetensors.torch import save_file

    path = folder / f"{prior.system.name}.safetensors"
    save_file({name: value.contiguous() for name, value in prior.network.state_dict().items()}, path)
    path.with_suffix(".json").write_text(json.dumps(prior.card, indent=1) + "\n")
    return path


def load(name: str, folder: Path = ASSETS) -> SystemPrior:
    """The prior of a system that was saved in a folder; the shipped one by default.

    Raises:
        CheckpointError: there is none, or one of another network.
    """
    system = SYSTEMS[name]
    try:
        card: Mapping[str, Any] = json.loads((folder / f"{name}.json").read_text())
        network = PairNetwork(*system.shape, **card["network"])
        network.load_state_dict(read_weights(folder / f"{name}.safetensors"))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"no prior of {name} in {folder}: {error}; train one, see docs/bench.md") from error
    return SystemPrior(system, network.eval().requires_grad_(False), float(card["scale"]), dict(card))
