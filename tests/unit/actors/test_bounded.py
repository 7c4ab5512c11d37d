"""Programs of somebody else's end, and nothing outside of them is interrupted."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from actors.bounded import TooLong, bounded
from actors.engines.contract import Chat
from actors.engines.rendering import ChatRenderer
from storage.errors import InputError
from storage.rows.records import Message
from tests.support.built_tokenizers import qwen

ENDLESS = "{% for a in range(99999) %}" * 4 + "{% endfor %}" * 4
REFUSED = [
    ENDLESS,
    "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''|attr('__class__') }}{{ cycler.__init__.__globals__ }}",
]
CHAT = Chat((Message("system", "S"), Message("user", "U")))


def endless() -> None:
    while True:
        with contextlib.suppress(Exception):  # what a program catches does not save it
            len("x")


def test_what_does_not_end_is_ended_in_every_thread_and_what_ends_is_returned() -> None:
    def ended(work: Callable[[], object]) -> object:
        try:
            return bounded(work, 0.2)
        except TooLong:
            return "too long"

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ended, [endless, lambda: 1, endless, lambda: 2])) == [
            "too long", 1, "too long", 2,
        ]  # fmt: skip
    assert threading.main_thread().is_alive()


def test_an_error_of_the_work_is_the_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 // 0, 1)


def test_waiting_is_no_work() -> None:
    waited = threading.Event()
    assert not bounded(lambda: waited.wait(0.5), 0.01)


AT_THE_END = """
import ctypes, sys, threading
import actors.bounded
from actors.bounded import TooLong, bounded

watch = actors.bounded._WATCH
begun, computed = threading.Event(), threading.Event()
results = []

def work():
    begun.set()
    computed.wait()

def run():
    try:
        results.append(bounded(work, 60))
    except TooLong as error:
        results.append(error)

def called(frame):
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back

thread = threading.Thread(target=run, daemon=True)
thread.start()
begun.wait()
with watch._lock:  # the watch looks at the threads
    computed.set()
    while "end" not in called(sys._current_frames()[thread.ident]):
        pass
    error = ctypes.py_object(actors.bounded._Interrupt)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), error)
thread.join(10)
assert isinstance(results[0], TooLong), results
assert watch._lock.acquire(timeout=1)
"""


def test_an_interrupt_at_the_very_end_leaves_the_watch_free() -> None:
    """In a process of its own: among the threads of a whole suite, traced, this hung twice."""
    subprocess.run([sys.executable, "-c", AT_THE_END], check=True, timeout=60)


def test_nothing_is_interrupted_behind_its_end() -> None:
    until = time.thread_time() + 0.05
    while time.thread_time() < until:
        assert bounded(lambda: sum(range(100)), 0.001) == 4950


@pytest.mark.parametrize("template", REFUSED)
def test_a_chat_template_that_never_ends_or_reaches_for_python_is_refused(template: str) -> None:
    tokenizer = qwen()
    tokenizer.chat_template = template
    renderer = ChatRenderer(tokenizer)
    misfit = renderer.misfit(CHAT)
    assert misfit is not None and "chat template" in misfit.said
    renderer.close()


def test_a_chat_template_that_never_ends_for_some_chats_ends_the_run_in_words() -> None:
    tokenizer = qwen()
    tokenizer.chat_template = "{% if 'bad' in messages[1].content %}" + ENDLESS + "{% endif %}ok"
    renderer = ChatRenderer(tokenizer)
    assert renderer.text(CHAT) == "ok"
    with pytest.raises(InputError, match="chat template does not end"):
        renderer.text(Chat((CHAT.messages[0], Message("user", "bad"))))
    renderer.close()
