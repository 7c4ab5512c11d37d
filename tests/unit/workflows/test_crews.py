"""How many shards are in flight on a worker: more only while its engine's queue is empty."""

from __future__ import annotations

from collections import defaultdict

import pytest

from workflows.schedule.schedule import Open, RolePlan, Run, Schedule, Task
from workflows.stages import ROAD

PLAN = RolePlan(slots=1, parallel=2, most=4, most_parallel=4)
POLICY, OTHER = 0, 1


class Policies:
    """Workers of the first role, which are told what to do."""

    def __init__(self, shards: int = 12, slots: int = 1, window: int = 12) -> None:
        others = {role: RolePlan(0, 1, 0) for role in ("completer", "rationale", "cpu")}
        roles = {"policy": PLAN} | others
        self.schedule = Schedule(ROAD, shards, {}, roles, slots=slots, window=window)
        self.running: defaultdict[int, list[Task]] = defaultdict(list)

    def decide(self) -> list[int]:
        """Workers that were given a shard, or -1 for each that is being opened."""
        said: list[int] = []
        for action in self.schedule.decide():
            if isinstance(action, Open):
                said.append(-1)
            elif isinstance(action, Run):
                self.running[action.worker].append(action.task)
                said.append(action.worker)
        return said

    def end(self, worker: int) -> None:
        self.schedule.committed(worker, self.running[worker].pop(0))


@pytest.fixture
def one() -> Policies:
    policies = Policies()
    assert policies.decide() == [-1]
    policies.schedule.opened(POLICY)
    assert policies.decide() == [POLICY] * 2
    return policies


def test_a_worker_has_one_shard_more_each_time_that_its_queue_is_empty(one: Policies) -> None:
    assert one.decide() == []
    one.schedule.hungry(POLICY)
    assert one.decide() == [POLICY]
    assert one.decide() == []
    one.schedule.hungry(POLICY)
    one.schedule.hungry(POLICY)
    assert one.decide() == [POLICY], "twice said, once heard"


def test_it_never_has_more_than_the_most(one: Policies) -> None:
    for _ in range(5):
        one.schedule.hungry(POLICY)
        one.decide()
    assert len(one.running[POLICY]) == PLAN.most_parallel


def test_what_ends_above_the_least_is_not_replaced_unless_the_queue_is_empty_again(
    one: Policies,
) -> None:
    for _ in range(2):
        one.schedule.hungry(POLICY)
        one.decide()
    for left in (3, 2):
        one.end(POLICY)
        assert (one.decide(), len(one.running[POLICY])) == ([], left)
    one.end(POLICY)
    assert one.decide() == [POLICY]
    assert len(one.running[POLICY]) == PLAN.parallel


def test_a_worker_that_is_coming_has_its_shards_before_another_has_more() -> None:
    policies = Policies(shards=4, slots=2)
    assert policies.decide() == [-1, -1]
    policies.schedule.opened(POLICY)
    assert policies.decide() == [POLICY] * 2
    policies.schedule.hungry(POLICY)
    assert policies.decide() == [], "the other two are for the worker that is coming"
    policies.schedule.opened(OTHER)
    assert policies.decide() == [OTHER] * 2


def test_the_window_holds_for_a_hungry_worker_too() -> None:
    policies = Policies(window=3)
    policies.decide()
    policies.schedule.opened(POLICY)
    policies.decide()
    for _ in range(3):
        policies.schedule.hungry(POLICY)
        policies.decide()
    assert len(policies.running[POLICY]) == 3


def test_hunger_of_a_worker_that_is_gone_is_nothing(one: Policies) -> None:
    one.schedule.lost(POLICY, "killed")
    one.schedule.hungry(POLICY)
    assert one.decide() == [-1]


def test_a_shard_that_must_be_alone_does_not_wait_until_nobody_is_hungry() -> None:
    policies, ended = Policies(shards=60, window=60), 0
    policies.decide()
    policies.schedule.opened(POLICY)
    running = policies.running[POLICY]
    while not any(task.care == "alone" for task in running):
        for _ in range(PLAN.most_parallel):
            policies.schedule.hungry(POLICY)
            policies.decide()
        suspect = next((task for task in running if task.shard == 0), None)
        if suspect is None:
            policies.end(POLICY)
            ended += 1
        elif suspect.care != "alone":
            running.remove(suspect)
            policies.schedule.failed(POLICY, suspect, "killed", suspect=True)
    assert [task.shard for task in running] == [0]
    assert ended < 10, "it was left to the end of the stage"
