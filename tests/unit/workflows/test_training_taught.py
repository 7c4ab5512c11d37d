"""What a model that reads is taught of a run: targets, weights, and where they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from actors.models.rewards import Kind, RewardModel
from storage.errors import ConfigurationError, ItemError
from storage.objects.memory import MemoryStore
from storage.rows.records import PathLabels
from storage.runs.run import Run
from tests.support.taught_solutions import PROBLEM, STEPS, solved_run
from tests.support.training_world import demo_tokenizer
from workflows.settings import LabelSettings
from workflows.training.passages import Passages
from workflows.training.settings import DataSettings, HeadSettings, TrainConfig
from workflows.training.sources import Row
from workflows.training.start import training_of
from workflows.training.taught import Lessons, Taught, rollouts_behind, value_range
from workflows.training.tokenised import Making


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    yield solved_run(MemoryStore())


def taught(run: Run, kind: Kind, **head: Any) -> list[Taught]:
    lessons = Lessons(run, kind, HeadSettings(**head))
    return [row for shard in range(run.spec.plan.shards) for row in lessons.of_shard(shard)]


def test_hard_targets_are_the_examples_labels(run: Run) -> None:
    wrong, right = taught(run, "discriminative")
    assert wrong.targets == (1.0, 0.0, 0.0)
    assert wrong.labels == (True, False, False)
    assert right.targets == (1.0, 1.0, 1.0)
    assert wrong.steps == STEPS
    assert wrong.problem == PROBLEM


def test_soft_targets_are_the_value_behind_each_step(run: Run) -> None:
    wrong, right = taught(run, "discriminative", targets="soft")
    assert wrong.targets == (0.75, 0.0, 0.0)
    assert right.targets == (0.75, 0.5, 1.0)
    assert right.weights == (1.0, 1.0, 1.0)


def test_binomial_targets_weigh_as_many_rollouts_as_there_were_and_leave_out_what_is_implied(
    run: Run,
) -> None:
    wrong, right = taught(run, "discriminative", targets="binomial")
    assert (wrong.marks, wrong.targets) == ((0, 1), (0.75, 0.0))
    assert wrong.weights == (4 / 8, 8 / 8)
    assert (right.marks, right.targets) == ((0, 1, 2), (0.75, 0.5, 1.0))
    assert right.weights == (4 / 8, 8 / 8, 8 / 8), "a graded end is as sure as the most rollouts"


def test_values_are_those_of_the_label_rule_on_the_unit_interval(run: Run) -> None:
    wrong, right = taught(run, "value")
    assert wrong.targets == (1.0, 0.0, 0.0), "a ratio above 1 counts as 1"
    assert right.targets == pytest.approx((1.0, 2 / 3, 1.0))


@pytest.mark.parametrize("kind", ["orm", "implicit"])
def test_outcomes_are_taught_of_every_new_solution_at_its_last_step(run: Run, kind: Kind) -> None:
    rows = taught(run, kind)
    assert [(row.path_id, row.targets) for row in rows] == [
        ("q0#0", (0.0,)), ("q0#1", (1.0,)), ("q0#4", (0.0,)),
    ], "neither a repeated text nor one that is no solution"  # fmt: skip
    assert all(row.marks == (len(row.steps) - 1,) for row in rows)


def test_a_run_without_labels_can_teach_labels_and_no_counts() -> None:
    bare = solved_run(MemoryStore(), labelled=False)
    assert [row.targets for row in taught(bare, "discriminative")] == [(1, 0, 0), (1, 1, 1)]
    with pytest.raises(ConfigurationError, match="no stage 'label'"):
        Lessons(bare, "value", HeadSettings())


def test_a_run_without_the_rows_is_refused_before_anything_starts() -> None:
    bare = solved_run(MemoryStore(), labelled=False)
    config = TrainConfig(run=bare.name, base="org/base", revision="0" * 40, kind="value")
    with pytest.raises(ConfigurationError, match="no stage 'label'"):
        training_of(config, bare.store)
    assert training_of(replace(config, kind="orm"), bare.store).spec.run == bare.name


@pytest.mark.parametrize(
    ("form", "expected"), [("ratio", (0, 1)), ("difference", (-1, 1)), ("effective", (-0.5, 1.5))]
)
def test_the_range_of_a_value_is_that_of_its_form(form: Any, expected: tuple[float, ...]) -> None:
    assert value_range(LabelSettings(form=form, alpha=0.5)) == expected


def test_a_path_that_died_is_not_weighed_by_its_end() -> None:
    labels = PathLabels("p", "q", [1.0, 0.0, 0.0], [8, 4, 0], [], [], 0, "ratio", 0.8, 0.5)
    assert rollouts_behind(labels) == [4.0, 0.0]


def passages(kind: Kind) -> Passages:
    return Passages(demo_tokenizer(), RewardModel(kind))


def test_marks_are_the_last_tokens_of_the_steps(run: Run) -> None:
    (wrong, _) = taught(run, "discriminative")
    made = passages("discriminative").conversation(wrong, 1000)
    ids = made.ids.tolist()
    pieces = [
        demo_tokenizer().decode(ids[start + 1 : end + 1])
        for start, end in zip(made.verdicts[:-1], made.verdicts[1:], strict=True)
    ]
    assert pieces == [f"{step}\n\n" for step in STEPS[1:]]
    assert made.verdicts[-1] == len(ids) - 1
    assert made.own.nonzero()[0].tolist() == made.verdicts.tolist()
    assert made.targets is not None
    assert made.targets.tolist() == [1.0, 0.0, 0.0]


def test_an_implicit_model_learns_every_token_of_the_solution_and_none_of_the_problem(
    run: Run,
) -> None:
    made = passages("implicit").conversation(taught(run, "implicit")[0], 1000)
    own = made.own.nonzero()[0]
    assert own.tolist() == list(range(own[0], len(made.ids)))
    learnt = demo_tokenizer().decode(made.ids[own[0] :].tolist())
    assert learnt == "".join(f"{step}\n\n" for step in STEPS)


def test_a_solution_too_long_loses_its_last_steps_or_its_outcome_and_wrong_ones_are_counted(
    run: Run,
) -> None:
    (wrong, _) = taught(run, "discriminative")
    whole = passages("discriminative").conversation(wrong, 1000)
    cut = passages("discriminative").conversation(wrong, int(whole.verdicts[1]) + 1)
    assert np.array_equal(cut.verdicts, whole.verdicts[:2])
    assert len(cut.ids) == cut.verdicts[-1] + 1
    counts: Counter[str] = Counter()
    for most in (int(whole.verdicts[1]) + 1, int(whole.verdicts[0]) + 1, int(whole.verdicts[0])):
        making = Making(passages("discriminative"), "discriminative", DataSettings(), most)
        list(making.conversations([Row(wrong)], counts))
    assert (counts["cut"], counts["turns_cut_off"], counts["dropped_too_long"]) == (2, 3, 1)
    assert counts["wrong_steps_cut_off"] == 1 + 2 + 2
    assert counts["first_errors_cut_off"] == 0 + 1 + 1
    with pytest.raises(ItemError, match="too_long"):
        passages("orm").conversation(taught(run, "orm")[0], len(whole.ids) - 1)
