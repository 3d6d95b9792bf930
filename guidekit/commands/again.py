"""A finished run once more: `guidekit reproduce RUN` compares, `guidekit extend RUN num_samples=N` adds samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guidekit.errors import UnknownNameError
from guidekit.running.made import RECORD, record_of

OF_REPRODUCTION = ("output", "batch_size", "threads", "overwrite")
OF_EXTENSION = ("num_samples", "batch_size", "threads")


def reproduce(arguments: Sequence[str]) -> int:
    """Make a run again from its record, and compare every file.

    Args:
        arguments: the folder of the run, then output= (the folder of the new one; RUN-again without it), batch_size=,
            threads=, overwrite=.

    Returns:
        0 where all files are the same, 1 where some are not; both are told.

    Raises:
        ValueError: no finished run, or other settings.
    """
    from guidekit.commands import sample
    from guidekit.installed import configured
    from guidekit.reporting.console import Console
    from guidekit.running.identity import changes, identity
    from guidekit.running.spoken import versions

    folder, record, given = read(arguments, OF_REPRODUCTION, "reproduce")
    console = Console()
    config = {**record["config"], "resume": "auto", "overwrite": False, **given}
    config["output"] = str(given.get("output") or folder.with_name(f"{folder.name}-again"))
    if Path(config["output"]).resolve() == folder.resolve():
        raise ValueError(f"output={config['output']} is the run itself; give another folder")
    told = changes(record["made_by"], identity(configured(config["domain"])[0], config))
    here = versions()
    other = [f"{key} was {was}, is {here[key]}" for key, was in record["versions"].items() if here.get(key, was) != was]
    for sentence in filter(None, (told, "; ".join(other))):
        console.print(f"not as it was: {sentence}", **sample.PLAIN)
    path = sample.run(config, console)
    made = json.loads((path / RECORD).read_text())["files"]
    differ = sorted(name for name in {*record["files"], *made} if record["files"].get(name) != made.get(name))
    if differ:
        console.print(f"not the same as in {folder}: {', '.join(differ)}", **sample.PLAIN)
        return 1
    console.print(f"all {len(made)} files are the same as in {folder}", **sample.PLAIN)
    return 0


def extend(arguments: Sequence[str]) -> int:
    """Give a finished run more samples: those that it has stay as they are, as each depends on its number alone.

    Everything is drawn once more, in one run, and then takes the place of the old one.

    Args:
        arguments: the folder of the run, then num_samples=, batch_size=, threads=.

    Raises:
        ValueError: no finished run, not more samples than it has, other settings, or guidekit and its settings are not
            what they were.
    """
    from guidekit.commands import sample
    from guidekit.installed import configured
    from guidekit.running.identity import changes, identity

    folder, record, given = read(arguments, OF_EXTENSION, "extend")
    there, wanted = record["config"]["num_samples"], given.get("num_samples")
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted <= there:
        raise ValueError(f"{folder} has num_samples={there}; extend needs more of them: num_samples={2 * there}")
    config = {**record["config"], "resume": "auto", **given, "output": str(folder), "overwrite": True}
    old = {**config, "num_samples": there}
    told = changes(record["made_by"], identity(configured(config["domain"])[0], old))
    if told:
        raise ValueError(f"{folder} would not go on as it was: {told}; sample anew with another output=")
    sample.run(config)
    return 0


def read(
    arguments: Sequence[str], accepted: Sequence[str], command: str
) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """The folder of a run, its record, and the settings given.

    Raises:
        ValueError: no folder of a finished run, or settings that are not accepted or are no values.
    """
    from omegaconf import OmegaConf

    from guidekit.running.declared import COMMANDS, refuse

    if not arguments or "=" in arguments[0]:
        raise ValueError(f"guidekit {command} needs the folder of a run: guidekit {command} outputs/run")
    folder = Path(arguments[0]).expanduser()
    record = record_of(folder) if folder.is_dir() else None
    if record is None:
        raise ValueError(f"{folder} is no folder of a finished run of guidekit sample")
    if wrong := [argument for argument in arguments[1:] if "=" not in argument]:
        raise ValueError(f"{wrong[0]!r} is no setting; write key=value")
    made: Any = OmegaConf.to_container(OmegaConf.from_dotlist(list(arguments[1:])))
    given: dict[str, Any] = dict(made)
    for key, value in given.items():
        if key not in accepted:
            raise UnknownNameError(f"setting of guidekit {command}", str(key), accepted)
        refuse(str(key), value, COMMANDS["sample"][str(key)])
    return folder, record, given
