"""What a conversation that is too long loses, and what is said of it."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import numpy as np
import pytest

from actors.training.conversations import Conversation
from storage.errors import ItemError
from storage.rows.records import Example
from tests.support.training_world import demo_tokenizer, example
from workflows.training.cutting import fitted
from workflows.training.mask import masker_for

WRONG_FROM = 5
LAST: Literal["last"] = "last"
KEPT: Literal["first_error_kept"] = "first_error_kept"


@pytest.fixture(scope="module")
def eight() -> Example:
    """Eight steps, wrong from the sixth."""
    return example(6, 8, WRONG_FROM)


def ends(one: Example) -> list[int]:
    """Tokens up to the end of each turn."""
    masker = masker_for(demo_tokenizer(), False)
    found: list[int] = []
    most = 10_000
    for _ in one.labels:
        found.append(len(masker.conversation(one, most).ids))
        most = found[-1] - 1
    return found[::-1]


def made(
    one: Example, most: int, way: Literal["last", "first_error_kept"]
) -> tuple[Conversation, Counter[str]]:
    counts: Counter[str] = Counter()
    return fitted(one, masker_for(demo_tokenizer(), False), most, way, counts), counts


def text(one: Conversation, own: bool = False) -> str:
    said: str = demo_tokenizer().decode(one.ids[one.own] if own else one.ids)
    return said


@pytest.mark.parametrize("way", [LAST, KEPT])
def test_what_fits_is_not_changed(eight: Example, way: Literal["last", "first_error_kept"]) -> None:
    whole = masker_for(demo_tokenizer(), False).conversation(eight, 10_000)
    found, counts = made(eight, len(whole.ids), way)
    assert found.ids.tolist() == whole.ids.tolist()
    assert found.own.tolist() == whole.own.tolist()
    assert not any(counts.values())


@pytest.mark.parametrize(("steps", "wrong", "firsts"), [(7, 1, 0), (6, 2, 0), (5, 3, 1), (2, 3, 1)])
def test_what_a_cut_loses_of_the_wrong_steps_is_counted(
    eight: Example, steps: int, wrong: int, firsts: int
) -> None:
    found, counts = made(eight, ends(eight)[steps - 1], LAST)
    assert len(found.labels) == steps
    assert counts == {
        "cut": 1, "turns_cut_off": 8 - steps, "turns_shortened": 0,
        "wrong_steps_cut_off": wrong, "first_errors_cut_off": firsts,
    }  # fmt: skip


@pytest.mark.parametrize("fits", [5, 4])
def test_turns_before_the_first_wrong_step_are_shortened_as_few_as_need_be(
    eight: Example, fits: int
) -> None:
    most = ends(eight)[fits - 1]
    found, counts = made(eight, most, KEPT)
    assert len(found.ids) <= most
    assert False in found.labels.tolist()
    shortened = counts["turns_shortened"]
    assert 0 < shortened <= WRONG_FROM
    learnt = found.labels.tolist()
    assert learnt == eight.labels[shortened : shortened + len(learnt)]
    assert (counts["first_errors_cut_off"], counts["cut"]) == (0, 1)
    assert counts["turns_cut_off"] == 8 - len(learnt)
    # Every step is there up to the last one learnt, and nothing shortened is learnt.
    asked = [turn.content for turn in eight.conversations if turn.role == "user"]
    said, own = text(found), text(found, own=True)
    assert all(step in said for step in asked[: shortened + len(learnt)])
    assert own.count("Judgement") == len(learnt)
    assert said.count("Judgement") == shortened + len(learnt)
    assert f"Paragraph {shortened + 1}" in own and f"Paragraph {shortened} " not in own
    places = found.ids[found.verdicts]
    masker = masker_for(demo_tokenizer(), False)
    assert places.tolist() == np.where(found.labels, masker.yes, masker.no).tolist()
    # One turn fewer would not do.
    if shortened > 1:
        from workflows.training.cutting import _shortened

        fewer = masker.conversation(_shortened(eight, shortened - 1), most, shortened - 1)
        assert shortened - 1 + len(fewer.labels) <= WRONG_FROM


def test_where_even_verdicts_leave_no_room_the_last_step_that_fits_is_the_end(
    eight: Example,
) -> None:
    most = ends(eight)[0]
    found, counts = made(eight, most, KEPT)
    same, _ = made(eight, most, LAST)
    assert found.ids.tolist() == same.ids.tolist()
    assert (counts["turns_shortened"], counts["first_errors_cut_off"]) == (0, 1)


def test_what_is_dropped_loses_its_wrong_steps_too(eight: Example) -> None:
    counts: Counter[str] = Counter()
    for way in (LAST, KEPT):
        with pytest.raises(ItemError, match="too_long"):
            fitted(eight, masker_for(demo_tokenizer(), False), 20, way, counts)
    assert counts == {"wrong_steps_cut_off": 6, "first_errors_cut_off": 2}


def test_a_solution_without_a_wrong_step_is_cut_as_ever() -> None:
    right = example(6, 8)
    most = ends(right)[3]
    assert made(right, most, KEPT)[0].ids.tolist() == made(right, most, LAST)[0].ids.tolist()
