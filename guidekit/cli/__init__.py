"""The command line: `guidekit sample | train | evaluate | bench | list`, one file a command."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

HELP = """guidekit - guided sampling of diffusion priors

  guidekit sample    domain=molecules reward=qed guidance=svdd num_samples=32
  guidekit evaluate  domain=molecules samples=outputs/run/samples.csv
  guidekit train     domain=molecules output=mine.safetensors trainer.minutes=60
  guidekit bench     suite=speed
  guidekit list      domains, guidances, rewards, tasks, samplers, priors

Settings are key=value (Hydra's grammar). `guidekit sample --cfg job` prints all of them,
`guidekit sample --multirun seed=0,1,2` sweeps, `guidekit sample --help` says more."""


COMMANDS = ("sample", "evaluate", "train", "bench")
"""Commands that take settings; each is a module of this package with `run(config)`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the `guidekit` script.

    Returns:
        0 when all went well, 2 for bad input (one line on stderr says what), 130 after an interrupt. Set the
        environment variable GUIDEKIT_TRACEBACK to see where an error came from.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    try:
        return _dispatch(arguments[0], arguments[1:])
    except KeyboardInterrupt:
        return 130
    except (ValueError, ImportError, OSError) as error:
        if os.environ.get("GUIDEKIT_TRACEBACK"):
            raise
        print(f"guidekit: {_sentence(error)}", file=sys.stderr)
        return 2


def _sentence(error: Exception) -> str:
    """What went wrong in one line."""
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"there is no file or folder {error.filename}"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return " ".join(str(error).split())


def _dispatch(command: str, settings: list[str]) -> int:
    from guidekit.domain import UnknownNameError

    if command == "list":
        from guidekit.cli import listing

        return listing.run(settings)
    if command not in COMMANDS:
        raise UnknownNameError("command", command, [*COMMANDS, "list"])
    job = importlib.import_module(f"guidekit.cli.{command}").run
    if any(setting.startswith("-") for setting in settings):
        return _hydra(command, settings, job)
    from guidekit.cli.compose import compose

    job(compose(command, settings))
    return 0


def _hydra(command: str, settings: list[str], job: Callable[[dict], object]) -> int:
    """Hydra's own entry, for its flags: --multirun, --cfg, --help, shell completion."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from guidekit.cli.compose import refuse_choices, rewrite
    from guidekit.running.groups import CONFIGS, check_types, load_command

    refused = []

    def task(config) -> None:
        given = OmegaConf.to_container(config, resolve=True)
        try:
            check_types(load_command(command, HydraConfig.get().runtime.choices), given)
            job(given)
        except (ValueError, ImportError, OSError) as error:  # the other runs of a sweep go on
            if os.environ.get("GUIDEKIT_TRACEBACK"):
                raise
            print(f"guidekit: {_sentence(error)}", file=sys.stderr)
            refused.append(error)

    refuse_choices(rewrite(settings))
    settings.sort(key=lambda setting: setting not in ("--multirun", "-m"))  # argparse takes no flag between settings
    sys.argv = [f"guidekit {command}", *rewrite(settings)]
    hydra.main(config_path=f"pkg://{CONFIGS}", config_name=command, version_base=None)(task)()
    return 2 if refused else 0


__all__ = ["main"]
