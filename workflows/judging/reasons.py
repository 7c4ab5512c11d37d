"""Whether the reasons of a judge's verifications are real: a second model's scores of them.

Only a verification that reports an error is scored: one without errors gives no reason.

Invariant: depends only on the stored rows. A score that can't be read counts as 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import replace
from statistics import fmean

from storage.rows.records import Judgement, Metaverified, ReasonScore
from workflows.answers import read_answer
from workflows.judging.ballots import counted_turn, read
from workflows.settings import JudgeSettings

SCORES = {"0": 0.0, "0.5": 0.5, "1": 1.0}
"""Content of the last box -> score."""


def read_score(text: str, finish_reason: str) -> float | None:
    """The score that a text ends with; None: it was cut off, or has no such box."""
    return SCORES.get(read_answer(text) or "") if finish_reason == "stop" else None


def reports_error(row: Judgement, settings: JudgeSettings) -> bool:
    """Whether a verification that counts calls a step wrong."""
    labels = read(row, settings, len(row.verdicts)) if row.round == counted_turn(settings) else None
    return labels is not None and not all(labels)


def scored(
    judgements: Iterable[Judgement], rows: Iterable[Metaverified], least: float
) -> list[Judgement]:
    """The judgements with `real`: whether the mean of their scores is at least `least`."""
    found: dict[Hashable, list[float]] = defaultdict(list)
    for row in rows:
        for score in row.scores:
            found[about(row.path_id, score)].append(score.score or 0.0)
    return [
        replace(row, real=fmean(mine) >= least)
        if (mine := found.get(about(row.path_id, row)))
        else row
        for row in judgements
    ]


def about(path_id: str, of: Judgement | ReasonScore) -> tuple[Hashable, ...]:
    """Names a judgement among all, by itself or by a score of it."""
    return path_id, of.prompt, of.sees, of.number, of.round, of.steps
