"""The verb `grade`: lines in, lines out, in order; a bad line is named and loses nothing."""

from __future__ import annotations

import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from launch.verbs.looking.grade import grade_stream, show_audit
from storage.errors import InputError
from workflows.answers.audit import Audit


def line(**fields: Any) -> str:
    return json.dumps(fields) + "\n"


def graded(text: str) -> list[dict[str, Any]]:
    sink = io.StringIO()
    grade_stream(io.StringIO(text), sink)
    return [json.loads(printed) for printed in sink.getvalue().splitlines()]


def test_each_line_is_answered_in_order_with_the_answers_as_compared() -> None:
    lines = [
        line(response=r"Step 1: so \boxed{10{,}000}.", reference="10000"),
        line(answer=r"\dfrac{1}{3}", reference=r"\frac13"),
        line(response="the answer is 42", reference="42"),
        line(response=r"\boxed{42", reference="42"),
        line(answer=None, reference="42"),
        line(answer=r"\frac{1}{\sqrt{3}}", reference=r"\frac{\sqrt{3}}{3}"),
    ]
    assert graded("".join(lines)) == [
        {"correct": True, "answer": "10000", "reference": "10000"},
        {"correct": True, "answer": r"\frac{1}{3}", "reference": r"\frac13"},
        {"correct": False, "answer": None, "reference": "42"},
        {"correct": False, "answer": None, "reference": "42"},
        {"correct": False, "answer": None, "reference": "42"},
        {"correct": True, "answer": r"\frac{1}{\sqrt{3}}", "reference": r"\frac{\sqrt{3}}{3}"},
    ]


def test_blank_lines_and_a_missing_last_newline_are_no_trouble() -> None:
    text = "\n" + line(answer="1", reference="1") + "  \n" + line(answer="2", reference="1").strip()
    assert [found["correct"] for found in graded(text)] == [True, False]
    assert graded("") == []


def test_an_audit_shows_pairs_judged_unequal_whose_numbers_agree() -> None:
    lines = [
        line(answer="0.333333", reference=r"\frac13"),
        line(answer="[1, 2]", reference="(1, 2)"),
        line(answer="7", reference="8"),
        line(answer="x+1", reference="x+2"),
        line(answer="5", reference="5"),
        line(answer=None, reference="5"),
        line(answer=r"5 \text{ km}", reference=r"5 \text{ m}"),
        line(
            answer=r"\begin{pmatrix}1\\2\end{pmatrix}", reference=r"\begin{pmatrix}1&2\end{pmatrix}"
        ),
    ]
    audit = Audit(2)
    totals = grade_stream(io.StringIO("".join(lines)), io.StringIO(), audit=audit)
    assert (totals.lines, audit.unequal, audit.suspects) == (8, 6, 4)
    shown = io.StringIO()
    show_audit(audit, totals, shown)
    assert len(audit.sample) == 2
    assert {suspect.line for suspect in audit.sample} < {1, 2, 7, 8}
    assert "8 graded, 6 judged unequal with an answer; of these 4 agree" in shown.getvalue()


GOOD = line(answer="1", reference="1")
BAD = [
    pytest.param("not json\n", "not JSON", id="no JSON"),
    pytest.param("[1]\n", "not a JSON object", id="a list"),
    pytest.param("[" * 5000 + "\n", "not JSON", id="deep"),
    pytest.param(line(answer="1"), "reference", id="no reference"),
    pytest.param(line(answer="1", reference=1), "reference", id="a number as reference"),
    pytest.param(line(answer="1", reference=" "), "empty", id="an empty reference"),
    pytest.param(line(answer="1", reference=r"\frac{1}{"), "braces", id="a cut reference"),
    pytest.param(line(reference="1"), "either", id="no answer"),
    pytest.param(line(answer="1", response="1", reference="1"), "either", id="two answers"),
    pytest.param(line(answer=1, reference="1"), "strings", id="a number as answer"),
    pytest.param(line(response=None, reference="1"), "strings", id="no response"),
]


@pytest.mark.parametrize(("bad", "says"), BAD)
def test_a_bad_line_is_named_and_what_stands_before_it_is_printed(bad: str, says: str) -> None:
    sink = io.StringIO()
    with pytest.raises(InputError, match=f"^line 4: .*{says}") as caught:
        grade_stream(io.StringIO(GOOD + "\n" + GOOD + bad + GOOD), sink)
    assert "\n" not in str(caught.value)
    assert len(sink.getvalue().splitlines()) == 2


def test_bytes_that_are_not_utf8_are_a_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(GOOD.encode() + b'{"answer": "\xff"}\n')
    with path.open() as source, pytest.raises(InputError, match="line 2: not JSON"):
        grade_stream(source, io.StringIO())


def test_lines_longer_than_a_block_are_read_whole() -> None:
    long = line(response="x" * 300_000 + r"\boxed{7}", reference="7")
    totals = grade_stream(io.StringIO(long + GOOD + long), io.StringIO())
    assert (totals.lines, totals.correct) == (3, 3)


def test_many_blocks_come_out_in_order() -> None:
    numbers = range(20_000)
    text = "".join(line(answer=str(number), reference=str(number % 7)) for number in numbers)
    assert [found["answer"] for found in graded(text)] == [str(number) for number in numbers]


def test_an_answer_is_printed_while_the_stream_is_still_open() -> None:
    questions, results = os.pipe(), os.pipe()
    source, sink = os.fdopen(questions[0]), os.fdopen(results[1], "w")
    worker = threading.Thread(target=grade_stream, args=(source, sink))
    worker.start()
    with os.fdopen(questions[1], "w") as asking, os.fdopen(results[0]) as answering:
        for number in range(3):
            asking.write(line(answer=str(number), reference="1"))
            asking.flush()
            assert json.loads(answering.readline())["correct"] is (number == 1)
        asking.close()
        worker.join()
    source.close()
    sink.close()
