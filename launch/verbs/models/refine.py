"""The verb `refine`: critique and refinement in turns; prints a table, writes files and a curve.

    OUT/responses.jsonl, turns.parquet, turns.json    see `workflows.refinement.turns`
    OUT/refinement.png

Invariant: OUT is checked before any model is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from launch.shown.tables import Sheet
from launch.shown.terminal import TERMINAL
from launch.shown.text import json_line, say
from launch.verbs.models.out import out_folder
from workflows.refinement.turns import Refinement, Turn, refine, write


def refine_file(
    refinement: Refinement, out: Path | None, address: str | None, as_json: bool
) -> list[Turn]:
    """Refine, write OUT, and print the table."""
    folder = out_folder(out, "refinements", refinement.file.stem)
    standing, turns = refine(refinement, address, TERMINAL)
    write(standing, turns, folder)
    draw(turns, folder / "refinement.png")
    if as_json:
        rows = [asdict(turn) for turn in turns]
        say(json_line({"turns": rows, "out": str(folder)}))
    else:
        Console().print(table_of(turns))
        say(f"written: {folder}/responses.jsonl, turns.parquet")
    return turns


def table_of(turns: Sequence[Turn]) -> Sheet:
    """Make a table with a row for each turn."""
    table = Sheet("refinement")
    for column in ("turn", "criticised", "new solutions", "accepted so far", "right answers"):
        table.add_column(column, justify="right")
    for turn in turns:
        right = "not known" if turn.accuracy is None else f"{turn.accuracy:.1%}"
        table.add_row(
            str(turn.turn), str(turn.criticised), str(turn.changed),
            f"{turn.accepted} of {turn.responses}", right,
        )  # fmt: skip
    return table


def draw(turns: Sequence[Turn], file: Path) -> None:
    """Draw the accuracy (without known answers the accepted share) over turns, as a PNG."""
    from matplotlib.figure import Figure  # takes a second to import

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    numbers = [turn.turn for turn in turns]
    if all(turn.accuracy is not None for turn in turns):
        axes.plot(numbers, [100 * (turn.accuracy or 0) for turn in turns], marker="o")
        axes.set_ylabel("right answers, percent")
    else:
        axes.plot(numbers, [100 * turn.accepted / turn.responses for turn in turns], marker="o")
        axes.set_ylabel("accepted, percent")
    axes.set_xlabel("turn")
    axes.set_xticks(numbers)
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)
