"""The verb `evaluate`: measures of a verifier on a benchmark, as a table, files and curves.

    OUT/measures.parquet, measures.json, *.png

Invariant: OUT is checked before any model is called.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from launch.shown.figures import draw, table_of
from launch.shown.terminal import TERMINAL
from launch.shown.text import json_line, say
from launch.verbs.models.out import out_folder
from workflows.evaluation.run import Evaluated, Evaluation, evaluate, write


def evaluate_file(
    evaluation: Evaluation, out: Path | None, address: str | None, as_json: bool
) -> Evaluated:
    """Evaluate, write OUT, and print the table."""
    folder = out_folder(out, "evaluations", f"{evaluation.file.stem}-{evaluation.suite}")
    evaluated = evaluate(evaluation, address, TERMINAL)
    write(evaluated, folder)
    draw(evaluated.measures, evaluation.suite, folder)
    if as_json:
        say(json_line({**asdict(evaluated), "out": str(folder)}))
    else:
        Console().print(table_of(evaluated.measures, evaluation.suite, evaluation.n))
        say(f"written: {folder}/measures.parquet, measures.json, *.png")
    return evaluated
