"""A finished run with rows of every stage that a model that reads is taught from."""

from __future__ import annotations

from storage.objects.store import ObjectStore
from storage.rows.kinds import EXAMPLES, LABELS, PATHS, ROAD, stage_rows
from storage.rows.records import Example, Message, Path, PathLabels, Problem
from storage.runs.run import Run
from storage.runs.specs import ShardPlan, Spec, input_digest

PROBLEM = "What is 1 + 2 + 3?"
STEPS = ("1 + 2 = 3", "3 + 3 = 6", "so \\boxed{6}")
MOST = 8
"""Most rollouts of a state."""


def path(number: int, correct: bool, **changes: object) -> Path:
    """A sampled solution."""
    fields: dict[str, object] = {
        "path_id": f"q0#{number}", "problem_id": "q0", "index": number, "round": 0,
        "text": "\n".join(STEPS), "steps": list(STEPS), "finish_reason": "stop", "answer": "6",
        "correct": correct, "valid": True, "invalid_reason": None, "duplicate_of": None,
        "selected": True, "tokens": 9, "seed": number,
    }  # fmt: skip
    return Path(**{**fields, **changes})  # type: ignore[arg-type]


def example(number: int, labels: list[bool], mc: list[float]) -> Example:
    """A kept solution."""
    turns = [Message("system", "S")]
    for at, step in enumerate(STEPS):
        asked = f"Question: {PROBLEM}\n\n{step}" if at == 0 else step
        turns += [Message("user", asked), Message("assistant", "A")]
    first = labels.index(False) if False in labels else None
    return Example(turns, "q0", f"q0#{number}", labels, first, mc, [], "P", "C", "R", "solved")


def solved_run(store: ObjectStore, labelled: bool = True) -> Run:
    """Five samples of one problem, of which two passed consensus: one wrong, one right."""
    given = [Problem("q0", PROBLEM, "6")]
    road = tuple(stage for stage in ROAD if labelled or stage != LABELS.stage)
    configuration = {
        "stages": {
            "estimate": {"k_hard": MOST},
            "label": {"form": "ratio", "threshold": 0.8},
        }
    }
    spec = Spec(configuration, input_digest(given), ShardPlan(1, 1), stages=road)
    run = Run.start(store, "solved", spec)
    run.store_input(given)
    dead, alive = [0.5, 0.75, 0.0, 0.0], [0.5, 0.75, 0.5, 1.0]
    rows = {
        PATHS.stage: [
            path(0, False), path(1, True), path(2, True, duplicate_of="q0#1"),
            path(3, False, valid=False), path(4, False),
        ],
        LABELS.stage: [
            PathLabels("q0#0", "q0", dead, [8, 4, 8, 0], [1.5, 0.0, 0.0], [True, False, False],
                       1, "ratio", 0.8, 0.5),
            PathLabels("q0#1", "q0", alive, [8, 4, 8, 0], [1.5, 2 / 3, 2.0], [True, True, True],
                       None, "ratio", 0.8, 0.5),
        ],
        EXAMPLES.stage: [
            example(0, [True, False, False], dead), example(1, [True, True, True], alive),
        ],
    }  # fmt: skip
    for stage in road:
        if stage != "problems":
            run.publish(stage_rows(stage), 0, rows.get(stage, []))
    run.finish()
    return run
