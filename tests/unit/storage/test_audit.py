"""A whole run is clean; each thing that can be wrong with one is found and named."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest

from storage.audit import audit
from storage.datasets.dataset import assemble, dataset_files
from storage.objects.memory import MemoryStore
from storage.rows.kinds import LABELS, PATHS, PROBLEMS, ROLLOUTS
from storage.rows.records import Drop, Path, StateRollouts
from storage.runs import layout
from storage.runs.run import Run
from tests.support import whole_run
from tests.support.altered import recommit, rewrite
from tests.support.whole_run import finished, labels, path, problems, started, work_shard


def found(run: Run) -> list[tuple[str, str, int | None]]:
    return [(finding.kind, finding.stage, finding.shard) for finding in audit(run).findings]


def test_a_whole_run_is_clean_and_counted() -> None:
    run = finished(MemoryStore())
    assemble(run)
    result = audit(run)
    assert result.findings == ()
    assert result.finished
    assert result.objects == 2 * 7 * 3
    assert result.rows == sum(run.totals(stage).rows for stage in run.spec.stages)


def test_a_run_under_way_is_clean_too() -> None:
    run = started(MemoryStore())
    work_shard(run, 1)
    result = audit(run)
    assert (result.findings, result.finished, result.objects) == ((), False, 2 * (3 + 6))


def test_damage_to_objects_is_found() -> None:
    store = MemoryStore()
    run = finished(store)
    changed = run.commit("estimate", 0).data_key
    store.objects[changed] = store.objects[changed][:-1] + b"?"
    store.delete(run.commit("label", 1).data_key)
    store.objects[layout.commit_key("whole", "export", 2)] = b"{}"
    result = audit(run)
    assert found(run) == [
        ("data_damaged", "estimate", 0),
        ("data_damaged", "label", 1),
        ("commit_unreadable", "export", 2),
        ("success", "export", 2),
        ("success", "", None),
    ]
    assert changed in str(result.findings[0])
    assert "is gone" in str(result.findings[1])


def test_a_commit_of_another_spec_or_place_is_found() -> None:
    run = started(MemoryStore())
    work_shard(run, 0)
    rewrite(run, "label", 0, lambda commit: dataclasses.replace(commit, spec="other"))
    rewrite(run, "export", 0, lambda commit: dataclasses.replace(commit, shard=1))
    assert found(run) == [("foreign_commit", "label", 0), ("foreign_commit", "export", 0)]


def test_wrong_row_counts_and_a_missing_source_are_found() -> None:
    run = started(MemoryStore())
    work_shard(run, 0)
    rewrite(run, "export", 0, lambda commit: dataclasses.replace(commit, rows=99))
    run.store.delete(layout.commit_key("whole", "rationalize", 0))
    assert found(run) == [("commit_without_source", "consensus", 0), ("wrong_rows", "export", 0)]


def test_counts_of_rollouts_that_do_not_add_up_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = whole_run.rollouts

    def one_more(of: Path, state: int) -> StateRollouts:
        row = whole(of, state)
        return dataclasses.replace(row, n=row.n + 1) if state else row

    run = started(MemoryStore())
    work_shard(run, 1)
    monkeypatch.setattr(whole_run, "rollouts", one_more)
    work_shard(run, 0)
    findings = audit(run).findings
    assert {(each.kind, each.stage, each.shard) for each in findings} == {
        ("counts_differ", "estimate", 0)
    }
    assert "answers of 8 rollouts, 9 made" in findings[0].detail


def test_success_against_the_commits_is_checked() -> None:
    store = MemoryStore()
    run = finished(store)
    rewrite(run, "label", 1, lambda commit: dataclasses.replace(commit, attempt="other"))
    assert found(run) == [("success", "label", 1)]
    key = layout.success_key("whole")
    body = json.loads(store.objects[key])
    body["totals"]["sample"]["rows"] += 1
    body["spec"] = "other"
    store.objects[key] = json.dumps(body).encode()
    assert found(run) == [
        ("success", "", None),
        ("success", "label", 1),
        ("success", "", None),
    ]


ACCOUNTS: list[tuple[str, Callable[[Run], None], list[tuple[str, str]]]] = [
    (
        "a path twice",
        lambda run: recommit(
            run, "sample", 0,
            [path(f"train/{n}", i) for n in range(3) for i in range(4)] + [path("train/0", 0)], [],
        ),
        [("row_twice", "sample")],
    ),
    (
        "a problem without a selected path and without a drop",
        lambda run: recommit(run, "sample", 0, [path("train/1", 0), path("train/2", 0)], []),
        [("lost", "sample")],
    ),
    (
        "a problem both selected and dropped",
        lambda run: recommit(
            run, "sample", 0, [path(f"train/{n}", 0) for n in range(3)], [Drop("train/2", "odd")]
        ),
        [("dropped_yet_selected", "sample")],
    ),
    (
        "a path of a problem of another shard",
        lambda run: recommit(run, "sample", 0, [path(f"train/{n}", 0) for n in range(4)], []),
        [("row_of_unknown", "sample")],
    ),
    (
        "drops twice and of unknown items",
        lambda run: recommit(
            run, "sample", 0, [path(f"train/{n}", 0) for n in (1, 2)],
            [Drop("train/0", "odd"), Drop("train/0", "odd"), Drop("train/9", "odd")],
        ),
        [("dropped_twice", "sample"), ("drop_of_unknown", "sample")],
    ),
    (
        "a path that was dropped and comes back",
        lambda run: recommit(
            run, "label", 0,
            [labels(path(f"train/{n}", i)) for n in (1, 2) for i in range(4)], [],
        ),
        [("row_of_unknown", "label")],
    ),
    (
        "another number of problems than planned",
        lambda run: recommit(run, "problems", 0, list(problems(2)), []),
        [("plan", "problems")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), [row[1:] for row in ACCOUNTS],
                         ids=[row[0] for row in ACCOUNTS])  # fmt: skip
def test_items_that_do_not_add_up_are_found(
    change: Callable[[Run], None], expected: list[tuple[str, str]]
) -> None:
    run = started(MemoryStore())
    work_shard(run, 0)
    stage = expected[0][1]
    later = run.spec.stages[run.spec.stages.index(stage) + 1 :]
    change(run)
    for name in later:  # what follows would only repeat the finding
        run.store.delete(layout.commit_key("whole", name, 0))
    assert [(finding.kind, finding.stage) for finding in audit(run).findings] == expected


def test_a_problem_in_two_shards_is_found() -> None:
    run = started(MemoryStore())
    recommit(run, "problems", 2, list(problems(1)), [])
    assert found(run) == [("problem_twice", "problems", 2)]


def test_a_dataset_that_differs_is_found() -> None:
    store = MemoryStore()
    run = finished(store)
    files = assemble(run)
    key = f"runs/whole/dataset/genprm/{files[0].path}"
    whole = store.objects[key]
    store.objects[key] = whole + b"?"
    (finding,) = audit(run).findings
    assert (finding.kind, key in finding.detail) == ("dataset", True)
    store.delete(key)
    assert "is incomplete" in audit(run).findings[0].detail
    store.objects[key] = whole
    store.delete("runs/whole/dataset/genprm/SHA256SUMS")
    assert "is incomplete" in audit(run).findings[0].detail
    assemble(run)
    assert dataset_files(run, "genprm") == files
    assert audit(run).findings == ()


def test_an_audit_reads_rows_of_any_kind() -> None:
    run = started(MemoryStore(), count=1, per_shard=1)
    run.publish(PATHS, 0, [path("train/0", 0)])
    run.publish(ROLLOUTS, 0, [], [Drop("train/0#0", "too_long")])
    run.publish(LABELS, 0, [])
    assert audit(run).findings == ()
    assert run.read_rows(PROBLEMS, 0) == problems(1)
