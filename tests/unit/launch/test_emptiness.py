"""Why a finished run made no row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launch.verbs.looking.emptiness import why_empty
from storage.objects.memory import MemoryStore
from storage.rows.kinds import stage_rows
from storage.rows.records import Drop, Path
from storage.runs.run import Run
from storage.runs.specs import ShardPlan, Spec, input_digest
from tests.support.whole_run import finished, path, problems


def test_a_run_with_rows_is_not_empty() -> None:
    assert why_empty(finished(MemoryStore())) is None


def invalid(index: int, reason: str | None) -> Path:
    made = path("train/0", index, selected=False)
    return replace(made, correct=False, valid=reason is None, invalid_reason=reason)


@pytest.mark.parametrize(
    ("paths", "drops", "why"),
    [
        (["no_box"] * 3 + ["truncated"], {}, "most was lost as no_box (3 in stage sample)"),
        ([None] * 2 + ["no_box"], {}, "most was lost as incorrect (2 in stage sample)"),
        (["no_box"], {"rationalize": 2}, "most was lost as no_code (2 in stage rationalize)"),
        ([], {}, "no stage had anything to work on"),
    ],
)
def test_the_reason_that_took_most_is_named(
    paths: list[str | None], drops: dict[str, int], why: str
) -> None:
    given = problems(1)
    run = Run.start(MemoryStore(), "empty", Spec({}, input_digest(given), ShardPlan(1, 4)))
    run.store_input(given)
    for stage in run.spec.stages[1:]:
        rows = [invalid(at, reason) for at, reason in enumerate(paths)] if stage == "sample" else []
        lost = [Drop(f"item {at}", "no_code", "") for at in range(drops.get(stage, 0))]
        run.publish(stage_rows(stage), 0, rows, lost)
    run.finish()
    assert why_empty(run) == why
