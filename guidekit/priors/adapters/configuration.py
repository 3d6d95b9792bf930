"""JSON files and weights of model folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from guidekit.io.archives import reason
from guidekit.io.contents import ordinary
from guidekit.priors.weights import CheckpointError


def read_json(path: Path) -> dict[str, Any]:
    """The keys and values of a JSON file.

    Raises:
        CheckpointError: missing, no JSON, or something else in it.
    """
    if not path.is_file():
        raise CheckpointError(
            f"there is no {path}: expected a model folder of diffusers or transformers with its parts"
        )
    try:
        found = json.loads(ordinary(path).read_text())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no JSON file ({reason(error)})") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds a {type(found).__name__}; keys and values are expected")
    return found
