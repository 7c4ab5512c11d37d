"""What is asked of runs that are there: each mistake gets one line and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.cli.main import run_command
from storage.objects.local import LocalStore
from storage.runs.run import Run
from tests.support.whole_run import finished, problems, started
from tests.unit.launch.first_hour.place import refused

MISTAKES = {
    "download whole x --view cots": "view 'cots' is not one of ",
    "download whole x --format csv": "--format csv: choose parquet or jsonl, or both",
    "download whole own.jsonl": "own.jsonl is a file: name a folder",
    "download whole notes": "notes holds mine.md: name a new or an empty folder",
    "download begun x": "run 'begun'",
    "compare whole --plot f1.svg": "name a file that ends in .png",
    "compare whole --truth none.jsonl": "none.jsonl",
    "show whole --reason no_such": "its reasons are label_mismatch, mc_zero_start",
    "why whole p#9": "run 'whole' has no problem_id 'p'",
    "status a/b": "run name 'a/b': use letters, digits, dot, dash and underscore",
}


@pytest.fixture
def runs(place: Path) -> Path:
    """The folder, whose store has a run that is finished and one that is begun."""
    store = LocalStore.at(place / ".stepmill" / "store")
    finished(store)
    begun = started(store, "begun")
    begun.store_input(problems())
    (place / "notes").mkdir()
    (place / "notes" / "mine.md").write_text("mine")
    return place


@pytest.mark.parametrize(("command", "words"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_about_a_run_gets_one_line(
    command: str, words: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = refused(command, runs, capsys)
    assert words in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize("formats", ["both", "parquet,jsonl", "jsonl, parquet"])
def test_both_formats_are_asked_for_in_one_word_or_two(formats: str, runs: Path) -> None:
    assert run_command(["download", "whole", "x", "--format", formats]) == 0
    assert {path.name for path in (runs / "x").iterdir()} >= {"data", "jsonl", "README.md"}


def test_a_download_is_repeated_beside_ones_own_notes(runs: Path) -> None:
    assert run_command(["download", "whole", "x"]) == 0
    (runs / "x" / "notes.md").write_text("mine")
    assert run_command(["download", "whole", "x"]) == 0


def test_a_sweep_says_what_it_leaves_of_an_unfinished_run(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["sweep", "begun"]) == 0
    assert "run begun is not finished: nothing else was left behind" in capsys.readouterr().out
    begun = Run.open(LocalStore.at(runs / ".stepmill" / "store"), "begun")
    begun.store.put_new("runs/begun/sample/data/000001-abc.parquet", b"half")
    assert run_command(["sweep", "begun"]) == 0
    said = capsys.readouterr().out
    assert "1 objects stay: their shards have no commit yet, since run begun is not fin" in said
