"""Imports that need help on some machines."""

from __future__ import annotations

import contextlib
import importlib
import sys
from types import ModuleType
from typing import Any

EXTENSION = "torchaudio._extension"


def torchaudio() -> ModuleType:
    """The module torchaudio, also where its compiled part does not fit the installed torch (CUDA wheels beside CPU).

    The normal import comes first. Where the compiled part cannot be loaded it is replaced by a stub that says it is not
    there; spectrograms, resampling and models then work, with gradients. Not there: `forced_align`; `lfilter` is slow.

    Raises:
        ModuleNotFoundError: torchaudio is not installed.
        OSError: it cannot be loaded either way.
    """
    try:
        return importlib.import_module("torchaudio")
    except OSError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        stub: Any = ModuleType(EXTENSION)
        stub._IS_TORCHAUDIO_EXT_AVAILABLE = False
        stub._IS_ALIGN_AVAILABLE = False
        stub.fail_if_no_align = lambda function: function
        sys.modules[EXTENSION] = stub
        try:
            return importlib.import_module("torchaudio")
        except BaseException:
            sys.modules.pop(EXTENSION, None)
            raise


def mended(extra: str, module: str) -> ModuleType:
    """A module that imports torchaudio where it is installed, such as diffusers and transformers: that comes first.

    Raises:
        MissingExtraError: it is not installed; the message names the extra.
    """
    from guidekit.extras import require

    with contextlib.suppress(ImportError, OSError):
        torchaudio()
    return require(extra, module)
