"""Finds a Docker Engine, or starts a private one where a root process may.

Invariant: an engine that fails or is silent raises `SandboxUnavailable`, in the engine's words.
An engine that answers is used as it is. A private engine serves all processes of a machine, and
containers that share its folder; one process at a time starts it. It touches no network, firewall
or other engine's state. After a kill it is back in about a second. An engine of another container
is never taken for dead.
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
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from actors.owned_folder import is_held
from actors.sandbox.image.rootfs import state_dir
from storage.errors import SandboxUnavailable

if TYPE_CHECKING:
    from docker import APIClient

T = TypeVar("T")
PING_S, ANSWER_S = 10.0, 60.0
DEFAULT_SOCKET = "unix:///var/run/docker.sock"
START_S = 60.0
ENGINE = ("pid", "dockerd")
CONTAINERD = ("exec/containerd/containerd.pid", "containerd")
HELD = "data/volumes/metadata.db"
"""A database that a living engine keeps locked."""
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


class Engine:
    """A Docker Engine that answered, at `unix:///path` or `tcp://host:port`."""

    def __init__(self, address: str) -> None:
        """Ask the engine for its API version. Blocks. Raises SandboxUnavailable."""
        self.address = address
        self._version = ""
        if not address.startswith(("unix://", "tcp://")):
            raise SandboxUnavailable(f"docker host {address!r}: use unix:// or tcp://")
        try:
            self._version = self._ask(_version_of, PING_S)
        except SandboxUnavailable as error:
            raise SandboxUnavailable(f"no Docker Engine at {address}: {error}") from error

    async def ask(self, call: Callable[[APIClient], T], timeout_s: float = ANSWER_S) -> T:
        """Make a call of docker-py in a thread; return its result.

        `timeout_s`: most seconds without data from the engine. Raises SandboxUnavailable.
        """
        return await asyncio.to_thread(self._ask, call, timeout_s)

    def _ask(self, call: Callable[[APIClient], T], timeout_s: float) -> T:
        # Here, for most commands never run code, and importing it takes a fifth of a second.
        from docker import APIClient
        from docker.constants import MINIMUM_DOCKER_API_VERSION
        from docker.errors import DockerException

        try:
            # A client is of one thread; a new one costs half a millisecond.
            with closing(
                APIClient(self.address, self._version or MINIMUM_DOCKER_API_VERSION, timeout_s)
            ) as docker:
                docker.trust_env = False  # no proxy stands between us and an engine
                return call(docker)
        except (DockerException, OSError) as error:
            raise SandboxUnavailable(f"docker: {error}") from error


def _version_of(docker: APIClient) -> str:
    # Of the ping, since an engine that is asked for its version starts programs to find out.
    reply = docker.get(f"{docker.base_url}/_ping", timeout=docker.timeout)
    reply.raise_for_status()
    return str(reply.headers.get("Api-Version", ""))


def remove(call: Callable[..., object], name: str, **options: bool) -> None:
    """Make a call that removes something; ignore that it is gone, or going, already."""
    from docker.errors import APIError

    try:
        call(name, **options)
    except APIError as error:
        if error.status_code not in (404, 409):
            raise


async def find_engine(state: Path, docker_host: str = "") -> Engine:
    """Return an engine that answers.

    If `docker_host` or DOCKER_HOST is set, only that is tried. Raises SandboxUnavailable.
    """
    return await asyncio.to_thread(_find, state, docker_host)


def is_named(docker_host: str = "") -> str:
    """The address of the only engine to be used; "": none is named."""
    return docker_host or os.environ.get("DOCKER_HOST", "")


def _find(state: Path, docker_host: str) -> Engine:
    if named := is_named(docker_host):
        return Engine(named)
    for address in (DEFAULT_SOCKET, _address(_folder(state))):
        with contextlib.suppress(SandboxUnavailable):
            return Engine(address)
    start_private(state)
    return Engine(_address(_folder(state)))


def _folder(state: Path) -> Path:
    return state / "engine"


def _address(folder: Path) -> str:
    return f"unix://{folder}/docker.sock"


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
        _address(folder),
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
    with contextlib.suppress(SandboxUnavailable):
        Engine(_address(folder))
        return True
    return False


def _forget_dead(folder: Path) -> None:
    """Clear away the pid files and the containerd that a dead or hanging engine left. The numbers
    may be other processes' by now, and a new engine would wait for the containerd.

    Raises SandboxUnavailable if the engine lives in another container.
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
    """The process id in a pid file, if that process is this engine's `program`; else None."""
    try:
        pid = int((folder / name).read_text())
        words = Path(f"/proc/{pid}/cmdline").read_text()
    except (OSError, ValueError):
        return None
    return pid if program in words and str(folder) in words else None


def _weigh() -> None:
    """Give all boxes together the weight of four busy tasks per processor. With that of one task
    every slot would starve beside a few busy processes.
    """
    processors = os.cpu_count() or 1
    for name, weight in (("cpu/{}/cpu.shares", 1024), ("{}/cpu.weight", 100)):
        path = Path("/sys/fs/cgroup", name.format(CGROUP))
        # Only one of the two hierarchies is there, and not everywhere may it be written.
        with contextlib.suppress(OSError):
            if (path.parent.parent / path.name.replace("weight", "stat")).exists():
                path.parent.mkdir(exist_ok=True)
                path.write_text(str(min(10_000, 4 * processors * weight)))


def trim_log(state: Path) -> None:
    """Cut the private engine's log if it has grown too long."""
    log = _folder(state) / "dockerd.log"
    with contextlib.suppress(FileNotFoundError, PermissionError):
        if log.stat().st_size > LARGEST_LOG:
            os.truncate(log, 0)


def stop_private(state: Path) -> bool:
    """Stop this container's private engine; False if none runs."""
    pid = _process(_folder(state), *ENGINE)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.kill(pid, signal.SIGTERM)
    return pid is not None


if __name__ == "__main__":
    if sys.argv[1:] == ["stop"]:
        print("stopping" if stop_private(state_dir()) else "none runs")
    else:
        print(asyncio.run(find_engine(state_dir())).address)
