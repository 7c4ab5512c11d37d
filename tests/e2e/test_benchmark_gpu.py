"""The measurement of a GPU, with tiny shapes on this machine: it must not rot where no GPU is."""

from __future__ import annotations

import json

import pytest

from benchmarks.gpu import NOT_SHOWN, PARTS, main
from benchmarks.gpu_stages import WORDS, Row
from benchmarks.shapes import SHAPES

TINY = {
    "shape": "tiny", "base": "tiny", "problems": 2, "shard-size": 1, "paths": 1, "solutions": 1,
    "in-flight": 16, "context": 8192, "updates": 1, "batch": 2, "micro-tokens": 512,
    "shortest": 50, "longest": 200,
}  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "billions"), [("7b", 7.62), ("1.5b", 1.54)], ids=["Qwen2.5-7B", "Qwen2.5-1.5B"]
)
def test_shapes_have_as_many_parameters_as_the_published_models(
    shape: str, billions: float
) -> None:
    assert SHAPES[shape].parameters / 1e9 == pytest.approx(billions, abs=0.005)


def test_each_stage_is_compared_with_its_engine_asked_directly(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = TINY | {"parts": "start,sample,estimate,rationale,train"}
    assert main(["--eager", *(f"--{name}={value}" for name, value in asked.items())]) == 0
    shown = capsys.readouterr()
    rows = {row["part"]: Row(**row) for row in json.loads(shown.out)}
    assert list(rows) == ["start", "full", "sample", "estimate", "rationale", "train"]
    for part in ("full", "sample", "estimate", "rationale"):
        assert rows[part].tokens_per_s == pytest.approx(rows[part].tokens / rows[part].seconds)
        assert rows[part].share is not None and rows[part].share > 0
    # 2 problems x 16 samples of 256 tokens, none of which ends by itself; then lengths that differ.
    assert 0.7 * 2 * 16 * 256 < rows["full"].tokens <= 2 * 16 * 256
    assert rows["sample"].tokens < 2 * 64 * 2 * WORDS
    assert rows["train"].share is None, "there is no GPU whose share it could be"
    for part in rows:
        assert f"| {part} |" in shown.err
        assert shown.err.count(f"- `{part}` does not show ") == 1


def test_every_part_says_what_it_does_not_show() -> None:
    assert set(NOT_SHOWN) == set(PARTS)


def test_no_part_is_begun_when_the_minutes_are_spent(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--minutes", "0"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["part"] for row in rows] == ["full", "sample estimate rationale", "train", "demo"]
    assert {row["note"] for row in rows} == {"not begun: 0 minutes were spent"}


@pytest.mark.slow
@pytest.mark.engine
def test_the_demos_build_is_told_stage_by_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--parts", "demo", "--demo-problems", "4"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["part"] == "demo"
    assert row["seconds"] > 1
