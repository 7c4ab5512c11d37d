"""The nodes of the cluster that this process has joined: what they offer, and looks at them.

Invariant: nothing here takes a GPU or waits for a node.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import ray
from ray._private.state import available_resources_per_node
from ray.autoscaler.sdk import request_resources
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from ray.util.state import list_actors, list_placement_groups
from ray.util.state.exception import RayStateApiException

from actors.machines.looking import Look, Wanted, look_at
from actors.ray_errors import classified
from storage.errors import InfrastructureError

LOOK_SECONDS = 600
"""Seconds for a look at a node, which may first have to build the sandbox's image."""
ANSWER_S = 10
"""Seconds for Ray's dashboard to answer who holds what."""
MANY = 10_000
MOST_SAID = 8
"""Most nodes named in a line."""
ROUNDED = 1e-6


@dataclass(frozen=True, slots=True)
class NodeNow:
    """One node as it is now."""

    node: str
    """Its identity."""
    address: str
    offers: Mapping[str, float]
    """All its resources: `GPU`, `CPU`, custom ones."""
    free: Mapping[str, float]
    """The part of `offers` that is not taken."""


def nodes_now() -> list[NodeNow]:
    """The nodes that are alive. Raises InfrastructureError."""
    alive = _alive()
    with classified("the cluster's nodes"):
        free = available_resources_per_node()
    return [
        NodeNow(
            node["NodeID"],
            node["NodeManagerAddress"],
            node["Resources"],
            free.get(node["NodeID"], {}),
        )
        for node in alive
    ]


def slots_of_cluster(
    roles: Sequence[str], held: Mapping[str, Mapping[str, float]] = MappingProxyType({})
) -> dict[str, dict[str, int]]:
    """`engines` or a role -> node -> slots. Under `engines` they are GPUs that are free or this
    run's; under a role, the custom resource of that name that the node offers.

    `held`: node -> what this run has taken of it. Raises InfrastructureError.
    """
    pools: dict[str, dict[str, int]] = {"engines": {}}
    for node in nodes_now():
        mine = held.get(node.node, {})
        ours = {
            kind: int(min(there, node.free.get(kind, 0.0) + mine.get(kind, 0.0)) + ROUNDED)
            for kind, there in node.offers.items()
        }
        if "GPU" in ours:
            pools["engines"][node.node] = ours["GPU"]
        for role in roles:
            if role in ours:
                kept = min(ours[role], ours.get("GPU", ours[role]))
                pools.setdefault(role, {})[node.node] = kept
    return pools


def shortage(bundles: Mapping[str, Mapping[str, float]]) -> str:
    """One line: what workers of some roles need, what nodes have free, and which jobs hold it."""
    try:
        nodes = nodes_now()
    except InfrastructureError as error:
        return str(error)
    kinds = {kind for bundle in bundles.values() for kind in bundle if kind != "CPU"}
    needs = "; ".join(f"models.{role} needs {amounts(bundle)}" for role, bundle in bundles.items())
    return "; ".join(part for part in (needs, nodes_said(nodes, kinds), _holders(kinds)) if part)


def amounts(bundle: Mapping[str, float]) -> str:
    """`4 GPU of one node`."""
    parts = [f"{amount:g} {kind}" for kind, amount in bundle.items() if kind != "CPU"]
    return f"{' and '.join(parts) or 'a processor'} of one node"


def nodes_said(nodes: Sequence[NodeNow], kinds: Collection[str]) -> str:
    """One line: how much of some resources each node has, and has free."""
    lines = []
    for node in nodes:
        parts = [
            f"{node.free.get(kind, 0.0):g} of {node.offers[kind]:g} {kind}"
            for kind in sorted(kinds)
            if node.offers.get(kind)
        ]
        if parts:
            lines.append(f"{node.address} {', '.join(parts)}")
    more = f" and {len(lines) - MOST_SAID} nodes more" if len(lines) > MOST_SAID else ""
    there = f"free: {', '.join(lines[:MOST_SAID])}{more}"
    return there if lines else f"no node has {' or '.join(sorted(kinds)) or 'a processor'}"


