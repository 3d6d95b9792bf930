"""Functions of the user's own, by name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from guidekit.errors import UnknownNameError, raised_in


def user_function(path: str) -> Callable:
    """The function named by "module:function", imported with the current folder on the path.

    Raises:
        ValueError: the module cannot be found or imported, or has no such function.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise ValueError(f"{path!r} names no function; write module:function")
    if module_name.endswith(".py"):
        instead = ".".join(Path(module_name).with_suffix("").parts)
        raise ValueError(f"{path!r} names a file; write its module, as in {instead}:{attribute}")
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
    except Exception as error:  # the user's code, whatever it does
        where = raised_in(error, module_name)
        raise ValueError(f"{path!r}: importing {module_name} failed: {type(error).__name__}: {error}{where}") from error
    if not callable(getattr(module, attribute, None)):
        choices = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UnknownNameError(f"function in module {module_name}", attribute, choices)
    return getattr(module, attribute)
