"""The verb `stop`: asks the builds of a run to end, and waits until they have.

Invariant: a build is called dead only after its note did not change for `SILENT_S` while this
command looked, or where its process was one of this machine's. No clock of another machine is
relied on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from launch.shown.text import say
from storage.runs.presence import (
    LOOK_EVERY_S,
    SILENT_S,
    Who,
    ask_to_stop,
    beats_of,
    drivers_of,
    forget_driver,
)
from storage.runs.run import Run

TELL_AFTER_S = 10.0


def stop_run(
    run: Run,
    wait: bool,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Ask every build of a run to stop, and say what becomes of each."""
    found = drivers_of(run.store, run.name)
    for driver in found:
        if driver.ended:
            forget_driver(run, driver.token)
            say(f"is dead, its process is no more: {driver.who}")
    drivers = {driver.token: driver.who for driver in found if not driver.ended}
    if not found:
        say(f"nobody is at work on run {run.name}, as far as {run.store.url} says")
        return
    for token, who in drivers.items():
        ask_to_stop(run, token, Who.here().person)
        say(f"asked to stop: {who}")
    heard = {token: (-1, clock()) for token in drivers}
    """Driver -> its last beat, and when it was first seen."""
    tell_at = clock() + TELL_AFTER_S
    while wait and heard:
        beats = beats_of(run.store, run.name)
        for token, (beat, since) in list(heard.items()):
            if token not in beats:
                say(f"has ended: {drivers[token]}")
            elif beats[token] != beat:
                heard[token] = (beats[token], clock())
                continue
            elif clock() - since > SILENT_S:
                forget_driver(run, token)
                say(f"is dead, nothing was heard of it for a while: {drivers[token]}")
            else:
                continue
            del heard[token]
        if heard and clock() >= tell_at:
            silent = ", ".join(str(drivers[token]) for token in heard)
            say(f"waiting to hear of {silent}: dead after {SILENT_S:.0f} seconds without a sign")
            tell_at += SILENT_S
        if heard:
            pause(LOOK_EVERY_S / 2)
