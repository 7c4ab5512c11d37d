"""The schedule on nodes: engines of several GPUs, shares of one, other jobs, late nodes."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping

import pytest

from tests.support.simulated_cluster import SimulatedCluster, SimulatedNodes, VirtualClock
from workflows.road import StageSpec
from workflows.schedule.nodes import ENGINES
from workflows.schedule.schedule import Close, Open, RolePlan, Run, Schedule, Task

SMALL, LARGE = RolePlan(slots=1, parallel=2, most=99), RolePlan(slots=4, parallel=2, most=99)
TWO_STAGES = (
    StageSpec("sample", "small", ("problems",)),
    StageSpec("judge", "large", ("problems", "sample")),
)
Roles = Mapping[str, RolePlan]


def simulated(
    nodes: Mapping[str, int], roles: Roles | None = None, shards: int = 200, seed: int = 0
) -> SimulatedCluster:
    """A cluster on which no worker may be opened where there is no room."""
    roles = roles or {"small": SMALL, "large": LARGE}
    clock = VirtualClock()
    road = [stage for stage in TWO_STAGES if stage.role in roles]
    schedule = Schedule(
        road, shards, {}, roles, {ENGINES: nodes}, window=32, attempts=50, clock=clock, pause=1.0
    )

    def seconds(task: Task, rand: random.Random) -> float:
        return 300 * rand.uniform(0.5, 2.0)

    return SimulatedCluster(schedule, clock, roles, seconds, seed=seed, nodes=SimulatedNodes(nodes))


def finish(cluster: SimulatedCluster, shards: int = 200) -> None:
    while cluster.step():
        pass
    assert set(cluster.committed.values()) == {shards}


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param({"a": 8, "b": 8}, id="two whole nodes"),
        pytest.param({"a": 7, "b": 5}, id="others hold a part of both"),
        pytest.param({"a": 4, "b": 1, "c": 1}, id="one node that is large enough"),
        pytest.param({"a": 6, "b": 6, "c": 6}, id="two GPUs of each are left over"),
        pytest.param({f"n{i}": 8 for i in range(12)}, id="twelve nodes"),
    ],
)
def test_engines_of_several_gpus_and_of_one_share_nodes_without_ever_waiting_for_room(
    nodes: Mapping[str, int],
) -> None:
    cluster = simulated(nodes)
    finish(cluster)
    assert cluster.schedule.switches < 10 * len(nodes) + 60


def test_small_engines_are_packed_so_that_whole_nodes_stay_free() -> None:
    cluster = simulated({"a": 8, "b": 8}, {"small": RolePlan(slots=1, parallel=2, most=8)})
    cluster.step()
    assert cluster.nodes is not None
    assert sorted(map(cluster.nodes.whole, "ab")) == [0, 8]


def test_three_and_one_free_gpus_become_four_by_moving_one_small_engine() -> None:
    roles = {"small": RolePlan(slots=1, parallel=2, most=6), "large": LARGE}
    schedule = Schedule(TWO_STAGES, 400, {}, roles, {ENGINES: {"a": 3, "b": 3}}, window=400)
    nodes = SimulatedNodes({"a": 6, "b": 4})
    running: list[Run] = []

    def decide() -> list[str]:
        """Apply decisions until there are none; the roles that were closed and opened."""
        said = []
        while actions := schedule.decide():
            for action in actions:
                match action:
                    case Open(role, worker, node):
                        nodes.take(worker, node, roles[role])
                        schedule.opened(worker)
                        said.append(f"+{role}")
                    case Close(worker):
                        nodes.give_back(worker)
                        schedule.closed(worker)
                        said.append(f"-{worker}")
                    case Run():
                        running.append(action)
        return said

    assert decide() == ["+small"] * 6
    schedule.resized({ENGINES: {"a": 6, "b": 4}})
    assert [nodes.whole(node) for node in "ab"] == [3, 1]
    said: list[str] = []
    while "+large" not in said:  # what runs ends, and the large one's queue grows
        ended = running.pop(0)
        schedule.committed(ended.worker, ended.task)
        said += decide()
    assert said[0].startswith("-"), "a small one made room"
    assert sum(line.startswith("-") for line in said) == 1, "and one was enough"


@pytest.mark.parametrize("seed", range(20))
def test_whatever_other_jobs_take_and_give_back_nothing_is_lost_and_no_room_is_invented(
    seed: int,
) -> None:
    print(f"seed {seed}")
    rand = random.Random(seed)
    roles = {"small": RolePlan(slots=1, parallel=2, most=99, share=rand.choice([100, 30, 50]))}
    roles["large"] = RolePlan(slots=rand.choice([1, 2, 4]), parallel=2, most=99)
    whole = {node: rand.choice([4, 8]) for node in "abcd"}
    cluster = simulated(whole, roles, seed=seed)
    cluster.die, cluster.fail = 0.02, 0.05
    steps = 0
    while cluster.step():
        steps += 1
        if steps % 40 == 0:
            cluster.schedule.resized(
                {ENGINES: {node: rand.randint(0, count) for node, count in whole.items()}}
            )
        if steps % 40 == 20:
            cluster.schedule.resized({ENGINES: whole})
    assert set(cluster.committed.values()) == {200}


def test_gpus_that_come_late_are_used_and_nothing_is_opened_before() -> None:
    clock = VirtualClock()
    roles = {"large": LARGE}
    road = (StageSpec("judge", "large", ("problems",)),)
    schedule = Schedule(road, 20, {}, roles, {ENGINES: {}}, window=8, clock=clock)
    assert schedule.decide() == []
    schedule.resized({ENGINES: {"a": 3, "b": 3}})
    assert schedule.decide() == [], "six GPUs, but no four of one node"
    schedule.resized({ENGINES: {"a": 3, "b": 3, "c": 4}})
    assert schedule.decide() == [Open("large", 0, "c")]


def test_a_model_larger_than_any_node_takes_no_room_from_those_that_fit() -> None:
    cluster = simulated({"a": 8, "b": 8}, {"small": SMALL, "large": RolePlan(16, 2, 9)})
    with pytest.raises(AssertionError, match="nothing can happen any more"):
        finish(cluster)
    assert cluster.committed["sample"] >= 32, "until the window is full"
    assert cluster.schedule.switches == 0


def test_a_decision_costs_the_same_whatever_the_number_of_nodes() -> None:
    def cost(nodes: int) -> float:
        cluster = simulated({f"n{i}": 8 for i in range(nodes)}, shards=60 * nodes)
        started = time.process_time()
        finish(cluster, 60 * nodes)
        return (time.process_time() - started) / cluster.events

    few, many = cost(10), cost(250)
    print(f"{1e6 * few:.0f} and {1e6 * many:.0f} microseconds per event")
    assert many < 3 * few


# ------------------------------------------------------------------ shares of a GPU


@pytest.mark.parametrize(
    ("shares", "beside"),
    [
        pytest.param([30, 30, 30], 3, id="three thirds"),
        pytest.param([50, 40, 30], 2, id="two of three"),
        pytest.param([100, 100, 100], 1, id="one after the other"),
        pytest.param([100, 50, 50], 2, id="a whole one waits for two halves"),
    ],
)
def test_models_that_fit_one_gpu_together_share_it(shares: list[int], beside: int) -> None:
    names = ("policy", "completer", "rationale")
    roles = {
        name: RolePlan(slots=1, parallel=2, most=1, share=share)
        for name, share in zip(names, shares, strict=True)
    }
    road = (
        StageSpec("sample", "policy", ("problems",)),
        StageSpec("estimate", "completer", ("problems", "sample")),
        StageSpec("rationalize", "rationale", ("problems", "estimate")),
    )
    clock = VirtualClock()
    schedule = Schedule(road, 40, {}, roles, {ENGINES: {"a": 1}}, window=8, clock=clock)
    cluster = SimulatedCluster(
        schedule, clock, roles, lambda task, rand: 60.0, nodes=SimulatedNodes({"a": 1})
    )
    most = 0
    while cluster.step():
        most = max(most, len(cluster.load))
    assert cluster.committed == Counter(dict.fromkeys((s.name for s in road), 40))
    assert most == beside


def test_a_share_never_spans_two_gpus() -> None:
    cluster = simulated({"a": 2}, {"small": RolePlan(slots=1, parallel=2, most=9, share=40)})
    cluster.step()
    assert cluster.nodes is not None
    assert cluster.nodes.free["a"] == [20, 20], "two of 40 on each, not five"


# ------------------------------------------------------------------ who stands where


def test_a_worker_that_ray_put_elsewhere_is_counted_there() -> None:
    road = (StageSpec("judge", "large", ("problems",)),)
    slots = {ENGINES: {"a": 4, "b": 4}}
    schedule = Schedule(road, 40, {}, {"large": RolePlan(4, 2, 1)}, slots, window=8)
    [opening] = schedule.decide()
    assert isinstance(opening, Open)
    other = {"a": "b", "b": "a"}[opening.node]
    schedule.placed(opening.worker, other)
    schedule.resized({ENGINES: {other: 4}})
    assert schedule.decide() == [], "the node that is gone held nobody"
    schedule.resized({ENGINES: {opening.node: 4}})
    assert schedule.decide() == [], "who has come to stand is lost when its process is"


def test_of_workers_on_slots_that_another_job_took_only_those_without_a_place_are_given_up() -> (
    None
):
    road = (StageSpec("sample", "small", ("problems",)),)
    roles = {"small": RolePlan(slots=1, parallel=2, most=9)}
    schedule = Schedule(road, 40, {}, roles, {ENGINES: {"a": 3}}, window=40)
    opening = [action.worker for action in schedule.decide() if isinstance(action, Open)]
    schedule.placed(opening[2], "a")
    schedule.resized({ENGINES: {"a": 2}})
    assert [action for action in schedule.decide() if isinstance(action, Close)] == [
        Close(opening[1])
    ]
