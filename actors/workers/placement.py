"""What a worker takes of a node."""

from __future__ import annotations

from dataclasses import dataclass, field

SLIVER = 0.01
"""The share of a processor that a worker takes. It is tiny, but keeps workers off nodes that offer
no processor (the head, nodes for code)."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What one worker of a role takes of a node."""

    gpus: float = 0
    cpus: float = SLIVER
    resources: dict[str, float] = field(default_factory=dict)
    needs_sandbox: bool = False
    models: tuple[str, ...] = ()
    """Roles whose models it opens; empty: its own role's."""

    @property
    def offered(self) -> str:
        """The resource that a node must offer to get such a worker."""
        return next(iter(self.resources), "GPU" if self.gpus else "CPU")

    @property
    def bundle(self) -> dict[str, float]:
        """The resources to take as one; empty if it is only a sliver of any processor."""
        gpus = {"GPU": self.gpus} if self.gpus else {}
        counted = gpus | self.resources
        return {"CPU": self.cpus} | counted if counted else {}
