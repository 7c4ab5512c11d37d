"""The verb `solve`: answers to a file of problems by search, as a run and as files.

    OUT/solutions.jsonl, OUT/searches.parquet    see `workflows.solving.output`

Invariant: OUT is checked before any model is called, and the summary is counted from commits.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from launch.shown.terminal import TERMINAL
from launch.shown.text import json_line, say
from launch.verbs.models.out import out_folder
from workflows.solving.output import SolveSummary, write_solutions
from workflows.solving.run import solve
from workflows.solving.settings import SolveConfig


def solve_file(config: SolveConfig, out: Path | None, address: str | None, as_json: bool) -> None:
    """Solve the configuration's problems, write OUT and print a summary."""
    folder = out_folder(out, "solutions", config.run)
    summary = write_solutions(solve(config, address=address, listener=TERMINAL), folder)
    if as_json:
        said = asdict(summary) | {"accuracy": summary.accuracy, "out": str(folder)}
        say(json_line(said))
    else:
        show(summary, folder)


def show(summary: SolveSummary, folder: Path) -> None:
    """Print the summary as text."""
    each = max(1, summary.problems)
    right = f", {summary.right:,} of {summary.known:,} right" if summary.known else ""
    lines = [
        f"{summary.method}: {summary.answered:,} of {summary.problems:,} problems answered{right}",
        f"{summary.candidates:,} solutions of {summary.samples:,} samples, "
        f"{summary.judged:,} steps judged",
        f"tokens: policy {summary.policy_tokens:,}, verifier {summary.verifier_tokens:,}; "
        f"{(summary.policy_tokens + summary.verifier_tokens) / each:,.0f} a problem",
        f"searches ended: {_listed(summary.ended)}",
    ]
    if summary.dropped:
        lines.append(f"without an answer: {_listed(summary.dropped)}")
    lines.append(f"written: {folder}/solutions.jsonl, {folder}/searches.parquet")
    for line in lines:
        say(line)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(counts.items())) or "none"
