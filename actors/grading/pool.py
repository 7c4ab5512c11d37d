"""Compares answers in worker processes that can be killed, outside of the event loop.

Comparing two formulas may run for ever in a computer algebra system, so each comparison has a hard
limit. The kernel kills the worker after `timeout_s` of its own processor time, so a loaded machine
costs no verdict. The owner kills it after four times as long on the clock. A pair that takes longer
counts as not equal. The caller itself decides cheap pairs. Equal pairs are compared once, and many
go to a worker in one message. All graders of a machine have as many workers as it has cores
(`actors.grading.seats`); one that others wait for ends when it is idle or has had its turn.

Invariant: every answer gets exactly one verdict, or the call raises InfrastructureError. Only the
limit turns a worker's death into a verdict.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from actors.grading.process import Died, GraderProcess, Overdue, Pair
from actors.grading.seats import Seats
from storage.errors import InfrastructureError

Compare = Callable[[str, str], bool]
"""Reference, answer -> equal. Picklable; may run without bound."""
Quick = Callable[[str, str], bool | None]
"""A cheap comparison that returns at once; None if it can't tell."""

_WALL_PER_CPU = 4.0
_STOP: Pair = ("", "")
IDLE_S = 1.0
"""Seconds without work after which a worker looks whether others wait for its seat."""
TURN_S = 10.0
"""Seconds of work after which it does so; another worker starts in one or two."""


@dataclass(slots=True)
class GraderCounts:
    """How many verdicts came about in which way, since the grader was made."""

    quick: int = 0
    """Decided in the caller."""
    cached: int = 0
    """Answered from the cache, or by a comparison already under way."""
    compared: int = 0
    """Decided by a worker."""
    overdue: int = 0
    """Took too long: not equal."""
    failed: int = 0
    """The comparison raised: not equal."""
    restarts: int = 0
    """Workers that were replaced."""
    left: int = 0
    """Workers that ended because other graders of the machine waited for a seat."""


@dataclass(frozen=True, slots=True)
class _Worker:
    """A process and its seat."""

    process: GraderProcess
    seat: int | None
    since: float


