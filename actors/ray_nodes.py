"""The nodes of a cluster that this process has joined: what they offer, and looks at them.

Invariant: nothing here takes a GPU or waits for a node.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources
from ray.exceptions import GetTimeoutError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.looking import Look, Wanted, look_at
from actors.ray_errors import classified
from storage.errors import InfrastructureError

LOOK_SECONDS = 600
"""For a look at a node, which may first have to build the sandbox's image."""


def slots_of_cluster(roles: Sequence[str]) -> dict[str, int]:
    """Engine slots as the cluster has them now: its GPUs, or 1 where it has none; and apart from
    them those that nodes keep for a role, as a custom resource of the role's name.

    Raises InfrastructureError.
    """
    kept = kept_nodes((*roles, "GPU"))
    return {"engines": max(1, kept.pop("GPU", 0))} | kept


def kept_nodes(kinds: Sequence[str]) -> dict[str, int]:
    """How much the cluster has now of each of some resources; without those it has not.

    Raises InfrastructureError.
    """
    with classified("the cluster's resources"):
        there = ray.cluster_resources()
    return {kind: int(there[kind]) for kind in kinds if kind in there}


def nodes_up() -> int:
    """How many nodes the cluster has now, its head among them. Raises InfrastructureError."""
    return len(_alive())


@dataclass(frozen=True, slots=True)
class NodeKind:
    """Nodes of a cluster that offer the same."""

    resources: frozenset[str]
    """What they offer anything of: `GPU`, `CPU`, custom resources."""
    node: str
    """Identity of one of them."""
    where: str
    """In words: `2 nodes like 10.0.0.7 (GPU, policy)`."""


def node_kinds() -> list[NodeKind]:
    """The nodes that are there, by what they offer. Raises InfrastructureError."""
    groups: dict[tuple[tuple[str, float], ...], list[Any]] = {}
    for node in _alive():
        offers = tuple(
            sorted(
                (name, amount)
                for name, amount in node["Resources"].items()
                if name not in ("memory", "object_store_memory") and not name.startswith("node:")
            )
        )
        groups.setdefault(offers, []).append(node)
    kinds = []
    for offers, nodes in groups.items():
        names = frozenset(name for name, amount in offers if amount > 0)
        shown = ", ".join(sorted(name for name in names if not name.startswith("accelerator_type")))
        count = f"{len(nodes)} nodes like " if len(nodes) > 1 else "node "
        where = f"{count}{nodes[0]['NodeManagerAddress']} ({shown or 'nothing'})"
        kinds.append(NodeKind(names, nodes[0]["NodeID"], where))
    return kinds


def _alive() -> list[Any]:
    with classified("the cluster's nodes"):
        return [node for node in ray.nodes() if node["Alive"]]


def looked_at(kind: NodeKind, wanted: Wanted) -> Look:
    """A look at one node of a kind, in the environment of its workers.

    Raises InfrastructureError.
    """
    there = NodeAffinitySchedulingStrategy(kind.node, soft=False)
    task = ray.remote(look_at).options(num_cpus=0, max_retries=1, scheduling_strategy=there)
    with classified(kind.where, InfrastructureError):
        try:
            look: Look = ray.get(task.remote(wanted, kind.where, True), timeout=LOOK_SECONDS)
        except GetTimeoutError:
            raise InfrastructureError(
                f"{kind.where}: nothing came back in {LOOK_SECONDS} seconds"
            ) from None
    return look


@contextlib.contextmanager
def nodes_asked(bundles: Sequence[Mapping[str, float]]) -> Iterator[None]:
    """Ask the cluster's autoscaler, if it has one, for room for all bundles at once, until the end.

    It is a wish: nothing waits for it. A driver that is killed leaves it behind, until the next one
    ends.
    """
    if not bundles:
        yield
        return
    with classified("the request for nodes"):
        request_resources(bundles=[dict(bundle) for bundle in bundles])
    try:
        yield
    finally:
        with contextlib.suppress(Exception):  # a head that is gone asks nobody any more
            request_resources(bundles=[])
