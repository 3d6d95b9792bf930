"""The priors of a domain: those that ship with it, checkpoints in files, model folders of other libraries."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

from guidekit.core.prior import Prior
from guidekit.errors import UnknownNameError
from guidekit.priors.adapters import TRANSFORMERS, is_model_folder, library_of
from guidekit.priors.adapters.diffusers_folder import load_diffusers
from guidekit.priors.adapters.latents import LatentCodec
from guidekit.priors.adapters.masked_language import load_model, name_of
from guidekit.priors.adapters.vocabulary import vocabulary_of
from guidekit.priors.checkpoints import load_gaussian_prior, load_token_prior, read_description

if TYPE_CHECKING:
    from guidekit.domain import Domain


def place_of(domain: Domain, name: str) -> Path:
    """See `Domain.checkpoint`."""
    shipped = {path.stem: path for path in _files(domain)}
    path = shipped.get(domain.default if name == "default" else name, Path(name))
    if path.suffix == ".safetensors" or is_model_folder(path):
        return path
    if not shipped:
        made = f"a path ending in .safetensors, made by guidekit train domain={domain.name}"
        raise UnknownNameError("prior", name, [made])
    raise UnknownNameError("prior", name, [*domain.priors(), "a path ending in .safetensors"])


def summaries(domain: Domain) -> dict[str, str]:
    """See `Domain.priors`."""
    found = {path.stem: read_description(path) for path in _files(domain)}
    cards = {name: made["card"] for name, made in found.items() if made["domain"] == domain.name}
    return {name: f"{card.get('data', '')}; {card.get('summary', '')}" for name, card in cards.items()}


def loaded(domain: Domain, path: Path) -> Prior:
    """See `Domain.load_prior`; path: a file, or a folder of another library."""
    if path.is_dir():
        return from_folder(domain, path)
    prior = (load_token_prior if domain.job == "token_job" else load_gaussian_prior)(path, domain.name)
    prior.codec = domain.codec_for(prior, read_description(path, domain.name))
    return prior


def from_folder(domain: Domain, folder: Path) -> Prior:
    """The prior in a model folder of another library, with its codec; see `guidekit.priors.adapters`.

    Raises:
        CheckpointError: see `load_diffusers` and `load_model` there.
        ValueError: its states are none of this domain.
    """
    if library_of(folder) == TRANSFORMERS:
        model, tokenizer = load_model(folder)
        return domain.language_prior(model, vocabulary_of(tokenizer), name_of(folder))
    if domain.job == "token_job":
        raise ValueError(
            f"{folder} is a folder of diffusers, of real numbers; states of domain {domain.name} are tokens"
        )
    prior = load_diffusers(folder)
    if prior.autoencoder is None:
        prior.codec = domain.codec_for(prior, {})
        return prior
    shown = copy.copy(prior)
    shown.event_shape = prior.autoencoder.decoded
    prior.codec = LatentCodec(prior.autoencoder, domain.codec_for(shown, {}))
    return prior


def _files(domain: Domain) -> list[Path]:
    """Shipped checkpoints, also of domains that share the folder."""
    return [] if domain.assets is None else sorted(domain.assets.glob("*.safetensors"))


__all__ = ["from_folder", "loaded", "place_of", "summaries"]
