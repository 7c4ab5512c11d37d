"""Several runs in one download: one folder, each solution once, a card that names them all."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from launch.cli.main import run_command
from storage.errors import ConfigurationError, NothingFound
from storage.rows.kinds import EXAMPLES, PATHS
from storage.runs.marks import Mark, put_mark
from storage.runs.run import Run
from tests.support.deriving import derive, take_over
from tests.support.scripted_build import Build, configure, rows
from workflows.looking.download import download
from workflows.runs.run import finish


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """A run of six problems, and one of fourteen that grew from it."""
    config = configure(tmp_path_factory.mktemp("together"))
    small = Build(dataclasses.replace(config, run="small", limit=6))
    asyncio.run(small.work())
    finish(small.run)
    large = dataclasses.replace(config, run="large")
    run = derive(large, small.run)
    take_over(run, large)
    asyncio.run(Build(large, run).work())
    finish(run)
    return [small.run, run]


def paths(folder: Path) -> list[tuple[str, str]]:
    """(run, path_id) of each row, in the order in which they are read."""
    tables = [pq.read_table(file) for file in sorted(folder.glob("data/*.parquet"))]
    return [(row["run"], row["path_id"]) for table in tables for row in table.to_pylist()]


def test_each_solution_is_there_once_and_the_folder_is_one_dataset(
    runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, large = (rows(run, EXAMPLES) for run in runs)
    asked = ["download", "small", "large", str(tmp_path / "out"), "--store", runs[0].store.url]
    assert run_command([*asked, "--format", "parquet,jsonl"]) == 0
    assert f": {len(large):,} rows in" in capsys.readouterr().out
    found = paths(tmp_path / "out")
    old = {one.path_id for one in small}
    assert sorted(found) == sorted(
        [("small", name) for name in old]
        + [("large", one.path_id) for one in large if one.path_id not in old]
    )
    lines = [json.loads(line) for file in sorted((tmp_path / "out/jsonl").glob("*"))
             for line in file.read_text().splitlines()]  # fmt: skip
    assert [(row["run"], row["path_id"]) for row in lines] == found
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out", check=True)
    card = (tmp_path / "out/README.md").read_text()
    problems = len({one.problem_id for one in small}), len({one.problem_id for one in large})
    assert f"| small | {len(small)} | 0 | {len(small)} | {problems[0]} | 0 |" in card
    new = len(large) - len(small)
    assert (
        f"| large | {len(large)} | {len(small)} | {new} | {problems[1]} | {problems[0]} |" in card
    )
    for run in runs:
        assert f"# {run.name}" in (tmp_path / "out/cards" / f"{run.name}.md").read_text()
    assert (tmp_path / "out/chat_template.jinja").exists()
    assert run_command(asked) == 0
    assert ", 0 fetched now" in capsys.readouterr().out


def test_it_is_read_by_datasets(runs: list[Run], tmp_path: Path) -> None:
    from datasets import load_dataset

    made = download(runs, tmp_path / "out")
    read = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(read) == made.rows


def test_repeated_solutions_can_be_kept(runs: list[Run], tmp_path: Path) -> None:
    made = download(runs, tmp_path / "out", repeated="keep")
    assert made.rows == sum(len(rows(run, EXAMPLES)) for run in runs)
    assert "were kept" in (tmp_path / "out/README.md").read_text()


def test_other_views_show_each_solution_once_too_or_say_that_they_can_not(
    runs: list[Run], tmp_path: Path
) -> None:
    for view, kind in (("discriminative", EXAMPLES), ("orm", PATHS), ("sample", PATHS)):
        made = download(runs, tmp_path / view, view=view)
        assert made.rows == len(rows(runs[1], kind))  # all of the first run is in the second
    with pytest.raises(ConfigurationError, match="view 'label' of several runs"):
        download(runs, tmp_path / "label", view="label")


def test_what_was_marked_wrong_is_left_out_of_each(runs: list[Run], tmp_path: Path) -> None:
    wrong = rows(runs[0], EXAMPLES)[0].path_id
    put_mark(runs[0], Mark(wrong, "me", False, 0, "", "2026-01-01T00:00:00Z"))
    made = download(runs, tmp_path / "out", reviewed=True)
    # It is not marked in the other run, which then has it.
    assert ("small", wrong) not in paths(tmp_path / "out")
    assert ("large", wrong) in paths(tmp_path / "out")
    assert made.rows == len(rows(runs[1], EXAMPLES))


@pytest.mark.parametrize(("names", "error", "said"), [
    pytest.param((0, 0), ConfigurationError, "run 'small' is named twice", id="twice"),
    pytest.param((1, 2), NothingFound, "run 'begun' is not finished", id="unfinished"),
])  # fmt: skip
def test_what_can_not_be_put_together_is_one_line(
    names: tuple[int, ...], error: type[Exception], said: str, runs: list[Run], tmp_path: Path
) -> None:
    begun = Run.start(runs[0].store, "begun", dataclasses.replace(runs[0].spec, input_digest="x"))
    chosen = [[*runs, begun][at] for at in names]
    with pytest.raises(error, match=said):
        download(chosen, tmp_path / "out")
    assert not (tmp_path / "out").exists()
