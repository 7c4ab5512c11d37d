"""Sandboxes as containers of a Docker Engine.

Invariant: a container has no network, capabilities, logs or swap, and a read-only root file system.
It lives as long as its attached stream. When the owner is killed, the stream ends, the supervisor
with it, and the engine removes the container.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import socket
import struct
from functools import partial
from typing import TYPE_CHECKING

from actors.sandbox import owners, seccomp
from actors.sandbox.box import Box, Hello, send
from actors.sandbox.contract import SandboxSettings
from actors.sandbox.docker.engine import Engine, find_engine, remove, trim_log
from actors.sandbox.docker.image import ensure_image
from actors.sandbox.image.rootfs import PYTHON, build_root, state_dir
from actors.sandbox.image.trial import try_box
from storage.errors import SandboxUnavailable

if TYPE_CHECKING:
    from docker import APIClient

LABEL = "stepmill.sandbox.owner"
WARM_MB = 256
"""Memory of a box for the warm interpreter and the supervisor, beside the solution's."""
SPARE_PIDS = 8
GVISOR_PIDS = 2048
"""Process limit of a gVisor box. gVisor has many threads and a host process per address space, so a
lower limit would end the box. Inside, the limit per user holds."""
GVISOR_MB = 1024
"""More memory of a gVisor box: it counts its own, and twice what forked processes write."""
NOTHING = "ro,noexec,nosuid,nodev,size=4k,mode=755"
READ_ONLY = [f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger", "pressure")]
"""The engine's own list, and triggers of the whole machine that anybody may set."""
STDERR = 2


class ContainerLink:
    """The attached streams of one container."""

    def __init__(
        self,
        engine: Engine,
        container: str,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.name = container[:12]
        self._engine = engine
        self._container = container
        self._reader, self._writer = streams
        self._said = b""

    async def read(self) -> bytes:
        """Return the next bytes of stdout; stderr is kept for `close`."""
        while True:
            try:
                stream, size = struct.unpack(">BxxxI", await self._reader.readexactly(8))
                data = await self._reader.readexactly(size)
            except asyncio.IncompleteReadError:
                return b""
            if stream != STDERR:
                return data
            self._said = (self._said + data)[-2000:]

    async def write(self, data: bytes) -> None:
        """Send bytes to stdin."""
        await send(self._writer, data)

    async def close(self) -> str:
        """Remove the container."""
        self._writer.close()
        with contextlib.suppress(SandboxUnavailable):
            await self._engine.ask(lambda docker: _remove(docker, self._container))
        return self._said.decode("utf-8", "replace").strip()


def _remove(docker: APIClient, container: str) -> None:
    remove(docker.remove_container, container, force=True)


def description(image: str, settings: SandboxSettings) -> dict[str, object]:
    """The container to create, as the Docker Engine API describes it."""
    most = settings.limits
    gvisor = settings.runtime == "runsc"
    memory = (most.memory_mb + (GVISOR_MB if gvisor else WARM_MB)) << 20
    scratch = (
        f"rw,noexec,nosuid,nodev,size={most.scratch_mb}m,nr_inodes={most.scratch_files},mode=1777"
    )
    return {
        "Image": image,
        "Cmd": [PYTHON, "-P", "-s", "-B", "-m", "stepmill_guest"],
        "Env": [
            "PATH=/usr/local/bin",
            "LANG=C.UTF-8",
            "PYTHONHASHSEED=0",
            "HOME=/tmp",
            "OMP_NUM_THREADS=1",
            "OPENBLAS_NUM_THREADS=1",
        ],
        "User": "0:0",
        "WorkingDir": "/",
        "Hostname": "sandbox",
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "NetworkDisabled": True,
        "Labels": {LABEL: owners.mark()},
        "HostConfig": {
            "AutoRemove": True,
            "NetworkMode": "none",
            "IpcMode": "none",
            "ReadonlyRootfs": True,
            # Pseudo-terminals are the whole machine's, and few.
            "Tmpfs": {"/tmp": scratch, "/dev/shm": scratch, "/dev/pts": NOTHING},
            "Memory": memory,
            "MemorySwap": memory,
            "PidsLimit": GVISOR_PIDS if gvisor else most.pids + SPARE_PIDS,
            "NanoCpus": int(settings.cpus * 1e9),
            "CapDrop": ["ALL"],
            # The supervisor's: SYS_PTRACE holds a session between two blocks.
            "CapAdd": ["SETUID", "SETGID", "KILL", "SYS_PTRACE"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyPaths": READ_ONLY,
            "Ulimits": [
                {"Name": "core", "Soft": 0, "Hard": 0},
                {"Name": "nofile", "Soft": 1024, "Hard": 1024},
            ],
            "LogConfig": {"Type": "none", "Config": {}},
            "Runtime": settings.runtime,
        },
    }


async def open_container(engine: Engine, image: str, settings: SandboxSettings) -> Box:
    """Start a container and its supervisor."""
    # gVisor has no counter of a whole container's processor time.
    keep_children = settings.runtime == "runsc"
    filter_ = seccomp.program(platform.machine(), keep_children)
    body = description(image, settings)
    linking = asyncio.create_task(_link(engine, body))
    try:
        link = await asyncio.shield(linking)
    except asyncio.CancelledError:
        await asyncio.shield(_undo(linking))
        raise
    box = Box(link, settings, f"docker ({settings.runtime})")
    try:
        await box.start(Hello(filter_, namespaces=False, keep_children=keep_children))
    except BaseException:
        await asyncio.shield(box.close())
        raise
    return box


async def _link(engine: Engine, body: dict[str, object]) -> ContainerLink:
    container, attached = await engine.ask(lambda docker: start(docker, body))
    streams = await asyncio.open_connection(sock=attached, limit=1 << 20)
    return ContainerLink(engine, container, streams)


async def _undo(linking: asyncio.Task[ContainerLink]) -> None:
    """Wait for the container that a cancelled caller's thread still starts, and remove it."""
    with contextlib.suppress(SandboxUnavailable):
        await (await linking).close()


def start(docker: APIClient, body: dict[str, object]) -> tuple[str, socket.socket]:
    """Create and start a container; return its id and the socket of its streams."""
    container: str = docker.create_container_from_config(body)["Id"]
    with contextlib.ExitStack() as undo:
        undo.callback(_remove, docker, container)
        # Before it starts: docker-py's response would keep its first output in a buffer.
        streams = dict.fromkeys(("stream", "stdin", "stdout", "stderr"), 1)
        held = docker.attach_socket(container, streams)
        attached = undo.enter_context(socket.socket(fileno=os.dup(held.fileno())))
        held._response.close()
        docker.start(container)
        undo.pop_all()
    return container, attached


async def try_image(engine: Engine, runtime: str, image: str) -> None:
    """Run a block in a container of an image. Raises SandboxUnavailable."""
    settings = SandboxSettings(runtime=runtime)
    try:
        await try_box(open_container(engine, image, settings), settings)
    except SandboxUnavailable as error:
        raise SandboxUnavailable(f"image: no block runs in a container of it: {error}") from error


async def remove_orphans(engine: Engine) -> int:
    """Remove the containers whose owner is dead; return how many."""
    marked = await engine.ask(lambda docker: docker.containers(all=True, filters={"label": LABEL}))
    dead = [box["Id"] for box in marked if owners.is_dead(box["Labels"][LABEL])]
    for container in dead:
        await engine.ask(partial(_remove, container=container))
    return len(dead)


class DockerBoxes:
    """Opens boxes as containers."""

    name = "docker"

    def __init__(self, settings: SandboxSettings, python: str = "") -> None:
        """`python`: the interpreter of the image; "": the running one."""
        self._settings = settings
        self._python = python
        self._engine: Engine | None = None
        self._image = ""
        self._lock = asyncio.Lock()

    async def open(self) -> Box:
        """Start a container; the first call finds the engine and builds the image."""
        try:
            engine = await self._ready()
            return await open_container(engine, self._image, self._settings)
        except SandboxUnavailable:
            # The engine may have been restarted, or its images lost: look again next time.
            self._engine = None
            raise

    async def _ready(self) -> Engine:
        async with self._lock:
            if self._engine is None:
                state = state_dir(self._settings.state_dir)
                root = await asyncio.to_thread(build_root, state, self._python)
                root.check(self._settings.image)
                engine = await find_engine(state, self._settings.docker_host)
                run_block = partial(try_image, engine, self._settings.runtime)
                self._image = (await ensure_image(engine, root, run_block)).id
                self._engine = engine
            return self._engine

    async def reap(self) -> int:
        """Remove the containers of dead owners."""
        owners.stay()
        if self._engine is None:
            return 0
        trim_log(state_dir(self._settings.state_dir))
        return await remove_orphans(self._engine)
