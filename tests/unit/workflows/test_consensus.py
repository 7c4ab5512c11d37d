"""Consensus: votes become an index, and a path is kept or has a reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.rows.kinds import LABELS, RATIONALES, ShardRows
from storage.rows.records import CodeRun, PathLabels, Rationale
from workflows.judging.agreement import REASONS, Disagreement, agreement, is_monotone
from workflows.judging.ballots import Unread, judge_labels
from workflows.judging.sources import Evidence, judge_index
from workflows.labels.rule import first_error
from workflows.settings import ConsensusSettings
from workflows.stages.consensus import ConsensusStage

UNREADABLE, SPLIT = Unread.JUDGE_UNREADABLE, Unread.JUDGE_SPLIT


def labels(pattern: str, path_id: str = "p#0") -> PathLabels:
    right = [mark == "1" for mark in pattern]
    return PathLabels(
        path_id=path_id, problem_id="p", mc=[0.5] * (len(right) + 1), n=[8] * (len(right) + 1),
        value=[1.0] * len(right), labels=right, first_error=first_error(right), form="ratio",
        threshold=0.8, policy_pass_at_1=0.5,
    )  # fmt: skip


def rationale(votes: list[int | None], path_id: str = "p#0") -> Rationale:
    return Rationale(
        path_id=path_id, problem_id="p", analyses=[], verifications=[], executions=[], votes=votes,
        text="", code_rounds=0, finish_reason="stop", model="m", seed=0, tokens=1,
    )  # fmt: skip


def evidence(pattern: str, votes: list[int | None]) -> Evidence:
    return Evidence("p#0", "p", len(pattern), labels=labels(pattern), rationale=rationale(votes))


VOTES: list[tuple[list[int | None], int | Unread | None, int | Unread | None]] = [
    ([2, 2, 2, 2], 2, 2),
    ([-1, -1, -1, -1], None, None),
    ([2, 2, 2, 0], 2, SPLIT),
    ([2, 2, 0, 0], SPLIT, SPLIT),
    ([2, 2, 0, 1], 2, SPLIT),
    ([2, 2, 2, None], 2, UNREADABLE),
    ([2, 2, None, None], SPLIT, UNREADABLE),
    ([2, None, None, None], UNREADABLE, UNREADABLE),
    ([None], UNREADABLE, UNREADABLE),
    ([], UNREADABLE, UNREADABLE),
    ([3], UNREADABLE, UNREADABLE),
    ([-2], UNREADABLE, UNREADABLE),
]


@pytest.mark.parametrize(("votes", "majority", "unanimous"), VOTES)
def test_votes_become_one_index_or_a_reason(
    votes: list[int | None], majority: int | Unread | None, unanimous: int | Unread | None
) -> None:
    assert judge_index(votes, "majority", steps=3) == majority
    assert judge_index(votes, "unanimous", steps=3) == unanimous


def test_an_index_stands_for_right_before_it_and_wrong_from_it_on() -> None:
    assert judge_labels(1, 3) == [True, False, False]
    assert judge_labels(None, 3) == [True, True, True]


RULES = [
    # labels, judge's index, reason under all_steps, reason under first_error
    ("111", -1, None, None),
    ("100", 1, None, None),
    ("000", 0, None, None),
    ("110", 1, Disagreement.INDEX_MISMATCH, Disagreement.INDEX_MISMATCH),
    ("111", 2, Disagreement.INDEX_MISMATCH, Disagreement.INDEX_MISMATCH),
    ("110", -1, Disagreement.INDEX_MISMATCH, Disagreement.INDEX_MISMATCH),
    ("101", 1, Disagreement.NON_MONOTONE, None),
    ("011", 1, Disagreement.NON_MONOTONE, Disagreement.INDEX_MISMATCH),
]


@pytest.mark.parametrize(("pattern", "index", "all_steps", "first_only"), RULES)
def test_rules_of_agreement(
    pattern: str, index: int, all_steps: Disagreement | None, first_only: Disagreement | None
) -> None:
    for rule, reason in (("all_steps", all_steps), ("first_error", first_only), ("none", None)):
        settings = ConsensusSettings(rule=rule)  # type: ignore[arg-type]
        found = agreement(evidence(pattern, [index] * 4), settings)
        assert (found.kept, found.reason) == (reason is None, reason)
        assert found.judge_first_error == (None if index == -1 else index)
        assert found.label_first_error == labels(pattern).first_error
        assert found.rule == rule


FOLLOWING = [
    # labels, MC of states 0..T, settings, exported labels that only follow ("f")
    ("100", [1, 0.9, 0, 0], {}, "--f"),  # the last step begins where no rollout is right
    ("100", [1, 0.9, 0.5, 0], {}, "---"),  # both were measured
    ("010", [1, 0.5, 0.5, 0], {"rule": "none"}, "---"),
    ("101", [1, 0.9, 0.5, 0.5], {"rule": "first_error"}, "--f"),  # called wrong by the rule
    ("101", [1, 0.9, 0.5, 0.5], {"rule": "first_error", "monotone_labels": False}, "---"),
    ("100", [1, 0.9, 0, 0], {"rule": "first_error", "cut": "first_error"}, "--"),
    ("111", [1, 0.9, 0.9, 1], {}, "---"),
]


@pytest.mark.parametrize(("pattern", "mc", "rule", "follow"), FOLLOWING)
def test_a_label_says_whether_it_was_judged_or_follows_from_an_earlier_error(
    pattern: str, mc: list[float], rule: dict[str, Any], follow: str
) -> None:
    index = pattern.index("0") if "0" in pattern else -1
    of = evidence(pattern, [index])
    of = replace(of, labels=replace(labels(pattern), mc=mc))
    found = agreement(of, ConsensusSettings(**rule))
    assert found.kept
    assert found.follows == [mark == "f" for mark in follow]


def test_behind_an_index_no_label_is_judged() -> None:
    judged = agreement(evidence("111", [1]), ConsensusSettings(sources=("judge",)))
    assert (judged.labels, judged.follows) == ([True, False, False], [False, False, True])


@given(
    st.text("01", min_size=1, max_size=6),
    st.lists(st.none() | st.integers(-3, 8), max_size=5),
    st.sampled_from(["all_steps", "first_error", "none"]),
    st.sampled_from(["majority", "unanimous"]),
)
def test_every_path_is_kept_or_has_one_reason(
    pattern: str, votes: list[int | None], rule: str, aggregate: str
) -> None:
    settings = ConsensusSettings(rule=rule, aggregate=aggregate)  # type: ignore[arg-type]
    found = agreement(evidence(pattern, votes), settings)
    assert found.kept == (found.reason is None)
    assert found.reason is None or found.reason in REASONS
    if rule == "all_steps" and found.kept:
        assert is_monotone(labels(pattern).labels)
        assert judge_labels(found.judge_first_error, len(pattern)) == labels(pattern).labels


async def test_the_stage_stores_a_row_for_all_and_counts_a_drop_for_each_lost() -> None:
    rows = ShardRows(
        {
            LABELS: (
                labels("10", "p#0"),
                labels("11", "p#1"),
                labels("01", "p#2"),
                labels("10", "p#3"),
            ),
            RATIONALES: (
                rationale([1], "p#0"),
                rationale([0], "p#1"),
                rationale([0], "p#2"),
                rationale([None], "p#9"),
            ),
        }
    )
    result = await ConsensusStage(ConsensusSettings()).run(rows)
    assert [row.kept for row in result.rows] == [True, False, False]
    assert Counter(drop.reason for drop in result.drops) == {
        "index_mismatch": 1, "non_monotone": 1, "labels_missing": 1
    }  # fmt: skip
    assert result.counts == {"kept": 1}


@pytest.mark.parametrize(
    ("executes", "executed", "reasons"),
    [(True, True, ["not_executed"]), (True, False, []), (False, True, [])],
)
async def test_a_rationale_that_shows_what_was_not_run_does_not_agree(
    executes: bool, executed: bool, reasons: list[str]
) -> None:
    shown = "```python\nprint(1)\n```\n[Code Output]\n\n```\n1\n```\n"
    run = CodeRun(0, "print(1)", "1", "ok", 0.1, 0.0)
    made_up = replace(
        rationale([0]), analyses=["a", "b"], verifications=[shown, shown], executions=[run],
        executed=executed,
    )  # fmt: skip
    rows = ShardRows({LABELS: (labels("00"),), RATIONALES: (made_up,)})
    result = await ConsensusStage(ConsensusSettings(), executes=executes).run(rows)
    assert [drop.reason for drop in result.drops] == reasons
    assert [row.kept for row in result.rows] == [True] * (1 - len(reasons))
    whole = replace(made_up, executions=[run, replace(run, step=1)])
    result = await ConsensusStage(ConsensusSettings()).run(rows.but({RATIONALES: (whole,)}))
    assert not result.drops
