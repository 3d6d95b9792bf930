"""Priors from model folders in the format of the diffusers library: a network beside a scheduler's configuration.

Nothing is fetched: the folder is read, and only safetensors. Needs the extra `diffusers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from guidekit.priors.adapters.configuration import read_json
from guidekit.priors.adapters.diffusers_prior import DiffusersPrior
from guidekit.priors.adapters.latents import Autoencoder
from guidekit.priors.adapters.parts import NETWORKS, network_in
from guidekit.priors.adapters.schedulers import Convention, convention_of
from guidekit.priors.adapters.texts import TextPrior, encoder_in
from guidekit.priors.labels import Label
from guidekit.priors.weights import CheckpointError


def load_diffusers(folder: str | Path) -> DiffusersPrior:
    """A prior from a folder written by `save_pretrained` of a pipeline, or of a network alone.

    The folder holds model_index.json, unet/ or transformer/ and scheduler/; or config.json and weights, beside or below
    which a scheduler_config.json is looked for. States are what the network sees: images in [-1, 1], or latents where
    the pipeline has an autoencoder, which then is the prior's `autoencoder`.

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
    card = {"data": folder.name, "summary": f"{config['_class_name']} with {scheduler['_class_name']}"}
    if config["_class_name"] == "UNet2DConditionModel":
        prior: DiffusersPrior = _of_texts(folder, part, config, convention, card)
    else:
        prior = DiffusersPrior(network_in(folder / part, NETWORKS), convention, *_classes_of(config, index), card)
    prior.name = f"diffusers prior {folder.name}"
    prior.notes = (*notes, *prior.notes)
    if (folder / "vae" / "config.json").is_file():
        prior.autoencoder = _autoencoder(folder / "vae", prior)
        card["states"] = "latents of the autoencoder in vae/"
    elif "vae" in index:
        card["states"] = "latents of an autoencoder that the folder lacks"
    return prior


def _of_texts(
    folder: Path, part: str, config: Mapping[str, Any], convention: Convention, card: dict[str, Any]
) -> TextPrior:
    """The prior of a network that is told embeddings of a text."""
    more = [key for key in ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type") if config.get(key)]
    if more:
        raise CheckpointError(f"{folder / part} is told more than a text ({more[0]}={config[more[0]]}): not read")
    return TextPrior(network_in(folder / part, NETWORKS), convention, encoder_in(folder), card)


def _autoencoder(folder: Path, prior: DiffusersPrior) -> Autoencoder:
    """The autoencoder of a pipeline, whose latents must be the states of its prior."""
    network: Any = network_in(folder, ("AutoencoderKL",))
    channels = network.config.latent_channels
    if channels != prior.event_shape[0]:
        raise CheckpointError(
            f"{folder} makes latents of {channels} channels, and {prior.name} has {prior.event_shape}"
        )
    return Autoencoder(network.eval().requires_grad_(False), cast(tuple[int, int, int], prior.event_shape))


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
