"""Runs side by side: counts by hand, differences on common paths, and a truth where there is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path as File

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from launch.verbs.runs.compare import compare_runs
from storage.errors import ConfigurationError, InputError
from storage.objects.memory import MemoryStore
from tests.support.whole_run import finished
from workflows.evaluation.comparison import LabelledRun, compare, read_labels, read_truth
from workflows.labels.scores import Scores


def labelled(name: str, rollouts: int, **labels: tuple[bool, ...]) -> LabelledRun:
    return LabelledRun(
        name, len(labels), rollouts, 10 * rollouts, 20 * rollouts, labels,
        frozenset(key for key in labels if key == "a"), {}, {key: key for key in labels},
    )  # fmt: skip


def test_scores_by_hand() -> None:
    """Labels r w w against a first error at 2: one hit, one false alarm, nothing missed."""
    scores = Scores()
    scores.add([True, False, False], 2)
    assert (scores.precision, scores.recall, scores.error) == (0.5, 1.0, pytest.approx(1 / 3))
    scores.add([True, True], None)
    assert (scores.paths, scores.first, scores.whole) == (2, 1, 1)
    assert scores.labelled_wrong == pytest.approx(2 / 5)
    assert scores.f1 == pytest.approx(2 / 3)


def test_runs_are_compared_on_the_paths_that_both_have_and_with_the_truth() -> None:
    first = labelled("first", 100, a=(True, False), b=(True, True))
    other = labelled("other", 25, a=(True, True), b=(True, True), c=(False, False))
    truth = {("", "a"): 1, ("", "b"): None, ("other", "c"): 0}
    one, two = compare([first, other], truth)
    assert (one.differs, one.f1, one.first_error_true) == (None, 1.0, 1.0)
    assert (two.common, two.differs, two.first_error_differs) == (2, 0.25, 0.5)
    assert (two.precision, two.recall) == (1.0, pytest.approx(2 / 3, abs=1e-4))
    assert (two.kept_share, two.kept_f1) == (pytest.approx(1 / 3, abs=1e-4), 0.0)
    assert two.rollouts_per_solution == pytest.approx(25 / 3, abs=0.01)


def test_a_run_is_read_with_its_drops_and_what_it_kept() -> None:
    read = read_labels(finished(MemoryStore()))
    assert read.kept is not None
    assert len(read.kept) < len(read.labels) < read.solutions
    assert read.drops["rationalize: no_code"] == 3
    assert all(key.startswith(f"{path_id}@") for key, path_id in read.path_ids.items())


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_truth_is_read_from_lines_or_parquet(tmp_path: File, suffix: str) -> None:
    rows = [{"run": "r", "path_id": "p#0", "first_error": 2},
            {"run": None, "path_id": "p#1", "first_error": None}]  # fmt: skip
    file = tmp_path / f"truth{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_truth(file) == {("r", "p#0"): 2, ("", "p#1"): None}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"path_id": "p#0"}', "row 1 needs `path_id` and `first_error`"),
        ("[1]", "row 1 needs"),
        ("not json", "can't be read"),
    ],
)
def test_a_truth_that_is_none_is_said_so(tmp_path: File, text: str, said: str) -> None:
    file = tmp_path / "truth.jsonl"
    file.write_text(text)
    with pytest.raises(InputError, match=said) as error:
        read_truth(file)
    assert "\n" not in str(error.value)


def test_the_verb_prints_json_draws_a_plot_and_refuses_a_truth_about_others(
    tmp_path: File, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(MemoryStore())
    again = replace(run)
    compare_runs([run, again], None, tmp_path / "plot.png", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert [row["differs"] for row in found] == [None, 0.0]
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    compare_runs([run, again], None, None, as_json=False)
    assert "rollouts per solution" in capsys.readouterr().out
    (tmp_path / "truth.jsonl").write_text('{"path_id": "elsewhere#0", "first_error": 0}')
    with pytest.raises(InputError, match="no path of these runs"):
        compare_runs([run], tmp_path / "truth.jsonl", None, as_json=True)
    with pytest.raises(ConfigurationError, match=r"ends in \.png"):
        compare_runs([run], None, tmp_path / "plot.txt", as_json=True)
    with pytest.raises(ConfigurationError, match="no such folder"):
        compare_runs([run], None, tmp_path / "absent" / "plot.png", as_json=True)


def test_a_truth_about_a_run_holds_for_the_same_paths_of_a_derived_one() -> None:
    run = read_labels(finished(MemoryStore()))
    derived = replace(run, name="derived")
    truth = {(run.name, path_id): 0 for path_id in run.path_ids.values()}
    first, second = compare([run, derived], truth)
    assert first.f1 is not None
    assert (second.f1, second.first_error_true) == (first.f1, first.first_error_true)
    elsewhere = replace(run, name="other", labels={"p#0@of-other-steps": (True,)},
                        path_ids={"p#0@of-other-steps": "p#0"})  # fmt: skip
    assert compare([run, elsewhere], truth)[1].f1 is None
