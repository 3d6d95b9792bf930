"""Configuration from the command line: Hydra's grammar, with one-line answers to wrong names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guidekit.domain import UnknownNameError
from guidekit.running.groups import CONFIGS, group_choices, groups


class UsageError(ValueError):
    """A command line that cannot be understood; the message says what was wrong and what is accepted."""


def rewrite(arguments: Sequence[str]) -> list[str]:
    """Short forms spelled out: reward=module:function names a user's function."""
    rewritten = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key == "reward" and ":" in value:
            rewritten += ["reward=function", f"reward.path={value}"]
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
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    chosen, keyed = [], []
    for argument in rewrite(arguments):
        key, equals, value = argument.partition("=")
        if not equals:
            raise UsageError(f"{argument!r} is no setting; write key=value, such as num_samples=64")
        if key in groups():
            if value not in group_choices(key):
                raise UnknownNameError(key, value, group_choices(key))
            chosen.append(argument)
        else:
            keyed.append(argument)
    with hydra.initialize_config_module(CONFIGS, version_base=None):
        try:
            return OmegaConf.to_container(hydra.compose(command, [*chosen, *keyed]), resolve=True)
        except (HydraException, OmegaConfBaseException) as error:
            known = flat_keys(OmegaConf.to_container(hydra.compose(command, chosen)))
            for argument in keyed:
                key = argument.partition("=")[0].lstrip("+~")
                if key not in known:
                    raise UnknownNameError(f"setting of guidekit {command}", key, [*known, *groups()]) from None
            raise UsageError(str(error).splitlines()[0]) from error


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
