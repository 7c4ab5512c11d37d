"""`report_to`: what trackers are told, and that none of them can stop or hold up the work."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors import reporters
from actors.training.events import Event
from storage.errors import ConfigurationError
from storage.objects.memory import MemoryStore
from storage.runs.commits import Receipt
from storage.runs.run import Run
from tests.support.scripted_build import configure
from tests.support.whole_run import finished
from workflows.builds.run import build
from workflows.runs import reporting
from workflows.runs.figures import RunFigures, TrainingFigures
from workflows.runs.listening import Listener, Watching
from workflows.schedule.events import Happened


class Kept:
    """A tracker that keeps what it is told, or fails at it."""

    def __init__(self, fails_at: str = "", gate: threading.Event | None = None) -> None:
        self.told: list[tuple[Mapping[str, float], int]] = []
        self.closed = False
        self._fails_at, self._gate = fails_at, gate

    def open(self) -> Kept:
        self._fail("open")
        return self

    def log(self, figures: Mapping[str, float], step: int) -> None:
        if self._gate is not None:
            self._gate.wait()
        self._fail("log")
        self.told.append((dict(figures), step))

    def close(self) -> None:
        self._fail("close")
        self.closed = True

    def _fail(self, where: str) -> None:
        if where == self._fails_at:
            raise RuntimeError(f"no {where}")


class Lines(Listener, Watching):
    """Keeps the lines, and what the display would have got."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.events: list[Any] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    note = say

    def happened(self, event: Happened) -> None:
        self.events.append(event)

    def working(self, *given: Any) -> Any:
        return nullcontext(self)

    def training(self, name: str) -> Any:
        return nullcontext(self.events.append)


def told_by(patch: pytest.MonkeyPatch, trackers: Mapping[str, Kept]) -> tuple[Listener, Lines]:
    lines = Lines()
    patch.setattr(reporting, "open_reporter", lambda name, *given: trackers[name].open())
    return reporting.Reporting(lines, tuple(trackers), "memory:", {}), lines  # type: ignore[arg-type]


def committed(run: Run) -> list[Receipt]:
    return [receipt for stage in run.spec.stages[1:] for receipt in run.receipts(stage)]


def test_what_was_there_and_what_came_is_summed_once_all_is_known() -> None:
    run = finished(MemoryStore())
    earlier, later = committed(run)[::2], committed(run)[1::2]
    figures = RunFigures(len(earlier))
    for receipt in [*later, *earlier]:
        assert figures.take() == []
        figures.add(receipt, earlier=receipt in earlier)
    ((sums, step),) = figures.take()
    assert step == len(committed(run))
    for stage in run.spec.stages[1:]:
        totals = run.totals(stage)
        assert (sums[f"{stage}/shards"], sums[f"{stage}/rows"]) == (totals.shards, totals.rows)
        assert {n: sums[f"{stage}/drops/{n}"] for n in totals.drops} == totals.drops
    assert figures.take() == []


FAILING = {
    "open": "`report_to`: wandb has no more figures: no open",
    "log": "`report_to`: wandb has no more figures: no log",
    "close": "`report_to`: wandb has no more figures: no close",
}


@pytest.mark.parametrize("where", FAILING)
def test_a_tracker_that_fails_costs_one_line_and_the_others_go_on(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, broken, well = finished(MemoryStore()), Kept(where), Kept()
    listener, lines = told_by(monkeypatch, {"wandb": broken, "mlflow": well})
    with listener.working("whole", run.spec.stages[1:], 3, {}) as watching:
        for receipt in committed(run):
            watching.happened(Happened("committed", receipt=receipt))
    assert lines.lines == [FAILING[where]]
    assert well.closed and well.told[-1][1] == len(committed(run)) == len(lines.events)


def test_a_tracker_that_never_answers_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    run, stuck = finished(MemoryStore()), Kept(gate=gate)
    listener, lines = told_by(monkeypatch, {"trackio": stuck})
    monkeypatch.setattr(reporting, "LAST_S", 0.05)
    with listener.working("whole", run.spec.stages[1:], 3, {}) as watching:
        for receipt in committed(run):
            watching.happened(Happened("committed", receipt=receipt))
    assert len(lines.events) == len(committed(run))
    assert lines.lines == ["`report_to`: trackio does not answer: its last figures are lost"]
    gate.set()


def test_a_training_tells_every_update_and_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept()
    listener, lines = told_by(monkeypatch, {"mlflow": kept})
    events = [
        Event("prepared", 0, 2, {"train": 3}),
        Event("update", 1, 2, {"loss": 2.0, "rate": 1e-5, "tokens": 100, "seconds": 2.0}),
        Event("held_out", 1, 2, {"eval_loss": 3.0}),
        Event("update", 2, 2, {"loss": 1.0, "rate": 0.0, "tokens": 100, "seconds": 4.0}),
    ]
    with listener.training("t") as happened:
        for event in events:
            happened(event)
    assert lines.events == events
    assert kept.told == [
        ({"train/loss": 2.0, "train/rate": 1e-5, "train/tokens_per_second": 50.0}, 1),
        ({"held_out/loss": 3.0}, 1),
        ({"train/loss": 1.0, "train/rate": 0.0, "train/tokens_per_second": 25.0}, 2),
    ]
    assert TrainingFigures().take() == []


def test_a_tracker_that_is_not_installed_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporters, "find_spec", lambda name: None)
    config = replace(configure(tmp_path), report_to=("wandb",), store=f"file://{tmp_path}/none")
    with pytest.raises(
        ConfigurationError, match=r"wandb is not installed: pip install 'stepmill\["
    ):
        build(config)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("passes_on", "of"),
    [(reporting.Reporting, Listener), (reporting._Watching, Watching)],
)
def test_whoever_listens_beside_trackers_misses_nothing(passes_on: type, of: type) -> None:
    assert {name for name in vars(of) if not name.startswith("_")} <= vars(passes_on).keys()
