"""Steps: headers as models write them, and what only looks like one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.steps import header, join, split


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        pytest.param("Step 1: a\n\nStep 2: b", ("a", "b"), id="plain"),
        pytest.param("### Step 1: a\n\n### Step 2: b", ("a", "b"), id="markdown heading"),
        pytest.param("**Step 1:** a\n**Step 2:** b", ("a", "b"), id="bold with the colon inside"),
        pytest.param("**Step 1**: a\n**Step 2**: b", ("a", "b"), id="bold, colon outside"),
        pytest.param("**Step 1**\na\n\n**Step 2**\nb", ("a", "b"), id="bold alone on its line"),
        pytest.param("## **Step 1: ** a\n## **Step 2: ** b", ("a", "b"), id="bold heading"),
        pytest.param("Step 1. a\nStep 2. b", ("a", "b"), id="a full stop for the colon"),
        pytest.param("Step 1: a\nb\n\nc\nStep 2: d", ("a\nb\n\nc", "d"), id="steps of many lines"),
    ],
)
def test_headers_are_stripped_and_start_steps(text: str, steps: tuple[str, ...]) -> None:
    assert split(text) == steps


def test_two_digit_numbers_are_headers_too() -> None:
    steps = tuple(f"do {number}" for number in range(1, 13))
    assert split(join(steps)) == steps
    assert header(12) == "Step 12: "


@pytest.mark.parametrize(
    "inside",
    [
        "Step up by 3 each time.",
        "Step 1 gave us 5, so we go on.",
        "By Step 1: nothing changes.",
        "Steps 3: are many.",
        "Step 7: is far away.",
        "Step 1: said so before.",
    ],
)
def test_what_only_looks_like_a_header_stays_inside_its_step(inside: str) -> None:
    text = f"Step 1: a\n{inside}\n\nStep 2: b"
    assert split(text) == (f"a\n{inside}", "b")


def test_a_text_without_headers_is_one_step() -> None:
    assert split("The answer is 5.\nSurely.") == ("The answer is 5.\nSurely.",)


def test_an_empty_text_has_no_steps() -> None:
    assert split(" \n") == ()


def test_text_before_the_first_header_belongs_to_no_step() -> None:
    assert split("Let me think.\nStep 1: a\nStep 2: b") == ("a", "b")


def test_a_rest_of_a_solution_may_start_with_a_later_number() -> None:
    assert split("Step 4: d\n\nStep 5: e") == ("d", "e")


def test_an_empty_step_keeps_its_place() -> None:
    assert split("Step 1: \n\nStep 2: b") == ("", "b")


@given(st.lists(st.from_regex(r"[a-z0-9=+ .]{1,30}", fullmatch=True).map(str.strip), max_size=20))
def test_split_undoes_join(written: list[str]) -> None:
    steps = tuple(step for step in written if step)
    assert split(join(steps)) == steps
