"""Priors from model folders of other libraries. Nothing is fetched, and nothing in a folder is run."""

from __future__ import annotations

from pathlib import Path

from guidekit.priors.adapters.configuration import read_json

DIFFUSERS, TRANSFORMERS = "diffusers", "transformers"


def library_of(folder: str | Path) -> str | None:
    """The library that wrote a model folder, by the files in it; None where it is no model folder.

    Raises:
        CheckpointError: its config.json cannot be read.
    """
    folder = Path(folder)
    if (folder / "model_index.json").is_file():
        return DIFFUSERS
    if not (folder / "config.json").is_file():
        return None
    return DIFFUSERS if "_class_name" in read_json(folder / "config.json") else TRANSFORMERS


def is_model_folder(folder: str | Path) -> bool:
    """Whether a path is a folder that one of the libraries wrote; what is in it is not looked at."""
    return any((Path(folder) / name).is_file() for name in ("model_index.json", "config.json"))


__all__ = ["DIFFUSERS", "TRANSFORMERS", "is_model_folder", "library_of"]
