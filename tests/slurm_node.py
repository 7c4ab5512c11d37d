"""A Slurm of one node on this machine: controller, node and munge, all of them in one folder.

Debian's packages are installed on first use, by root; elsewhere the test is skipped.

Invariant: it listens on this machine alone, uses no file of a Slurm that is here, and ends with
the context, jobs too.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.contract.s3_servers import free_port, spawn

PACKAGES = ("slurm-wlm", "munge")
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
MpiDefault=none
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class SlurmNode:
    """Use `slurm_node`."""

    def __init__(self, folder: Path) -> None:
        """`folder` is Slurm's own."""
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}

    def submit(self, words: list[str], folder: Path, environment: Mapping[str, str]) -> str:
        """Put a job into the queue; returns its number."""
        return self.run("sbatch", "--parsable", *words, folder=folder, environment=environment)

    def run(
        self, *words: str, folder: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> str:
        """What one of Slurm's commands says."""
        done = subprocess.run(
            words, cwd=folder, env=os.environ | self.environment | dict(environment or {}),
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """What Slurm knows of a job, by name."""
        return dict(re.findall(r"(\w+)=(\S+)", self.run("scontrol", "show", "job", number)))

    def until(self, number: str, *states: str) -> dict[str, str]:
        """Wait until a job is in one of these states."""
        found: dict[str, str] = {}

        def there() -> bool:
            nonlocal found
            found = self.job(number)
            return found["JobState"] in states

        _until(there)
        return found

    def start(self) -> None:
        """Start all three, and wait until a job may run."""
        host = socket.gethostname().partition(".")[0]
        for name in ("state", "spool"):
            (self._folder / name).mkdir()
        (self._folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=host, folder=self._folder, cpus=os.cpu_count(),
                controller=free_port(), node=free_port(),
            )
        )  # fmt: skip
        key = self._folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        names = ("socket", "key-file", "pid-file", "seed-file", "log-file")
        files = [f"--{name}={self._folder}/munge.{name.removesuffix('-file')}" for name in names]
        self._spawn("munged", "--foreground", "--force", *files)
        _until((self._folder / "munge.socket").exists)
        self._spawn("slurmctld", "-D")
        self._spawn("slurmd", "-D")
        self.until_idle()

    def until_idle(self) -> None:
        """Wait until nothing of a job is left on the node."""
        _until(lambda: self._said_by_sinfo() == "idle")

    def stop(self) -> None:
        """Cancel every job, and end all three once nothing of a job is left."""
        with contextlib.suppress(AssertionError):  # the controller never came up
            self.run("scancel", "--user=root", "--signal=KILL", "--full")
            self.run("scancel", "--user=root")
            self.until_idle()
        for process in reversed(self._processes):
            process.terminate()
            process.wait(60)

    def _said_by_sinfo(self) -> str:
        with contextlib.suppress(AssertionError):  # the controller is not up yet
            return self.run("sinfo", "--noheader", "--format=%T")
        return ""

    def _spawn(self, *words: str) -> None:
        process = spawn(words, self.environment, self._folder / f"{words[0]}.log")
        self._processes.append(process)


def _until(there: Callable[[], bool]) -> None:
    while not there():
        time.sleep(0.2)  # between two looks; the test's own limit ends it


@contextlib.contextmanager
def slurm_node() -> Iterator[SlurmNode]:
    """A node with nothing to do."""
    _install()
    folder = Path(tempfile.mkdtemp(prefix="sm-slurm-"))
    folder.chmod(0o755)  # munge's clients look for its socket there
    node = SlurmNode(folder)
    try:
        node.start()
        yield node
    finally:
        node.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _install() -> None:
    if all(map(shutil.which, ("slurmctld", "slurmd", "munged", "sbatch"))):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip(f"needs Slurm, which root installs on Debian: {' '.join(PACKAGES)}")
    done = subprocess.run(
        ["apt-get", "install", "-yq", "--no-install-recommends", *PACKAGES],
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip("Slurm's packages are not to be had: `apt-get update` may help")
