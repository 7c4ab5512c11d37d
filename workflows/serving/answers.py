"""What is answered: a score, a step of it, or why there is none, as JSON values.

Invariant: pure. The rewards of a score are the means over its histories, and `first_error` follows
from them, as in `scores.jsonl` of a score run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from storage.rows.records import Verification
from workflows.serving.answering import StepJudged
from workflows.serving.questions import How, Question, Unasked
from workflows.serving.troubles import Trouble
from workflows.stages.scorers.contract import Scored
from workflows.votes.rewards import first_error_index, solution_score

SCORE = "score"
"""The field of a score that sums its rewards up, and the event that a score is."""
SAID_ONCE = ("response_id", "model", "mode")
"""Of a history, what stands beside it already."""


def score_json(question: Question, scored: Scored, how: How) -> dict[str, Any]:
    """The answer to one question."""
    rewards = scored.rewards
    answer = {
        "id": question.name,
        SCORE: solution_score(rewards, how.aggregate),
        "rewards": rewards,
        "first_error": first_error_index(rewards),
        "n": len(scored.histories),
        "mode": question.mode,
        "model": scored.histories[0].model,
        "tokens": sum(history.tokens for history in scored.histories),
        "lost": dict(Counter(error.reason for error in scored.lost)),
    }
    if how.details:
        answer["histories"] = [_history(row) for row in scored.histories]
    return answer


def step_json(question: Question, part: StepJudged, how: How) -> dict[str, Any]:
    """One step of one history."""
    row = part.row
    step = {
        "id": question.name,
        "history": row.history,
        "step": part.step,
        "reward": row.rewards[0],
    }
    if how.details:
        step |= {
            "analysis": next(iter(row.analyses), ""),
            "verification": next(iter(row.verifications), ""),
            "executions": [asdict(run) for run in row.executions],
            "degraded": next(iter(row.degraded), False),
        }
    return step


def trouble_json(question: Question | Unasked, trouble: Trouble) -> dict[str, Any]:
    """Why a question has no answer."""
    return {"id": question.name, **trouble.body}


def _history(row: Verification) -> dict[str, Any]:
    values = asdict(row)
    return {name: value for name, value in values.items() if name not in SAID_ONCE}
