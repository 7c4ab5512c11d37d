"""What a run asks of a cluster, on which nodes its workers may run, and whether nodes suffice.

Invariant: all is computed from the configuration and from what looks at the nodes found.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from actors.machines.looking import Look
from actors.machines.machine import GIB
from actors.workers.placement import Placement
from storage.errors import ConfigurationError
from workflows.road import opened_by
from workflows.runs.configuration import RunConfig


def kept_roles(config: RunConfig, there: Collection[str]) -> list[str]:
    """The roles of a road for which a cluster keeps nodes; `there`: its resources.

    Raises ConfigurationError where it keeps nodes for one local model and none for another: they
    would wait for each other's GPUs for ever.
    """
    local = [role for role in config.worker_roles if config.place_of(role).kind == "vllm"]
    kept = [role for role in local if role in there]
    if kept and len(kept) < len(local):
        lacking = ", ".join(role for role in local if role not in there)
        raise ConfigurationError(
            f"the cluster keeps nodes for {', '.join(kept)} and none for {lacking}: give nodes the "
            f"resource of every model of the road, or of none"
        )
    return kept


def placements(
    config: RunConfig, on_gpus: bool, kept: Collection[str] = ()
) -> dict[str, Placement]:
    """Role -> what one worker takes of a node: GPUs `on_gpus`, a processor otherwise.

    A worker of a role in `kept` runs only on the nodes that are kept for it.
    """

    def place(role: str) -> Placement:
        settings = config.place_of(role)
        size: float = settings.tensor_parallel if settings.kind == "vllm" else 0
        if on_gpus:
            size *= settings.hundredths / 100
        return Placement(
            gpus=size if on_gpus else 0,
            resources={role: size} if role in kept and size else {},
            needs_sandbox=any(stage.runs_code for stage in config.road if stage.role == role),
            models=opened_by(config.road, role),
        )

    placed: dict[str, Placement] = {role: place(role) for role in config.worker_roles}
    runs_code = any(stage.runs_code for stage in config.road if stage.role == "cpu")
    return placed | {"cpu": Placement(needs_sandbox=runs_code)}


def asked_nodes(config: RunConfig) -> list[dict[str, float]]:
    """Split `cluster.ask` into bundles of a node, each for one engine or sandbox.

    A bundle of plain GPUs has the size of the largest engine. Raises ConfigurationError where such
    engines do not fill the number asked for.
    """
    sizes = {role: engine.tensor_parallel for role, engine in config.engines.items()}
    bundles: list[dict[str, float]] = []
    for kept, count in config.cluster.ask.items():
        largest = max(sizes, key=lambda role: sizes[role], default="") if kept == "GPU" else kept
        size = sizes.get(largest, 1)
        if count % size:
            raise ConfigurationError(
                f"engines of {size} GPUs (models.{largest}.tensor_parallel) do not fill the "
                f"{count} of cluster.ask.{kept}: ask for a multiple of {size}"
            )
        bundles += [{str(kept): float(size)}] * (count // size)
    return bundles


def missing_nodes(bundles: Sequence[Mapping[str, float]], there: Mapping[str, float]) -> list[str]:
    """The kinds of bundle that no node can hold yet; work begins when there are none.

    `there`: kind -> the most that one node has. A cluster that has GPUs and keeps nodes for no
    model is used as it is.
    """
    least = {kind: size for bundle in bundles for kind, size in bundle.items()}
    labels = least.keys() - {"sandbox", "GPU"}
    unlabelled = bool(there.get("GPU")) and labels.isdisjoint(there)
    return [
        kind
        for kind, size in least.items()
        if there.get(kind, 0) < size and (kind == "GPU" or not unlabelled)
    ]


def too_large(
    bundles: Mapping[str, Mapping[str, float]], nodes: Sequence[Mapping[str, float]]
) -> list[str]:
    """Roles whose bundle no node could hold even if it were empty; `bundles`: role -> bundle."""
    return [
        role
        for role, bundle in bundles.items()
        if not any(
            all(node.get(kind, 0) >= size for kind, size in bundle.items()) for node in nodes
        )
    ]


def waits_for_gpus(config: RunConfig, looks: Sequence[Look]) -> list[str]:
    """The models that are not opened on a processor of a joined cluster, each with the reason.

    `looks`: of its nodes, none of which has a GPU.
    """
    limit = config.cluster.cpu_model_gib
    waiting = []
    for role, engine in config.engines.items():
        if engine.kind != "vllm":
            continue
        seen = [look for look in looks if role in look.misfits]
        facts = [look.facts[role] for look in seen if role in look.facts]
        size = facts[0].weights_bytes if facts else None
        if not seen:
            waiting.append(f"models.{role} (no node has a processor for it)")
        elif engine.tensor_parallel > 1:
            waiting.append(f"models.{role} ({engine.tensor_parallel} GPUs)")
        elif facts and (size is None or size > limit * GIB):
            weights = "unknown size" if size is None else f"{size / GIB:.1f} GiB"
            waiting.append(f"models.{role} ({weights}, cluster.cpu_model_gib is {limit:g})")
    return waiting


def taking_turns(config: RunConfig, gpus: int) -> str:
    """One line that says that the models which share GPUs don't all fit on `gpus` GPUs; or empty.

    The run works all the same: the models take turns, and each turn loads one anew.
    """
    shares = {
        role: engine
        for role, engine in config.engines.items()
        if engine.kind == "vllm" and engine.gpu_share is not None
    }
    free = [100] * gpus
    for size in sorted((engine.hundredths for engine in shares.values()), reverse=True):
        fitting = [at for at, left in enumerate(free) if left >= size]
        if not fitting:
            break
        free[min(fitting, key=lambda at: free[at])] -= size
    else:
        return ""
    names = ", ".join(f"models.{role}" for role in shares)
    parts = " + ".join(f"{engine.gpu_share:g}" for engine in shares.values())
    whole = sum(engine.gpu_share or 0.0 for engine in shares.values())
    there = f"{gpus} GPUs are" if gpus != 1 else "1 GPU is"
    return (
        f"{names} share GPUs (gpu_share {parts} = {whole:g}), and {there} there: they take turns, "
        "each loaded anew; lower gpu_share until they fit, and all of them stay open"
    )
