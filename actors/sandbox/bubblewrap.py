"""Sandboxes without a container engine: bubblewrap, with no privilege on the host.

Invariant: the box runs as a user without rights, in namespaces of its own, and dies with its
parent. A root process becomes such a user first. If the kernel can't limit the memory of a group
for that user, because no memory cgroup is writable, the supervisor watches it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import secrets
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from actors.sandbox import owners, seccomp
from actors.sandbox.box import Box, Hello, send
from actors.sandbox.contract import SandboxSettings
from actors.sandbox.image.rootfs import PYTHON, RootFolder, build_root, state_dir
from storage.errors import SandboxUnavailable

MARK = "stepmill-sandbox-of:"
FIRST_UID, UIDS = 1 << 20, 1 << 28
DEVICES = ("null", "full", "random", "urandom")
"""No /dev/ptmx: pseudo-terminals are the whole machine's, and few. No /dev/zero: mapped, it is
shared memory that no process's size tells (see seccomp.KEEP_MEMORY)."""
LINKS = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}
Reading = tuple[asyncio.StreamReader, asyncio.ReadTransport]


class ProcessLink:
    """The standard streams of a bubblewrap process.

    `subprocess` starts it, because the event loop of Ray's workers (uvloop) can't start a process
    as another user.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        inlet: asyncio.StreamWriter,
        outlet: Reading,
        errors: Reading,
    ) -> None:
        self.name = f"bwrap-{process.pid}"
        self._process = process
        self._inlet, self._outlet, self._errors = inlet, outlet, errors
        self._said = b""
        self._hearing = asyncio.create_task(self._hear())

    @classmethod
    async def start(cls, program: str, words: Sequence[str]) -> ProcessLink:
        """Start bubblewrap; root starts it as a user of its own. Raises OSError."""
        uid = FIRST_UID + secrets.randbelow(UIDS) if os.geteuid() == 0 else None
        process = subprocess.Popen(
            words,
            executable=program,
            env={},
            cwd="/",
            start_new_session=True,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
        )
        try:
            inlet = await _writing(process.stdin)
            return cls(
                process, inlet, await _reading(process.stdout), await _reading(process.stderr)
            )
        except BaseException:
            process.kill()
            process.wait()
            raise

    async def _hear(self) -> None:
        while data := await self._errors[0].read(4096):
            self._said = (self._said + data)[-2000:]

    async def read(self) -> bytes:
        """Return the next bytes of stdout."""
        return await self._outlet[0].read(1 << 18)

    async def write(self, data: bytes) -> None:
        """Send bytes to stdin."""
        await send(self._inlet, data)

    async def close(self) -> str:
        """Kill the box's first process, and with it all others."""
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hearing, 1.0)
        self._inlet.close()
        for _, transport in (self._outlet, self._errors):
            transport.close()
        return self._said.decode("utf-8", "replace").strip()


async def _reading(pipe: IO[bytes] | None) -> Reading:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    return reader, transport


async def _writing(pipe: IO[bytes] | None) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, pipe)
    return asyncio.StreamWriter(transport, protocol, None, loop)


def command(root: Path, settings: SandboxSettings) -> list[str]:
    """Arguments of bubblewrap."""
    variables = {
        "PATH": "/usr/local/bin",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "HOME": "/tmp",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return [
        "--unshare-all",
        "--unshare-user",
        "--die-with-parent",
        "--as-pid-1",
        "--new-session",
        "--clearenv",
        "--hostname",
        "sandbox",
        "--uid",
        "0",
        "--gid",
        "0",
        "--cap-add",
        "ALL",  # in its own user namespace: to make namespaces for each solution
        "--ro-bind",
        str(root),
        "/",
        "--proc",
        "/proc",
        "--tmpfs",
        "/dev",
        *(part for name in DEVICES for part in ("--dev-bind", f"/dev/{name}", f"/dev/{name}")),
        *(
            part
            for name, end in LINKS.items()
            for part in ("--symlink", f"/proc/self/fd{end}", f"/dev/{name}")
        ),
        "--tmpfs",
        "/dev/shm",
        "--remount-ro",
        "/dev/shm",
        "--remount-ro",
        "/dev",
        "--size",
        "4096",
        "--tmpfs",
        "/tmp",
        "--remount-ro",
        "/tmp",
        "--chdir",
        "/",
        *(part for pair in variables.items() for part in ("--setenv", *pair)),
        "--",
        PYTHON,
        "-P",
        "-s",
        "-B",
        "-m",
        "stepmill_guest",
    ]


class BubblewrapBoxes:
    """Opens boxes as processes."""

    name = "bubblewrap"

    def __init__(self, settings: SandboxSettings, python: str = "") -> None:
        """`python`: the interpreter of the root folder; "": the running one."""
        self._settings = settings
        self._python = python
        self._root: RootFolder | None = None
        self._lock = asyncio.Lock()

    async def open(self) -> Box:
        """Start bubblewrap and the supervisor in it."""
        program = shutil.which("bwrap")
        if program is None:
            raise SandboxUnavailable("bubblewrap is not installed")
        filter_ = seccomp.program(platform.machine(), keep_children=True, keep_memory=True)
        async with self._lock:
            if self._root is None:
                state = state_dir(self._settings.state_dir)
                self._root = await asyncio.to_thread(build_root, state, self._python)
        self._root.check(self._settings.image)
        # The first word is what `ps`, and the reaper, see.
        words = [f"{MARK}{owners.mark()}", *command(self._root.path, self._settings)]
        try:
            link = await ProcessLink.start(program, words)
        except OSError as error:
            raise SandboxUnavailable(f"bubblewrap: {error}") from error
        box = Box(link, self._settings, self.name)
        try:
            await box.start(Hello(filter_, namespaces=True, keep_children=True))
        except BaseException:
            await asyncio.shield(box.close())
            raise
        return box

    async def reap(self) -> int:
        """Kill the boxes of dead owners."""
        owners.stay()
        return await asyncio.to_thread(kill_orphans)


def kill_orphans() -> int:
    """Kill every bubblewrap process that is marked with a dead owner; return how many."""
    count = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            if words[0].startswith(MARK) and owners.is_dead(words[0].removeprefix(MARK)):
                os.kill(int(folder.name), signal.SIGKILL)
                count += 1
    return count
