"""Aggregators: how verifications of one path become its labels, each against cases by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from storage.rows.records import Judgement
from workflows.judging.ballots import Unread, verdicts
from workflows.settings import JudgeSettings


def said(
    pattern: str, number: int = 0, turn: str = "verify", index: int | None = None,
    finish: str = "stop",
) -> Judgement:  # fmt: skip
    marks: dict[str, bool | None] = {"1": True, "0": False, "?": None}
    return Judgement(
        path_id="p#0", problem_id="p", prompt="critique", sees="none", number=number, round=turn,
        analyses=[""] * len(pattern), verdicts=[marks[mark] for mark in pattern], index=index,
        text="", finish_reason=finish, model="m", seed=0, tokens=1,
    )  # fmt: skip


CASES: list[tuple[str, Sequence[str], object, int | None]] = [
    ("single", ["110", "111"], "110", 0),
    ("single", ["1?0", "111"], Unread.JUDGE_UNREADABLE, None),
    ("outcome_vote", ["111", "110", "100"], "110", 1),
    ("outcome_vote", ["111", "1?1", "111"], "111", 0),
    ("outcome_vote", ["111", "110"], Unread.JUDGE_SPLIT, None),
    ("outcome_vote", ["?11", "1?1"], Unread.JUDGE_UNREADABLE, None),
    ("step_vote", ["111", "110", "110"], "110", 1),
    ("step_vote", ["101", "110", "100"], "100", 2),
    ("step_vote", ["110", "101", "011"], Unread.NO_VERIFICATION, None),
    ("step_vote", ["110", "100"], Unread.JUDGE_SPLIT, None),
    ("step_vote", ["110", "100", "1?0", "110"], "110", 0),
]


@pytest.mark.parametrize(("aggregator", "patterns", "expected", "chosen"), CASES)
def test_verifications_become_labels_or_a_reason(
    aggregator: Any, patterns: Sequence[str], expected: object, chosen: int | None
) -> None:
    rows = [said(pattern, number) for number, pattern in enumerate(patterns)]
    found = verdicts(rows, JudgeSettings(aggregator=aggregator, votes=len(rows)), 3)
    if isinstance(expected, Unread):
        assert found is expected
        return
    assert not isinstance(found, Unread)
    (verdict,) = found
    assert "".join("01"[right] for right in verdict.labels) == expected
    assert verdict.chosen == chosen


def test_under_meta_critique_the_revision_counts_and_not_the_first_verification() -> None:
    rows = [said("111"), said("", turn="critique"), said("100", turn="merge")]
    found = verdicts(rows, JudgeSettings(aggregator="meta_critique"), 3)
    assert not isinstance(found, Unread)
    assert (found[0].labels, found[0].chosen) == ((True, False, False), 2)


def test_any_offers_every_readable_verification() -> None:
    rows = [said("1?1"), said("100"), said("111")]
    found = verdicts(rows, JudgeSettings(aggregator="any", votes=3), 3)
    assert not isinstance(found, Unread)
    assert [verdict.chosen for verdict in found] == [1, 2]


def test_an_ungraded_step_is_wrong_where_settings_say_so() -> None:
    settings = JudgeSettings(ungraded="wrong")
    found = verdicts([said("1?1")], settings, 3)
    assert not isinstance(found, Unread)
    assert found[0].labels == (True, False, True)


def test_a_verification_that_was_cut_off_counts_nothing() -> None:
    assert verdicts([said("110", finish="length")], JudgeSettings(), 3) is Unread.JUDGE_UNREADABLE


def test_an_index_alone_stands_for_labels() -> None:
    settings = JudgeSettings(verdicts="index")
    for index, labels in ((1, (True, False, False)), (-1, (True, True, True))):
        found = verdicts([said("???", index=index)], settings, 3)
        assert not isinstance(found, Unread)
        assert (found[0].labels, found[0].from_index) == (labels, True)
    assert verdicts([said("110", index=None)], settings, 3) is Unread.JUDGE_UNREADABLE


def test_the_share_of_votes_is_kept_beside_each_label() -> None:
    rows = [said("111"), said("110"), said("110"), said("100")]
    found = verdicts(rows, JudgeSettings(aggregator="outcome_vote", votes=4), 3)
    assert not isinstance(found, Unread)
    assert found[0].values == (1.0, pytest.approx(2 / 3), 0.0)  # of those that agree
