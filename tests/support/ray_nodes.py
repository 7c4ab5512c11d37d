"""A Ray cluster of real `ray start` processes on this machine, with token authentication.

Invariant: every process that was started is gone when the context ends, however it ends; nodes
find each other by the head's port alone and join no other cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from actors.owned_folder import ray_folder
from tests.faults.chaos_victims import processes
from tests.support.ports import free_port

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
Autoscaled = Callable[[str], dict[str, Any]]
"""The head's address -> the configuration of Ray's autoscaler, with Ray's fake cloud."""
STARTS = 3
"""Ray gives its own processes 30 seconds, which a busy machine may miss: then again."""


class RayNodes:
    """A head and nodes; use `ray_nodes`."""

    def __init__(self, folder: Path) -> None:
        """`folder` has a short path: unix sockets lie in it."""
        self.folder = folder
        token = folder / "token"
        token.write_text(secrets.token_hex(32))
        self.environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_worker_niceness": "0",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        self.environment.pop("RAY_ADDRESS", None)
        self.port, self.dashboard_port = free_port(), free_port()
        self.metrics_ports: list[int] = []
        """Where Prometheus would look, node by node."""
        self.started: list[subprocess.Popen[str]] = []
        """The head, then the nodes."""

    @property
    def dashboard(self) -> str:
        """Where jobs are submitted."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def address(self) -> str:
        """What drivers and nodes join."""
        return f"127.0.0.1:{self.port}"

    def start_head(
        self, resources: Mapping[str, float], cpus: int, autoscaled: Autoscaled | None = None
    ) -> None:
        """Start the head, with an autoscaler where there is a configuration of one."""
        more = []
        if autoscaled is not None:
            file = self.folder / "autoscaled.json"
            file.write_text(json.dumps(autoscaled(self.address)))
            more = ["--autoscaling-config", str(file)]
            self.environment |= {
                "RAY_FAKE_CLUSTER": "1",
                "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
                "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            }
        self._up(
            [
                "--head", "--temp-dir", str(self.folder), "--port", str(self.port),
                "--dashboard-host", "127.0.0.1", "--dashboard-port", str(self.dashboard_port),
                "--ray-client-server-port", str(free_port()),
                "--disable-usage-stats", *more,
            ],
            resources, cpus,
        )  # fmt: skip

    def add_node(
        self,
        resources: Mapping[str, float],
        cpus: int = 2,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start a node; `environment` is for its workers only. A `GPU` need not be there."""
        self._up(["--address", self.address], resources, cpus, environment)

    def _up(
        self,
        words: list[str],
        resources: Mapping[str, float],
        cpus: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        metrics = free_port()
        own = {kind: amount for kind, amount in resources.items() if kind != "GPU"}
        command = [
            str(BIN / "ray"), "start", "--block", "--num-cpus", str(cpus),
            "--num-gpus", str(int(resources.get("GPU", 0))),
            "--node-ip-address", "127.0.0.1", "--resources", json.dumps(own),
            "--min-worker-port", "0", "--max-worker-port", "0",
            "--dashboard-agent-listen-port", str(free_port()),
            "--metrics-export-port", str(metrics),
            "--object-store-memory", str(128 * 1024 * 1024), *words,
        ]  # fmt: skip
        said = ""
        for _ in range(STARTS):
            node = subprocess.Popen(
                command, env=self.environment | dict(environment or {}), text=True,
                start_new_session=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            assert node.stdout is not None
            for line in node.stdout:
                said += line
                if "Ray runtime started" in line:
                    self.started.append(node)
                    self.metrics_ports.append(metrics)
                    return
            _end(node, signal.SIGKILL)
        raise AssertionError(f"no Ray node comes up here: {said[-1500:]}")

    def pids(self, node: int, name: str) -> list[int]:
        """Processes of a node by a part of their name: `raylet`, `gcs_server`."""
        mine = self.started[node].pid
        return [pid for pid, parent, line in processes() if parent == mine and name in line]

    def pids_below(self, node: int, name: str) -> list[int]:
        """Workers of a node's raylet, by a part of their name."""
        raylets = self.pids(node, "raylet/raylet")
        return [pid for pid, parent, line in processes() if parent in raylets and name in line]

    def kill(self, node: int) -> None:
        """Kill a node's raylet (SIGKILL): its workers end, it is not told to anybody."""
        for pid in self.pids(node, "raylet/raylet"):
            os.kill(pid, signal.SIGKILL)
        _end(self.started[node], signal.SIGKILL)

    def stop(self) -> None:
        """Stop everything."""
        for node in reversed(self.started):
            _end(node, signal.SIGTERM)


@contextlib.contextmanager
def ray_nodes(
    nodes: Sequence[Mapping[str, float]] = (),
    head: Mapping[str, float] | None = None,
    head_cpus: int = 0,
    autoscaled: Autoscaled | None = None,
) -> Iterator[RayNodes]:
    """A head, and a node for each mapping of custom resources; or what its autoscaler starts."""
    with ray_folder() as folder:
        cluster = RayNodes(folder)
        try:
            cluster.start_head(head or {}, head_cpus, autoscaled)
            for resources in nodes:
                cluster.add_node(resources)
            yield cluster
        finally:
            cluster.stop()


def started(ray: RayNodes, command: Sequence[str | Path], folder: Path) -> subprocess.Popen[str]:
    """A command at work on the cluster."""
    return subprocess.Popen(
        [*command, "--address", ray.address],
        cwd=folder, env=ray.environment, text=True, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


def ended_well(working: subprocess.Popen[str]) -> None:
    """Wait for its end."""
    said = working.communicate(timeout=300)[1]
    assert working.returncode == 0, said


def _end(node: subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(node.pid, number)
    try:
        node.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()


def training(ray: RayNodes, workers: int, cores: int, patience: float) -> subprocess.Popen[str]:
    """A training on counted GPUs, which waits for them: `tests.faults.training_driver`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.training_driver", ray.address, str(workers),
         str(cores), "--patience", str(patience)],
        cwd=ROOT, env=ray.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
