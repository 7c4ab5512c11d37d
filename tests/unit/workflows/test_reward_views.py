"""Each view of a run says what was seen, once, under the names that trainers read."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path as Folder
from typing import Any

import pytest

from storage.audit import audit
from storage.datasets.dataset import assemble
from storage.datasets.download import download
from storage.errors import ConfigurationError
from storage.objects.memory import MemoryStore
from storage.rows.kinds import PROBLEMS, stage_rows
from storage.rows.records import Example, Message, Path, PathLabels, Problem
from storage.runs.run import Run
from tests.support.label_rows import path, rows
from tests.support.whole_run import example, finished, started
from workflows.views.catalogue import VIEWS
from workflows.views.reward_models import (
    Outcome,
    Preference,
    StepCounts,
    StepLabelled,
    outcomes,
    preferences,
    step_counts,
    step_labelled,
)

PROBLEM = Problem("p", "What is 1 + 1?", "1")
ASKED = [Message("user", "What is 1 + 1?")]


def answered(of: Path) -> list[Message]:
    return [Message("assistant", of.text)]


def test_the_counts_of_a_state_are_summed_over_rounds_and_never_invented() -> None:
    one = path(3, correct=True)
    first, second = rows([(4, 8), (2, 8)], of=one)
    more = replace(second, round=1, n=16, c=3)
    found = step_counts([PROBLEM], [path(2, False, index=7), one], [first, second, more])
    assert found == [
        StepCounts(PROBLEM.problem, one.steps, [4, 5, 0], [8, 24, 0], True, "p", one.path_id)
    ]


def test_step_labels_are_hard_and_soft_and_end_with_the_outcome() -> None:
    turns = [Message("system", "You judge."), Message("user", "Question: What is 1 + 1?\n\nOne.")]
    for step in ("Two.", "Question: What is 1 + 1?\n\nThree."):
        turns += [Message("assistant", "Yes"), Message("user", step)]
    example = Example(turns, "p", "p#1", [True, False, False], 1, [0.9, 0.8, 0.1, 0.0], [],
                      "a", "b", "c", "run", follows=[False, False, True])  # fmt: skip
    labels = PathLabels("p#1", "p", [], [], [0.9, 0.1, 0.0, 0.7], [], 1, "ratio", 0.8, 0.5)
    found = StepLabelled(
        PROBLEM.problem, ["One.", "Two.", "Question: What is 1 + 1?\n\nThree."],
        [True, False, False], [0.8, 0.1, 0.0], [0.9, 0.1, 0.0], 1, "p", "p#1",
        [False, False, True],
    )  # fmt: skip
    assert step_labelled([PROBLEM], [labels], [example]) == [found]
    assert step_labelled([PROBLEM], [], [example]) == [replace(found, values=[])]


def test_every_sample_has_its_outcome_the_unselected_and_the_broken_too() -> None:
    right = path(2, True, index=0)
    left_out = path(2, False, index=1, selected=False)
    cut = replace(path(1, True, index=2), valid=False, invalid_reason="truncated")
    found = outcomes([PROBLEM], [right, left_out, cut])
    assert [row.label for row in found] == [True, False, False]
    assert found[2] == Outcome(
        ASKED, answered(cut), False, "1", False, "truncated", None, "p", cut.path_id
    )


def test_pairs_take_each_right_and_wrong_text_once() -> None:
    right = [path(2, True, index=i) for i in range(3)]
    wrong = [path(2, False, index=i) for i in range(3, 7)]
    wrong[0] = replace(wrong[0], valid=False, invalid_reason="truncated")
    wrong[1] = replace(wrong[1], duplicate_of=wrong[2].path_id)
    found = preferences([PROBLEM, Problem("lonely", "?", "1")], [*wrong, *right])
    assert [(row.chosen_path_id, row.rejected_path_id) for row in found] == [
        (right[0].path_id, wrong[2].path_id),
        (right[1].path_id, wrong[3].path_id),
    ]
    assert found[0] == Preference(
        ASKED, answered(right[0]), answered(wrong[2]), "p", right[0].path_id, wrong[2].path_id
    )


REWARD_VIEWS = ("discriminative", "orm", "counts", "pairs")


@pytest.mark.parametrize("name", REWARD_VIEWS)
def test_a_view_is_laid_out_once_and_read_by_the_datasets_library(
    name: str, tmp_path: Folder
) -> None:
    import datasets

    run = mixed()
    view = VIEWS[name]
    got = download(run, tmp_path / "out", view, ("parquet", "jsonl"))
    loaded = datasets.load_dataset(
        str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache")
    )
    wanted = [asdict(row) for row in all_rows(run, name)]
    assert list(loaded) == wanted != []
    assert loaded.config_name == name
    lines = next((tmp_path / "out" / "jsonl").iterdir()).read_text().splitlines()
    assert [json.loads(line) for line in lines] == wanted
    assert got.rows == len(wanted)
    assert assemble(run, view) == assemble(run, view)
    assert not [f for f in audit(run).findings if f.kind == "dataset"]
    assert view.title in (tmp_path / "out" / "README.md").read_text()


def mixed() -> Run:
    """Two problems with right and wrong paths, of which one is kept."""
    run = started(MemoryStore(), count=2, per_shard=1)
    for shard in range(2):
        (problem,) = run.read_rows(PROBLEMS, shard)
        paths = [path(2, right, problem_id=problem.problem_id, index=i)
                 for i, right in enumerate((True, False, True, False))]  # fmt: skip
        rollouts = [row for one in paths for row in rows([(4, 8), (2, 8)], of=one)]
        made: dict[str, list[Any]] = {
            "sample": paths, "estimate": rollouts, "export": [example(paths[0], run.name)]
        }  # fmt: skip
        for stage in run.spec.stages[1:]:
            run.publish(stage_rows(stage), shard, made.get(stage, []))
    run.finish()
    return run


def all_rows(run: Run, name: str) -> list[object]:
    view = VIEWS[name]
    return [
        row
        for shard in range(run.spec.plan.shards)
        for row in view.rows(*(run.read_rows(stage_rows(s), shard) for s in view.reads))
    ]


def test_a_view_of_a_stage_that_the_run_has_not_is_refused() -> None:
    run = finished(MemoryStore())
    view = replace(VIEWS["counts"], name="odd", reads=("problems", "score"))
    with pytest.raises(ConfigurationError, match="stage 'score', which run 'whole' has not"):
        assemble(run, view)
