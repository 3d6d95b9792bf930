"""Configuration from the command line: Hydra's grammar, with one-line answers to wrong names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from guidekit.names import UnknownNameError
from guidekit.running.groups import CONFIGS, check_types, group_choices, groups
from guidekit.running.targets import refuse_targets


class UsageError(ValueError):
    """A command line that cannot be understood; the message says what was wrong and what is accepted."""


def rewrite(arguments: Sequence[str]) -> list[str]:
    """Short forms spelled out: reward=module:function names a user's function, data=a=one.fasta,b=two.fasta classes."""
    rewritten = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key == "reward" and ":" in value:
            rewritten += ["reward=function", f"reward.path={value}"]
        elif key == "data" and ("," in value or "=" in value) and not value.startswith(("'", '"')):
            rewritten.append(f'data="{value}"')
        else:
            rewritten.append(argument)
    return rewritten


def compose(command: str, arguments: Sequence[str]) -> dict[str, Any]:
    """The resolved configuration of a command.

    Args:
        command: name of a top-level YAML file (sample, train, evaluate, bench).
        arguments: overrides such as "num_samples=64" and group choices such as "guidance=svdd".

    Raises:
        UsageError: an override that is no key=value, or a value that cannot be parsed.
        UnknownNameError: a group choice or key that does not exist; the nearest one is named.
        ValueError: a value of another type than the shipped one (see `check_types`).
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    refuse_hydra(arguments)
    chosen, keyed = [], []
    for argument in rewrite(arguments):
        key, equals, value = argument.partition("=")
        if not equals:
            raise UsageError(
                f"{argument!r} is no setting; write key=value, such as num_samples=64 (quote values with blanks)"
            )
        if key in groups():
            if value not in group_choices(key):
                raise UnknownNameError(key, value, group_choices(key))
            chosen.append(argument)
        else:
            keyed.append(argument)
    with hydra.initialize_config_module(CONFIGS, version_base=None):
        try:
            config = OmegaConf.to_container(hydra.compose(command, [*chosen, *keyed]), resolve=True)
        except (HydraException, OmegaConfBaseException) as error:
            known = flat_keys(OmegaConf.to_container(hydra.compose(command, chosen)))
            for argument in keyed:
                key = argument.partition("=")[0]
                if key.lstrip("+~") not in known:
                    raise UnknownNameError(f"setting of guidekit {command}", key, siblings(key, known)) from None
            raise UsageError(told(str(error).splitlines()[0])) from error
        if keyed:
            shipped = OmegaConf.to_container(hydra.compose(command, chosen), resolve=True)
            refuse_added(command, keyed, flat_keys(shipped))
            check_types(shipped, config)
            refuse_targets(config)
        return config


def refuse_added(command: str, settings: Sequence[str], known: Sequence[str]) -> None:
    """Raise UnknownNameError where +key=value adds what nothing reads; only options of networks and limits are open."""
    for setting in settings:
        key = setting.partition("=")[0]
        if key.startswith("+") and key.lstrip("+") not in known and ".options." not in key:
            raise UnknownNameError(f"setting of guidekit {command}", key, siblings(key.lstrip("+"), known))


def refuse_choices(settings: Sequence[str]) -> None:
    """Raise UnknownNameError for a group choice that does not exist, also one of several, as in guidance=svdd,fk."""
    for setting in settings:
        key, equals, value = setting.partition("=")
        group = key.lstrip("+").partition("@")[0]
        if not equals or group not in groups() or value.startswith("glob("):
            continue
        for name in re.findall(r"[^,()\s]+(?=[,)\s]|$)", value):  # not the function in choice(svdd,fk_steering)
            if name not in group_choices(group):
                raise UnknownNameError(group, name, group_choices(group))


FLAGS = (
    *("--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--resolve", "--package", "-p", "--info", "-i"),
    *("--run", "-r", "--multirun", "-m", "--shell-completion", "-sc"),
)
"""Flags of Hydra that read nothing but what ships; the others load settings, or a pickle, of the user's own."""

OF_HYDRA = re.compile(
    r"[+]*(hydra\.(run\.dir|sweep\.(dir|subdir)|verbose|job\.(name|chdir))=([^{}]|\$\{now:[^{}]*\})*"
    r"|hydra/(launcher|sweeper)=\w+|hydra\.(launcher|sweeper)(\.(?!_)\w+)+=[^{}()\[\]$]*)"
)
"""Settings of Hydra itself that name no class and no file to be read."""


def refuse_hydra(settings: Sequence[str]) -> None:
    """Refuse flags and settings of Hydra by which it would import classes, or files that did not come with guidekit.

    Raises:
        ValueError: with what is accepted.
    """
    for setting in settings:
        name, equals, _ = setting.partition("=")
        if setting.startswith("-") and name not in FLAGS:
            raise UnknownNameError("flag", name, FLAGS)
        if equals and re.search(r"\bhydra\b", name) and not OF_HYDRA.fullmatch(setting):
            raise UsageError(
                f"{setting!r}: of Hydra's own settings, hydra.run.dir, hydra.sweep.dir, hydra.sweep.subdir, "
                "hydra.verbose, hydra.job, hydra/launcher, hydra/sweeper and plain options of these are accepted"
            )


def told(message: str) -> str:
    """A message of Hydra's grammar, with the usual remedy where the shell took the quotes."""
    if message.startswith(("mismatched input", "token recognition", "extraneous input", "no viable", "Ambiguous")):
        return f"{message}; a value with commas or other special characters needs quotes: 'key=\"value\"'"
    return message


def siblings(key: str, known: Sequence[str]) -> list[str]:
    """The settings a mistyped one may have meant: those of its group, or all where there is no such group."""
    group = key.rpartition(".")[0]
    return [name for name in known if group and name.startswith(f"{group}.")] or list(known)


def flat_keys(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of all settings, such as guidance.alpha."""
    names = []
    for key, value in config.items():
        if str(key).startswith("_"):
            continue
        names.append(prefix + key)
        if isinstance(value, Mapping):
            names += flat_keys(value, f"{prefix}{key}.")
    return names
