"""Opens the sandbox that the settings ask for.

Invariant: opening does no I/O, so a configuration can be checked anywhere; it only lets this
process open as many files as its boxes need. The first run decides which backend `auto` means,
once; `source.name` says it.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from pathlib import Path

from actors.sandbox.box import Box
from actors.sandbox.bubblewrap import BubblewrapBoxes
from actors.sandbox.contract import Backend, Execution, Request, SandboxSettings
from actors.sandbox.docker.box import DockerBoxes
from actors.sandbox.docker.engine import is_named
from actors.sandbox.pool import BoxSource, Pool
from storage.errors import ConfigurationError, InputError, SandboxUnavailable

FILES_OF_A_BOX = 8
FILES_BESIDE = 512
"""Open files that a box's sockets and pipes may take, and those of everything else."""
REMEDY = (
    "sandbox.docker_host or DOCKER_HOST names that engine: start it or unset them, or let the "
    "weaker bubblewrap run code with sandbox.fallback: true"
)


class AutomaticBoxes:
    """Opens containers if a Docker Engine is there, else bubblewrap boxes.

    An engine that the settings or DOCKER_HOST name is used, or it is an error. With the setting
    `fallback`, one that can't be used is replaced by bubblewrap.
    """

    def __init__(self, settings: SandboxSettings) -> None:
        self.name = "auto"
        self._settings = settings
        self._chosen: BoxSource | None = None
        self._lock = asyncio.Lock()

    async def open(self) -> Box:
        """Open a box; the first one decides."""
        async with self._lock:
            if self._chosen is None:
                return await self._choose()
        return await self._chosen.open()

    async def _choose(self) -> Box:
        reasons = []
        for source in (DockerBoxes(self._settings), BubblewrapBoxes(self._settings)):
            try:
                box = await source.open()
            except SandboxUnavailable as error:
                reasons.append(f"{source.name}: {error}")
                if isinstance(source, DockerBoxes) and not self._may_replace():
                    raise SandboxUnavailable(f"{reasons[0]} ({REMEDY})") from error
                continue
            self._chosen, self.name = source, source.name
            return box
        raise SandboxUnavailable("; ".join(reasons))

    def _may_replace(self) -> bool:
        """Whether bubblewrap may run where containers can't be opened."""
        return self._settings.fallback or not is_named(self._settings.docker_host)

    async def reap(self) -> int:
        """Remove what dead owners left."""
        return await self._chosen.reap() if self._chosen is not None else 0


def open_sandbox(settings: SandboxSettings) -> Pool:
    """Make the sandbox. Its boxes start when they are first needed, or by `start`."""
    settings = settings.here()
    if settings.slots < 1 or settings.attempts < 1 or settings.reaper_period_s <= 0:
        raise ConfigurationError("sandbox: slots, attempts and reaper_period_s must be above 0")
    sources: dict[Backend, Callable[[SandboxSettings], BoxSource]] = {
        Backend.DOCKER: AutomaticBoxes if settings.fallback else DockerBoxes,
        Backend.BUBBLEWRAP: BubblewrapBoxes,
        Backend.AUTO: AutomaticBoxes,
    }
    _allow_files(FILES_OF_A_BOX * settings.most_sessions + FILES_BESIDE)
    return Pool(settings, sources[Backend(settings.backend)](settings))


def _allow_files(most: int) -> None:
    """Raise this process's own limit of open files, as far as it may: the usual 1,024 are few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


async def run_file(path: Path, settings: SandboxSettings, stdin: bytes = b"") -> Execution:
    """Run one script file. Raises InputError if it can't be read."""
    try:
        code = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text in UTF-8 ({error.reason})") from error
    sandbox = open_sandbox(settings)
    try:
        return await sandbox.run(Request(code, stdin))
    finally:
        await sandbox.close()
