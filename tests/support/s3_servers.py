"""Real S3 servers on this machine, started by the tests that need them.

`ministack` keeps the promise that a run needs; `pys3local` overwrites and is to be refused, and so
is Swift (`swift_server`), whose racing writers win together. All are
installed into `.stepmill/test-servers` on first use; `python -m tests.support.s3_servers`
does only that. A server dies with the process that started it.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import boto3

from actors.lifeline import die_with_parent
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".stepmill" / "test-servers"
PINS = Path(__file__).with_name("servers.txt")
BUCKET = "stepmill-tests"
KEY, SECRET = "AKIDSTEPMILLTESTS", "secret-of-the-tests-0123456789"


@dataclass(frozen=True)
class S3Server:
    """A server, of one process or several, that keeps its objects in `data`."""

    endpoint: str
    commands: Sequence[Sequence[str]]
    settings: Mapping[str, str]
    data: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def url(self, prefix: str, endpoint: str | None = None) -> str:
        """A store URL; through another endpoint (a proxy) if one is named."""
        return f"s3://{BUCKET}/{prefix}?endpoint={endpoint or self.endpoint}"

    def start(self) -> None:
        """Start every process, wait for an answer, and see to it that the bucket is there."""
        self.run()
        wait_until_it_answers(self.endpoint, self.processes[-1], self.data / "server.log")
        os.environ.update(AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET)
        os.environ.pop("AWS_SESSION_TOKEN", None)
        client = boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1")
        if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=BUCKET)

    def run(self) -> None:
        """Start every process, and no more."""
        log = self.data / "server.log"
        self.processes[:] = [spawn(command, self.settings, log) for command in self.commands]

    def stop(self) -> None:
        """Kill it, as a power cut would."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


def install() -> Path:
    """The folder of the servers' programs, made if it is not there or its pins changed."""
    mark = HOME / "installed.txt"
    HOME.mkdir(parents=True, exist_ok=True)
    with open(HOME.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists() or mark.read_text() != PINS.read_text():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True)
            pip = [str(HOME / "bin" / "pip"), "install", "--quiet", "--requirement", str(PINS)]
            subprocess.run(pip, check=True)
            mark.write_text(PINS.read_text())
    return HOME / "bin"


def ministack(data: Path) -> S3Server:
    """A server that creates an object once."""
    port = free_port()
    settings = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": "s3",
        "S3_PERSIST": "1",
        "PERSIST_STATE": "1",
        "S3_DATA_DIR": str(data / "s3"),
        "STATE_DIR": str(data / "state"),
        "IOT_MTLS_ENABLED": "0",
        "HOME": str(data),
    }
    command = [str(install() / "ministack")]
    return S3Server(f"http://127.0.0.1:{port}", [command], settings, data)


def pys3local(data: Path) -> S3Server:
    """A server that ignores `If-None-Match` and overwrites."""
    port = free_port()
    command = [
        str(install() / "pys3local"), "serve", "--path", str(data / "s3"), "--listen",
        f"127.0.0.1:{port}", "--access-key-id", KEY, "--secret-access-key", SECRET,
        "--allow-bucket-creation",
    ]  # fmt: skip
    return S3Server(f"http://127.0.0.1:{port}", [command], {"HOME": str(data)}, data)


def shared_ministack() -> S3Server:
    """One server for all tests of this process; each test takes a prefix of its own."""
    return shared(ministack)


@cache
def shared(make: Callable[[Path], S3Server]) -> S3Server:
    """One server of a kind, started, which ends with this process."""
    data = tempfile.TemporaryDirectory(prefix=f"stepmill-{make.__name__}-")
    server = make(Path(data.name))
    server.start()
    atexit.register(data.cleanup)
    atexit.register(server.stop)
    return server


def spawn(
    command: Sequence[str], settings: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """A process with an environment of its own that does not outlive this one."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as out:
        return subprocess.Popen(
            command,
            env={"PATH": os.environ["PATH"], **settings},
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )


def wait_until_it_answers(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Ask until any HTTP answer comes; RuntimeError with its last words if it ended instead."""
    while not _answers(endpoint):
        if process.poll() is not None:
            raise RuntimeError(log.read_text()[-2000:])


def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(endpoint, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


if __name__ == "__main__":
    print(install())