def _holders(kinds: Collection[str]) -> str:
    """One line: which jobs hold some resources; "" if Ray's dashboard does not answer."""
    held: dict[str, dict[str, float]] = {}
    names: dict[str, set[str]] = {}
    mine = ray.get_runtime_context().get_job_id()

    def count(job: str, name: str, amounts: Mapping[str, float]) -> None:
        for kind in kinds & amounts.keys():
            of = held.setdefault(job, {})
            of[kind] = of.get(kind, 0.0) + amounts[kind]
            names.setdefault(job, set()).add(name)

    try:
        for group in list_placement_groups(detail=True, limit=MANY, timeout=ANSWER_S):
            if group.state == "CREATED":
                for bundle in group.bundles or ():
                    count(group.creator_job_id, group.name, bundle["unit_resources"])
        for actor in list_actors(detail=True, limit=MANY, timeout=ANSWER_S):
            if actor.state == "ALIVE" and not actor.placement_group_id:
                count(actor.job_id, actor.class_name, actor.required_resources or {})
    except (RayStateApiException, RayError, OSError, ValueError):
        return ""  # this is only a hint
    holders = []
    for job, of in held.items():
        whose = "this run" if job == mine else f"job {job} ({', '.join(sorted(names[job])[:3])})"
        parts = ", ".join(f"{amount:g} {kind}" for kind, amount in of.items())
        holders.append(f"{whose} {parts}")
    return f"held by: {', '.join(holders)}" if holders else ""


def kept_nodes(kinds: Sequence[str]) -> dict[str, int]:
    """Resource -> how much of it the cluster has now; resources that it lacks are left out.

    Raises InfrastructureError.
    """
    with classified("the cluster's resources"):
        there = ray.cluster_resources()
    return {kind: int(there[kind]) for kind in kinds if kind in there}


def cores() -> int:
    """How many processor cores the cluster has now. Raises InfrastructureError."""
    return kept_nodes(["CPU"]).get("CPU", 1)


def nodes_up() -> int:
    """How many nodes the cluster has now, its head among them. Raises InfrastructureError."""
    return len(_alive())


@dataclass(frozen=True, slots=True)
class NodeKind:
    """The nodes of a cluster that offer the same resources."""

    resources: Mapping[str, float]
    """The resources that each offers: `GPU`, `CPU`, custom ones."""
    node: str
    """Identity of one of them."""
    where: str
    """In words: `2 nodes like 10.0.0.7 (GPU, policy)`."""


def node_kinds() -> list[NodeKind]:
    """The nodes that are alive, grouped by what they offer. Raises InfrastructureError."""
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
        there = {name: amount for name, amount in offers if amount > 0}
        shown = ", ".join(sorted(name for name in there if not name.startswith("accelerator_type")))
        count = f"{len(nodes)} nodes like " if len(nodes) > 1 else "node "
        where = f"{count}{nodes[0]['NodeManagerAddress']} ({shown or 'nothing'})"
        kinds.append(NodeKind(there, nodes[0]["NodeID"], where))
    return kinds


def _alive() -> list[Any]:
    with classified("the cluster's nodes"):
        return [node for node in ray.nodes() if node["Alive"]]


def looked_at(kind: NodeKind, parts: Wanted) -> Look:
    """Look at one node of a kind, in the environment of its workers.

    Raises InfrastructureError.
    """
    there = NodeAffinitySchedulingStrategy(kind.node, soft=False)
    task = ray.remote(look_at).options(num_cpus=0, max_retries=1, scheduling_strategy=there)
    with classified(kind.where, InfrastructureError):
        try:
            look: Look = ray.get(task.remote(parts, kind.where, True), timeout=LOOK_SECONDS)
        except GetTimeoutError:
            raise InfrastructureError(
                f"{kind.where}: nothing came back in {LOOK_SECONDS} seconds"
            ) from None
    return look


@contextlib.contextmanager
def nodes_asked(bundles: Sequence[Mapping[str, float]]) -> Iterator[None]:
    """Within this block, ask the cluster's autoscaler, if there is one, for room for all bundles.

    Nothing waits for the room. A driver that is killed leaves its request standing until the next
    driver ends.
    """
    if not bundles:
        yield
        return
    with classified("the request for nodes"):
        request_resources(bundles=[dict(bundle) for bundle in bundles])
    try:
        yield
    finally:
        with contextlib.suppress(Exception):  # a head that is gone has dropped the request
            request_resources(bundles=[])
