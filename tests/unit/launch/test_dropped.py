"""A text that was dropped can be read back, and counts for nothing else."""

from __future__ import annotations

import dataclasses
import json

import pytest

from launch.verbs.runs.texts import show_dropped
from storage.audit import audit
from storage.errors import ConfigurationError
from storage.objects.memory import MemoryStore
from storage.rows.kinds import RATIONALES
from storage.rows.records import Drop, Rationale
from storage.runs.run import Run
from tests.support.altered import recommit
from tests.support.whole_run import finished


@pytest.fixture
def run() -> Run:
    """One path of the run was dropped after two attempts, one came through at its second."""
    made = finished(MemoryStore())
    (gone,) = made.commit("rationalize", 0).drops
    first, *others = made.read_rows(RATIONALES, 0)

    def lost(path_id: str, attempt: int, dropped: str) -> Rationale:
        return dataclasses.replace(
            first, path_id=path_id, attempt=attempt, dropped=dropped, text=f"Hm {attempt}.",
            analyses=[], verifications=[],
        )  # fmt: skip

    rows = [
        lost(gone.item, 0, "truncated: 9 tokens in 1 calls"),
        lost(gone.item, 1, "no_code: paragraph 2"),
        lost(first.path_id, 0, "no_code: paragraph 1"),
        dataclasses.replace(first, attempt=1),
        *others,
    ]
    recommit(made, "rationalize", 0, rows, [Drop(gone.item, "no_code")])
    return made


def test_every_text_is_printed_with_its_path_and_its_reason(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    show_dropped(run, None, 10, as_json=False)
    said = capsys.readouterr().out
    assert said.count("===") == 3
    assert "attempt 1: truncated: 9 tokens in 1 calls\nHm 0.\n" in said


def test_texts_of_one_reason_are_asked_for_by_its_name(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    show_dropped(run, "no_code", 10, as_json=True)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["attempt"] for row in rows] == [1, 0]
    assert {row["dropped"].split(":")[0] for row in rows} == {"no_code"}
    show_dropped(run, None, 1, as_json=True)
    assert len(capsys.readouterr().out.splitlines()) == 1
    show_dropped(run, "too_long", 10, as_json=False)
    assert "no dropped text of 'too_long'" in capsys.readouterr().out


def test_a_run_without_rationales_is_refused(run: Run) -> None:
    bare = dataclasses.replace(run.spec, stages=("problems", "sample"))
    with pytest.raises(ConfigurationError, match="has no stage rationalize"):
        show_dropped(Run(run.store, "bare", bare), None, 1, as_json=False)


def test_attempts_of_a_path_are_no_doubled_rows(run: Run) -> None:
    kinds = {finding.kind for finding in audit(run).findings}
    assert kinds <= {"success", "dataset"}, "the commit that the test replaced"
