"""A Slurm on this machine: controller, nodes (all of them this machine) and munge, in one folder.

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

from tests.support.ports import free_port
from tests.support.s3_servers import spawn

PACKAGES = ("slurm-wlm", "munge")
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={controller}
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
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
PartitionName=main Nodes={names} Default=YES MaxTime=INFINITE State=UP
"""
NODE = """NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus}
"""


class SlurmNode:
    """Use `slurm_node`."""

    def __init__(self, folder: Path, nodes: int) -> None:
        """`folder` is Slurm's own."""
        self._folder = folder
        self._nodes = nodes
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
        """Start all of them, and wait until a job may run."""
        host = socket.gethostname().partition(".")[0]
        names = [host] if self._nodes == 1 else [f"node{n}" for n in range(1, self._nodes + 1)]
        (self._folder / "state").mkdir()
        (self._folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=host, folder=self._folder, controller=free_port(), names=",".join(names)
            )
            + "".join(
                NODE.format(name=name, host=host, port=free_port(), cpus=os.cpu_count())
                for name in names
            )
        )
        key = self._folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        kinds = ("socket", "key-file", "pid-file", "seed-file", "log-file")
        files = [f"--{kind}={self._folder}/munge.{kind.removesuffix('-file')}" for kind in kinds]
        self._spawn("munged", "--foreground", "--force", *files)
        _until((self._folder / "munge.socket").exists)
        self._spawn("slurmctld", "-D")
        for name in names:
            (self._folder / f"spool-{name}").mkdir()
            self._spawn("slurmd", "-D", *(("-N", name) if self._nodes > 1 else ()))
        self.until_idle()

    def until_idle(self) -> None:
        """Wait until nothing of a job is left."""
        _until(lambda: set(self._said_by_sinfo().split()) == {"idle"})

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
        log = self._folder / f"{words[0]}-{len(self._processes)}.log"
        process = spawn(words, self.environment, log)
        self._processes.append(process)


def _until(there: Callable[[], bool]) -> None:
    while not there():
        time.sleep(0.2)  # between two looks; the test's own limit ends it


@contextlib.contextmanager
def slurm_node(nodes: int = 1) -> Iterator[SlurmNode]:
    """A node, or several, with nothing to do."""
    _install()
    folder = Path(tempfile.mkdtemp(prefix="sm-slurm-"))
    folder.chmod(0o755)  # munge's clients look for its socket there
    node = SlurmNode(folder, nodes)
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
