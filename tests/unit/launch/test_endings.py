"""How a command ends that is told to stop, seen from outside."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

AT_WORK = """
import hashlib, sys, threading, time
from launch import exits
from actors import stopping

def call():
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000_000)  # heeds no signal, for minutes

def watch(main):  # as the thread that watches the head does
    while sys._current_frames()[main].f_code is not call.__code__:
        time.sleep(0.01)
    print("at work", flush=True)
    while not stopping._told_to_stop.is_set():
        time.sleep(0.01)
    exits.head_lost("its head does not answer")

with stopping.terminable():
    threading.Thread(target=watch, args=(threading.get_ident(),), daemon=True).start()
    call()
"""
"""A main thread in a call that no signal interrupts, as one into Ray may be."""

CANCELLED = """
import asyncio, functools
from actors import stopping

async def main():
    loop, here = asyncio.get_running_loop(), asyncio.current_task()
    with stopping.terminable(functools.partial(loop.call_soon_threadsafe, here.cancel)):
        print("at work", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            print("closed", flush=True)

try:
    asyncio.run(main())
except asyncio.CancelledError:
    raise SystemExit(130 if stopping._told_to_stop.is_set() else 1)
"""


def told(script: str, number: signal.Signals) -> tuple[int, str, str]:
    """(exit code, output, errors) of a script that gets a signal when it is at work.

    The tests themselves may run under `nohup`, which leaves SIGHUP ignored in all they start.
    """
    heeded = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n" + script
    with subprocess.Popen(
        [sys.executable, "-c", heeded], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(number)
        try:
            said, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, said, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_head_that_is_lost_with_the_signal_is_an_interruption_whatever_the_main_thread_does(
    number: signal.Signals,
) -> None:
    code, _, errors = told(AT_WORK, number)
    assert (code, errors) == (130, "stepmill: interrupted; the same command continues\n")


def test_work_in_a_loop_is_cancelled_and_closes_what_it_opened() -> None:
    assert told(CANCELLED, signal.SIGTERM)[:2] == (130, "closed\n")


SAYS = """
import os, threading, time
from actors import stopping

def closing():
    time.sleep(0.5)
    print("closed", flush=True)

def work():
    print("at work", flush=True)
    while not stopping._told_to_stop.is_set():
        time.sleep(0.01)

with stopping.terminable(stop=lambda: None, told=lambda: print("ending", flush=True)):
    try:
        work()
    except KeyboardInterrupt:
        pass
    closing()
"""
"""What is closed takes a while after the signal."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_what_was_told_to_stop_says_so_before_it_closes_anything(number: signal.Signals) -> None:
    assert told(SAYS, number)[:2] == (0, "ending\nclosed\n")


DROPPED = """
import time, weakref
from launch.streams import hear_ctrl_c_again

class Thing: pass

def callback(_):
    raise KeyboardInterrupt

hear_ctrl_c_again()
thing = Thing()
kept = weakref.ref(thing, callback)
try:
    del thing
    time.sleep(60)
except KeyboardInterrupt:
    print("heard")
"""


def test_a_ctrl_c_that_falls_into_a_callback_is_heard_afterwards() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DROPPED], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.stdout, done.stderr) == ("heard\n", "")
