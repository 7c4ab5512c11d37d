"""Who is killed when, by what a driver tells of its workers, and what each kill cost.

Cards are kinds of victims. One is due whenever so many shards are committed; of the cards left the
first is played whose victim is there and at work, but kinds that were not struck yet go before
those that were, also on one without work, the one first whose stage is over first. Where none of
the victims is at work, one without work will do; where nobody is there, it waits; a card whose
victim's stage is over is played on somebody else.

Invariant: between two kills something is committed, so that a run that can go on does; what a
kill cost is counted once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.runs.commits import Commit
from storage.runs.run import Run
from tests.faults.chaos_ledger import Ledger, Lost, add
from tests.faults.chaos_victims import Nodes, containers, engine_cores, kill

SANDBOX = ("container", "executor")
INSTEAD = ("rationale", "container", "cpu", "node", "driver")
UNTIL = {
    "policy": "sample", "completer": "estimate", "rationale": "rationalize",
    "container": "rationalize", "executor": "rationalize", "engine": "rationalize",
    "cpu": "export",
}  # fmt: skip
"""Stage after which there is no such victim any more."""


@dataclass
class Kill:
    """One kill."""

    kind: str
    at: int
    """Shards committed by then."""
    seconds: float = 0.0
    """Engine seconds of work that was lost."""
    tokens: float = 0.0
    shards: int = 0
    """Tries that were lost."""


@dataclass
class Game:
    """The state of one game."""

    nodes: Nodes
    run: Run
    cards: list[str]
    due: list[int]
    marks: Mapping[Path, str]
    """Files that workers leave when they die at a named point."""
    timeless: bool
    """Whether the driver stores no times."""
    kills: list[Kill] = field(default_factory=list)
    seen: dict[tuple[str, int], Commit] = field(default_factory=dict)
    """Commits as they were before some kill."""
    executors: set[int] = field(default_factory=set)
    unexplained: list[str] = field(default_factory=list)
    _lost: list[Lost] = field(default_factory=list)
    _committed: set[tuple[str, int]] = field(default_factory=set)
    _workers: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Number -> role, process."""
    _struck: set[int] = field(default_factory=set)
    """Workers whose death is accounted for."""
    _driver: int = 0
    _driver_killed: bool = False
    _ledger: Ledger = field(default_factory=Ledger)
    _met: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Marks that are there already are an earlier call's."""
        self._met = {mark for mark in self.marks if mark.exists()}

    def begin(self, driver: int) -> None:
        """A driver starts."""
        self.note_marks()
        self._driver, self._driver_killed = driver, False
        self._workers.clear()
        self._struck.clear()
        self._ledger.in_flight.clear()

    def note_marks(self) -> None:
        """Count who died at a named point while nobody was there to tell of it."""
        for mark in self.marks:
            if mark not in self._met and mark.exists():
                self._met.add(mark)
                self._note("point", Lost())

    def driver_ended(self) -> bool:
        """Whether the driver that ended was killed by this game."""
        return self._driver_killed

    def settled(self) -> list[Kill]:
        """All kills with what they cost."""
        for one, lost in zip(self.kills, self._lost, strict=True):
            one.seconds, one.shards = lost.seconds, lost.shards
            one.tokens = self._ledger.tokens_of(lost)
        return self.kills

    def play(self, event: Mapping[str, Any]) -> None:
        """Take note of an event, and kill somebody if it is time."""
        ledger = self._ledger
        ledger.advance(event["t"])
        match event["what"]:
            case "found":
                for stage, shards in event["done"].items():
                    self._committed.update((stage, shard) for shard in shards)
            case "up":
                self._workers[event["worker"]] = (event["role"], event["pid"])
            case "start" if event["worker"] not in self._struck:
                ledger.start(event["worker"], event["stage"], event["shard"])
            case "end" if event["ok"]:
                at = event["stage"], event["shard"]
                ledger.commit(event["worker"], *at, event["tokens"])
                self._committed.add(at)
            case "end":
                self._failed(event)
            case "gone":
                self._workers.pop(event["worker"], None)
        # Only then: right after a start there would be no work yet to lose.
        if event["what"] == "end" and not self._driver_killed and self._is_due():
            self._strike()

    def _is_due(self) -> bool:
        if not self.cards or len(self._committed) < self.due[0]:
            return False
        timed = [one.at for one in self.kills if one.kind != "point"]
        return not timed or timed[-1] < len(self._committed)

    def _failed(self, event: Mapping[str, Any]) -> None:
        worker = event["worker"]
        if worker in self._struck:
            return  # what it had was counted when it died
        met = {mark for mark in self.marks if mark.exists()} - self._met
        if met and "WorkerLost" in event["cause"]:
            self._met |= met
            for _ in met:
                self._note("point", self._ledger.lose_workers([worker]))
            self._struck.add(worker)
            return
        lost = self._ledger.lose(worker, event["stage"], event["shard"])
        sandbox = [i for i, one in enumerate(self.kills) if one.kind in SANDBOX]
        if sandbox and "Sandbox" in event["cause"]:
            add(self._lost[sandbox[-1]], lost)
        else:
            self.unexplained.append(f"{event['stage']} {event['shard']}: {event['cause']}")

    def _strike(self) -> None:
        self._snapshot()
        over = [at for at, kind in enumerate(self.cards) if self._is_over(kind)]
        instead = [(over[0], kind) for kind in INSTEAD] if over else []
        turns = [*sorted(enumerate(self.cards), key=self._turn), *instead]
        for (at, kind), idle in [(turn, idle) for idle in (False, True) for turn in turns]:
            struck = self._kill(kind, idle or not self._was_struck(kind))
            if struck is None:
                continue
            del self.cards[at]
            del self.due[0]
            self._struck |= set(struck)
            self._note(kind, self._ledger.lose_workers(struck))
            if kind == "driver":
                self._driver_killed = True
            return

    def _turn(self, card: tuple[int, str]) -> tuple[bool, int, int]:
        at, kind = card
        stages = self.run.spec.stages
        last = stages.index(UNTIL[kind]) if kind in UNTIL else len(stages)
        struck = self._was_struck(kind)
        return struck, 0 if struck else last, at

    def _was_struck(self, kind: str) -> bool:
        return any(one.kind == kind for one in self.kills)

    def _is_over(self, kind: str) -> bool:
        if kind not in UNTIL:
            return False
        done = sum(stage == UNTIL[kind] for stage, _ in self._committed)
        return done == self.run.spec.plan.shards

    def _note(self, kind: str, lost: Lost) -> None:
        self._snapshot()
        self.kills.append(Kill(kind, len(self._committed)))
        self._lost.append(lost)
        print(
            f"  kill {len(self.kills)}: {kind} at {len(self._committed)} commits, "
            f"{lost.shards} shards and {lost.seconds:.1f} s lost",
            file=sys.stderr, flush=True,
        )  # fmt: skip

    def _busy(self) -> list[int]:
        return [n for n in self._workers if self._ledger.in_flight.get(n) and n not in self._struck]

    def _idle(self) -> list[int]:
        taken = {*self._busy(), *self._struck}
        return [worker for worker in self._workers if worker not in taken]

    def _kill(self, kind: str, idle_too: bool) -> list[int] | None:
        """Kill a victim; returns the workers that died with it, None where there is no victim."""
        busy = self._busy()
        if kind == "driver":
            os.kill(self._driver, signal.SIGKILL)
            return list(self._ledger.in_flight)
        if kind in SANDBOX:
            return self._kill_sandbox(kind)
        if kind == "node":
            homes = {worker: self.nodes.node_of(self._workers[worker][1]) for worker in busy}
            homes = {worker: home for worker, home in homes.items() if home is not None}
            return self._kill_node(homes[next(iter(homes))]) if homes else None
        for worker in (*busy, *(self._idle() if idle_too else ())):
            role, pid = self._workers[worker]
            if role == kind and kill(pid):
                return [worker]
            if kind == "engine" and role != "cpu" and any(map(kill, engine_cores(pid))):
                return [worker]
        return None

    def _kill_node(self, home: int | None) -> list[int]:
        assert home is not None
        died = [n for n, (_, pid) in self._workers.items() if self.nodes.node_of(pid) == home]
        self.nodes.lose(home)
        self.nodes.replace(home)
        return died

    def _kill_sandbox(self, kind: str) -> list[int] | None:
        if not any(stage == "rationalize" for n in self._busy()
                   for stage, _ in self._ledger.in_flight[n]):  # fmt: skip
            return None
        executors = self.nodes.actors("CodeExecutor")
        self.executors |= set(executors)
        victims = executors if kind == "executor" else containers(executors)
        return [] if victims and kill(victims[0]) else None

    def _snapshot(self) -> None:
        for at in self._committed - self.seen.keys():
            self.seen[at] = self.run.commit(*at)
