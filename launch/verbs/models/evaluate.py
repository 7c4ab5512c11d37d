"""The verb `evaluate`: what a verifier is worth on a benchmark, as a table, files and curves.

    OUT/measures.parquet, measures.json, *.png

Invariant: OUT is looked at before anybody is asked.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console

from launch.shown.figures import draw, table_of
from launch.shown.terminal import TERMINAL
from launch.verbs.models.out import out_folder
from workflows.evaluation.run import Evaluated, Evaluation, evaluate, write


def evaluate_file(
    wanted: Evaluation, out: Path | None, address: str | None, as_json: bool
) -> Evaluated:
    """Evaluate, write OUT, and print the table."""
    folder = out_folder(out, "evaluations", f"{wanted.file.stem}-{wanted.suite}")
    found = evaluate(wanted, address, TERMINAL)
    write(found, folder)
    draw(found.measures, wanted.suite, folder)
    if as_json:
        typer.echo(json.dumps({**asdict(found), "out": str(folder)}, ensure_ascii=False))
    else:
        console = Console()
        console.print(table_of(found.measures, wanted.suite, wanted.n))
        console.print(f"written: {folder}/measures.parquet, measures.json, *.png", highlight=False)
    return found
