"""Slots as a cluster has them, and the wait for GPUs: what nobody else has taken, node by node."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import pytest

from actors.workers import ray_nodes
from actors.workers.ray_nodes import NodeNow
from launch.shown.terminal import Terminal
from storage.errors import ConfigurationError, RunStopped, StoreRefused
from workflows.runs import checks, site, waiting
from workflows.runs.configuration import ClusterSettings
from workflows.runs.site import Site
from workflows.runs.slots import SlotsNow

Held = Mapping[str, Mapping[str, float]]


class Cluster:
    """Nodes, as Ray would list them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nodes: list[NodeNow] = []
        self.held: Held = {}
        monkeypatch.setattr(ray_nodes, "nodes_now", lambda: self.nodes)

    def slots(self, fixed: int | None = None, on_gpus: bool = True) -> SlotsNow:
        return SlotsNow(("policy", "completer"), fixed, on_gpus, lambda: self.held)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


def node(name: str, gpus: float, free: float, **more: float) -> NodeNow:
    return NodeNow(name, "10.0.0.7", {"CPU": 8, "GPU": gpus} | more, {"CPU": 8, "GPU": free} | more)


def test_what_other_jobs_hold_is_left_alone_and_what_the_run_holds_counts(cluster: Cluster) -> None:
    cluster.nodes = [node("a", 8, 1), node("b", 8, 7.5), node("c", 8, 0)]
    cluster.held = {"a": {"GPU": 4.0}, "c": {"GPU": 0.9}}
    assert cluster.slots()() == {"engines": {"a": 5, "b": 7, "c": 0}}


def test_a_node_that_is_kept_for_a_model_has_no_more_slots_than_free_gpus(cluster: Cluster) -> None:
    cluster.nodes = [
        node("a", 8, 2, policy=8),
        NodeNow("b", "", {"completer": 3}, {"completer": 3}),
    ]
    assert cluster.slots()() == {
        "engines": {"a": 2}, "policy": {"a": 2}, "completer": {"b": 3},
    }  # fmt: skip


def test_what_is_gone_is_believed_once_it_is_seen_twice(cluster: Cluster) -> None:
    now = cluster.slots()
    seen = []
    for free in (8, 4, 4, 8):
        cluster.nodes = [node("a", 8, free)]
        seen.append(now()["engines"]["a"])
    assert seen == [8, 8, 4, 8]
    cluster.nodes = []
    assert now() == {"engines": {}}, "a node that is gone is gone"


def test_fixed_slots_are_of_nodes_on_which_something_stands_then_of_whole_ones(
    cluster: Cluster,
) -> None:
    cluster.nodes = [node("a", 4, 4), node("b", 8, 8), node("c", 8, 2)]
    cluster.held = {"c": {"GPU": 1.0}}
    assert cluster.slots(fixed=7)() == {"engines": {"c": 3, "b": 4, "a": 0}}


def test_engines_on_processors_take_no_node_of_their_own(cluster: Cluster) -> None:
    assert cluster.slots(on_gpus=False)() == {"engines": {"": 1}}
    assert cluster.slots(fixed=3, on_gpus=False)() == {"engines": {"": 3}}


# ------------------------------------------------------------------ a training's GPUs


class Training:
    """A site that has joined a cluster, whose free GPUs are these, from one look to the next."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *free: float) -> None:
        self.free = list(free)
        self.now = 0.0
        self.asked: list[list[Mapping[str, float]]] = []
        self.site = Site(ClusterSettings(ray_address="head:6379"), None, Terminal())
        monkeypatch.setattr(self.site, "_join", lambda: None)
        monkeypatch.setattr(waiting, "nodes_now", self._nodes)
        monkeypatch.setattr(site, "nodes_asked", self._asked)
        monkeypatch.setattr(waiting, "time", self)

    def _nodes(self) -> list[NodeNow]:
        return [node("a", 8, self.free[0] if len(self.free) == 1 else self.free.pop(0))]

    @contextlib.contextmanager
    def _asked(self, bundles: list[Mapping[str, float]]) -> Iterator[None]:
        self.asked.append(bundles)
        yield

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_training_asks_for_its_gpus_and_waits_until_they_are_free(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = Training(monkeypatch, 0, 1, 3, 4)
    training.site.gpus_for(4, 1, patience_s=600)
    assert training.asked == [[{"GPU": 1.0, "CPU": 1.0}] * 4]
    assert training.now == 3 * waiting.NODES_EVERY_S
    assert "waiting for nodes: 4 free GPUs (free: 10.0.0.7 0 of 8 GPU)" in capsys.readouterr().err


def test_a_training_that_gets_no_gpus_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(monkeypatch, 3)
    with pytest.raises(RunStopped) as stopped:
        training.site.gpus_for(4, 1, patience_s=600)
    assert 600 < training.now < 610
    assert str(stopped.value) == (
        "no nodes with 4 free GPUs (free: 10.0.0.7 3 of 8 GPU) came up in 10 minutes "
        "(`ray status` says why): start some, or set spread.device to cpu"
    )


def test_a_training_whose_workers_no_node_has_the_cores_for_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = Training(monkeypatch, 8)
    with pytest.raises(ConfigurationError) as refused:
        training.site.gpus_for(1, 9, patience_s=600)
    assert training.now == 0
    assert str(refused.value) == (
        "spread.cpus_per_worker is 9, and no node with GPUs has more than 8 cores: lower it"
    )


def test_one_command_tests_a_store_until_it_passes_and_then_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcomes = iter([StoreRefused("it replaces an object"), "passes"])

    def probed(url: str) -> str:
        outcome = next(outcomes)
        if isinstance(outcome, StoreRefused):
            raise outcome
        return outcome

    monkeypatch.setattr(checks, "probed_store", probed)
    command = Site(ClusterSettings(), None)
    with pytest.raises(StoreRefused):
        checks.probed_at(command, "memory://one")
    for _ in range(3):
        assert checks.probed_at(command, "memory://one") == "passes"
    with pytest.raises(StopIteration):
        checks.probed_at(Site(ClusterSettings(), None), "memory://one")
