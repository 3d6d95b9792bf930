"""Whether what judges samples has also guided them: then its figures tell how well it was pleased, and nothing else."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.utils import get_object

from guidekit.core.guidance import chain
from guidekit.domain import Domain
from guidekit.priors.checkpoints import CheckpointError, read_description, sha256
from guidekit.running.build import OBJECTIVES, named_guidance, reward_function


def caution(domain: Domain, config: Mapping[str, Any]) -> str:
    """A sentence where a judge of the domain is the reward of a run, or what its learned guidance was trained on.

    Files are compared by content. A file that the settings name and that is no longer there is passed over.

    Args:
        domain: that judges.
        config: resolved settings of `guidekit sample`.

    Returns:
        The sentence; empty where judge and guide differ, or nothing was guided.
    """
    judges = {sha256(path): path.name for path in domain.judges()}
    for setting, path in guiding_files(domain, config):
        name = judges.get(sha256(path)) if path.is_file() else None
        if name is not None:
            return (
                f"note: the judge {name} has guided these samples itself ({setting}): what it says of them is how well "
                "it was pleased, not how good they are. Judge by another: domain.judge="
            )
    return ""


def guiding_files(domain: Domain, config: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """The setting and the file of each network whose opinion guided a run."""
    for plug in plugs_of(config.get("guidance") or {}):
        if any(key in OBJECTIVES for key in inspect.signature(get_object(plug["_target_"])).parameters):
            yield from (("reward", path) for path in reward_files(domain, config.get("reward")))
        value = plug.get("value")
        if isinstance(value, str):
            try:
                learned = read_description(value)["card"].get("reward")
            except CheckpointError:
                continue
            yield from ((f"by way of guidance.value={value}", path) for path in reward_files(domain, learned))


def plugs_of(guidance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The settings of every plug of a guidance, those in a chain one by one."""
    if guidance.get("_target_") is None:
        return []
    if get_object(guidance["_target_"]) is chain:
        return [one for plug in guidance.get("plugs") or [] for one in plugs_of(named_guidance(plug))]
    return [guidance]


def reward_files(domain: Domain, config: Mapping[str, Any] | str | None) -> list[Path]:
    """Files of the networks in a reward, which has them as `file`; none where it cannot be made any more."""
    if not config or (isinstance(config, Mapping) and config.get("name") is None):
        return []
    try:
        return _files(reward_function(domain, config))
    except ValueError:
        return []


def _files(function: Callable) -> list[Path]:
    parts = [getattr(function, "term", None), *getattr(function, "terms", ())]
    own = [Path(function.file)] if getattr(function, "file", None) is not None else []
    return own + [path for part in parts if part is not None for path in _files(part)]


def settings_of(samples: str | Path, domain: str) -> dict[str, Any]:
    """The settings of the run that wrote samples, from the run.json beside them; empty where there is none.

    Args:
        samples: a file or folder of guided samples in the output folder of a run.
        domain: its name; a run of another domain has not made them.
    """
    record = Path(samples).parent / "run.json"
    if not record.is_file() or Path(samples).stem == "unguided":
        return {}
    try:
        config = json.loads(record.read_text())["config"]
        return config if config["domain"]["name"] == domain else {}
    except (ValueError, KeyError, TypeError):
        return {}
