"""The work behind `guidekit train trainer=refiner`: learn the noise whose unguided sample is the guided one."""

from __future__ import annotations

import copy
import time
from functools import partial
from typing import Any

import torch
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from torch import Tensor, nn

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.prior import Prior
from guidekit.core.random import keyed_generator
from guidekit.domain import Domain
from guidekit.errors import UnknownNameError
from guidekit.guidance.starts.checkpoints import save_refiner
from guidekit.networks import NETWORKS
from guidekit.priors.descriptions import describe_gaussian
from guidekit.processes import GaussianProcess
from guidekit.reporting.console import Console
from guidekit.running.build import build_guidance, build_reward
from guidekit.samplers import DDIM
from guidekit.training.place import Place
from guidekit.training.refiner import RefinerRound, guided_pairs, refined, train_refiner, unguided
from guidekit.training.states import read_state, record_of_samples, write_state

SMALL = {"name": "unet", "options": {"width": 32, "multipliers": [1], "patch": 4, "attention": [0]}}
"""The network of a refiner, where none is named."""

POSITIVE = ("sampling_steps", "pairs", "validation", "rounds", "updates", "batch_size", "learning_rate")


def train(config: dict[str, Any], domain: Domain, place: Place, console: Console) -> bool:
    """Train a refiner for the configured prior and teacher, and write it. False where it was done.

    A state is kept behind the guided samples, which cost most, and behind every round.

    Raises:
        ValueError: settings that cannot work, before anything is sampled.
        OutputError: see `guidekit.training.place.Place.standing`.
        KeyboardInterrupt: what was reached is kept.
    """
    trainer, prior = config["trainer"], domain.load_prior(config["prior"])
    refuse_settings(config, prior)
    sampler, steps, seed = DDIM(times=trainer["times"]), trainer["sampling_steps"], config["seed"]
    teacher = teacher_of(config, domain, prior)
    if trainer["threads"]:
        torch.set_num_threads(trainer["threads"])
    torch.manual_seed(seed)
    network, made = network_of(trainer["network"], prior)
    if len(prior.event_shape) == 3:  # convolutions are half as quick again on a CPU with channels last
        for module in filter(None, (network, prior.network)):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a gap in torch's types
    count = trainer["pairs"] + trainer["validation"]
    labels = labels_of(prior, config["condition"], count, seed)
    record = record_of_samples(domain, config)
    standing = place.standing(record)
    if standing == "done":
        return False
    state = read_state(place.state) if standing == "begun" else None
    began = time.perf_counter()
    with progress_bar(console) as bar:
        if state is None:
            noise, targets = _pairs(bar, prior, teacher, count, steps, seed, labels, sampler)
            state = {"noise": noise, "targets": targets, "round": None}
            write_state(place.state, state, record)
        noise, targets = state["noise"], state["targets"]

        def keep(last: RefinerRound) -> None:
            write_state(place.state, {"noise": noise, "targets": targets, "round": dict(vars(last))}, record)

        learned, held = slice(trainer["pairs"]), slice(trainer["pairs"], None)
        task = bar.add_task("refiner", text="")
        refiner = train_refiner(
            prior,
            network,
            noise[learned],
            targets[learned],
            steps,
            condition=None if labels is None else labels[learned],
            seed=seed,
            sampler=sampler,
            progress=lambda text: bar.update(task, text=text),
            begun=None if state["round"] is None else RefinerRound(**state["round"]),
            keep=keep,
            **{key: trainer[key] for key in ("rounds", "updates", "batch_size", "learning_rate", "penalty")},
        )
        given = None if labels is None else labels[held]
        before, after = (
            float((unguided(prior, start, refiner.times, given) - targets[held]).square().mean())
            for start in (noise[held], refined(refiner, noise[held], given))
        )
    card = {
        "prior": config["prior"],
        "trainer": trainer,
        "reward": config["reward"],
        "condition": config["condition"],
        "seed": seed,
        "error unrefined": round(before, 6),
        "error": round(after, 6),
        "seconds": round(time.perf_counter() - began),
        "training": {"made": record, "complete": True},
    }
    save_refiner(place.output, refiner, made, domain.name, card)
    place.state.unlink()
    console.print(
        f"written to {place.output}: mean square distance to the guided samples {after:.4g}, without refinement "
        f"{before:.4g} ({trainer['validation']} pairs held out), {card['seconds']} seconds"
    )
    return True


