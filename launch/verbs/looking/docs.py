"""The verb `docs`: lists the pages of the documentation that are installed, or prints one."""

from __future__ import annotations

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from launch.packaged import packaged, pages
from launch.shown.text import say


def show_docs(name: str | None) -> None:
    """Print the names of all pages, or one page: as it is, or laid out where it is read.

    Raises ConfigurationError for a page that is not there.
    """
    console = Console(highlight=False)
    if name is None:
        table = Table(box=None, pad_edge=False, show_header=False)
        for page in pages().values():
            table.add_row(page.name, page.says)
        console.print(table)
        return
    text = packaged(name, pages(), "page").file.read_text(encoding="utf-8")
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        say(text, nl=False)
