"""Where the workers of each role of a run may stand."""

from __future__ import annotations

from collections.abc import Collection

from actors.workers.placement import Placement
from workflows.runs.configuration import RunConfig


def placements(
    config: RunConfig, on_gpus: bool, kept: Collection[str] = ()
) -> dict[str, Placement]:
    """What a worker of each role takes of a node: GPUs, or a processor, and on the nodes that are
    `kept` for its role where there are such."""

    def place(role: str) -> Placement:
        settings = config.engine(role)
        size: float = settings.tensor_parallel if settings.kind == "vllm" else 0
        if on_gpus:
            size *= settings.hundredths / 100
        return Placement(
            gpus=size if on_gpus else 0,
            resources={role: size} if role in kept and size else {},
            needs_sandbox=any(stage.runs_code for stage in config.road if stage.role == role),
        )

    placed: dict[str, Placement] = {role: place(role) for role in config.engines}
    runs_code = any(stage.runs_code for stage in config.road if stage.role == "cpu")
    return placed | {"cpu": Placement(needs_sandbox=runs_code)}
