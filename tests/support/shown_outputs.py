"""Outputs that a rationale shows, against what its code prints."""

from __future__ import annotations

import contextlib
import io
import re

from markdown_it import MarkdownIt

from storage.rows.records import Rationale

INVENTED = "90210"
READER = MarkdownIt("commonmark").disable("html_block")
LABEL = re.compile(r"^[ \t>*_#`+-]*\[code output", re.IGNORECASE)


def shown_invented(row: Rationale) -> list[str]:
    """Blocks and labelled lines of a rationale that hold the invented word."""
    texts = [*row.analyses, *row.verifications]
    fenced = [
        token.content for text in texts for token in READER.parse(text) if token.type == "fence"
    ]
    labelled = [line for text in texts for line in text.split("\n") if LABEL.match(line)]
    return [text for text in fenced + labelled if INVENTED in text]


def printed(code: str, names: dict[str, object]) -> str:
    """What code prints, and the error that ends it."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            exec(code, names)
        except Exception as error:  # noqa: BLE001 - as an interpreter does
            print(f"{type(error).__name__}: {error}")
    return out.getvalue()


def unlike_what_runs(row: Rationale) -> list[str]:
    """Python blocks whose output, in a fresh interpreter, is not what stands behind them."""
    names: dict[str, object] = {}
    wrong = []
    for text in [
        part for pair in zip(row.analyses, row.verifications, strict=True) for part in pair
    ]:
        tokens = [token for token in READER.parse(text) if token.type == "fence"]
        for at, token in enumerate(tokens):
            if token.info.strip().casefold().startswith("py"):
                shown = tokens[at + 1].content if at + 1 < len(tokens) else "nothing"
                if shown.strip() != printed(token.content, names).strip().replace("```", "'''"):
                    wrong.append(token.content)
    return wrong