def refuse_settings(config: dict[str, Any], prior: Prior) -> None:
    """Raise ValueError for a prior, numbers or a file that a refiner cannot be trained with."""
    trainer = config["trainer"]
    if not isinstance(prior.process, GaussianProcess):
        raise GuidanceError(f"trainer=refiner refines Gaussian noise, and this prior ({prior.name}) has none")
    describe_gaussian(prior.process)
    if config["data"] is not None:
        raise ValueError("data= is for priors and values; trainer=refiner learns from guided samples of prior=")
    if not trainer["teacher"]:
        raise ValueError("trainer=refiner needs guidances: 'trainer.teacher=[{name: cfg, weight: 2}]'")
    for name in POSITIVE:
        if not trainer[name] > 0:
            raise ValueError(f"trainer.{name}={trainer[name]}; a number above 0 is needed")
    if trainer["penalty"] < 0:
        raise ValueError(f"trainer.penalty={trainer['penalty']}; a number of at least 0 is needed")


def teacher_of(config: dict[str, Any], domain: Domain, prior: Prior) -> Guidance | None:
    """The guidance that is to be paid in advance."""
    reward = build_reward(domain, config["reward"], prior)
    teacher = {"name": "chain", "of": config["trainer"]["teacher"]}
    return build_guidance(teacher, reward, partial(domain.verifier, prior=prior), domain.load_prior)


def network_of(wanted: dict[str, Any] | str | None, prior: Any) -> tuple[nn.Module, dict[str, Any]]:
    """A network for a prior's states and labels, zero at first, and {name, options} it is made from.

    Args:
        wanted: {name, options}; None is a small U-Net, "prior" a copy of the prior's network.
        prior: whose noise is refined.

    Raises:
        ValueError: it does not fit the states.
    """
    shape = tuple(prior.event_shape)
    if wanted == "prior":
        if not hasattr(prior, "made"):
            raise ValueError(f"trainer.network=prior: {prior.name} has no network of a checkpoint to start from")
        network = copy.deepcopy(prior.network)
        nn.init.zeros_(network.head.weight)
        nn.init.zeros_(network.head.bias)
        return network, dict(prior.made)
    made: Any = SMALL if wanted is None else wanted
    if not isinstance(made, dict) or made.get("name") not in NETWORKS:
        name = made.get("name") if isinstance(made, dict) else made
        raise UnknownNameError("trainer.network", str(name), ["prior", *NETWORKS])
    counts = [len(label.values) for label in getattr(prior, "labels", ())]
    options = {**(made.get("options") or {}), "channels": shape[0]} | ({"labels": counts} if counts else {})
    if made["name"] == "image_transformer":
        options["size"] = shape[-1]
    try:
        network = NETWORKS[made["name"]](**options)
        answer = network(torch.zeros(2, *shape), torch.ones(2), None)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"trainer.network={made['name']} does not take states {shape}: {error}") from error
    if tuple(answer.shape[1:]) != shape:
        raise ValueError(f"trainer.network={made['name']} makes {tuple(answer.shape[1:])} of states {shape}")
    return network, {"name": made["name"], "options": options}


def labels_of(prior: Any, condition: Any, count: int, seed: int) -> Tensor | None:
    """Conditions (count, K) of the pairs: the given one, or random ones where there is none; None without labels."""
    labels = getattr(prior, "labels", ())
    if condition is not None:
        rows = prior.condition(condition)
        return rows.expand(count, *rows.shape[1:])
    if not labels:
        return None
    random = keyed_generator("cpu", seed, 0, "labels of pairs")
    return torch.stack([torch.randint(len(label.values), (count,), generator=random) for label in labels], 1)


def progress_bar(console: Console) -> Progress:
    """What is done, and how long it has taken."""
    texts = (TextColumn("{task.description}"), TextColumn("{task.fields[text]}"))
    return Progress(SpinnerColumn(), *texts, TimeElapsedColumn(), console=console, transient=True)


def _pairs(
    bar: Progress, prior: Prior, teacher: Guidance | None, count: int, steps: int, seed: int, labels: Any, sampler: DDIM
) -> tuple[Tensor, Tensor]:
    task = bar.add_task("guided samples", text=f"0 of {count}")

    def told(progress: Any) -> None:
        first, last = progress.groups
        bar.update(task, text=f"{first} of {count}; {first + 1}-{last}: step {progress.step} of {progress.steps}")

    return guided_pairs(prior, teacher, count, steps, seed, labels, sampler, told)
