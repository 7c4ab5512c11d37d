"""A store with everything that can go wrong on the way to it, and writers that take turns.

`FaultyStore` wraps any store: requests and replies get lost, a PUT is reported as existing though
nothing was stored, a lost PUT arrives late, GETs are cut or altered, listings lag behind, and the
writer dies before or after any call. `Turns` runs several writers as one: at each store call it
decides by its seed who goes on, so that a seed is an exact interleaving.

Invariant: the same seed gives the same faults in the same order, on every machine.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from storage.errors import StoreUnavailable
from storage.objects.memory import MemoryStore
from storage.objects.store import Entry, Put, confirmed


class Crash(BaseException):
    """The writer's process died here: nothing of it runs any more, no `except`, no retry."""


@dataclass(frozen=True)
class Odds:
    """Probabilities per store call."""

    lost_request: float = 0.0
    lost_reply: float = 0.0
    late_request: float = 0.0
    phantom_exists: float = 0.0
    failed_get: float = 0.0
    altered_get: float = 0.0
    stale_listing: float = 0.0
    lying_put: float = 0.0
    crash: float = 0.0

    @classmethod
    def drawn(cls, chance: random.Random) -> Odds:
        """Another weather for every seed: each kind of fault is off in half of them."""
        kinds = [*cls.__dataclass_fields__]
        return cls(**{kind: chance.choice([0.0, chance.uniform(0.0, 0.3)]) for kind in kinds})


@dataclass
class World:
    """The truth behind all faulty stores of one simulation."""

    chance: random.Random
    odds: Odds
    truth: MemoryStore = field(default_factory=MemoryStore)
    late: list[tuple[str, bytes]] = field(default_factory=list)
    """PUTs that were sent, never answered, and may still arrive."""
    turn: Callable[[], None] = lambda: None
    """Called before and after every store call."""

    def happens(self, kind: str) -> bool:
        """Whether a fault of this kind strikes now."""
        odds: float = getattr(self.odds, kind)
        return odds > 0 and self.chance.random() < odds

    def deliver_late(self) -> None:
        """Let some PUT that was thought lost arrive."""
        if self.late and self.chance.random() < 0.3:
            self.truth.put_new(*self.late.pop(self.chance.randrange(len(self.late))))

    def calm(self) -> None:
        """End all faults; what is late arrives."""
        self.odds = Odds()
        for key, data in self.late:
            self.truth.put_new(key, data)
        self.late.clear()


@dataclass(frozen=True)
class FaultyStore:
    """One writer's view of the world's store."""

    world: World

    @property
    def url(self) -> str:
        return "memory://faulty"

    def put_new(self, key: str, data: bytes) -> Put:
        self._step()
        world = self.world
        if world.happens("phantom_exists"):
            return Put.EXISTS
        if world.happens("lost_request"):
            return self._no_answer(key)
        if world.happens("late_request"):
            world.late.append((key, data))
            return self._no_answer(key)
        if world.happens("lying_put"):
            return self._lie(key, data)
        outcome = world.truth.put_new(key, data)
        self._step()
        return self._no_answer(key) if world.happens("lost_reply") else outcome

    def _lie(self, key: str, data: bytes) -> Put:
        """Answer 200: a portal that stored nothing, or a server that stored other bytes."""
        stored = None
        # A commit that holds other bytes for good stops its run: people must remove it.
        if self.world.chance.random() < 0.5 and "/data/" in key:
            stored = b"?" + data[1:]
            if self.world.truth.put_new(key, stored) is Put.EXISTS:
                return Put.EXISTS
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        digest = None if stored is None else hashlib.md5(stored, usedforsecurity=False).hexdigest()
        return confirmed(digest, md5)

    def get(self, key: str, most: int | None = None) -> bytes:
        self._step()
        if self.world.happens("failed_get"):
            raise StoreUnavailable(f"GET {key}: no answer")
        data = self.world.truth.get(key, most)
        if self.world.happens("altered_get"):
            where = self.world.chance.randrange(len(data)) if data else 0
            return data[:where] + self.world.chance.choice([b"", b"?" + data[where + 1 :]])
        return data

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        self._step()
        for entry in self.world.truth.list(prefix, after):
            if not self.world.happens("stale_listing"):
                yield entry

    def files(self, prefix: str) -> Iterator[Entry]:
        self._step()
        yield from self.world.truth.files(prefix)

    def folders(self, prefix: str) -> Iterator[str]:
        self._step()
        yield from self.world.truth.folders(prefix)

    def modified(self, key: str) -> float | None:
        self._step()
        return self.world.truth.modified(key)

    def delete(self, key: str) -> None:
        self._step()
        self.world.truth.delete(key)

    def _no_answer(self, key: str) -> Put:
        if self.world.chance.random() < 0.5:
            raise StoreUnavailable(f"PUT {key}: no answer")
        return Put.UNKNOWN

    def _step(self) -> None:
        self.world.turn()
        self.world.deliver_late()
        if self.world.happens("crash"):
            raise Crash


class Turns:
    """Runs writers in threads of which exactly one moves, in an order that the seed decides."""

    def __init__(self, chance: random.Random, on_switch: Callable[[], None]) -> None:
        self._chance = chance
        self._on_switch = on_switch
        self._gates: dict[int, threading.Semaphore] = {}
        self._done = threading.Semaphore(0)
        self._failure: BaseException | None = None

    def run(self, writers: list[Callable[[], None]]) -> None:
        """Run all to their end; a writer's Crash is its end. Raises what else escapes one."""
        self._gates = {number: threading.Semaphore(0) for number in range(len(writers))}
        threads = [
            threading.Thread(target=self._live, args=(number, writer), daemon=True)
            for number, writer in enumerate(writers)
        ]
        for thread in threads:
            thread.start()
        self._next()
        self._done.acquire()
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure

    def turn(self) -> None:
        """Called by the writer that moves: perhaps somebody else goes on."""
        number = int(threading.current_thread().name)
        self._look()
        if self._failure is None and (chosen := self._chosen()) != number:
            self._gates[chosen].release()
            self._gates[number].acquire()
        if self._failure is not None:
            raise Crash

    def _look(self) -> None:
        try:
            self._on_switch()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that called `run`
            self._failure = self._failure or error

    def _chosen(self) -> int:
        return self._chance.choice(sorted(self._gates))

    def _next(self) -> None:
        if self._gates:
            self._gates[self._chosen()].release()
        else:
            self._done.release()

    def _live(self, number: int, writer: Callable[[], None]) -> None:
        threading.current_thread().name = str(number)
        self._gates[number].acquire()
        try:
            if self._failure is None:
                writer()
        except Crash:
            pass
        except BaseException as error:  # noqa: BLE001 - handed to the thread that called `run`
            self._failure = self._failure or error
        finally:
            del self._gates[number]
            self._look()
            self._next()
