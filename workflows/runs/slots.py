"""The slots of a cluster at this moment, node by node, for the schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from actors.workers.ray_nodes import slots_of_cluster
from workflows.schedule.nodes import ANYWHERE, ENGINES


class SlotsNow:
    """Counts the slots of each node that are free or held by this run.

    A slot counts as gone only when it is missing twice in a row: Ray reports a release late.
    """

    def __init__(
        self,
        roles: Sequence[str],
        fixed: int | None,
        on_gpus: bool,
        held: Callable[[], Mapping[str, Mapping[str, float]]],
    ) -> None:
        """`fixed`: at most so many slots; `held`: node -> what this run has taken there."""
        self._roles = roles
        self._fixed = fixed
        self._on_gpus = on_gpus
        self._held = held
        self._before: Mapping[str, Mapping[str, int]] = {}

    def __call__(self) -> Mapping[str, Mapping[str, int]]:
        """Return pool -> node -> slots. Raises InfrastructureError."""
        held = self._held()
        there = slots_of_cluster(self._roles, held)
        now: dict[str, Mapping[str, int]] = {
            pool: {node: max(n, self._before.get(pool, {}).get(node, 0)) for node, n in of.items()}
            for pool, of in there.items()
        }
        self._before = there
        if not self._on_gpus:
            return now | {ENGINES: {ANYWHERE: self._fixed or 1}}
        if self._fixed is not None:
            return {ENGINES: _no_more_than(self._fixed, now[ENGINES], held)}
        return now


def _no_more_than(
    most: int, slots: Mapping[str, int], held: Mapping[str, Mapping[str, float]]
) -> dict[str, int]:
    """Take at most `most` slots: first of nodes in use, then of those with the most slots."""
    taken: dict[str, int] = {}
    for node in sorted(slots, key=lambda node: (node not in held, -slots[node], node)):
        taken[node] = min(slots[node], most)
        most -= taken[node]
    return taken
