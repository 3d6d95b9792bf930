"""`guidekit train`: train a prior of a domain with Lightning."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from guidekit.domain import load_domain
from guidekit.running.folder import OutputError


def run(config: dict[str, Any]) -> None:
    """Prepare the data of the domain, train, write the checkpoint; `prepare` stops after the first part."""
    console, domain = Console(), load_domain(config["domain"]["name"])
    if config["prepare"]:
        folder = Path(config["prepare"])
        if folder.exists() and not config["overwrite"]:
            raise OutputError(f"folder {folder} exists; pass overwrite=true or another prepare=")
        folder.mkdir(parents=True, exist_ok=True)
        domain.prepare_training(folder / "prepared.npz", config["data"], config["trainer"])
        _write_yaml(folder / "train.yaml", {**config, "output": "prior.safetensors"})
        console.print(f"prepared; train with: python -m guidekit.training.token_job {folder / 'train.yaml'}")
        return
    if config["output"] in (None, "???") or not str(config["output"]).endswith(".safetensors"):
        raise ValueError("train needs output=<file>.safetensors")
    output = Path(config["output"])
    if output.exists() and not (config["overwrite"] or config["resume"]):
        raise OutputError(f"{output} exists; pass overwrite=true, resume=true or another output=")
    output.parent.mkdir(parents=True, exist_ok=True)
    from guidekit.training.token_job import fit

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.npz"
        domain.prepare_training(prepared, config["data"], config["trainer"])
        report = fit(prepared, config["trainer"], output, config["init"], config["resume"], config["seed"])
    console.print(f"written to {output}: {', '.join(f'{key} {value}' for key, value in report.items())}")


def _write_yaml(path: Path, config: dict[str, Any]) -> None:
    from omegaconf import OmegaConf

    path.write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
