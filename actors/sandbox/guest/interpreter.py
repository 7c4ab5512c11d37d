"""A forked interpreter: what runs between the fork and the end of strangers' code.

Invariant: nothing here decides a verdict. What this process says about itself (its exit status,
"the block is done") can be forged by the code it runs, and forging it only ends that code's own
run the way it could have ended it anyway.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import linecache
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import NoReturn, TextIO

from .confinement import (
    Ceiling,
    Scratch,
    become_user,
    drop_capabilities,
    enter_namespaces,
    install_filter,
    keep_descriptors,
    reset_signals,
    yield_to_others,
)
from .frames import Decoder, Frame, encode

ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "TMPDIR": "/tmp",
}

_exit, _write, _print_exception = os._exit, os.write, traceback.print_exception


@dataclass(frozen=True)
class Confinement:
    """What a forked interpreter becomes."""

    uid: int
    namespaces: bool
    hard: Ceiling
    scratch: Scratch
    filter: bytes
    cpus: int
    keep_children: bool


def confine(how: Confinement, descriptors: tuple[int, ...]) -> None:
    """Give up everything; from here on the process is the solution's."""
    reset_signals()
    os.setsid()
    keep_descriptors(*descriptors)
    yield_to_others()
    if how.namespaces:
        enter_namespaces(how.scratch)
        drop_capabilities()
    else:
        become_user(how.uid)
    os.umask(0o077)
    os.chdir("/tmp")
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    os.cpu_count = lambda: how.cpus
    sys.set_int_max_str_digits(0)  # 2000! is printed; time and output are bounded all the same
    # Or every fork draws the same numbers. Where it is not loaded yet (numpy does so when it is
    # first used) it will seed itself; to load it here would cost every run 7 ms.
    for name in ("numpy.random", "sympy.core.random"):
        if drawn := sys.modules.get(name):
            drawn.seed()
    if how.keep_children:
        os.register_at_fork(before=_collect_ignored)
    how.hard.apply(how.hard)
    install_filter(how.filter)


def _collect_ignored() -> None:
    """Collect ended children where SIGCHLD was set to be ignored, as the kernel would.

    The filter keeps the kernel from doing so: what the children used would be lost.
    """
    with contextlib.suppress(ChildProcessError):
        while signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN and os.waitpid(-1, os.WNOHANG)[0]:
            pass


def wait_for_work(how: Confinement, descriptors: tuple[int, int, int, int]) -> NoReturn:
    """Give up everything, then wait at descriptor 3 for a script, or for blocks one by one.

    A `script` frame makes this a fresh interpreter that ends as `python script.py` would, and
    closes the descriptor first; a descriptor that comes along is its stdin.
    """
    status = 1
    try:
        confine(how, descriptors)
        out, err = _open_streams()
        module, channel, decoder = _main_module(), socket.socket(fileno=3), Decoder()
        data, passed, _, _ = socket.recv_fds(channel, 1 << 16, 1)
        for number in passed:
            os.dup2(number, 0)
            os.close(number)
        frames = decoder.feed(data)
        while data and not frames:
            data = channel.recv(1 << 16)
            frames = decoder.feed(data)
        if frames and frames[0].kind == "script":
            channel.close()
            status = _run_script(frames[0], module, out, err)
        elif frames:
            _serve_blocks(frames, channel, decoder, how.hard, module)
    except BaseException as error:  # noqa: BLE001 - nothing may reach the supervisor's frames
        _last_words(error)
    finally:
        _exit(status)


def _run_script(frame: Frame, module: ModuleType, out: TextIO, err: TextIO) -> int:
    ceiling = _ceiling(frame)
    ceiling.apply(ceiling)
    names = frame.blobs[1].decode().split("\0") if frame.blobs[1] else []
    _write_files(dict(zip(names, frame.blobs[2:], strict=True)))
    return _finalize(_execute(frame.blobs[0], "<solution>", module), out, err)


def _serve_blocks(
    frames: list[Frame], channel: socket.socket, decoder: Decoder, hard: Ceiling, module: ModuleType
) -> None:
    number, data, ours = 0, b"first", os.getpid()
    while data:
        for frame in frames:
            number += 1
            _ceiling(frame).apply(hard)
            status = _execute(frame.blobs[0], f"<block {number}>", module)
            _flush(sys.stdout, sys.stderr)
            if os.getpid() != ours:
                _exit(status)  # a child that the block forked ends with it, as a script's would
            reply = {"nonce": frame.fields["nonce"], "failed": status != 0}
            channel.sendall(encode(Frame("done", reply)))
        data = channel.recv(1 << 16)
        frames = decoder.feed(data)


def _ceiling(frame: Frame) -> Ceiling:
    names = ("memory_bytes", "pids", "open_files", "file_bytes", "cpu_s")
    return Ceiling(*(frame.integer(name) for name in names))


def _open_streams() -> tuple[TextIO, TextIO]:
    # Line by line, so that what was printed before a kill is there; a character that can't be
    # encoded is shown, not raised.
    sys.stdin = io.TextIOWrapper(io.FileIO(0), "utf-8", "surrogateescape")
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(number, "w")),
            "utf-8",
            "backslashreplace",
            line_buffering=True,
        )
        for number in (1, 2)
    )
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    return sys.stdout, sys.stderr


def _write_files(files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        folder = os.path.dirname(name)
        if folder:
            os.makedirs(folder, exist_ok=True)
        with open(name, "wb") as file:
            file.write(content)


def _main_module() -> ModuleType:
    module = ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv = ["solution.py"]
    sys.path.insert(0, "/tmp")
    return module


def _execute(code: bytes, name: str, module: ModuleType) -> int:
    """Run code in the module; return the exit status a script would have."""
    try:
        source = code.decode("utf-8-sig")
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        exec(compile(source, name, "exec", dont_inherit=True), module.__dict__)
    except SystemExit as stop:
        return _status_of(stop)
    except MemoryError as error:
        error.__traceback__ = None  # its frames hold what filled the memory
        _last_words(error)
        return 1
    except BaseException as error:  # noqa: BLE001 - the program's own error, shown as Python would
        _show(error)
        return 1
    return 0


def _show(error: BaseException) -> None:
    traces = error.__traceback__
    # The first frame is ours, and so is the second where the code did not compile.
    own = traces.tb_next if traces is not None else None
    try:
        _print_exception(type(error), error, own, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - its stderr or its exception is broken: say the least
        _last_words(error)


def _status_of(stop: SystemExit) -> int:
    if stop.code is None:
        return 0
    if isinstance(stop.code, int):
        return stop.code & 0xFF if abs(stop.code) < 1 << 63 else 0xFF
    print(stop.code, file=sys.stderr)
    return 1


def _finalize(status: int, out: TextIO, err: TextIO) -> int:
    """Do what the end of an interpreter does, without taking the shared modules apart."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    module = sys.modules.get("__main__")
    if isinstance(module, ModuleType):
        module.__dict__.clear()
    gc.collect()
    _flush(sys.stdout, sys.stderr, out, err)
    return status


def _flush(*streams: TextIO) -> None:
    for stream in streams:
        try:
            stream.flush()
        except Exception:  # noqa: BLE001
            continue  # closed or replaced by the program: its own loss


def _last_words(error: BaseException) -> None:
    try:
        _write(2, f"{type(error).__name__}: {error}\n".encode("utf-8", "backslashreplace"))
    except BaseException:  # noqa: BLE001 - nowhere left to say it
        return
