"""What a worker takes of a node."""

from __future__ import annotations

from dataclasses import dataclass, field

SLIVER = 0.01
"""What a worker takes of a node's processors: nothing to speak of, but there must be some. A node
that offers none (the head, nodes for code) is left alone."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What one worker of a role takes of a node."""

    gpus: float = 0
    cpus: float = SLIVER
    resources: dict[str, float] = field(default_factory=dict)
    needs_sandbox: bool = False

    @property
    def offered(self) -> str:
        """The resource by which the nodes are known that may have such a worker."""
        return next(iter(self.resources), "GPU" if self.gpus else "CPU")

    @property
    def bundle(self) -> dict[str, float]:
        """What nodes count of it, taken as one; empty where that is a sliver of any processor."""
        gpus = {"GPU": self.gpus} if self.gpus else {}
        counted = gpus | self.resources
        return {"CPU": self.cpus} | counted if counted else {}
