"""What is said of a worker that waits for a node, and on which node one is."""

from __future__ import annotations

import asyncio

import pytest

from actors.workers import ray_places
from actors.workers.ray_nodes import NodeNow
from actors.workers.ray_places import RayPlaces

NODES = [NodeNow("n1", "10.0.0.7", {"GPU": 4.0, "CPU": 8.0}, {"GPU": 1.0, "CPU": 8.0})]


class Group:
    """A placement group that is ready when `room` is set."""

    def __init__(self) -> None:
        self.room = asyncio.Event()

    async def ready(self) -> None:
        await self.room.wait()


async def test_a_worker_that_waits_for_a_node_says_so_and_is_on_one_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group, said = Group(), asyncio.Queue[str]()
    monkeypatch.setattr(ray_places, "TELL_AFTER_S", 0.0)
    monkeypatch.setattr(ray_places, "nodes_now", lambda: NODES)
    monkeypatch.setattr(ray_places, "placement_group", lambda *given, **named: group)
    monkeypatch.setattr(
        ray_places, "placement_group_table", lambda group: {"bundles_to_node_id": {0: "n1"}}
    )
    monkeypatch.setattr(
        ray_places, "PlacementGroupSchedulingStrategy", lambda group, **named: "there"
    )
    places = RayPlaces(said.put_nowait)
    taking = asyncio.create_task(places.take(3, "stepmill-completer-3", {"CPU": 0.01, "GPU": 4.0}))
    line = await asyncio.wait_for(said.get(), 60)
    assert line == (
        "completer-3 waits for a node: it takes 4 GPU of one node; free: 10.0.0.7 1 of 4 GPU"
    )
    assert places.where(3) == ""
    group.room.set()
    assert await taking == ("n1", "there")
    assert places.where(3) == " on 10.0.0.7"
