"""Sandboxes without a container engine: bubblewrap, with no privilege on the host.

Invariant: the box runs as a user without rights (root gives itself up first), in namespaces of
its own, and dies with its parent; what the kernel does not limit for such a user (memory of a
group, where no memory cgroup is writable) the supervisor watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import secrets
import shutil
import signal
from pathlib import Path

from actors.sandbox import seccomp
from actors.sandbox.box import Box, Hello
from actors.sandbox.contract import SandboxSettings
from actors.sandbox.image.rootfs import PYTHON, RootFolder, build_root, state_dir
from actors.sandbox.owners import Owner
from storage.errors import SandboxUnavailable

MARK = "stepmill-sandbox-of:"
FIRST_UID, UIDS = 1 << 20, 1 << 28


class ProcessLink:
    """The standard streams of a bubblewrap process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.name = f"bwrap-{process.pid}"
        self._process = process
        self._said = b""
        self._hearing = asyncio.create_task(self._hear())

    async def _hear(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(4096):
            self._said = (self._said + data)[-2000:]

    async def read(self) -> bytes:
        """Return the next bytes of stdout."""
        assert self._process.stdout is not None
        return await self._process.stdout.read(1 << 18)

    async def write(self, data: bytes) -> None:
        """Send bytes to stdin."""
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        await self._process.stdin.drain()

    async def close(self) -> str:
        """Kill the box: with its first process all others die."""
        with contextlib.suppress(ProcessLookupError):
            # Not `Process.kill`: it may collect the process behind the event loop's back.
            os.kill(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hearing, 1.0)
        return self._said.decode("utf-8", "replace").strip()


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
        "--dev",
        "/dev",
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
        f"/usr/local/bin/{PYTHON}",
        "-P",
        "-s",
        "-B",
        "-m",
        "stepmill_guest",
    ]


class BubblewrapBoxes:
    """Opens boxes as processes."""

    name = "bubblewrap"

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._root: RootFolder | None = None
        self._lock = asyncio.Lock()

    async def open(self) -> Box:
        """Start bubblewrap and the supervisor in it."""
        program = shutil.which("bwrap")
        if program is None:
            raise SandboxUnavailable("bubblewrap is not installed")
        filter_ = seccomp.program(platform.machine())
        async with self._lock:
            if self._root is None:
                state = state_dir(self._settings.state_dir)
                self._root = await asyncio.to_thread(build_root, state)
        self._root.check(self._settings.image)
        uid = FIRST_UID + secrets.randbelow(UIDS) if os.geteuid() == 0 else None
        try:
            # The first word is what `ps`, and the reaper, see.
            process = await asyncio.create_subprocess_exec(
                f"{MARK}{Owner.me()}",
                *command(self._root.path, self._settings),
                executable=program,
                env={},
                cwd="/",
                start_new_session=True,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                user=uid,
                group=uid,
                extra_groups=None if uid is None else [],
            )
        except OSError as error:
            raise SandboxUnavailable(f"bubblewrap: {error}") from error
        box = Box(ProcessLink(process), self._settings)
        try:
            await box.start(Hello(filter_, namespaces=True))
        except BaseException:
            await asyncio.shield(box.close())
            raise
        return box

    async def reap(self) -> int:
        """Kill the boxes of dead owners."""
        return await asyncio.to_thread(kill_orphans)


def kill_orphans() -> int:
    """Kill every bubblewrap process that is marked with a dead owner; return how many."""
    count = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            owner = Owner.parse(words[0].removeprefix(MARK))
            if words[0].startswith(MARK) and owner is not None and owner.is_dead():
                os.kill(int(folder.name), signal.SIGKILL)
                count += 1
    return count
