"""Networks in the folders of diffusers, and their weights: whole, in half precision, or in several files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from guidekit._compat import mended
from guidekit.errors import UnknownNameError
from guidekit.io.contents import brief
from guidekit.priors.adapters.configuration import read_json
from guidekit.priors.weights import CheckpointError, made_for, read_weights

STEM = "diffusion_pytorch_model"
NETWORKS = ("UNet2DModel", "UNet2DConditionModel", "DiTTransformer2DModel", "Transformer2DModel")
OLD = re.compile(r"\.(query|key|value|proj_attn)\.(weight|bias)$")
NEW = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What the projections of attention were called in older files, and are now."""


def network_in(folder: Path, kinds: tuple[str, ...]) -> nn.Module:
    """The network of a folder with config.json and weights.

    Raises:
        UnknownNameError: a network of another kind.
        CheckpointError: files missing or damaged, or weights that do not fit.
    """
    config = read_json(folder / "config.json")
    diffusers = mended("diffusers", "diffusers")
    name = str(config.get("_class_name"))
    if name not in kinds:
        raise UnknownNameError("network", name, kinds)
    # Transformer2DModel is the name that DiT had before it was split off
    kind = diffusers.DiTTransformer2DModel if name == "Transformer2DModel" else getattr(diffusers, name)

    def make(**options: Any) -> nn.Module:
        return kind.from_config(options)

    path, weights = weights_in(folder)
    return made_for(path, make, dict(config), modern(weights))


def weights_in(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """(file, weights) of a folder: whole, of the variant fp16, or in the files that an index names.

    Raises:
        CheckpointError: there are none, an index names no files of its folder, or a file is damaged.
    """
    for middle in ("", ".fp16"):
        whole = folder / f"{STEM}{middle}.safetensors"
        if whole.is_file():
            return whole, read_weights(whole)
        for index in (
            folder / f"{STEM}.safetensors.index{middle}.json",
            folder / f"{STEM}{middle}.safetensors.index.json",
        ):
            if index.is_file():
                return index, _joined(index)
    raise CheckpointError(
        f"there is no {folder / STEM}.safetensors; other formats can run code and are not read: save it again"
    )


def _joined(index: Path) -> dict[str, Tensor]:
    table = read_json(index).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise CheckpointError(f"{index} has no weight_map, the files of weights by their names")
    files, found = sorted({str(file) for file in table.values()}), {}
    for file in files:
        if Path(file).name != file or not file.endswith(".safetensors"):
            raise CheckpointError(f"{index} names {brief(file)!r}; a safetensors file beside it is expected")
        found.update(read_weights(index.parent / file))
    return found


def modern(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names that attention has now."""
    return {OLD.sub(lambda m: f".{NEW[m[1]]}.{m[2]}", name): value for name, value in weights.items()}
