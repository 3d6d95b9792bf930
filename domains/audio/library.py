"""torchaudio, or one line that says what to install."""

from __future__ import annotations

from types import ModuleType

from guidekit._compat import torchaudio
from guidekit.extras import require


def functional() -> ModuleType:
    """torchaudio.functional, also beside a torch its compiled part was not made for; see `guidekit._compat`.

    Raises:
        MissingExtraError: torchaudio is not installed.
    """
    try:
        torchaudio()
    except ModuleNotFoundError as error:
        if error.name != "torchaudio":
            raise
    return require("audio", "torchaudio.functional")
