"""Writes the answers of a finished run to files, and sums them up.

    FOLDER/solutions.jsonl     an object per problem: answer, steps, rewards, all candidates
    FOLDER/searches.parquet    the whole searches (`storage.rows.records.Solved`)

Invariant: the files are written from commits alone, and replaced whole.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.rows.kinds import SOLVED
from storage.rows.records import Candidate, Problem, Solved
from storage.runs.run import Run
from workflows.scoring.output import replaced, table_written
from workflows.solving.run import solved

_ROWS = 64
"""Searches per row group."""


@dataclass(frozen=True, slots=True)
class SolveSummary:
    """Totals of a run that solves problems."""

    run: str
    method: str
    problems: int
    answered: int
    known: int
    """Problems whose right answer is known."""
    right: int
    """Right answers among those."""
    candidates: int
    """Whole solutions that were found."""
    samples: int
    judged: int
    """Steps that were judged, in all histories."""
    policy_tokens: int
    verifier_tokens: int
    ended: dict[str, int]
    """Why searches ended -> how many."""
    dropped: dict[str, int]

    @property
    def accuracy(self) -> float | None:
        """Share of right answers; None where none is known. A problem without answer is wrong."""
        return self.right / self.known if self.known else None


def write_solutions(run: Run, folder: Path) -> SolveSummary:
    """Write a finished run's answers to a folder and return their totals."""
    folder.mkdir(parents=True, exist_ok=True)
    totals, ended = Counter[str](), Counter[str]()
    with (
        replaced(folder / "solutions.jsonl") as lines,
        table_written(folder / "searches.parquet", Solved, _ROWS) as add,
    ):
        for problem, found in solved(run):
            totals["known"] += bool(problem.answer)
            if found is None:
                continue
            totals["right"] += bool(found.correct)
            totals["answered"] += found.answer is not None
            ended[found.ended] += 1
            line = json.dumps(told(problem, found), ensure_ascii=False)
            lines.write(line.encode() + b"\n")
            add(found)
    stage = run.totals(SOLVED.stage)
    counts = stage.counts
    return SolveSummary(
        run=run.name,
        method=run.spec.configuration["solve"]["method"],
        problems=run.spec.plan.items,
        answered=totals["answered"],
        known=totals["known"],
        right=totals["right"],
        candidates=counts.get("solutions", 0),
        samples=counts.get("samples", 0),
        judged=counts.get("judged", 0),
        policy_tokens=counts.get("policy_tokens", 0),
        verifier_tokens=counts.get("verifier_tokens", 0),
        ended=dict(sorted(ended.items())),
        dropped=stage.drops,
    )


def told(problem: Problem, found: Solved) -> dict[str, Any]:
    """What is written of a problem; `stepmill score` reads it as a response."""
    return {
        "problem_id": problem.problem_id,
        "problem": problem.problem,
        "answer": found.answer,
        "correct": found.correct,
        "steps": found.solution,
        **_scores(found, found.candidates[found.chosen] if found.chosen >= 0 else None),
        "method": found.method,
        "ended": found.ended,
        "tokens": {"policy": found.policy_tokens, "verifier": found.verifier_tokens},
        "candidates": [
            {
                "answer": each.answer,
                "correct": each.correct,
                "copies": each.copies,
                "steps": found.steps_of(each),
                **_scores(found, each),
            }
            for each in found.candidates
        ],
    }


def _scores(found: Solved, candidate: Candidate | None) -> dict[str, Any]:
    if candidate is None:
        return dict(rewards=[], score=None)
    return dict(rewards=found.rewards_of(candidate), score=candidate.score)
