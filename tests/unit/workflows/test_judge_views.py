"""Views of the judge's strategies: balanced last steps, and repairs without what came after."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from storage.rows.records import Example, Intervention, Message
from workflows.views.repairs import intervened, last_step_balanced


def example(first_error: int | None, steps: int, name: str) -> Example:
    labels = [first_error is None or step < first_error for step in range(steps)]
    turns = [Message("system", "s")]
    for step in range(steps):
        turns += [Message("user", f"step {step}"), Message("assistant", f"turn {step}")]
    return Example(
        conversations=turns, problem_id="p", path_id=name, labels=labels, first_error=first_error,
        mc=[], executions=[], policy="", completer="", rationale_writer="", run="r",
    )  # fmt: skip


CASES: list[tuple[Sequence[int | None], list[tuple[str, bool]]]] = [
    # first errors of examples of three steps -> (example, whether it ends wrong), as kept
    ([None, 1], [("0", False), ("1", True)]),
    ([1, 1], [("0", True), ("1", False)]),
    ([0, 2], [("0", True), ("1", False)]),
    ([0, 0], []),
    ([None, None, None, 2], [("0", False), ("3", True)]),
    ([2, 0, None, 1], [("0", True), ("1", True), ("2", False), ("3", False)]),
    ([], []),
]


@pytest.mark.parametrize(("errors", "kept"), CASES)
def test_as_many_solutions_end_wrong_as_right(
    errors: Sequence[int | None], kept: list[tuple[str, bool]]
) -> None:
    made = last_step_balanced([example(at, 3, str(name)) for name, at in enumerate(errors)])
    assert [(row.path_id, row.error_labels[-1]) for row in made] == kept


def test_a_cut_solution_ends_with_the_step_that_is_judged_and_masks_the_others() -> None:
    wrong, right = last_step_balanced([example(1, 4, "a"), example(2, 4, "b")])
    assert wrong.error_labels == [None, True]
    assert [turn.content for turn in wrong.conversations][1::2] == ["step 0", "step 1"]
    assert right.error_labels == [None, False]
    assert len(right.conversations) == 5


def test_an_intervention_is_prefix_and_replacement_and_only_where_it_helped() -> None:
    def row(name: str, kept: bool) -> Intervention:
        return Intervention(
            path_id=name, problem_id="p", problem="What?", step=1, prefix=["One."], wrong="Two?",
            replacement="Two.", reply_tokens=2, n=32, c=3 if kept else 0, kept=kept, seed=0,
            tokens=9,
        )  # fmt: skip

    (made,) = intervened([row("a", True), row("b", False)])
    assert made.prompt == [Message("user", "What?")]
    assert made.completion == [Message("assistant", "Step 1: One.\n\nStep 2: Two.")]
    assert (made.path_id, made.successes, made.continuations) == ("a", 3, 32)
