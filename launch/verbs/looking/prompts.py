"""The verb `prompts`: lists the prompts of a build, or writes them as files to change."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from launch.shown.tables import Sheet
from launch.shown.text import say
from workflows.formats.prompt_files import PROMPTS, write_prompts


def show_prompts(folder: Path | None) -> None:
    """Print every prompt's name and variables, or write all prompts to a folder.

    Raises ConfigurationError.
    """
    if folder is not None:
        files = write_prompts(folder)
        say(f"{len(files)} prompts written to {folder}: `prompts: {folder}` asks them")
        return
    table = Sheet("prompts")
    for name in ("prompt", "must show", "may use", "what it is"):
        table.add_column(name, overflow="fold")
    for prompt in PROMPTS.values():
        table.add_row(prompt.name, ", ".join(prompt.must), ", ".join(prompt.may), prompt.says)
    Console().print(table)
