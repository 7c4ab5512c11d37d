"""Waiting for nodes of a cluster that was joined, with a line that says which are missing.

Invariant: no wait is longer than `patience_s`; the error names what was missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from actors.stopping import check_stopped
from actors.workers.ray_nodes import NodeNow, kept_nodes, nodes_now, nodes_said
from storage.errors import ConfigurationError, RunStopped
from workflows.runs.workload import missing_nodes
from workflows.schedule.events import spell

NODES_EVERY_S = 2.0
Say = Callable[[str], None]
"""Shows one line."""


def wait_for_nodes(bundles: Sequence[Mapping[str, float]], patience_s: float, say: Say) -> None:
    """Wait until there is a node for each kind of bundle; raises RunStopped."""

    def missing() -> list[str]:
        largest: dict[str, float] = {}
        for node in nodes_now():
            for kind, amount in node.offers.items():
                largest[kind] = max(amount, largest.get(kind, 0.0))
        return missing_nodes(bundles, largest)

    _wait(missing, patience_s, "or take it out of cluster.ask", say)


def wait_for_gpus(whose: Sequence[str], patience_s: float, say: Say) -> None:
    """Wait until the cluster has a GPU for the roles `whose`; raises RunStopped."""

    def missing() -> list[str]:
        return [] if kept_nodes(("GPU",)).get("GPU") else [f"GPUs for {', '.join(whose)}"]

    _wait(missing, patience_s, "start some, or let cluster.ask ask for them", say)


def wait_for_free_gpus(workers: int, cores: int, patience_s: float, say: Say) -> None:
    """Wait until each of `workers` workers has a free GPU with `cores` free cores.

    Raises RunStopped, and ConfigurationError where nodes with GPUs have too few cores.
    """
    beside = f" with {cores} cores each" if cores > 1 else ""

    def missing() -> list[str]:
        nodes = check_gpu_cores(cores)
        room = sum(
            min(int(node.free.get("GPU", 0.0)), int(node.free.get("CPU", 0.0)) // cores)
            for node in nodes
        )
        if room >= workers:
            return []
        kinds = ("GPU", "CPU") if beside else ("GPU",)
        return [f"{workers} free GPUs{beside} ({nodes_said(nodes, kinds)})"]

    _wait(missing, patience_s, "start some, or set spread.device to cpu", say)


def check_gpu_cores(cores: int) -> list[NodeNow]:
    """The nodes with GPUs. Raises ConfigurationError where there are some, and none has so many
    cores.
    """
    nodes = [node for node in nodes_now() if node.offers.get("GPU")]
    most = max((int(node.offers.get("CPU", 0.0)) for node in nodes), default=cores)
    if most < cores:
        raise ConfigurationError(
            f"spread.cpus_per_worker is {cores}, and no node with GPUs has more than {most} "
            "cores: lower it"
        )
    return nodes


def _wait(missing: Callable[[], list[str]], patience_s: float, remedy: str, say: Say) -> None:
    """Wait until nothing is missing, and say what is; raises RunStopped."""
    given_up = time.monotonic() + patience_s
    reported: list[str] = []
    while lacking := missing():
        if time.monotonic() > given_up:
            raise RunStopped(
                f"no nodes with {', '.join(lacking)} came up in {spell(patience_s)} "
                f"(`ray status` says why): {remedy}"
            )
        if lacking != reported:
            say(f"waiting for nodes: {', '.join(lacking)}")
            reported = lacking
        check_stopped()
        time.sleep(NODES_EVERY_S)
