"""Waiting for the nodes of a cluster that a script starts, in virtual time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from launch.cluster.gathering import PATIENCE_S, gathered
from storage.errors import InfrastructureError


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def pause(self, seconds: float) -> None:
        self.time += seconds


def coming_up(*counts: int | None) -> Callable[[], int]:
    """A cluster whose head does not answer first (None), and whose nodes come one by one."""
    left = list(counts)

    def up() -> int:
        there = left.pop(0) if len(left) > 1 else left[0]
        if there is None:
            raise InfrastructureError("no head")
        return there

    return up


def test_it_waits_for_the_head_and_then_for_the_nodes() -> None:
    clock = Clock()
    gathered(3, coming_up(None, None, 1, 2, 3, 0), clock.now, clock.pause)
    assert 0 < clock.time < PATIENCE_S


@pytest.mark.parametrize(
    ("counts", "said"), [((1, 2), "2 of 3 nodes are up after 10 minutes"), ((None,), "no head")]
)
def test_nodes_that_do_not_come_end_it(counts: tuple[int | None, ...], said: str) -> None:
    clock = Clock()
    with pytest.raises(InfrastructureError, match=said):
        gathered(3, coming_up(*counts), clock.now, clock.pause)
    assert clock.time >= PATIENCE_S
