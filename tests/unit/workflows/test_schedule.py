"""The schedule, driven by a simulated cluster: seeded, without clock, Ray or rows."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping

import pytest

from tests.simulated_cluster import SimulatedCluster, VirtualClock
from workflows.deadlines import Deadlines
from workflows.road import MODEL_ROLES, ROAD, STAGE_NAMES
from workflows.schedule import Close, Open, RolePlan, Run, Schedule, ShardExhausted, Task

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


# ------------------------------------------------------------------ late, hung and poisoned


def ready(schedule: Schedule) -> list[Run]:
    """Decide until there is nothing to open or close; the tasks that were started."""
    started: list[Run] = []
    while actions := schedule.decide():
        for action in actions:
            if isinstance(action, Open):
                schedule.opened(action.worker)
            elif isinstance(action, Close):
                schedule.closed(action.worker)
            else:
                started.append(action)
    return started


def timed(clock: VirtualClock, shards: int = 2, slots: int = 3, parallel: int = 1) -> Schedule:
    roles = {"policy": RolePlan(slots=1, parallel=parallel, most=8)}
    return Schedule(
        ROAD[:1], shards, {}, roles, slots, window=8, deadlines=Deadlines(floor=10), clock=clock
    )


def test_a_late_shard_gets_a_twin_on_another_worker_and_the_first_commit_wins() -> None:
    clock = VirtualClock()
    schedule = timed(clock, shards=1, slots=2)
    [first] = ready(schedule)
    clock.now = 99
    assert ready(schedule) == []
    clock.now = 100  # ten floors, since no median is known
    [twin] = ready(schedule)
    assert (twin.task.shard, twin.worker == first.worker) == (0, False)
    assert schedule.committed(twin.worker, twin.task)
    assert schedule.finished
    assert not schedule.committed(first.worker, first.task), "the loser's reply is ignored"
    assert Close(first.worker) in schedule.decide(), "the worker that was overtaken is replaced"


def test_the_first_try_may_still_win_and_then_nobody_is_suspected() -> None:
    clock = VirtualClock()
    schedule = timed(clock, shards=1, slots=2)
    [first] = ready(schedule)
    clock.now = 100
    [twin] = ready(schedule)
    assert schedule.committed(first.worker, first.task)
    assert not schedule.failed(twin.worker, twin.task, "too late to matter")
    assert schedule.decide() == []


def test_a_worker_on_which_everything_is_late_and_that_says_nothing_is_replaced() -> None:
    clock = VirtualClock()
    schedule = timed(clock, shards=2, slots=1, parallel=2)
    hung = ready(schedule)
    assert len(hung) == 2
    clock.now = 100
    assert schedule.decide() == [], "late, but there is no room for a twin"
    clock.now = 200
    again = ready(schedule)
    assert [run.task.shard for run in again] == [0, 1]
    assert {run.worker for run in again} != {hung[0].worker}


def test_a_deadline_is_a_multiple_of_the_median_with_a_floor() -> None:
    deadlines = Deadlines(floor=10, factor=3)
    assert deadlines.limit("sample") == 100
    for shard, seconds in enumerate([4, 100, 5, 6, 200]):
        task = Task("sample", shard, 1)
        deadlines.start(task, 0)
        deadlines.end(task, seconds, committed=True)
    assert deadlines.limit("sample") == 3 * 6
    assert deadlines.limit("estimate") == 100


@pytest.mark.parametrize("seed", range(10))
def test_a_shard_that_kills_its_worker_ends_up_alone_then_item_by_item(seed: int) -> None:
    print(f"seed {seed}")
    roles = {"policy": RolePlan(slots=1, parallel=4, most=2)}
    schedule = Schedule(ROAD[:1], 40, {}, roles, 2, window=8)
    poison, rand = 7, random.Random(seed)
    running: list[Run] = []
    cares: list[str] = []
    deaths: Counter[int] = Counter()
    for _ in range(10_000):
        running += ready(schedule)
        if schedule.finished:
            break
        run = running.pop(rand.randrange(len(running)))
        if run.task.shard == poison:
            cares.append(run.task.care)
        if run.task.shard == poison and run.task.care != "isolated":
            deaths.update(r.task.shard for r in [run, *running] if r.worker == run.worker)
            running = [r for r in running if r.worker != run.worker]
            assert schedule.broken(run.worker, "killed")
        else:
            assert schedule.committed(run.worker, run.task)
    assert schedule.finished
    assert cares == ["shared", "shared", "alone", "isolated"]
    assert deaths.pop(poison) == 3
    assert max(deaths.values(), default=0) <= 2, "the innocent died with it, but not to the end"


def test_an_engine_that_is_broken_for_everybody_stops_the_run_and_blames_no_item() -> None:
    roles = {"policy": RolePlan(slots=1, parallel=2, most=1)}
    schedule = Schedule(ROAD[:1], 4, {}, roles, 1, window=8)
    seen: set[str] = set()
    with pytest.raises(ShardExhausted, match="failed 6 times: the engine is broken"):
        for _ in range(100):
            for run in ready(schedule):
                seen.add(run.task.care)
                schedule.broken(run.worker, "the engine is broken")
    assert "isolated" not in seen


def test_a_failed_try_rests_longer_each_time() -> None:
    clock = VirtualClock()
    roles = {"policy": RolePlan(slots=1, parallel=1, most=1)}
    schedule = Schedule(ROAD[:1], 1, {}, roles, 1, window=8, pause=5.0, clock=clock)
    [run] = ready(schedule)
    schedule.failed(run.worker, run.task, "the store was away")
    assert ready(schedule) == []
    assert schedule.wake_in == 5
    clock.now = 5
    [run] = ready(schedule)
    schedule.failed(run.worker, run.task, "the store was away")
    assert schedule.wake_in == 15


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
