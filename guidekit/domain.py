"""Domains: adapters between a science's objects and the states that priors sample."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from guidekit.core.state import State
from guidekit.priors.base import Prior


class MissingExtraError(ImportError):
    """An optional dependency is absent; the message names the extra to install."""


class UnknownNameError(ValueError):
    """A name is none of the known ones; the message has the choices and the nearest match."""

    def __init__(self, kind: str, name: str, choices: Iterable[str]) -> None:
        choices = sorted(choices)
        near = difflib.get_close_matches(name, choices, 1, 0.5)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        super().__init__(f"no {kind} named {name!r}{hint}; accepted: {', '.join(choices) or 'none'}")


def require(extra: str, module: str) -> ModuleType:
    """Import a module, or say which extra of guidekit provides it.

    Args:
        extra: name of a guidekit extra, such as "molecules".
        module: importable name, such as "rdkit".

    Raises:
        MissingExtraError: the module is not installed. Errors raised inside an installed module pass through.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise _missing(extra, error) from error


def _missing(extra: str, error: ModuleNotFoundError) -> MissingExtraError:
    return MissingExtraError(f"'{error.name}' is needed here and is not installed: pip install \"guidekit[{extra}]\"")


class Domain:
    """Base of all domains; a subclass lives in its own folder and registers under the entry point guidekit.domains.

    Attributes:
        name: of the domain and of its extra.
        objects: what a decoded state is, for messages ("molecules").
        suffix: file suffix of `write` in the field's own format.
    """

    name: str
    objects: str
    suffix: str

    def load_prior(self, name: str = "default") -> Prior:
        """A prior shipped with the domain, or one in a checkpoint folder."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement load_prior")

    def encode(self, objects: Sequence[Any]) -> State:
        """Objects to clean states (B, *S)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement encode")

    def decode(self, states: State) -> list[Any]:
        """Clean states to objects, None where a state is no valid object."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement decode")

    @property
    def rewards(self) -> Mapping[str, Callable]:
        """Rewards by name, ready to be given to a guidance; called with options they make one with these options."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement rewards")

    def evaluate(
        self, objects: Sequence[Any], reference: Sequence[Any] | None = None, **options: Any
    ) -> dict[str, float]:
        """The field's standard metrics of objects (None = invalid) against a reference."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement evaluate")


def domain_names() -> list[str]:
    """Names of all registered domains, without importing them."""
    return sorted({entry.name for entry in entry_points(group="guidekit.domains")})


def load_domain(name: str) -> Domain:
    """A registered domain by name.

    Raises:
        UnknownNameError: no such domain.
        MissingExtraError: its extra is not installed.
    """
    found = {entry.name: entry for entry in entry_points(group="guidekit.domains")}
    if name not in found:
        raise UnknownNameError("domain", name, found)
    try:
        return found[name].load()()
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "guidekit":
            raise
        raise _missing(name, error) from error


def user_function(path: str) -> Callable:
    """The function named by "module:function", imported with the current folder on the path.

    Raises:
        ValueError: the module cannot be found, or has no such function.
    """
    import sys

    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise ValueError(f"{path!r} names no function; write module:function")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        raise ValueError(
            f"{path!r}: there is no module {module_name!r} in {Path.cwd()} or on the Python path"
        ) from error
    if not callable(getattr(module, attribute, None)):
        choices = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UnknownNameError(f"function in module {module_name}", attribute, choices)
    return getattr(module, attribute)
