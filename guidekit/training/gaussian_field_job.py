"""The work behind `guidekit train trainer=gaussian_field`: fit a Gaussian field to a domain's data, in seconds."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import torch

from guidekit.domain import Domain
from guidekit.priors.bases import BASES
from guidekit.priors.field_checkpoint import save_field
from guidekit.priors.gaussian_field import GaussianField
from guidekit.reporting.console import Console
from guidekit.training.array_job import Arrays
from guidekit.training.place import Place, workplace
from guidekit.training.states import record_of


def train(config: dict[str, Any], domain: Domain, place: Place, console: Console) -> bool:
    """Fit a field to the domain's training data and write it. False where it was done.

    Raises:
        ValueError: settings that cannot work, or a domain without real-valued data.
        OutputError: see `guidekit.training.place.Place.standing`.
    """
    trainer, began = config["trainer"], time.perf_counter()
    if domain.job != "array_job":
        raise ValueError(f"trainer=gaussian_field is for real-valued states; those of domain {domain.name} are tokens")
    for name, given in (("reward", config["reward"].get("name")), ("condition", config["condition"])):
        if given is not None:
            raise ValueError(f"{name}= is for values and refiners; trainer=gaussian_field is fitted without one")
    if trainer["basis"] not in (None, *BASES):
        raise ValueError(
            f"trainer.basis={trainer['basis']}; accepted: {', '.join(BASES)}, or null for the domain's own"
        )
    record = record_of(trainer, config["seed"], domain=config["domain"], data=config["data"])
    if place.standing(record) == "done":
        return False
    with workplace(place) as folder:
        domain.prepare_training(folder / "prepared.npz", config["data"], trainer)
        data = dict(np.load(folder / "prepared.npz"))
    description = json.loads(str(data["description"]))
    states, held = (_states(data[key], len(description["event_shape"])) for key in ("images", "val_images"))
    basis = trainer["basis"] or getattr(domain, "basis", "cosine")
    field = GaussianField.fit(states, basis, uniform_mean=trainer["uniform_mean"])
    numbers = field.mean.numel()
    bits = [float(-field.log_prob(one).mean()) / numbers for one in (states, held)]
    card = {
        **description["card"],
        "summary": f"Gaussian field in a {basis} basis",
        "trainer": trainer,
        "nats a number": round(bits[1], 4),
        "nats a number, training": round(bits[0], 4),
        "seconds": round(time.perf_counter() - began, 1),
        "training": {"made": record, "complete": True},
    }
    kept = {key: description[key] for key in ("domain", "dataset") if key in description}
    save_field(place.output, field, {**kept, "card": card})
    console.print(
        f"written to {place.output}: {len(states):,} states, {bits[1]:.3f} nats a number on {len(held)} held out "
        f"({bits[0]:.3f} on its own), {card['seconds']} seconds"
    )
    return True


def _states(stored: np.ndarray, axes: int) -> torch.Tensor:
    """States (n, C, *S) of stored arrays."""
    (whole,) = [batch for batch, _ in Arrays(stored, None, len(stored), 0, 1, axes)]
    return whole.contiguous()
