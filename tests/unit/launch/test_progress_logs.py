"""Progress in a log: a line when something changed, less and less often, and the last state."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from actors.training.events import Event
from actors.workers.worker import ShardProgress
from launch.shown.log_pace import LogPace
from launch.shown.progress import BuildProgress
from launch.shown.terminal import TERMINAL
from launch.shown.tokens_progress import TokensProgress
from launch.shown.training_progress import TrainingProgress
from launch.verbs.runs.watch import watch_run
from storage.runs.commits import Receipt
from tests.support.scripted_build import Build, configure
from workflows.runs.run import finish
from workflows.schedule.events import Happened
from workflows.schedule.schedule import Task

HOUR = 3600


@dataclass
class Clock:
    """Seconds that pass when the test says so."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def committed(shard: int) -> Happened:
    receipt = Receipt("sample", shard, 3, 1, "d", "a", True)
    return Happened("committed", "policy", Task("sample", shard, 1), receipt)


def lines(capsys: pytest.CaptureFixture[str], word: str) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if word in line]


def test_lines_are_due_at_growing_intervals_of_at_most_five_minutes() -> None:
    clock = Clock(0.0)
    pace = LogPace(clock)
    due = []
    while clock.now < HOUR:
        if pace.is_due(clock.now):
            due.append(clock.now)
        clock.now += 0.5
    assert due[:5] == [0, 5, 12.5, 24, 41]
    gaps = [after - before for before, after in pairwise(due)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == 300


def test_a_state_that_was_shown_is_never_due_again_not_even_as_the_last() -> None:
    clock = Clock()
    pace = LogPace(clock)
    assert pace.is_due("a")
    clock.now += HOUR
    assert not pace.is_due("a")
    assert not pace.is_due("a", last=True)
    assert pace.is_due("b", last=True)


def test_a_build_of_ten_hours_has_a_line_each_five_minutes_and_its_last_state(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    with BuildProgress("r", ["sample"], 10_001, {}, clock) as progress:
        progress.happened(Happened("started", "policy", Task("sample", 0, 1)))
        for shard in range(10_000):
            clock.now += 3.6
            progress.happened(committed(shard))
            progress.meters([])
        progress.happened(committed(10_000))
    said = lines(capsys, "sample")
    assert 120 <= len(said) <= 140
    assert "sample 10001/10001" in said[-1]


def test_a_build_in_which_nothing_moves_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with BuildProgress("r", ["sample"], 10, {}, clock) as progress:
        progress.happened(Happened("started", "policy", Task("sample", 0, 1)))
        for _ in range(HOUR):
            clock.now += 1
            progress.meters([ShardProgress("sample", 0, 1, 100)])
        assert len(lines(capsys, "sample")) == 1
        progress.meters([ShardProgress("sample", 0, 50, 100)])
        assert len(lines(capsys, "sample")) == 1, "half a shard of ten is progress"


@pytest.mark.parametrize("updates", [499, 500], ids=["interrupted", "finished"])
def test_a_training_says_its_last_update_once_however_it_ends(
    updates: int, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    with TrainingProgress("t", clock) as progress:
        for step in range(1, updates + 1):
            clock.now += 1
            values = {"tokens": 10, "seconds": 1.0, "loss": 0.5, "rate": 1e-3}
            progress.happened(Event("update", step, 500, values))
    said = lines(capsys, "update")
    assert 7 <= len(said) <= 13
    assert "update 1/500" in said[0]
    assert f"update {updates}/500" in said[-1]
    assert f"update {updates}/500" not in said[-2]


async def test_a_watched_run_in_a_log_is_shown_when_it_changed_and_at_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build, clock, looks = Build(configure(tmp_path)), Clock(), []
    await build.work()

    def pause(seconds: float) -> None:
        clock.now += seconds
        looks.append(clock.now)
        if len(looks) == 50:
            finish(build.run)

    watch_run(build.run, as_json=False, pause=pause, clock=clock)
    assert len(looks) == 50
    assert capsys.readouterr().out.count("rationalize") == 2, "as it was, and finished"


def test_the_making_of_tokens_says_what_is_left_by_the_rate_of_this_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    with TokensProgress("t", clock) as progress:
        progress.stored(40, 100)
        for shards in range(41, 101):
            clock.now += 10
            progress.stored(shards, 100)
    said = lines(capsys, "shards")
    assert said[0].endswith("[t] making tokens: 40 of 100 shards are there")
    assert said[1].endswith("[t] 41 of 100 shards of tokens · 10 min left")
    assert said[-1].endswith("[t] 100 of 100 shards of tokens")
    assert len(said) == 12


def test_what_a_library_prints_while_tokens_are_made_goes_to_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with TERMINAL.tokens("t") as tell:
        tell(0, 1)
        print("(raylet) a worker died")
    said = capsys.readouterr()
    assert said.out == ""
    assert "(raylet) a worker died" in said.err


def test_tokens_that_are_there_are_not_spoken_of(capsys: pytest.CaptureFixture[str]) -> None:
    with TokensProgress("t"):
        pass
    assert capsys.readouterr().err == ""
