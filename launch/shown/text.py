"""Texts of others on a terminal: without control characters, and never read as markup.

Invariant: nothing that a model, a file or a store says moves the cursor, changes the direction of a
line or becomes a colour.
"""

from __future__ import annotations

import json
import re

from rich.text import Text


def printable(text: str) -> str:
    """The text with U+FFFD in the place of each control character but ends of lines and tabs."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text)


def plain(text: str, style: str = "") -> Text:
    """The text for rich, which is not read as markup."""
    return Text(printable(text), style)


def json_line(value: object) -> str:
    """JSON of one line for scripts, which a terminal may show: control characters are escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else re.sub(r"[^ -~]", _escaped, text)


def _escaped(match: re.Match[str]) -> str:
    letter = match[0]
    return letter if letter.isprintable() else json.dumps(letter)[1:-1]
