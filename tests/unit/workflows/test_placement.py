"""Who gets the next slot: turns where slots are few, shares where they are many, room on a node."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from workflows.schedule.crews import Close, Open, RolePlan, Worker
from workflows.schedule.nodes import Slots
from workflows.schedule.placement import Need, Workforce

ONE = RolePlan(slots=1, parallel=2, most=99)
FOUR = RolePlan(slots=4, parallel=2, most=99)
NOTHING = Need(0, 0.0, -1)


def workforce(slots: Slots, **plans: RolePlan) -> Workforce:
    return Workforce(plans, slots)


def staffed(force: Workforce, needs: dict[str, Need]) -> list[Open | Close]:
    """What is decided at once, all of it done: who is opened is up, who is closed is gone."""
    done = []
    for action in force.place(needs, 0.0):
        done.append(action)
        if isinstance(action, Open):
            force.up(force.workers[action.worker], 0.0)
    for action in done:
        if isinstance(action, Close):
            force.remove(action.worker)
    return done


def hold_all(force: Workforce) -> None:
    """Every worker has a try of a shard that another one has committed."""
    for worker in force.workers.values():
        crew = force.crews[worker.role]
        crew.leave(worker)
        worker.overtaken = 1
        crew.enter(worker)


def roles(force: Workforce) -> Counter[str]:
    return Counter(worker.role for worker in force.workers.values())


def test_the_longest_queue_gets_the_only_slot_of_equal_ones_that_of_the_furthest_stage() -> None:
    force = workforce(1, sample=ONE, judge=ONE)
    staffed(force, {"sample": Need(3, 9.0, 0), "judge": Need(5, 9.0, 1)})
    assert roles(force) == {"judge": 1}
    force = workforce(1, sample=ONE, judge=ONE)
    staffed(force, {"sample": Need(3, 9.0, 0), "judge": Need(3, 9.0, 1)})
    assert roles(force) == {"judge": 1}


def test_a_worker_without_a_backlog_gives_its_slot_to_a_role_that_waits() -> None:
    force = workforce(1, sample=ONE, judge=ONE)
    (opened,) = staffed(force, {"sample": Need(3, 9.0, 0), "judge": NOTHING})
    assert staffed(force, {"sample": Need(0, 9.0, 0), "judge": Need(4, 9.0, 1)}) == [
        Close(opened.worker)  # type: ignore[union-attr]
    ]
    assert force.switches == 1
    staffed(force, {"sample": Need(0, 9.0, 0), "judge": Need(4, 9.0, 1)})
    assert roles(force) == {"judge": 1}


def test_a_worker_whose_own_queue_waits_is_left_its_slot() -> None:
    force = workforce(1, sample=ONE, judge=ONE)
    staffed(force, {"sample": Need(3, 9.0, 0), "judge": NOTHING})
    assert staffed(force, {"sample": Need(1, 9.0, 0), "judge": Need(9, 9.0, 1)}) == []


def test_where_roles_take_turns_a_busy_worker_stays() -> None:
    force = workforce(1, sample=ONE, judge=ONE)
    staffed(force, {"sample": Need(3, 9.0, 0), "judge": NOTHING})
    hold_all(force)
    assert staffed(force, {"sample": Need(0, 9.0, 0), "judge": Need(4, 9.0, 1)}) == []
    assert [worker.leaving for worker in force.workers.values()] == [False]


def test_where_each_role_has_a_slot_its_first_worker_comes_before_its_work() -> None:
    force = workforce(2, sample=ONE, judge=ONE)
    staffed(force, {"sample": Need(2, 9.0, 0), "judge": Need(0, 9.0, -1)})
    assert roles(force) == {"sample": 1, "judge": 1}


def test_many_slots_are_shared_by_the_seconds_of_work_that_are_left() -> None:
    force = workforce(16, sample=ONE, judge=ONE)
    needs = {"sample": Need(99, 300.0, 0), "judge": Need(99, 100.0, 1)}
    staffed(force, needs)
    assert roles(force) == {"sample": 12, "judge": 4}


def test_a_role_with_more_than_its_share_gives_way_as_the_work_moves_on() -> None:
    force = workforce(16, sample=ONE, judge=ONE)
    staffed(force, {"sample": Need(99, 300.0, 0), "judge": Need(99, 100.0, 1)})
    later = {"sample": Need(99, 100.0, 0), "judge": Need(99, 300.0, 1)}
    while staffed(force, later):
        pass
    assert roles(force)["judge"] >= 11


def test_a_busy_worker_that_gives_way_ends_its_work_first() -> None:
    force = workforce(16, sample=ONE, judge=ONE)
    staffed(force, {"sample": Need(99, 300.0, 0), "judge": Need(99, 100.0, 1)})
    hold_all(force)
    assert staffed(force, {"sample": Need(99, 100.0, 0), "judge": Need(99, 300.0, 1)}) == []
    leaving = [worker for worker in force.workers.values() if worker.leaving]
    assert {(worker.role, worker.closing) for worker in leaving} == {("sample", False)}


def test_an_engine_of_four_slots_waits_for_one_node_that_has_them() -> None:
    halves = workforce({"engines": {"a": 2, "b": 2}}, judge=FOUR)
    assert staffed(halves, {"judge": Need(9, 9.0, 0)}) == []
    whole = workforce({"engines": {"a": 2, "b": 4}}, judge=FOUR)
    assert staffed(whole, {"judge": Need(9, 9.0, 0)}) == [Open("judge", 0, "b")]


def test_those_who_go_for_a_large_engine_all_stand_on_one_node() -> None:
    force = workforce({"engines": {"a": 4, "b": 4}}, sample=ONE, judge=FOUR)
    staffed(force, {"sample": Need(99, 9.0, 0), "judge": NOTHING})
    assert roles(force) == {"sample": 8}
    gone = {
        force.workers[action.worker].node
        for action in force.place({"sample": NOTHING, "judge": Need(4, 9.0, 1)}, 0.0)
        if isinstance(action, Close)
    }
    assert len(gone) == 1


def test_workers_that_were_to_come_on_slots_that_are_gone_are_named() -> None:
    force = workforce(4, sample=ONE)
    for _ in range(4):
        force.add("sample", "")
    first = force.workers[0]
    force.up(first, 0.0)
    force.resize(2)
    assert [worker.number for worker in force.never_coming()] == [3, 2]


def test_a_role_that_needs_no_slots_is_opened_wherever_others_stand() -> None:
    force = workforce(0, cpu=RolePlan(slots=0, parallel=1, most=2))
    staffed(force, {"cpu": Need(9, 9.0, 0)})
    assert roles(force) == {"cpu": 2}


@pytest.mark.parametrize("seed", range(20))
def test_no_node_ever_holds_more_than_it_has(seed: int) -> None:
    rng = random.Random(seed)
    plans = {"sample": ONE, "estimate": RolePlan(1, 2, 99, share=30), "judge": FOUR}
    nodes = {name: rng.randint(0, 8) for name in "abc"}
    force = Workforce(plans, {"engines": nodes})
    print("seed", seed, nodes)
    for _ in range(60):
        needs = {
            role: Need(rng.randint(0, 6), rng.choice([0.0, 5.0, 500.0]), place)
            for place, role in enumerate(plans)
        }
        for action in list(force.place(needs, 0.0)):
            if isinstance(action, Close):
                force.remove(action.worker)
            elif rng.random() < 0.9:
                force.up(force.workers[action.worker], 0.0)
            else:
                force.remove(action.worker)
        for node, slots in nodes.items():
            assert taken(force, node) <= slots, (seed, node)
        leavers = [worker for worker in force.workers.values() if worker.leaving]
        for worker in leavers:
            force.remove(worker.number)


def taken(force: Workforce, node: str) -> float:
    """Slots of a node that workers take, shares counted as what they are."""
    here: list[Worker] = [worker for worker in force.workers.values() if worker.node == node]
    return sum(force.crews[worker.role].plan.size for worker in here) / 100
