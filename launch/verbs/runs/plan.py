"""The verb `plan`: it plans a build and prints the ranges."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from launch.shown.plans import plan_table
from launch.shown.text import json_line, say
from workflows.builds.configuration import BuildConfig
from workflows.builds.plan import plan


def show_plan(
    config: BuildConfig, source: str | None, gpu: str | None, keep: bool, as_json: bool
) -> None:
    """Plan a build and print it."""
    made = plan(config, source, gpu=gpu, keep=keep)
    if as_json:
        say(json_line(asdict(made)))
        return
    console = Console(highlight=False)
    console.print(plan_table(made))
    for note in made.notes:
        console.print(Text(note))
