"""What a run must say of itself to be scheduled, whatever its road makes.

Invariant: schedule, placement, preflight and progress ask for nothing else, so that a build and a
score run are driven by the same code.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from actors.engine import EngineSettings
from actors.sandbox.contract import SandboxSettings
from storage.errors import ConfigurationError
from workflows.configuration import ClusterSettings
from workflows.road import StageSpec


class Workload(Protocol):
    """A configuration with a road: `BuildConfig`, `ScoreConfig`, `RefineConfig`."""

    @property
    def run(self) -> str:
        """Name of the run."""
        ...

    @property
    def store(self) -> str:
        """Object store."""
        ...

    @property
    def shard_size(self) -> int:
        """Input rows in one shard."""
        ...

    @property
    def sandbox(self) -> SandboxSettings:
        """Where code is run."""
        ...

    @property
    def cluster(self) -> ClusterSettings:
        """Where and how fast the work is done."""
        ...

    @property
    def road(self) -> tuple[StageSpec, ...]:
        """The stages after the input."""
        ...

    @property
    def engines(self) -> dict[str, EngineSettings]:
        """Role -> engine, for the roles of the road."""
        ...

    @property
    def runs_code(self) -> bool:
        """Whether a stage of the road needs the sandbox."""
        ...

    def engine(self, role: str) -> EngineSettings:
        """The engine of a role. Raises ConfigurationError."""
        ...


def kept_roles(config: Workload, there: Collection[str]) -> list[str]:
    """The roles of a road for which a cluster keeps nodes; `there`: its resources.

    Raises ConfigurationError where it keeps some for one model and none for another: they would
    wait for each other's GPUs for ever.
    """
    local = [role for role, engine in config.engines.items() if engine.kind == "vllm"]
    kept = [role for role in local if role in there]
    if kept and len(kept) < len(local):
        lacking = ", ".join(role for role in local if role not in there)
        raise ConfigurationError(
            f"the cluster keeps nodes for {', '.join(kept)} and none for {lacking}: give nodes the "
            f"resource of every model of the road, or of none"
        )
    return kept


def asked_nodes(config: Workload) -> list[dict[str, float]]:
    """`cluster.ask` as the custom resources of one engine, or executor, each.

    Raises ConfigurationError where engines of several GPUs do not fill what is asked.
    """
    asked: list[dict[str, float]] = []
    for kept, count in config.cluster.ask.items():
        size = config.engines[kept].tensor_parallel if kept in config.engines else 1
        if count % size:
            raise ConfigurationError(
                f"engines of {size} GPUs (models.{kept}.tensor_parallel) do not fill the {count} "
                f"of cluster.ask.{kept}: ask for a multiple of {size}"
            )
        asked += [{str(kept): float(size)}] * (count // size)
    return asked


def missing_nodes(asked: Sequence[Mapping[str, float]], there: Mapping[str, int]) -> list[str]:
    """What has to come up before work can begin: of each kind that is asked for, room for one.

    A cluster with GPUs and no node that is kept for a model is one that nobody labelled, and is
    taken as it is.
    """
    least = {kind: size for bundle in asked for kind, size in bundle.items()}
    if there.get("GPU") and not any(kind in there for kind in least if kind != "sandbox"):
        return []
    return [kind for kind, size in least.items() if there.get(kind, 0) < size]
