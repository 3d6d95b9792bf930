"""Results of runs as tensors and plain JSON, for the disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from guidekit.core.ledger import Ledger
from guidekit.core.prior import Prior
from guidekit.sampling import Result


def parted(result: Result) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A result of tensor states as tensors and plain JSON, for the disk; `joined` puts them together."""
    tensors = {"samples": result.samples, "log_weights": result.log_weights, "log_normalizer": result.log_normalizer}
    tensors |= {f"info/{name}": value for name, value in result.info.items()}
    return tensors, {"ledger": dataclasses.asdict(result.ledger)}


def joined(tensors: Mapping[str, Tensor], said: Mapping[str, Any], prior: Prior | None = None) -> Result:
    """What `parted` took apart, made by a prior."""
    info = {name[5:]: value for name, value in tensors.items() if name.startswith("info/")}
    ledger = Ledger(**said["ledger"])
    return Result(tensors["samples"], tensors["log_weights"], tensors["log_normalizer"], ledger, info, prior)
