"""Problems as they are published: read by their columns, in whatever file they come."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.published import (
    PUBLISHED,
    ROWS,
    as_deepscaler,
    as_math,
    as_numina,
    as_numina_1_5,
    rows_of,
    write,
)
from workflows.answers import check_reference, read_answer
from workflows.inputs.problems import checked_problems, look

Rows = Sequence[Mapping[str, Any]]
MATH = rows_of("math500")


@pytest.mark.parametrize("name", ["p.jsonl", "p.parquet", "p.csv", "p.tsv.gz", "p.jsonl.zst"])
@pytest.mark.parametrize("published", PUBLISHED)
def test_every_row_is_a_problem_and_its_shape_is_said(
    published: str, name: str, tmp_path: Path
) -> None:
    shape, rows = PUBLISHED[published]
    looked = look(write(rows, tmp_path / name), check_reference)
    assert (len(looked.problems), looked.refused, looked.doubtful) == (ROWS, [], [])
    assert f"read as {shape} (" in looked.read_as[0]
    first, row = looked.problems[0], {k.casefold(): v for k, v in rows[0].items()}
    assert first.problem == row.get("problem", row.get("question"))
    if shape == "AIME":
        assert int(first.answer) == int(row["answer"])
    if shape == "MATH-500":
        assert first.problem_id == "test/precalculus/807.json"
        assert (first.level, first.subject) == ("2", "Precalculus")
        assert first.answer == row["answer"]
        assert first.reference_solution == row["solution"]
    if shape == "GSM8K":
        assert first.answer == "72"
        assert first.reference_solution == (
            "Natalia sold 48/2 = 24 clips in May.\n"
            "Natalia sold 48+24 = 72 clips altogether in April and May."
        )


@pytest.mark.parametrize(
    ("rows", "shape"),
    [
        pytest.param(as_math(MATH), "MATH", id="MATH"),
        pytest.param(as_numina(MATH), "NuminaMath", id="NuminaMath"),
        pytest.param(as_numina_1_5(MATH), "NuminaMath-1.5", id="NuminaMath-1.5"),
        pytest.param(as_deepscaler(MATH), "DeepScaleR", id="DeepScaleR"),
    ],
)
def test_other_publications_of_math_are_read_as_the_same_problems(
    rows: Rows, shape: str, tmp_path: Path
) -> None:
    looked = look(write(rows, tmp_path / "p.parquet"), check_reference)
    assert (len(looked.problems), looked.refused) == (ROWS, [])
    assert f"read as {shape} (" in looked.read_as[0]
    assert "problem_id made from its text" in looked.read_as[0]
    for problem, row in zip(looked.problems, MATH, strict=True):
        boxed = read_answer(row["solution"])
        assert problem.answer == (row["answer"] if "answer" in rows[0] else boxed)
        assert problem.reference_solution == row["solution"]


def test_proofs_and_solutions_without_a_box_are_dropped_as_unusual(tmp_path: Path) -> None:
    numina = as_numina(MATH)
    numina[1] = numina[1] | {"solution": "We prove it by induction."}
    proofs = as_numina_1_5(MATH)
    proofs[1] = proofs[1] | {"answer": "proof"}
    for rows in (numina, proofs):
        checked = checked_problems(write(rows, tmp_path / "p.jsonl"), None, check_reference)
        assert len(checked.problems) == ROWS - 1
        assert [(drop.item, drop.reason) for drop in checked.dropped] == [
            ("line 2", "unusual_answer")
        ]


def test_maths_own_release_of_a_file_a_problem_is_a_folder(tmp_path: Path) -> None:
    for number, row in enumerate(as_math(MATH)):
        file = tmp_path / "MATH/train/algebra" / f"{number}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(row, indent=4))
    checked = checked_problems(tmp_path / "MATH/train", None, check_reference)
    assert len(checked.problems) == ROWS


def test_a_file_of_our_own_form_is_read_by_our_own_names_alone(tmp_path: Path) -> None:
    row = {"problem_id": "a", "problem": "What?", "answer": "1", "solution": "\\boxed{2}", "id": 3,
           "type": "x", "question": "Else?"}  # fmt: skip
    (problem,) = checked_problems(
        write([row], tmp_path / "p.jsonl"), None, check_reference
    ).problems
    assert problem.answer == "1"
    assert (problem.problem_id, problem.subject, problem.reference_solution) == ("a", None, None)


@pytest.mark.parametrize("published", PUBLISHED)
def test_a_clone_of_its_repository_is_read_as_a_folder(published: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / ".gitattributes").write_text("*.parquet filter=lfs\n")
    (tmp_path / "README.md").write_text("---\nconfigs: []\n---\n")
    (tmp_path / "dataset_infos.json").write_text("{}")
    write(PUBLISHED[published][1], tmp_path / "data/test-00000-of-00001.parquet")
    assert len(checked_problems(tmp_path, None, check_reference).problems) == ROWS
