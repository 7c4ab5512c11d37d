"""Which role gets the next slot, and who gives way: the workforce alone, without a schedule."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

import pytest

from workflows.schedule.crews import Open, RolePlan
from workflows.schedule.nodes import ANYWHERE, Slots
from workflows.schedule.placement import Need, Workforce

NOTHING = Need(backlog=0, left=0.0, furthest=-1)


def plan(slots: int = 1, most: int = 64, share: int = 100) -> RolePlan:
    return RolePlan(slots=slots, parallel=1, most=most, share=share)


def need(backlog: int, left: float | None = None, furthest: int = 0) -> Need:
    return Need(backlog, float(backlog) if left is None else left, furthest)


def staffed(roles: Mapping[str, RolePlan], slots: Slots, up: str) -> Workforce:
    """With idle workers of the roles named in `up`."""
    force = Workforce(roles, slots)
    for role in up.split():
        node = force._pools[roles[role].pool].fit(roles[role], role)
        force.up(force.add(role, node or ANYWHERE), 0.0)
    return force


def decided(force: Workforce, needs: Mapping[str, Need], now: float = 0.0) -> dict[str, int]:
    """`open ROLE` and `close ROLE` -> how often, in one decision."""
    counts: Counter[str] = Counter()
    for action in force.place({role: needs.get(role, NOTHING) for role in force.crews}, now):
        opens = isinstance(action, Open)
        role = action.role if isinstance(action, Open) else force.workers[action.worker].role
        counts[f"{'open' if opens else 'close'} {role}"] += 1
    return dict(counts)


TWO = {"policy": plan(), "completer": plan()}
LARGE = {"policy": plan(), "judge": plan(slots=2)}


@pytest.mark.parametrize(("roles", "slots", "up", "needs", "actions"), [
    pytest.param(TWO, 1, "", {}, {}, id="no work, nobody"),
    pytest.param(TWO, 1, "", {"policy": need(1)}, {"open policy": 1}, id="work, and a slot"),
    pytest.param(TWO, 8, "", {"policy": need(3)}, {"open policy": 3}, id="no more than shards"),
    pytest.param({"policy": plan(most=2)}, 8, "", {"policy": need(9)}, {"open policy": 2},
                 id="no more than the role may have"),
    pytest.param({"cpu": plan(slots=0, most=1)}, 0, "", {"cpu": need(9)}, {"open cpu": 1},
                 id="a role without slots needs none"),
    pytest.param(TWO, 1, "policy", {"completer": need(1)},
                 {"close policy": 1}, id="turns: who has nothing gives way"),
    pytest.param(TWO, 1, "policy", {"policy": need(1), "completer": need(1)},
                 {}, id="turns: who has a backlog stays"),
    pytest.param(TWO, 1, "", {"policy": need(1), "completer": need(2)},
                 {"open completer": 1}, id="turns: the longest queue first"),
    pytest.param(TWO, 1, "", {"policy": need(1, furthest=0), "completer": need(1, furthest=1)},
                 {"open completer": 1}, id="turns: of equal queues the furthest stage"),
    pytest.param(TWO, 2, "policy", {"policy": need(0, left=2), "completer": need(0, left=2)},
                 {"open completer": 1}, id="ahead: one worker before its work comes"),
    pytest.param(TWO, 8, "", {"policy": need(0, left=2), "completer": need(0, left=2)},
                 {}, id="ahead: not where slots are many"),
    pytest.param(TWO, 8, "", {"policy": need(99), "completer": need(99)},
                 {"open policy": 4, "open completer": 4}, id="shares: of equal work equal ones"),
    pytest.param(TWO, 8, "", {"policy": need(99, left=300), "completer": need(99, left=100)},
                 {"open policy": 6, "open completer": 2}, id="shares: by the work that is left"),
    pytest.param(TWO, 8, "", {"policy": need(99, left=1), "completer": need(99, left=999)},
                 {"open policy": 1, "open completer": 7}, id="shares: at least one worker"),
    pytest.param(TWO, 8, "", {"policy": need(99)}, {"open policy": 8},
                 id="shares: all, where nobody else has work left"),
    pytest.param(TWO, 8, "policy " * 8, {"policy": need(99), "completer": need(99)},
                 {"close policy": 1}, id="shares: who has too many gives way, one by one"),
    pytest.param(TWO, 8, "policy " * 4 + "completer " * 4,
                 {"policy": need(99), "completer": need(99)}, {}, id="shares: as they should be"),
    pytest.param(LARGE, {"engines": {"a": 1, "b": 1}}, "", {"judge": need(1)}, {},
                 id="nodes: two halves are no whole"),
    pytest.param(LARGE, {"engines": {"a": 2, "b": 1}}, "policy", {"judge": need(1)},
                 {"open judge": 1}, id="nodes: the fullest that has room is taken first"),
    pytest.param({"policy": plan(share=30), "judge": plan(share=30)}, 1, "policy policy",
                 {"judge": need(1)}, {"open judge": 1}, id="three shares of one slot"),
])  # fmt: skip
def test_who_is_opened_and_who_gives_way(
    roles: Mapping[str, RolePlan],
    slots: Slots,
    up: str,
    needs: Mapping[str, Need],
    actions: Mapping[str, int],
) -> None:
    assert decided(staffed(roles, slots, up), needs) == actions


def test_a_role_whose_worker_did_not_come_up_waits_for_its_hour() -> None:
    force = staffed(TWO, 8, "")
    force.crews["policy"].not_before = 10.0
    assert decided(force, {"policy": need(1)}, now=9.0) == {}
    assert decided(force, {"policy": need(1)}, now=10.0) == {"open policy": 1}


def test_a_busy_worker_that_gives_way_ends_its_shard_first() -> None:
    force = staffed({"policy": plan(), "completer": plan()}, 8, "policy " * 8)
    for worker in force.workers.values():
        worker.overtaken = 1
    assert decided(force, {"policy": need(99), "completer": need(99)}) == {}
    assert sum(worker.leaving for worker in force.workers.values()) == 1


def test_workers_on_slots_that_are_gone_never_come_but_those_that_stand_stay() -> None:
    force = Workforce(TWO, 3)
    workers = [force.add("policy", ANYWHERE) for _ in range(3)]
    force.up(workers[0], 0.0)
    force.resize(1)
    assert force.never_coming() == [workers[2], workers[1]]


@pytest.mark.parametrize("seed", range(5))
def test_a_node_never_holds_more_than_it_has(seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    nodes = {name: chance.randint(1, 4) for name in "abcd"}
    roles = {"policy": plan(), "judge": plan(slots=2), "prover": plan(share=40)}
    force = Workforce(roles, {"engines": nodes})
    for step in range(300):
        needs = {role: need(chance.randint(0, 6), chance.random() * 99) for role in roles}
        for action in list(force.place(needs, float(step))):
            if isinstance(action, Open):
                if chance.random() < 0.8:
                    force.up(force.workers[action.worker], float(step))
            else:
                force.remove(action.worker)
        if force.workers and chance.random() < 0.3:
            force.remove(chance.choice(list(force.workers)))
        for node in force._pools["engines"].nodes.values():
            assert 0 <= node.used <= node.total == nodes[node.name]
            assert all(0 <= slot.free <= 100 for slot in node.shared)
