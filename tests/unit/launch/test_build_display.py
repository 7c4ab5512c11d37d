"""What a build shows on a terminal: times, rates, bars and columns at any width."""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import dataclass

import pytest
from rich.cells import cell_len
from rich.console import Console

from actors.workers.worker import ShardProgress
from launch.shown.build_table import drops_said, number, time_said
from launch.shown.progress import BuildProgress
from launch.shown.stage_numbers import Left, StageNumbers, left_of
from storage.runs.commits import Receipt
from workflows.runs.listening import ENDING
from workflows.schedule.events import Happened
from workflows.schedule.schedule import Task

ROAD = ("sample", "estimate", "label", "rationalize", "consensus", "export")


@dataclass
class Clock:
    """Seconds that pass when the test says so."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


class Stream(io.StringIO):
    """A stream of some encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:
        return self._encoding


def drawn(progress: BuildProgress, width: int, encoding: str = "utf-8") -> list[str]:
    """The lines on a terminal without colours."""
    console = Console(file=Stream(encoding), width=width, no_color=True, force_terminal=True)
    with console.capture() as capture:
        console.print(progress.view())
    return re.sub(r"\x1b\[[0-9;]*m", "", capture.get()).splitlines()


def build(clock: Clock, shards: int = 8, before: dict[str, int] | None = None) -> BuildProgress:
    return BuildProgress("demo", ROAD, shards, before or {}, clock, Console(file=io.StringIO()))


def begin(progress: BuildProgress, stage: str, *shards: int) -> None:
    for shard in shards:
        progress.happened(Happened("started", "policy", Task(stage, shard, 1)))


def commit(progress: BuildProgress, stage: str, shard: int, **said: object) -> None:
    values: dict[str, object] = {"rows": 100, "seconds": 10.0, "counts": {"tokens": 5_000}} | said
    receipt = Receipt(stage, shard, bytes=1, sha256="d", attempt="a", won=True, **values)  # type: ignore[arg-type]
    progress.happened(Happened("committed", "policy", Task(stage, shard, 1), receipt))


def line(progress: BuildProgress, stage: str, width: int = 80) -> str:
    return next(text for text in drawn(progress, width) if text.startswith(stage))


@pytest.mark.parametrize("width", [120, 80, 60, 40, 24])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_column_moves_and_no_line_is_too_long_whatever_happens(
    width: int, encoding: str
) -> None:
    clock, places, heights = Clock(), set(), set()
    progress = build(clock)

    def look() -> None:
        lines = drawn(progress, width, encoding)
        assert max(map(cell_len, lines)) <= width
        heights.add(len(lines))
        row = next(text for text in lines if text.startswith("sample"))
        places.add((lines[1].index("shards"), row.index("/8")))
        if encoding == "ascii":
            assert "\n".join(lines).isascii()

    look()
    progress.happened(Happened("opening", "policy"))
    look()
    progress.happened(Happened("opened", "policy"))
    begin(progress, "sample", *range(8))
    for shard in range(8):
        clock.now += 7_000
        progress.meters([ShardProgress("sample", n, 1, 2) for n in range(shard, 8)])
        look()
        drops = {"ended_" + "x" * n: 10**n for n in range(shard)}
        commit(progress, "sample", shard, rows=10**shard, drops=drops)
        progress.say("wörkers " * shard * 5)
        look()
    assert len(places) == len(heights) == 1


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (80, ["stage", "shards", "rows", "tokens/s", "dropped"]),
        (60, ["stage", "shards", "rows", "tokens/s"]),
        (40, ["stage", "shards"]),
    ],
)
def test_a_narrow_terminal_has_fewer_columns_not_cut_ones(width: int, columns: list[str]) -> None:
    assert drawn(build(Clock(), shards=1_000), width)[1].split() == columns


