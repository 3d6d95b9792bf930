"""The command line: settings are read and checked here; what the commands do is in `guidekit.commands`."""

from __future__ import annotations

import functools
import importlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import Any

HELP = """guidekit - guided sampling of diffusion priors

  guidekit sample    domain=molecules reward=qed guidance=svdd num_samples=32
  guidekit evaluate  domain=molecules samples=outputs/run/samples.csv
  guidekit train     domain=molecules output=mine.safetensors trainer.minutes=60
  guidekit bench     suite=speed
  guidekit search    domain=images task=superresolution task.input=3 guidance=dps
  guidekit estimate  domain=molecules reward=qed at_least=0.93     how probable that is under the prior
  guidekit plan      domain=trajectories 'condition={pairs: 4}' num_samples=4
  guidekit reproduce outputs/run                                    the same run again, compared file by file
  guidekit extend    outputs/run num_samples=128                    more samples for a finished run
  guidekit examples  try                                            small files of every domain, to try commands with
  guidekit list      domains, guidance, rewards, tasks, samplers, priors; guidekit list rewards domain=molecules

Settings are key=value (Hydra's grammar). `guidekit sample --cfg job` prints all of them,
`guidekit sample --multirun seed=0,1,2` sweeps, `guidekit sample --help` says more."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the `guidekit` script.

    Returns:
        0 when all went well, 2 for bad input (one line on stderr says what), 130 after an interrupt, 143 after SIGTERM.
        Set the environment variable GUIDEKIT_TRACEBACK to see where an error came from.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    if arguments[0] in ("--version", "-V"):
        from guidekit import __version__

        print(f"guidekit {__version__}")
        return 0
    usual, warnings.formatwarning = warnings.formatwarning, _warning  # type: ignore[assignment]
    try:
        return _dispatch(arguments[0], arguments[1:])
    except KeyboardInterrupt as stop:
        return getattr(stop, "code", 130)
    except (ValueError, ImportError, OSError) as error:
        if os.environ.get("GUIDEKIT_TRACEBACK"):
            raise
        print(f"guidekit: {_sentence(error)}", file=sys.stderr)
        return 2
    finally:
        warnings.formatwarning = usual


def _warning(message: Warning | str, category: type[Warning], *place: object) -> str:
    """A warning in one line, with where it came from unless it is one for users."""
    from guidekit.reporting.console import plain

    where = "" if category is UserWarning else f" ({place[0]}:{place[1]})"
    return f"warning: {plain(' '.join(str(message).split()))}{where}\n"


def _sentence(error: Exception) -> str:
    """What went wrong in one line."""
    from guidekit.reporting.console import plain

    text = str(error)
    if isinstance(error, FileNotFoundError) and error.filename:
        text = f"there is no file or folder {error.filename}"
    elif isinstance(error, OSError) and error.filename and error.strerror:
        text = f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    if type(error).__name__ == "GuidanceError":  # of a module that would load torch
        from guidekit.cli.terms import in_terms

        text = in_terms(text)
    return plain(" ".join(text.split()))


AGAIN = ("reproduce", "extend")
"""Commands on a finished run."""


def _dispatch(command: str, settings: list[str]) -> int:
    from guidekit.errors import UnknownNameError
    from guidekit.running.declared import COMMANDS
    from guidekit.running.spoken import say

    if command == "list":
        from guidekit.commands import listing

        return listing.run(settings)
    if command == "examples":
        from guidekit.commands import examples

        return examples.run(settings)
    if command in AGAIN:
        again = importlib.import_module("guidekit.commands.again")
        say(command, settings)
        return getattr(again, command)(settings)
    if command not in COMMANDS:
        raise UnknownNameError("command", command, [*COMMANDS, *AGAIN, "examples", "list"])
    if command == "bench" and settings and settings[0].isidentifier():
        settings = [f"suite={settings[0]}", *settings[1:]]
    from guidekit.running.machine import keep_memory

    keep_memory()
    if any(setting.startswith("-") for setting in settings):
        return _hydra(command, settings)
    from guidekit.cli.compose import compose

    say(command, settings)
    config = compose(command, settings)  # before torch is loaded: mistakes are answered at once
    _job(command)(config)
    return 0


def _job(command: str) -> Callable[[dict], object]:
    return importlib.import_module(f"guidekit.commands.{command}").run


def _hydra(command: str, settings: list[str]) -> int:
    """Hydra's own entry, for its flags: --multirun, --cfg, --help, shell completion."""
    import hydra

    from guidekit.cli.compose import (
        helping,
        refuse_choices,
        refuse_classes,
        refuse_groups,
        refuse_hydra,
        rewrite,
        search_path,
        store,
    )
    from guidekit.running.groups import CONFIGS

    refuse_hydra(settings)
    refuse_classes(settings)
    settings = rewrite(settings)
    refuse_groups(command, settings)
    refuse_choices(settings)
    store(settings)
    first = ("--multirun", "-m", "--help", "-h")
    settings.sort(key=lambda setting: setting not in first)  # argparse takes no flag between settings
    sys.argv = [f"guidekit {command}", *settings, *search_path(), *helping(command, settings)]
    with tempfile.TemporaryDirectory() as refused:
        job = functools.partial(_one_of_several, command, settings, refused)
        hydra.main(config_path=f"pkg://{CONFIGS}", config_name=command, version_base=None)(job)()
        if {"--multirun", "-m"} & set(settings) and command == "sample":
            from guidekit.commands.sweep import summarize

            summarize(settings)
        return 2 if os.listdir(refused) else 0


def _one_of_several(command: str, settings: list[str], refused: str, config: Any) -> None:
    """A job of Hydra, in this process or another; where one is refused the others go on, and a file tells of it."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from guidekit.cli.compose import refuse_added, refuse_classes
    from guidekit.running.declared import of_command
    from guidekit.running.groups import check_registered, check_types, flat_keys, load_command, plain
    from guidekit.running.spoken import say

    given = plain(config)
    try:
        usual = load_command(command, HydraConfig.get().runtime.choices)
        refuse_added(command, settings, flat_keys(usual))
        check_types(usual, given, of_command(command))
        refuse_classes(given)
        check_registered(given)
        if command == "sample" and HydraConfig.get().mode == RunMode.MULTIRUN:
            from guidekit.commands.sweep import folder_of_job

            given["output"] = folder_of_job(given["output"], settings, HydraConfig.get().overrides.task)
        say(command, HydraConfig.get().overrides.task)
        _job(command)(given)
    except (ValueError, ImportError, OSError) as error:
        if os.environ.get("GUIDEKIT_TRACEBACK"):
            raise
        print(f"guidekit: {_sentence(error)}", file=sys.stderr)
        with tempfile.NamedTemporaryFile(dir=refused, delete=False):
            pass


__all__ = ["main"]
