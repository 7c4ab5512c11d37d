"""The schedule, driven by a simulated cluster: seeded, without clock, Ray or rows."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping

import pytest

from tests.support.simulated_cluster import SimulatedCluster, VirtualClock
from workflows.schedule.schedule import Close, Open, RolePlan, Run, Schedule, ShardExhausted, Task
from workflows.stages import MODEL_ROLES, ROAD, STAGE_NAMES

ROLES: Mapping[str, RolePlan] = {
    **{role: RolePlan(slots=1, parallel=4, most=8) for role in MODEL_ROLES},
    "cpu": RolePlan(slots=0, parallel=4, most=1),
}


class Simulation:
    """Applies decisions, finishes running tasks in random order, fails or kills some."""

    def __init__(self, schedule: Schedule, seed: int, slots: int = 10**9) -> None:
        self.schedule = schedule
        self.random = random.Random(seed)
        self.slots = slots
        self.roles: dict[int, str] = {}
        self.running: list[tuple[int, Task]] = []
        self.done: Counter[tuple[str, int]] = Counter()
        self.started: Counter[str] = Counter()
        self.most_waiting: Counter[str] = Counter()
        self.opened: list[str] = []

    def step(self, fail: float = 0.0, kill: float = 0.0) -> None:
        for action in self.schedule.decide():
            match action:
                case Open(role, worker):
                    self.roles[worker] = role
                    self.opened.append(role)
                    used = sum(ROLES[r].slots for r in self.roles.values())
                    assert used <= self.slots, "more engines opened than there are slots"
                    self.schedule.opened(worker)
                case Close(worker):
                    assert not any(w == worker for w, _ in self.running), "closed while busy"
                    del self.roles[worker]
                    self.schedule.closed(worker)
                case Run(worker, task):
                    assert self.roles[worker] == next(s.role for s in ROAD if s.name == task.stage)
                    self.running.append((worker, task))
                    self.started[task.stage] += 1
        for stage, (ready, running) in self.schedule.queued().items():
            self.most_waiting[stage] = max(self.most_waiting[stage], ready + running)
        if not self.running:
            return
        worker, task = self.running.pop(self.random.randrange(len(self.running)))
        if self.random.random() < kill:
            self.running = [(w, t) for w, t in self.running if w != worker]
            del self.roles[worker]
            self.schedule.lost(worker, "killed")
        elif self.random.random() < fail:
            self.schedule.failed(worker, task, "failed")
        else:
            self.done[task.stage, task.shard] += 1
            self.schedule.committed(worker, task)

    def finish(self, fail: float = 0.0, kill: float = 0.0) -> None:
        for _ in range(1_000_000):
            if self.schedule.finished:
                return
            self.step(fail, kill)
        raise AssertionError("the schedule does not end")


def make(shards: int, slots: int, window: int = 8, attempts: int = 3, **done: range) -> Schedule:
    return Schedule(ROAD, shards, done, ROLES, slots=slots, window=window, attempts=attempts)


@pytest.mark.parametrize("slots", [1, 2, 3, 8])
def test_every_shard_passes_every_stage_exactly_once(slots: int) -> None:
    simulation = Simulation(make(40, slots), seed=slots, slots=slots)
    simulation.finish()
    assert simulation.done == Counter({(s, i): 1 for s in STAGE_NAMES for i in range(40)})


@pytest.mark.parametrize("seed", range(50))
def test_failures_and_lost_workers_lose_and_double_nothing(seed: int) -> None:
    print(f"seed {seed}")
    simulation = Simulation(make(20, 2, attempts=10**6), seed, slots=2)
    simulation.finish(fail=0.2, kill=0.05)
    assert simulation.done == Counter({(s, i): 1 for s in STAGE_NAMES for i in range(20)})


def test_what_is_committed_is_never_started_again() -> None:
    schedule = make(10, 1, sample=range(10), estimate=range(7), label=range(5))
    simulation = Simulation(schedule, seed=0, slots=1)
    simulation.finish()
    assert simulation.started["sample"] == 0
    assert simulation.started["estimate"] == 3
    assert simulation.started["label"] == 5
    assert simulation.started["rationalize"] == 10


def test_a_finished_run_starts_nothing() -> None:
    schedule = Schedule(ROAD, 5, {s: range(5) for s in STAGE_NAMES}, ROLES, slots=1, window=8)
    assert schedule.finished
    assert schedule.decide() == []


def test_with_one_slot_models_are_switched_as_rarely_as_the_window_allows() -> None:
    everything_at_once = Simulation(make(32, 1, window=64), seed=1, slots=1)
    everything_at_once.finish()
    assert [r for r in everything_at_once.opened if r != "cpu"] == list(MODEL_ROLES)
    continued = make(32, 1, window=64, sample=range(32), estimate=range(1), label=range(1))
    rest = Simulation(continued, seed=1, slots=1)
    rest.finish()
    assert [r for r in rest.opened if r != "cpu"] == ["completer", "rationale"]
    in_batches = Simulation(make(32, 1, window=8), seed=1, slots=1)
    in_batches.finish()
    assert in_batches.schedule.switches <= 3 * (32 // 8) + 3


def opened_before_any_work(slots: int) -> list[str]:
    """The engines of a run whose first shard does not end, as they are opened."""
    schedule, opened = make(32, slots), []
    while coming := [action for action in schedule.decide() if isinstance(action, Open)]:
        engines = [action.role for action in coming if action.role != "cpu"]
        assert len(engines) <= 1, "an engine that opens takes its memory for another's"
        opened += engines
        for action in coming:
            schedule.opened(action.worker)
    return opened


def test_with_a_slot_for_each_role_engines_load_one_by_one_while_the_first_work_is_done() -> None:
    assert opened_before_any_work(slots=3) == list(MODEL_ROLES)
    assert opened_before_any_work(slots=1) == ["policy"]
    ahead = Simulation(make(32, 3, window=64), seed=1, slots=3)
    ahead.finish()
    assert Counter(r for r in ahead.opened if r != "cpu") >= Counter(MODEL_ROLES)


def test_a_slow_stage_stops_the_one_before_it() -> None:
    simulation = Simulation(make(100, 1, window=8), seed=3, slots=1)
    simulation.finish()
    for stage in STAGE_NAMES[1:]:
        assert simulation.most_waiting[stage] <= 8, stage


def test_a_shard_that_always_fails_stops_the_run_after_its_tries() -> None:
    simulation = Simulation(make(1, 1), seed=0, slots=1)
    with pytest.raises(ShardExhausted, match="shard 0 of sample failed 3 times"):
        simulation.finish(fail=1.0)


def test_a_late_reply_of_a_lost_worker_changes_nothing() -> None:
    schedule = make(1, 1)
    [opening] = schedule.decide()
    assert isinstance(opening, Open)
    schedule.opened(opening.worker)
    [run] = [a for a in schedule.decide() if isinstance(a, Run)]
    schedule.lost(run.worker, "killed")
    schedule.committed(run.worker, run.task)
    assert schedule.queued()["sample"] == (1, 0)
    assert not schedule.finished


# ------------------------------------------------------------------ slots


def test_many_slots_are_shared_by_the_work_that_is_left_and_not_taken_by_the_first_role() -> None:
    cluster = simulated(shards=2_000, slots=96)
    while cluster.committed["export"] < 20:
        cluster.step()
    staff = cluster.schedule.staff()
    assert 4 <= staff["policy"] <= 48
    assert staff["completer"] > staff["policy"], "rollouts are most of the work"
    while cluster.step():
        assert cluster.slots_up + cluster.slots_loading <= 96
    assert cluster.committed == Counter(dict.fromkeys(STAGE_NAMES, 2_000))
    assert cluster.schedule.switches < 2 * 96


def test_pools_of_their_own_bound_each_role() -> None:
    roles = {
        **{role: RolePlan(slots=1, parallel=2, most=99, pool=role) for role in MODEL_ROLES},
        "cpu": RolePlan(slots=0, parallel=8, most=1),
    }
    pools = {"policy": 1, "completer": 3, "rationale": 2}
    clock = VirtualClock()
    schedule = Schedule(ROAD, 60, {}, roles, pools, window=16, clock=clock)
    cluster = SimulatedCluster(schedule, clock, roles, work)
    most: Counter[str] = Counter()
    while cluster.step():
        for role, size in schedule.staff().items():
            most[role] = max(most[role], size)
    assert {role: most[role] for role in MODEL_ROLES} == pools


@pytest.mark.parametrize("seed", range(10))
def test_a_cluster_that_grows_shrinks_and_loses_nodes_loses_and_doubles_nothing(seed: int) -> None:
    print(f"seed {seed}")
    cluster = simulated(shards=150, slots=12, seed=seed, die=0.02, fail=0.05)
    events = 0
    while cluster.step():
        events += 1
        if events % 50 == 0:
            cluster.schedule.resized(cluster.random.choice([4, 8, 12, 40]))
    assert cluster.committed == Counter(dict.fromkeys(STAGE_NAMES, 150))


def test_workers_that_were_coming_on_slots_that_are_gone_are_given_up() -> None:
    schedule = make(40, 8, window=64)
    opening = [action.worker for action in schedule.decide() if isinstance(action, Open)]
    assert len(opening) > 2
    schedule.resized(2)
    closed = [action.worker for action in schedule.decide() if isinstance(action, Close)]
    assert len(closed) == len(opening) - 2
    schedule.resized({"engines": 2, "policy": 0})
    assert schedule.decide() == [], "those that are closing are not missed a second time"


# ------------------------------------------------------------------ size

SECONDS = {"sample": 300, "estimate": 1500, "rationalize": 400}
BIG: Mapping[str, RolePlan] = {
    "policy": RolePlan(slots=1, parallel=4, most=10**6),
    "completer": RolePlan(slots=1, parallel=4, most=10**6),
    "rationale": RolePlan(slots=4, parallel=4, most=10**6),
    "cpu": RolePlan(slots=0, parallel=16, most=4),
}


def work(task: Task, rand: random.Random) -> float:
    return SECONDS.get(task.stage, 1) * rand.uniform(0.7, 1.6)


def simulated(
    shards: int, slots: int, seed: int = 0, die: float = 0.0, fail: float = 0.0
) -> SimulatedCluster:
    clock = VirtualClock()
    schedule = Schedule(
        ROAD, shards, {}, BIG, slots, window=64, attempts=50, clock=clock, pause=1.0
    )
    return SimulatedCluster(schedule, clock, BIG, work, die=die, fail=die + fail, seed=seed)


def cost_per_event(cluster: SimulatedCluster) -> float:
    """Processor seconds per event, the simulation's own included."""
    started = time.process_time()
    while cluster.step():
        pass
    assert set(cluster.committed.values()) == {cluster.committed["sample"]}
    return (time.process_time() - started) / cluster.events


def test_a_decision_costs_the_same_whatever_the_number_of_shards_and_workers() -> None:
    small = cost_per_event(simulated(shards=2_000, slots=40))
    large = cost_per_event(simulated(shards=12_000, slots=1_000))
    print(f"{1e6 * small:.0f} and {1e6 * large:.0f} microseconds per event")
    assert large < 3 * small


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_million_shards_on_a_thousand_gpus() -> None:
    cluster = simulated(shards=1_000_000, slots=1_000)
    cost = cost_per_event(cluster)
    print(f"{1e6 * cost:.0f} microseconds per event, {cluster.schedule.switches} switches")
    assert cluster.committed["export"] == 1_000_000
    assert cost < 500e-6
    assert cluster.schedule.switches < 20 * 1_000
