r"""Texts of others, where people read them: on terminals, in JSON and in Markdown.

Invariant: nothing that a model, a file or a store says moves a cursor, changes the direction of a
line, or becomes markup.
"""

from __future__ import annotations

import json
import re

_MARKUP = re.compile(r"[\\`*\[\]<>&$]")


def printable(text: str) -> str:
    """The text with U+FFFD in the place of each control character but ends of lines and tabs."""
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text)


def escaped(document: str) -> str:
    """The same JSON, its control characters escaped; ends of lines between values stay."""
    return document if document.isprintable() else re.sub(r"[^ -~\n]", _escaped, document)


def on_one_line(text: str) -> str:
    """The printable text, each run of blanks and ends of lines as one blank."""
    return printable(" ".join(text.split()))


def in_markdown(text: str) -> str:
    """The text on one line of Markdown, where it is no markup."""
    return _MARKUP.sub(r"\\\g<0>", on_one_line(text))


def cell(text: str) -> str:
    """Markdown, on one line, as one cell of a table."""
    return on_one_line(text).replace("|", "\\|")


def _escaped(match: re.Match[str]) -> str:
    letter = match[0]
    return letter if letter.isprintable() else json.dumps(letter)[1:-1]
