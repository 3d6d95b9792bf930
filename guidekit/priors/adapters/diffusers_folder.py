"""Priors from model folders in the format of the diffusers library: a network beside a scheduler's configuration.

Nothing is fetched: the folder is read, and only safetensors. Needs the extra `diffusers`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidekit.core.guidance import GuidanceError
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Prior, Time
from guidekit.core.state import State, column
from guidekit.priors.adapters.configuration import read_json
from guidekit.priors.adapters.parts import NETWORKS, network_in
from guidekit.priors.adapters.schedulers import Convention, convention_of
from guidekit.priors.labels import Label, label_rows
from guidekit.priors.neural import NUMBERS_A_CALL
from guidekit.priors.parametrization import input_scale, to_mean
from guidekit.priors.weights import CheckpointError
from guidekit.processes import GaussianProcess


class DiffusersPrior(Prior):
    """A network of diffusers with the process it was trained on.

    Clean estimates are clipped or thresholded as the scheduler does, answer by answer: a guidance that combines
    several may leave the range again.

    Args:
        network: a `UNet2DModel` or a transformer of DiT.
        convention: see `convention_of`.
        labels: the class names, for networks with classes.
        null_class: number of the class that stands for "no class"; None where the network was trained without one.
        card: what is told of it.

    Raises:
        CheckpointError: the configuration of the network names no size, or it takes other channels than it predicts.
    """

    name = "diffusers prior"
    process: GaussianProcess
    network: nn.Module

    def __init__(
        self,
        network: nn.Module,
        convention: Convention,
        labels: tuple[Label, ...] = (),
        null_class: int | None = None,
        card: dict | None = None,
    ) -> None:
        self.network, self.convention = network.eval().requires_grad_(False), convention
        self.process, self.notes = convention.process, convention.notes
        self.labels, self.null_class, self.card = labels, null_class, card or {}
        self.event_shape = event_shape(network)
        self.network_batch = max(1, NUMBERS_A_CALL // (self.event_shape[0] * self.event_shape[1] * self.event_shape[2]))
        if labels:
            self.null_condition = torch.full((1,), -1)
            self.choices = tuple(torch.ones(len(label.values)) for label in self.labels)

    def condition(self, value: Any) -> State:
        """A class by name or number, see `label_rows`."""
        if value is None or isinstance(value, Tensor) and value.ndim == 2 or not self.labels:
            return super().condition(value)
        return label_rows(value, self.labels)

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> GaussianPrediction:
        """See `Prior.predict`.

        Raises:
            GuidanceError: no class is given, and the network was trained without a null class.
        """
        a, s = self.process.coefficients(t)
        how = self.convention
        index = torch.as_tensor(how.told(t, a, s), dtype=torch.float32, device=x.device).expand(len(x))
        seen = x if how.sigma_data is None else column(input_scale(a, s, how.sigma_data), x) * x
        output = self.network(seen, index, **self.given(x, condition)).sample[:, : x.shape[1]]  # without the variance
        mean = to_mean(how.predicts, how.sign * output, x, a, s, how.sigma_data or 0.5)
        return GaussianPrediction(mean if how.bound is None else how.bound(mean), x, a, s)

    def given(self, x: Tensor, condition: Tensor | None) -> dict[str, Tensor]:
        """What the network is told besides the state (B, *S) and the time."""
        if not self.labels:
            return {}
        given = torch.full((len(x),), -1, device=x.device) if condition is None else condition.view(len(x))
        if self.null_class is None and (given < 0).any():
            raise GuidanceError(
                f"{self.name} was trained without a null class: give condition=, and for guidance a contrast that "
                "needs no null, such as guidance=icg"
            )
        return {"class_labels": given if self.null_class is None else torch.where(given < 0, self.null_class, given)}

    def to(self, device: torch.device | str) -> DiffusersPrior:
        """The prior with its network on another device."""
        new = copy.copy(self)
        here = next(self.network.parameters()).device
        new.network = copy.deepcopy(self.network).to(device) if str(device) != str(here) else self.network
        if self.null_condition is not None:
            new.null_condition = self.null_condition.to(device)
        return new


def event_shape(network: nn.Module) -> tuple[int, int, int]:
    """(C, H, W) of the states of a network."""
    config: Any = network.config
    size, channels = config.sample_size, config.in_channels
    if size is None:
        raise CheckpointError(f"the configuration of {type(network).__name__} names no sample_size")
    if config.out_channels is not None and config.out_channels not in (channels, 2 * channels):
        raise CheckpointError(
            f"{type(network).__name__} takes {channels} channels and answers with {config.out_channels}: networks that "
            "are shown more than the state (inpainting, upscaling) are not read"
        )
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return channels, height, width


def load_diffusers(folder: str | Path) -> DiffusersPrior:
    """A prior from a folder written by `save_pretrained` of a pipeline, or of a network alone.

    The folder holds model_index.json, unet/ or transformer/ and scheduler/; or config.json and weights, beside or below
    which a scheduler_config.json is looked for. States are what the network sees: images in [-1, 1], or latents where
    the pipeline has an autoencoder.

    Raises:
        CheckpointError: no such folder, files missing or damaged, or weights that do not fit.
        MissingExtraError: diffusers is not installed.
        UnknownNameError: a kind of network, scheduler or prediction that cannot be read.
    """
    folder = Path(folder)
    index = read_json(folder / "model_index.json") if not (folder / "config.json").is_file() else {}
    part = next((name for name in ("unet", "transformer") if name in index), "")
    if index and not part:
        raise CheckpointError(f"{folder / 'model_index.json'} names neither a unet nor a transformer")
    config = read_json(folder / part / "config.json")
    scheduler, notes = _scheduler(folder, whole=bool(index))
    for name, told in ((part, config), ("scheduler", scheduler)):
        if not isinstance(told.get("_class_name"), str):
            raise CheckpointError(f"{folder / name}: its configuration names no '_class_name'")
    convention = convention_of(scheduler)
    classes, null = _classes_of(config, index)
    card = {"data": folder.name, "summary": f"{config['_class_name']} with {scheduler['_class_name']}"}
    if "vae" in index:
        card["states"] = "latents of an autoencoder that is not applied"
    prior = DiffusersPrior(network_in(folder / part, NETWORKS), convention, classes, null, card)
    prior.name = f"diffusers prior {folder.name}"
    prior.notes = (*notes, *prior.notes)
    return prior


def _scheduler(folder: Path, whole: bool) -> tuple[dict[str, Any], list[str]]:
    """(configuration of the scheduler, notes) of a pipeline's folder, or of a network's."""
    name = "scheduler_config.json"
    places = [folder / "scheduler" / name] if whole else [folder / name, folder / "scheduler" / name]
    places += [] if whole else [folder.parent / "scheduler" / name]
    found = next((place for place in places if place.is_file()), places[0])
    if found.is_file() or whole:
        return read_json(found), []
    return {"_class_name": "DDPMScheduler"}, [
        f"{folder} has no {name}: it is taken for DDPM's own (1,000 linear betas from 0.0001 to 0.02, noise predicted)"
    ]


def _classes_of(config: Mapping[str, Any], index: Mapping[str, Any]) -> tuple[tuple[Label, ...], int | None]:
    """The label "class" where the network has classes, and the number of its null class, if any."""
    names, null = index.get("id2label"), None
    if names is not None and not isinstance(names, dict):
        raise CheckpointError(f"id2label in model_index.json is a {type(names).__name__}; names by number are expected")
    count = config.get("num_class_embeds")
    if "UNet2D" not in config["_class_name"]:
        count = null = config.get("num_embeds_ada_norm")
    if not count:
        return (), None
    return (class_label([str((names or {}).get(str(i), i)) for i in range(count)]),), null


def class_label(names: Sequence[str]) -> Label:
    """The label of classes with synonyms, by commas: the first that no other class has is its name, all are known."""
    several = [[one.strip() for one in name.split(",") if one.strip()] or [name] for name in names]
    held: dict[str, list[int]] = {}
    for number, synonyms in enumerate(several):
        for one in dict.fromkeys(synonyms):
            held.setdefault(one, []).append(number)
    values = []
    for number, synonyms in enumerate(several):
        own = next((one for one in synonyms if held[one] == [number]), None)
        values.append(own or f"{synonyms[0]} {number}")
    known = {one: numbers[0] for one, numbers in held.items() if len(numbers) == 1}
    known |= {name: number for number, name in enumerate(names) if list(names).count(name) == 1}
    return Label("class", values, aliases={one: n for one, n in known.items() if one not in values})
