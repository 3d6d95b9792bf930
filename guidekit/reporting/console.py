"""What reaches the terminal: text from files is shown, never obeyed."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console as RichConsole
from rich.text import Text

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that steer a terminal or reorder a line, and halves of characters; line breaks and tabs are none."""


def plain(text: object) -> str:
    r"""Text with what steers a terminal spelled out: an escape character becomes \x1b."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


class Console(RichConsole):
    """A console of rich whose texts, also those in tables, are `plain`, and [brackets] and :colons: mean themselves."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich does, of the plain text."""
        return super().render_str(plain(text), **options)
