r"""Real responses and answers: agreement with another project's verdicts, differences named.

The responses are part of the repository; the problems of MATH are not, and without them the tests
of references are skipped.
"""

from __future__ import annotations

import io
import json
import re
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from launch.verbs.looking.grade import grade_stream
from storage.errors import InputError
from workflows.answers import check_reference, equal, normal, quick, read_answer
from workflows.settings import AnswerSettings

SHIPPED = Path(__file__).parents[1] / "data"
BESIDE = Path(__file__).parents[2].parent / "shared" / "data"
SETTINGS = AnswerSettings()

DISAGREEMENTS = {
    # (reference, our reading of the answer): (their verdict, why ours differs)
    ("10000", "10000"): (
        False,
        r"The reference is spelled `10{,}000`: a thousands separator in braces. The other project "
        "compares it as text and calls 10000 wrong; it is the same number.",
    ),
}
"""Every difference from the verdicts that come with the responses."""

NO_REFERENCES = {"": "The problem has no answer in the data: nothing could equal it."}
"""Answers of the problems that can't be used as references."""


def rows(name: str) -> list[dict[str, Any]]:
    file = next((folder / name for folder in (SHIPPED, BESIDE) if (folder / name).exists()), None)
    if file is None:
        pytest.skip(f"{name} is not beside this checkout")
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_real_responses_are_graded_as_another_project_did() -> None:
    responses = rows("math_responses.jsonl")
    source = io.StringIO(
        "".join(
            json.dumps({"response": row["response"], "reference": row["reference"]}) + "\n"
            for row in responses
        )
    )
    sink = io.StringIO()
    grade_stream(source, sink)
    found = [json.loads(line) for line in sink.getvalue().splitlines()]
    assert len(found) == len(responses)
    different = {
        (ours["reference"], ours["answer"]): theirs["correct"]
        for ours, theirs in zip(found, responses, strict=True)
        if ours["correct"] != theirs["correct"]
    }
    assert different == {pair: verdict for pair, (verdict, _) in DISAGREEMENTS.items()}
    agreed = sum(a["correct"] == b["correct"] for a, b in zip(found, responses, strict=True))
    assert agreed / len(responses) >= 0.99


def test_math_verify_alone_agrees_on_as_many() -> None:
    """The figure that the README names beside ours."""
    from math_verify import parse, verify

    agreed = sum(
        verify(
            parse(f"${row['reference']}$", parsing_timeout=None),
            parse(row["response"], parsing_timeout=None),
            timeout_seconds=None,
        )
        == row["correct"]
        for row in rows("math_responses.jsonl")
    )
    assert agreed == 399


def test_the_box_that_is_read_is_the_one_that_the_other_project_read() -> None:
    for row in rows("math_responses.jsonl"):
        ours = read_answer(row["response"])
        assert ours is not None
        assert equal(row["extracted"], ours, SETTINGS), (row["extracted"], ours)


def test_every_real_answer_is_a_usable_reference_and_equals_itself() -> None:
    refused = set()
    for answer in {row["answer"] for row in rows("math_problems.jsonl")}:
        try:
            check_reference(answer)
        except InputError:
            refused.add(answer)
            continue
        assert quick(answer, answer, SETTINGS), answer
        assert equal(answer, normal(answer), SETTINGS), answer
        assert equal(normal(answer), answer, SETTINGS), answer
    assert refused == set(NO_REFERENCES)


def test_real_answers_survive_another_spelling() -> None:
    for answer in {row["answer"] for row in rows("math_problems.jsonl")} - set(NO_REFERENCES):
        spelled = re.sub(r"\\[dt]?frac", r"\\cfrac", answer)
        spelled = re.sub(r"(?<!\\) ", r"\\ ", spelled)
        if "\\\\" not in answer and "\\phantom" not in answer:  # rows of a matrix end in "\\ "
            spelled = f"$\\displaystyle {spelled}$."
            assert equal(answer, spelled, SETTINGS), (answer, spelled)


OTHERS = (
    "{}, 17", "17, {}", r"{} \text{{ or }} 17", r"{} \text{{ and }} 17", "{} (or 17)", "{} = 17",
    "{} + 1", "2 + {}", r"\text{{not }} {}", "x < {}", "{}(a + 7)", "17 = {}", r"{} \cdot 2 = 17",
    r"{} \text{{ (mod 17)}}",
)  # fmt: skip


@pytest.mark.parametrize("other", OTHERS)
def test_a_real_answer_with_something_more_is_another_answer(other: str) -> None:
    """Not so for a letter, which may have its option's words behind it, and for nought times x."""
    for answer in {row["answer"] for row in rows("math_problems.jsonl")} - set(NO_REFERENCES):
        choice = re.fullmatch(r"\W*(?:text|mbox|textbf)?\W*[A-Z]\W*", answer)
        if not choice and "17" not in answer and "approx" not in answer and answer[-1] != "0":
            more = normal(other.format(answer))
            assert not quick(normal(answer), more, SETTINGS), (answer, more)


def test_different_real_answers_are_equal_only_where_a_person_would_say_so() -> None:
    """Plain numbers: equal exactly where their values are."""
    numbers = {
        row["answer"]: Fraction(row["answer"])
        for row in rows("math_problems.jsonl")
        if re.fullmatch(r"-?(\d+(\.\d*)?|\.\d+|\d+/\d+)", row["answer"])
    }
    assert len(numbers) > 500
    ordered = sorted(numbers, key=lambda text: (numbers[text], text))
    for one, other in pairwise(ordered):
        assert quick(one, other, SETTINGS) is (numbers[one] == numbers[other]), (one, other)
