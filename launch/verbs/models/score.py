"""The verb `score`: a verifier's rewards for a file of responses, as a run and as files.

    OUT/scores.jsonl, OUT/scores.parquet    see `workflows.scoring.output`

Invariant: the printed summary is counted from the files that were written.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from launch.shown.terminal import TERMINAL
from launch.shown.text import json_line, say
from launch.verbs.models.out import out_folder
from workflows.scoring.output import ScoreSummary, write_scores
from workflows.scoring.run import score
from workflows.scoring.settings import ScoreConfig


def score_file(config: ScoreConfig, out: Path | None, address: str | None, as_json: bool) -> None:
    """Score the configuration's file, write OUT and print a summary."""
    folder = out_folder(out, "scores", config.run)
    summary = write_scores(score(config, address=address, listener=TERMINAL), folder)
    if as_json:
        say(json_line(asdict(summary) | {"out": str(folder)}))
    else:
        show(summary, folder)


def show(summary: ScoreSummary, folder: Path) -> None:
    """Print the summary as text."""
    ran = ", ".join(f"{verdict} {n:,}" for verdict, n in sorted(summary.code_runs.items()))
    lines = [
        f"{summary.scored:,} of {summary.responses:,} responses scored, {summary.steps:,} steps in "
        f"{summary.histories:,} histories, {summary.tokens:,} tokens",
        f"judged wrong somewhere: {summary.judged_wrong:,}",
        f"code blocks run: {ran or 'none'}; steps judged without their code: "
        f"{summary.degraded_share:.1%}",
    ]
    if summary.spared_steps:
        share = summary.spared_tokens / max(1, summary.tokens + summary.spared_tokens)
        lines.append(
            f"pruned: {summary.spared_steps:,} steps of histories were not judged, some "
            f"{summary.spared_tokens:,} tokens ({share:.0%})"
        )
    if summary.first_error_right is not None:
        lines.append(f"first error is the label: {summary.first_error_right:.1%}")
    if summary.dropped:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(summary.dropped.items()))
        lines.append(f"not scored: {reasons}")
    lines.append(f"written: {folder}/scores.jsonl, {folder}/scores.parquet")
    for line in lines:
        say(line)