@pytest.mark.parametrize(("encoding", "full", "empty"), [("utf-8", "█", "░"), ("ascii", "#", "-")])
def test_bars_differ_without_colour_and_are_full_only_at_the_end(
    encoding: str, full: str, empty: str
) -> None:
    progress = build(Clock(), shards=2)

    def bar() -> Counter[str]:
        return Counter(next(t for t in drawn(progress, 60, encoding) if t.startswith("sample")))

    assert (bar()[full], bar()[empty] >= 8) == (0, True)
    begin(progress, "sample", 0, 1)
    commit(progress, "sample", 0)
    half = bar()
    assert abs(half[full] - half[empty]) <= 1
    progress.meters([ShardProgress("sample", 1, 999, 1_000)])
    assert bar()[empty] == 1
    commit(progress, "sample", 1)
    assert (bar()[full] >= 8, bar()[empty]) == (True, 0)


def test_a_finished_stage_keeps_its_mean_rate_and_one_at_work_has_that_of_the_last_minute() -> None:
    clock = Clock()
    progress = build(clock, shards=2)
    begin(progress, "sample", 0, 1)
    for second in range(1, 101):  # 5,000 tokens in 100 s, then in 10 s
        clock.now += 1
        progress.meters([ShardProgress("sample", 0, second, 100), ShardProgress("sample", 1, 0, 1)])
    assert "tokens" not in line(progress, "sample"), "no commit says how many yet"
    commit(progress, "sample", 0)
    for second in range(1, 61):
        clock.now += 1
        progress.meters([ShardProgress("sample", 1, second, 10 * 60)])
    assert progress.view().stages[0].rate() == pytest.approx(5_000 / 600, rel=0.05)
    commit(progress, "sample", 1)
    mean = line(progress, "sample")
    assert progress.view().stages[0].rate() == pytest.approx(10_000 / 160)
    clock.now += 3_600
    progress.meters([])
    assert line(progress, "sample") == mean


def test_a_pause_of_a_stage_counts_in_no_rate() -> None:
    clock = Clock()
    progress = build(clock, shards=2)
    for shard in range(2):
        begin(progress, "sample", shard)
        clock.now += 10
        commit(progress, "sample", shard)
        clock.now += 5_000  # another model's turn
    assert progress.view().stages[0].rate() == pytest.approx(10_000 / 20)


def stage(name: str, made: int, seconds: float, before: int = 0, shards: int = 10) -> StageNumbers:
    numbers = StageNumbers(name, shards, before)
    for shard in range(made):
        receipt = Receipt(name, shard, 1, 1, "d", "a", True, seconds=seconds)
        numbers.committed(receipt, 0.0)
    for shard in range(before):
        numbers.earlier(Receipt(name, shard, 1, 1, "d", "a", True, seconds=seconds))
    return numbers


@pytest.mark.parametrize(
    ("stages", "passed", "left"),
    [
        ([stage("a", 0, 0)], 60, Left(None, ("a",))),
        ([stage("a", 5, 4)], 60, Left(60)),
        ([stage("a", 10, 4), stage("b", 5, 4)], 60, Left(20)),
        ([stage("a", 10, 2), stage("b", 5, 8)], 60, Left(40)),
        ([stage("a", 5, 4), stage("b", 0, 0)], 60, Left(60, ("b",))),
        ([stage("a", 0, 4, before=10), stage("b", 5, 8)], 60, Left(60)),
        ([stage("a", 2, 4, before=6), stage("b", 0, 0)], 10, Left(10, ("b",))),
        ([stage("a", 0, 4, before=6)], 10, Left(None)),
        ([stage("a", 10, 4)], 60, Left(0.0)),
    ],
)
def test_the_time_left_weighs_stages_by_their_seconds_and_names_those_of_none(
    stages: list[StageNumbers], passed: float, left: Left
) -> None:
    assert left_of(stages, passed) == left


