"""Whether what judges samples has also guided them: then its figures tell how well it was pleased, and nothing else.

A run records the networks that guide it, by file name and content. Only these records are compared: nothing is built
from them, and no file is opened that they name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from guidekit import registry
from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.domain import Domain
from guidekit.io.files import sha256
from guidekit.priors.checkpoints import CheckpointError, read_description
from guidekit.running.groups import chained
from guidekit.running.settings import is_goal

Network = dict[str, str]
"""Record of a network: {"file": its name, "sha256": of its content} and, in that of a run, "setting"."""


def caution(domain: Domain, prior: Prior | None, guides: Sequence[Network]) -> str:
    """A sentence where a judge of the domain is among the networks that guided a run.

    Args:
        domain: that judges.
        prior: whose samples it judges; None is any.
        guides: of the run, see `guides_of` and `recorded`.

    Returns:
        The sentence; empty where judge and guide differ, or nothing was guided.
    """
    judges = {sha256(path): path.name for path in domain.judges(prior)}
    for one in guides:
        if one["sha256"] in judges:
            return (
                f"note: the judge {judges[one['sha256']]} has guided these samples itself ({one['setting']}): what it "
                "says of them is how well it was pleased, not how good they are. Judge by another: domain.judge="
            )
    return ""


def guides_of(config: Mapping[str, Any], reward: Objective | None) -> list[Network]:
    """The networks whose opinion guides a run.

    Args:
        config: resolved settings of `guidekit sample`.
        reward: made from them.
    """
    guides = []
    for member in members_of(config.get("guidance") or {}):
        if any(is_goal(setting) for setting in registry.settings(registry.get("guidance", member["name"]))):
            guides += [{"setting": "reward", **one} for one in networks_of(reward)]
        for key, value in member.items():
            if isinstance(value, str):
                setting = f"by way of guidance.{key}={value}"
                guides += [{"setting": setting, **one} for one in _networks(_card(value).get("reward_networks"))]
    return guides


def members_of(guidance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The settings of every guidance, those in a chain one by one."""
    if guidance.get("name") is None:
        return []
    if guidance["name"] == "chain":
        return [one if isinstance(one, Mapping) else {"name": one} for one in chained(guidance)]
    return [guidance]


def networks_of(reward: Objective | None) -> list[Network]:
    """Records of the networks in a reward, which it or its function has as `file`, and in those that it combines."""
    members = () if reward is None else reward.members
    parts = [part for member in members for part in (member, getattr(member, "function", None))]
    named = [getattr(part, "file", None) for part in parts]
    files = dict.fromkeys(Path(file) for file in named if isinstance(file, str | Path))
    return [{"file": path.name, "sha256": sha256(path)} for path in files if path.is_file()]


def _card(value: str) -> Mapping[str, Any]:
    try:
        card = read_description(value).get("card")
    except CheckpointError:
        return {}
    return card if isinstance(card, Mapping) else {}


def recorded(samples: str | Path, domain: str) -> list[Network]:
    """The networks that guided the run which wrote samples, from the run.json beside them; empty where there is none.

    Args:
        samples: a file or folder of guided samples in the output folder of a run.
        domain: its name; a run of another domain has not made them.
    """
    record = Path(samples).parent / "run.json"
    if not record.is_file() or Path(samples).stem == "unguided":
        return []
    try:
        found = json.loads(record.read_text())
        return _networks(found["guided_by"], "setting") if found["config"]["domain"]["name"] == domain else []
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _networks(found: Any, *more: str) -> list[Network]:
    """What are records of networks in JSON from a file, which may hold anything."""
    keys = ("file", "sha256", *more)
    rows = [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
    return [{key: one[key] for key in keys} for one in rows if all(isinstance(one.get(key), str) for key in keys)]
