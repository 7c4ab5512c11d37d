"""Who is at work on a run, as far as its store can say, and requests to stop.

    runs/{run}/drivers/{token}-{beat}.json    put by a driver every half minute; replaces the last.
                                              Says too what it began and committed
    runs/{run}/drivers/{token}-stop.json      asks this driver, and no later one, to stop

A driver takes a new token each time it starts to work. It removes its objects when it ends, and
notes what it lost (`storage.runs.work`). What a killed driver leaves tells nobody apart from a
frozen one, so its age is shown.

Invariant: notes for people only. No commit, and no decision about data, depends on them. A store
that does not take them costs the notes.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from storage.errors import InfrastructureError, NothingFound, ObjectCorrupt, Removed, StoreRefused
from storage.objects.store import ObjectStore
from storage.runs.documents import MOST_BYTES, parsed, read_as
from storage.runs.layout import run_prefix
from storage.runs.removal import obeyed, refuse_removed
from storage.runs.run import Run
from storage.runs.work import Work, note_work, noted_work, summed

LOOK_EVERY_S = 5.0
"""Seconds between two looks of a driver for requests and for other drivers."""
LOOKS_PER_BEAT = 6
SILENT_S = 90.0
"""Seconds after its last beat for which a driver is said to be at work."""
_NAME = re.compile(r"([0-9a-f]{32})-(\d{6,}|stop)\.json")


@dataclass(frozen=True, slots=True)
class Who:
    """A person's process on a machine."""

    user: str
    host: str
    pid: int

    @classmethod
    def here(cls) -> Who:
        """This process."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container's user without a name
            user = str(os.getuid())
        return cls(user, socket.gethostname(), os.getpid())

    @property
    def person(self) -> str:
        """`ann@login1`."""
        return f"{self.user}@{self.host}"

    def __str__(self) -> str:
        """`ann@login1 (process 4711)`."""
        return f"{self.person} (process {self.pid})"


@dataclass(frozen=True, slots=True)
class Driver:
    """A driver that left its note in the store."""

    token: str
    who: Who
    silent_s: float | None
    """Seconds since its last beat, by the clocks of this machine and the store; None: not known."""
    work: Work | None = None
    """What it began and committed up to that beat; None: it did not say, as an older version."""
    ended: bool = False
    """Whether it was a process of this machine that is no more."""

    @property
    def at_work(self) -> bool:
        """Whether it seems to be alive."""
        return not self.ended and (self.silent_s is None or self.silent_s < SILENT_S)


class Seen(NamedTuple):
    """What a driver found at a look."""

    asked_by: str | None
    """Who asked it to stop; None: nobody."""
    others: tuple[Who, ...]
    """Other drivers of which it has just learned that they are at work."""


@dataclass
class Presence:
    """The note of this driver. Used by one thread at a time."""

    run: Run
    work: Callable[[], Work] = Work
    """What the driver has begun and committed so far."""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    _looks: int = 0
    _beat: int = -1
    _first: dict[str, int] | None = None
    """Other drivers and their beats at the first look: some may be dead."""
    _said: set[str] = field(default_factory=set)
    _forbidden: bool = False
    """Whether the store refuses to delete."""

    def look(self) -> Seen:
        """Renew the note, and see what others left. Raises Removed if the run was removed.

        A driver counts as alive once its beat has grown, or if it came after this one.
        """
        refuse_removed(self.run.store, run_prefix(self.run.name))
        if self._looks % LOOKS_PER_BEAT == 0:
            self._renew()
        self._looks += 1
        beats, stops = _notes(self.run.store, self.run.name)
        beats.pop(self.token, None)
        first = self._first = beats if self._first is None else self._first
        alive = [token for token, beat in beats.items() if beat > first.get(token, -1)]
        others = []
        for token in alive:
            if token in self._said:
                continue
            who, *_ = _noted(self.run.store, self.run.name, token, beats[token])
            if who is not None:
                self._said.add(token)
                others.append(who)
        asked = _asked_by(self.run, self.token) if self.token in stops else None
        return Seen(asked, tuple(others))

    def leave(self) -> None:
        """Remove the note, and the request that was answered, if the store allows it.

        Where something was lost on the way, a note of that stays.
        """
        with contextlib.suppress(InfrastructureError, Removed):
            work = self.work().ended()
            if work.worth_a_note:
                with obeyed(self.run.store, run_prefix(self.run.name)):
                    note_work(self.run.store, self.run.name, self.token, work)
        with contextlib.suppress(InfrastructureError):
            forget_driver(self.run, self.token)

    def _renew(self) -> None:
        if self._forbidden:  # else notes would gather
            return
        self._beat += 1
        body = asdict(Who.here()) | {"place": _place(), "work": asdict(self.work())}
        self.run.store.put_new(self._key(), json.dumps(body).encode())
        try:
            if self._beat:
                self.run.store.delete(self._key(-1))
        except StoreRefused:
            self._forbidden = True

    def _key(self, back: int = 0) -> str:
        return _key(self.run.name, self.token, f"{self._beat + back:06d}")


def drivers_of(store: ObjectStore, run: str) -> list[Driver]:
    """The drivers whose notes lie in a run, at work or dead."""
    beats, _ = _notes(store, run)
    found = []
    for token, beat in beats.items():
        with contextlib.suppress(NothingFound):  # it has just renewed its note, or left
            who, work, ended = _noted(store, run, token, beat)
            if who is not None:
                stored = store.modified(_key(run, token, f"{beat:06d}"))
                silent = None if stored is None else max(0.0, time.time() - stored)
                found.append(Driver(token, who, silent, work, ended))
    return found


def at_work(drivers: Iterable[Driver]) -> list[str]:
    """Whose builds seem to be at work, and where."""
    return [str(driver.who) for driver in drivers if driver.at_work]


def work_on(store: ObjectStore, run: str, drivers: Iterable[Driver]) -> Work:
    """What all drivers of a run began and committed, as far as they could say it.

    `drivers` are those whose notes lie in it. A killed one has said it at its last beat; what it
    had under way then is lost.
    """
    works = noted_work(store, run)
    for driver in drivers:
        if driver.token not in works and driver.work is not None:
            works[driver.token] = driver.work if driver.at_work else driver.work.ended()
    return summed(works.values())


def beats_of(store: ObjectStore, run: str) -> dict[str, int]:
    """Token of each driver whose note lies in a run -> its last beat."""
    return _notes(store, run)[0]


def ask_to_stop(run: Run, token: str, by: str) -> None:
    """Ask one driver to stop; asking again changes nothing. Raises InfrastructureError."""
    run.store.put_new(_key(run.name, token, "stop"), json.dumps({"by": by}).encode())


def forget_driver(run: Run, token: str) -> None:
    """Remove the notes of a driver that is dead. One that was only frozen renews its note."""
    for entry in list(run.store.list(f"{run_prefix(run.name)}drivers/{token}-")):
        run.store.delete(entry.key)


def _notes(store: ObjectStore, run: str) -> tuple[dict[str, int], set[str]]:
    """Last beat of each driver, and the drivers that are asked to stop; one listing."""
    beats: dict[str, int] = {}
    stops: set[str] = set()
    for key, _ in store.list(f"{run_prefix(run)}drivers/"):
        if (match := _NAME.fullmatch(key.rpartition("/")[2])) is None:
            continue
        if match[2] == "stop":
            stops.add(match[1])
        else:
            beats[match[1]] = max(int(match[2]), beats.get(match[1], -1))
    return beats, stops


def _noted(
    store: ObjectStore, run: str, token: str, beat: int
) -> tuple[Who | None, Work | None, bool]:
    """Whose a beat is, and what it says of the work (None: nothing, or nothing to be read); and
    whether that was a process of this machine that is no more.
    """
    key = _key(run, token, f"{beat:06d}")
    who = work = None
    ended = False
    with contextlib.suppress(NothingFound, ObjectCorrupt):
        body = parsed(key, store.get(key, MOST_BYTES))
        who = read_as(Who, key, body)
        if isinstance(said := body.get("work"), dict):
            work = read_as(Work, key, said)
        ended = body.get("place") == _place() != "" and not _lives(who.pid)
    return who, work, ended


def _lives(pid: int) -> bool:
    """Whether a process of that number lives here, also one of somebody else's that /proc hides."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _place() -> str:
    """Where this process's number means it: a boot of a machine and a process namespace."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    return ""


def _asked_by(run: Run, token: str) -> str:
    key = _key(run.name, token, "stop")
    try:
        return str(parsed(key, run.store.get(key, MOST_BYTES)).get("by", "somebody"))
    except (NothingFound, ObjectCorrupt):
        return "somebody"


def _key(run: str, token: str, what: str) -> str:
    return f"{run_prefix(run)}drivers/{token}-{what}.json"
