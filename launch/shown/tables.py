"""Tables that stay readable on a narrow terminal, and on one that shows ASCII alone.

Invariant: no cell is cut. Where the longest words of a table's columns do not fit beside each
other, each row is a few lines instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from launch.shown.text import plain
from storage.plain_text import printable

LONGEST_WORD = 24
"""Columns of a word that is not broken, such as a reason; longer ones are paths and URLs."""
FRAME = 3
"""Columns of a table that each column takes beside its cells."""
BESIDE = 32
"""Most columns of a value that shares its line with others."""


class Sheet(Table):
    """A table of rich's, or a few lines for each row where it would be too wide."""

    def __init__(self, title: str | None = None, *, headings: int = 1, **settings: Any) -> None:
        """`headings`: the first columns, which name a row."""
        shown = None if title is None else escape(printable(title))
        if isinstance(settings.get("caption"), str):
            settings["caption"] = plain(settings["caption"])
        super().__init__(title=shown, title_justify="left", caption_justify="left", **settings)
        self._headings = headings

    def add_column(self, *header: Any, **settings: Any) -> None:
        """As `Table.add_column`; a cell that is too long goes on in the next line."""
        super().add_column(*header, **{"overflow": "fold", **settings})

    def add_row(self, *cells: Any, **settings: Any) -> None:
        """As `Table.add_row`; a string is text, never markup."""
        texts = (plain(cell) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*texts, **settings)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A table, or lines."""
        if options.ascii_only and isinstance(self.title, str):
            self.title = self.title.replace(" · ", ", ")
        if self._least_width(console, options) <= options.max_width:
            yield from super().__rich_console__(console, options)
        else:
            yield from self._lines(console)

    def _least_width(self, console: Console, options: ConsoleOptions) -> int:
        """Columns of the terminal below which words would be broken."""
        wide = options.update(width=10_000)
        widths = (
            max(Measurement.get(console, wide, cell).minimum for cell in (column.header, *cells))
            for column in self.columns
            for cells in [list(column.cells)]
        )
        return 1 + sum(min(width, LONGEST_WORD) + FRAME for width in widths)

    def _lines(self, console: Console) -> Iterator[Text | Padding]:
        def text(cell: Any) -> Text:
            return cell if isinstance(cell, Text) else console.render_str(str(cell))

        if self.title:
            yield Text(str(self.title), style="bold")
        names = [str(column.header) for column in self.columns]
        for cells in zip(*(column.cells for column in self.columns), strict=True):
            row = [text(cell) for cell in cells]
            yield Text(" ").join(cell for cell in row[: self._headings] if cell.plain)
            values = [
                Text.assemble(name, (": " if len(cell) > BESIDE else " ") if name else "", cell)
                for name, cell in list(zip(names, row, strict=True))[self._headings :]
                if cell.plain
            ]
            short = [value for value in values if len(value) <= BESIDE]
            for line in [Text(", ").join(short), *(v for v in values if len(v) > BESIDE)]:
                if line.plain:
                    yield Padding(line, (0, 0, 0, 2))
        if self.caption:
            yield plain(str(self.caption))