class Grader:
    """A pool of at most `workers` processes, started when the first comparison needs one."""

    def __init__(
        self,
        compare: Compare,
        quick: Quick | None = None,
        warm: Callable[[], None] | None = None,
        *,
        timeout_s: float = 3.0,
        workers: int = 2,
        batch: int = 32,
        cache: int = 200_000,
        seats: Seats | None = None,
    ) -> None:
        """`warm` loads what `compare` needs, before the first limit counts; both are pickled.

        `timeout_s`: processor seconds of one comparison. `batch`: most pairs of one message.
        `cache`: most verdicts remembered. `seats`: this machine's, unless a test has its own.
        """
        self._work = pickle.dumps((compare, warm))
        self._quick = quick
        self._timeout_s = timeout_s
        self._seats = seats or Seats.here()
        self._workers = min(workers, self._seats.count)
        self._batch = batch
        self._cache_size = cache
        self._cache: dict[Pair, bool] = {}
        self._flights: dict[Pair, Future[bool]] = {}
        self._waiting: queue.SimpleQueue[Pair] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._lanes: list[threading.Thread] = []
        self._processes: set[GraderProcess] = set()
        self._closed = threading.Event()
        self.counts = GraderCounts()

    async def grade(self, reference: str, answers: Sequence[str | None]) -> list[bool]:
        """Whether each answer equals the reference, in order. An answer of None never does.

        Raises InfrastructureError if workers can't be started or keep dying.
        """
        verdicts: list[bool | Future[bool]] = [
            False if answer is None else self._ask((reference, answer)) for answer in answers
        ]
        # Shielded: a flight is shared, so one caller's cancellation must not end it for others.
        flights = {verdict for verdict in verdicts if isinstance(verdict, Future)}
        await asyncio.gather(*(asyncio.shield(asyncio.wrap_future(f)) for f in flights))
        return [v if isinstance(v, bool) else v.result() for v in verdicts]

    async def close(self) -> None:
        """Kill the workers; comparisons under way fail with InfrastructureError."""
        await asyncio.to_thread(self._shut)

    def _ask(self, pair: Pair) -> bool | Future[bool]:
        with self._lock:
            known = self._cache.get(pair)
            if known is not None:
                self.counts.cached += 1
                return known
            flight = self._flights.get(pair)
            if flight is not None:
                self.counts.cached += 1
                return flight
        verdict = self._quick(*pair) if self._quick is not None else None
        with self._lock:
            if verdict is not None:
                self.counts.quick += 1
                self._remember(pair, verdict)
                return verdict
            if self._closed.is_set():
                raise InfrastructureError("the grader is closed")
            if (flight := self._flights.get(pair)) is None:
                flight = self._flights[pair] = Future()
                flight.set_running_or_notify_cancel()  # no caller can cancel it any more
                self._waiting.put(pair)
            if len(self._lanes) < min(self._workers, len(self._flights)):
                lane = threading.Thread(target=self._serve, name="grader", daemon=True)
                self._lanes.append(lane)
                lane.start()
        return flight

    def _remember(self, pair: Pair, verdict: bool) -> None:
        if len(self._cache) >= self._cache_size:
            del self._cache[next(iter(self._cache))]  # the oldest
        self._cache[pair] = verdict

    def _serve(self) -> None:
        """Run one lane: take pairs, have one process compare them, replace it if it dies."""
        worker: _Worker | None = None
        suspects: set[Pair] = set()
        while (batch := self._take(worker)) is not None:
            if worker is not None and self._must_leave(worker, batch):
                self.counts.left += 1
                self._end(worker)
                worker = None
            while batch:
                try:
                    if worker is None:
                        worker = self._start()
                    for verdict in worker.process.compare(batch):
                        self._settle(batch.pop(0), verdict)
                    continue
                except Overdue:
                    self.counts.overdue += 1
                    self._settle(batch.pop(0), False)
                except Died as death:
                    # One death may be the machine's doing; a second on the same pair is an error.
                    if batch[0] in suspects:
                        self._fail(batch.pop(0), death)
                    else:
                        suspects.add(batch[0])
                except InfrastructureError as error:
                    for pair in batch:
                        self._fail(pair, error)
                    batch.clear()
                if worker is not None:
                    self.counts.restarts += not self._closed.is_set()
                    self._end(worker)
                    worker = None
        if worker is not None:
            self._end(worker)

    def _must_leave(self, worker: _Worker, batch: list[Pair]) -> bool:
        had_its_turn = time.monotonic() - worker.since > TURN_S
        return (not batch or had_its_turn) and self._seats.wanted()

    def _take(self, worker: _Worker | None) -> list[Pair] | None:
        """The next message: this lane's share of the waiting pairs. None: the grader is closed.

        Empty where a worker has been idle for a while.
        """
        try:
            first = self._waiting.get(timeout=None if worker is None else IDLE_S)
        except queue.Empty:
            return []
        if first is _STOP:
            return None
        batch = [first]
        share = min(self._batch, 1 + self._waiting.qsize() // self._workers)
        while len(batch) < share:
            try:
                pair = self._waiting.get_nowait()
            except queue.Empty:
                break
            if pair is _STOP:
                self._waiting.put(_STOP)
                break
            batch.append(pair)
        return batch

    def _start(self) -> _Worker:
        seat = self._seats.take(self._closed)
        try:
            if self._closed.is_set():
                raise InfrastructureError("the grader is closed")
            process = GraderProcess(self._work, self._timeout_s, self._timeout_s * _WALL_PER_CPU)
        except BaseException:
            if seat is not None:
                os.close(seat)
            raise
        with self._lock:
            self._processes.add(process)
        worker = _Worker(process, seat, time.monotonic())
        if self._closed.is_set():
            self._end(worker)
            raise InfrastructureError("the grader is closed")
        return worker

    def _end(self, worker: _Worker) -> None:
        worker.process.close()
        if worker.seat is not None:
            os.close(worker.seat)
        with self._lock:
            self._processes.discard(worker.process)

    def _settle(self, pair: Pair, verdict: bool | None) -> None:
        with self._lock:
            if verdict is None:
                self.counts.failed += 1
            else:
                self.counts.compared += 1
            self._remember(pair, bool(verdict))
            flight = self._flights.pop(pair)
        flight.set_result(bool(verdict))

    def _fail(self, pair: Pair, error: InfrastructureError) -> None:
        with self._lock:
            flight = self._flights.pop(pair, None)
        if flight is not None:
            flight.set_exception(error)

    def _shut(self) -> None:
        with self._lock:
            self._closed.set()
            processes, lanes = list(self._processes), list(self._lanes)
        for _ in lanes:
            self._waiting.put(_STOP)
        for process in processes:
            process.kill()
        for lane in lanes:
            lane.join()
        for pair in list(self._flights):
            self._fail(pair, InfrastructureError("the grader was closed"))
