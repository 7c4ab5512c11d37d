"""Texts of others on a terminal: without control characters, and never read as markup.

Invariant: nothing that a model, a file or a store says moves the cursor, changes the direction of a
line or becomes a colour.
"""

from __future__ import annotations

import json

import typer
from rich.text import Text

from storage.plain_text import escaped, printable


def say(text: str = "", err: bool = False, nl: bool = True) -> None:
    """Print a text of others, or with one in it; `err`: on standard error."""
    typer.echo(printable(text), err=err, nl=nl)


def plain(text: str, style: str = "") -> Text:
    """The text for rich, which is not read as markup."""
    return Text(printable(text), style)


def json_line(value: object) -> str:
    """JSON of one line for scripts, which a terminal may show: control characters are escaped."""
    return escaped(json.dumps(value, ensure_ascii=False))