@pytest.mark.parametrize(
    ("passed", "left", "width", "said"),
    [
        (0, Left(None, ROAD), 80, "0 s so far"),
        (240, Left(None, ROAD), 80, "4 min so far"),
        (240, Left(360.0), 80, "4 min so far, about 6 min left"),
        (240, Left(360.0, ("label",)), 40, "4 min so far, at least 6 min left"),
        (
            240,
            Left(9, ("a", "b")),
            80,
            "4 min so far, at least 9 s left (a and 1 more not timed yet)",
        ),
        (30, Left(0.0), 80, "30 s so far"),
    ],
)
def test_times_say_how_sure_they_are(passed: float, left: Left, width: int, said: str) -> None:
    assert time_said(passed, left, width) == said


@pytest.mark.parametrize(
    ("width", "said"),
    [
        (80, "dropped: mc_zero_start 1,200, truncated 30, part_missing 7"),
        (52, "dropped: mc_zero_start 1,200 and 2 more reasons"),
        (30, "dropped: 1,237, 3 reasons"),
    ],
)
def test_reasons_are_whole_or_counted(width: int, said: str) -> None:
    drops = Counter({"truncated": 30, "mc_zero_start": 1_200, "part_missing": 7})
    assert drops_said(drops, width) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(7, "7"), (1_234_567, "1,234,567"), (12_345_678, "12,345.7k"), (1_234_567_890, "1,234.6M")],
)
def test_numbers_keep_to_their_width(value: int, said: str) -> None:
    assert number(value, 9) == said


def test_a_continued_run_shows_what_was_there_before() -> None:
    progress = build(Clock(), before={"sample": 8, "estimate": 2})
    assert line(progress, "sample").split()[2:] == ["8/8", "0"], "its commits are still read"
    for stage_name, shards in (("sample", 8), ("estimate", 2)):
        for shard in range(shards):
            receipt = Receipt(
                stage_name, shard, 100, 1, "d", "a", True, {"truncated": 3}, {"tokens": 9}, 5.0
            )
            progress.earlier(receipt)
    assert line(progress, "sample").split()[2:] == ["8/8", "800", "24"]
    assert line(progress, "estimate").split()[2:] == ["2/8", "200", "6"]
    assert any(text == "dropped: truncated 30" for text in drawn(progress, 80))


def test_an_engine_that_starts_is_seen_to_move() -> None:
    clock = Clock()
    progress = build(clock)
    progress.happened(Happened("opening", "completer"))
    clock.now += 42
    assert "starting completer 42 s" in drawn(progress, 80)
    clock.now += 60
    assert "starting completer 102 s" in drawn(progress, 80)
    progress.happened(Happened("opened", "completer"))
    assert "workers: completer 1" in drawn(progress, 80)


def test_the_end_is_said_at_once_and_by_nothing_else_after_it() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, no_color=True)
    with BuildProgress("demo", ROAD, 8, {}, Clock(), console) as progress:
        progress.say("policy is up")
        progress.ending()
        progress.say("sample 3: will be tried again")
        assert drawn(progress, 80)[-1] == ENDING


def test_a_log_says_time_so_far_and_left_and_for_how_long_an_engine_starts() -> None:
    clock, log = Clock(), io.StringIO()
    with BuildProgress("demo", ["sample"], 4, {}, clock, Console(file=log, width=40)) as progress:
        progress.happened(Happened("opening", "policy"))
        for _ in range(130):
            clock.now += 1
            progress.meters([])
        progress.happened(Happened("opened", "policy"))
        begin(progress, "sample", 0, 1)
        clock.now += 30
        commit(progress, "sample", 0, seconds=30.0)
    lines = [text.partition("] ")[2] for text in log.getvalue().splitlines()]
    assert lines == [
        "starting policy",
        "60 s so far · starting policy 60 s",
        "2 min so far · starting policy 2 min",
        "policy is up",
        "2 min so far · sample 0/4 · workers: policy 1",
        "3 min so far, about 90 s left · sample 1/4 (167 tokens/s) · workers: policy 1",
    ]
