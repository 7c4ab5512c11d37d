"""Finds a Docker Engine, or starts a private one where a root process may.

Invariant: an engine that answers is used as it is; a private engine is shared by all processes of
this machine, containers that share its folder among them (one at a time starts it), touches no
network, no firewall and no other engine's state, and comes back in about a second after it was
killed. One that lives elsewhere is never taken for dead.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from actors.owned_folder import is_held
from actors.sandbox.docker.engine_api import EngineApi
from actors.sandbox.image.rootfs import state_dir
from storage.errors import SandboxUnavailable

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
START_S = 60.0
ENGINE = ("pid", "dockerd")
CONTAINERD = ("exec/containerd/containerd.pid", "containerd")
HELD = "data/volumes/metadata.db"
"""A database that an engine keeps locked while it lives."""
LARGEST_LOG = 4 << 20
CGROUP = "stepmill"
QUIET_NETWORK = (
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
    "--userland-proxy=false",
)


async def find_engine(state: Path, docker_host: str = "") -> EngineApi:
    """Return an engine that answers.

    A `docker_host`, or DOCKER_HOST, is used or nothing is. Raises SandboxUnavailable.
    """
    if named := docker_host or os.environ.get("DOCKER_HOST", ""):
        engine = EngineApi(named)
        await _ping(engine)
        return engine
    private = EngineApi(f"unix://{_folder(state)}/docker.sock")
    for engine in (EngineApi(DEFAULT_SOCKET), private):
        with contextlib.suppress(SandboxUnavailable):
            await _ping(engine)
            return engine
    await asyncio.to_thread(start_private, state)
    await _ping(private)
    return private


async def _ping(engine: EngineApi) -> None:
    await engine.call("GET", "/_ping", timeout_s=10.0)


def _folder(state: Path) -> Path:
    return state / "engine"


def start_private(state: Path) -> None:
    """Start the private engine, unless another process just did. Blocks; about a second."""
    program = shutil.which("dockerd") or shutil.which("dockerd", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise SandboxUnavailable("no Docker Engine answers and dockerd is not installed")
    if os.geteuid() != 0:
        raise SandboxUnavailable("no Docker Engine answers, and only root can start one")
    folder = _folder(state)
    if len(str(folder)) > 70:
        raise SandboxUnavailable(f"{folder} is too long for the engine's sockets")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _answers(folder):
            return
        _forget_dead(folder)
        _weigh()
        (folder / "dockerd.log").unlink(missing_ok=True)
        # Appended to, so that `trim_log` may cut it while the engine writes.
        with (folder / "dockerd.log").open("a") as log:
            process = subprocess.Popen(
                [program, *_arguments(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        give_up = time.monotonic() + START_S
        while not _answers(folder):
            if process.poll() is not None or time.monotonic() > give_up:
                tail = (folder / "dockerd.log").read_text(errors="replace")[-400:].strip()
                raise SandboxUnavailable(f"dockerd did not start: {tail}")
            time.sleep(0.05)


def _arguments(folder: Path) -> list[str]:
    return [
        "-H",
        f"unix://{folder}/docker.sock",
        "--data-root",
        str(folder / "data"),
        "--exec-root",
        str(folder / "exec"),
        "--pidfile",
        str(folder / "pid"),
        "--log-level",
        "error",
        "--log-driver",
        "none",
        "--cgroup-parent",
        f"/{CGROUP}",
        *QUIET_NETWORK,
        *(("--add-runtime", f"runsc={_gvisor(folder)}") if shutil.which("runsc") else ()),
    ]


def _gvisor(folder: Path) -> str:
    """Write the wrapper that runs gVisor where there is no /dev/kvm to use."""
    wrapper = folder / "runsc"
    wrapper.write_text(
        f"#!/bin/sh\nexec {shutil.which('runsc')} --platform=ptrace "
        '--network=none --ignore-cgroups=false "$@"\n'
    )
    wrapper.chmod(0o700)
    return str(wrapper)


def _answers(folder: Path) -> bool:
    async def ask() -> bool:
        with contextlib.suppress(SandboxUnavailable):
            await _ping(EngineApi(f"unix://{folder}/docker.sock"))
            return True
        return False

    return asyncio.run(ask())


def _forget_dead(folder: Path) -> None:
    """Clear away what an engine that hangs or was killed left: a pid file whose number may be
    another's by now, and its containerd, which a new engine would wait for while it dies.

    Raises SandboxUnavailable where the engine lives in another container.
    """
    for name, program in ENGINE, CONTAINERD:
        if pid := _process(folder, name, program):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            give_up = time.monotonic() + 5.0
            while _process(folder, name, program) and time.monotonic() < give_up:
                time.sleep(0.02)
    if is_held(folder / HELD):
        raise SandboxUnavailable(
            f"the engine in {folder} does not answer, and it was started in another container: "
            "end it there, or set STEPMILL_SANDBOX_DIR to a folder of this one's own"
        )
    for name, _ in ENGINE, CONTAINERD:
        (folder / name).unlink(missing_ok=True)


def _process(folder: Path, name: str, program: str) -> int | None:
    """The process of a pid file, where that number is this engine's here."""
    try:
        pid = int((folder / name).read_text())
        words = Path(f"/proc/{pid}/cmdline").read_text()
    except (OSError, ValueError):
        return None
    return pid if program in words and str(folder) in words else None


def _weigh() -> None:
    """Let all boxes together weigh as much as four busy tasks per processor, not as one task: else
    every slot starves beside a few busy processes."""
    processors = os.cpu_count() or 1
    for name, weight in (("cpu/{}/cpu.shares", 1024), ("{}/cpu.weight", 100)):
        path = Path("/sys/fs/cgroup", name.format(CGROUP))
        # Only one of the two hierarchies is there, and not everywhere may it be written.
        with contextlib.suppress(OSError):
            if (path.parent.parent / path.name.replace("weight", "stat")).exists():
                path.parent.mkdir(exist_ok=True)
                path.write_text(str(min(10_000, 4 * processors * weight)))


def trim_log(state: Path) -> None:
    """Keep the private engine's log from growing for ever."""
    log = _folder(state) / "dockerd.log"
    with contextlib.suppress(FileNotFoundError, PermissionError):
        if log.stat().st_size > LARGEST_LOG:
            os.truncate(log, 0)


def stop_private(state: Path) -> bool:
    """Stop the private engine, if one of this container runs."""
    pid = _process(_folder(state), *ENGINE)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):  # it just ended by itself
            os.kill(pid, signal.SIGTERM)
    return pid is not None


if __name__ == "__main__":
    if sys.argv[1:] == ["stop"]:
        print("stopping" if stop_private(state_dir()) else "none runs")
    else:
        print(asyncio.run(find_engine(state_dir())).address)
