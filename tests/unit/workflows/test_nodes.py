"""What a build wants of a cluster's nodes: which it asks for, waits for, and takes."""

from __future__ import annotations

from typing import Any

import pytest

from actors.machines.looking import Look
from actors.machines.machine import GIB, Machine
from actors.models.facts import ModelFacts
from launch.config import validate
from storage.errors import ConfigurationError
from workflows.builds.configuration import BuildConfig
from workflows.runs.workload import (
    asked_nodes,
    kept_roles,
    missing_nodes,
    taking_turns,
    too_large,
    waits_for_gpus,
)
from workflows.stages import MODEL_ROLES


def build(ask: dict[str, Any], kind: str = "scripted") -> BuildConfig:
    model = {"kind": kind, "model": "m"}
    models = {"policy": model, "completer": model, "rationale": model | {"tensor_parallel": 4}}
    raw = {"run": "r", "problems": "p.jsonl", "models": models, "cluster": {"ask": ask}}
    return validate(raw, "build.yaml")


@pytest.mark.parametrize(
    ("ask", "nodes"),
    [
        pytest.param({}, [], id="nothing, as long as nobody says so"),
        pytest.param({"completer": 3}, [{"completer": 1.0}] * 3, id="a GPU an engine"),
        pytest.param(
            {"rationale": 8}, [{"rationale": 4.0}] * 2, id="all GPUs of an engine at once"
        ),
        pytest.param(
            {"policy": 1, "sandbox": 2},
            [{"policy": 1.0}, {"sandbox": 1.0}, {"sandbox": 1.0}],
            id="executors too",
        ),
        pytest.param({"GPU": 8}, [{"GPU": 4.0}] * 2, id="GPUs, as many as the largest takes"),
    ],
)
def test_every_engine_and_executor_is_asked_for_as_one(
    ask: dict[str, int], nodes: list[dict[str, float]]
) -> None:
    assert asked_nodes(build(ask)) == nodes


@pytest.mark.parametrize("kind", ["rationale", "GPU"])
def test_gpus_that_no_engine_would_fill_are_refused(kind: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        asked_nodes(build({kind: 6}))
    assert str(refused.value) == (
        "engines of 4 GPUs (models.rationale.tensor_parallel) do not fill the 6 of "
        f"cluster.ask.{kind}: ask for a multiple of 4"
    )


@pytest.mark.parametrize("ask", [{"complteer": 1}, {"completer": 0}, {"completer": "many"}])
def test_what_no_node_is_kept_for_is_refused_in_one_line(ask: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"^build\.yaml: .*cluster\.ask") as refused:
        build(ask)
    assert "\n" not in str(refused.value)


ASKED = {"policy": 2, "rationale": 8, "sandbox": 2}


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        pytest.param({}, ["policy", "rationale", "sandbox"], id="the head alone"),
        pytest.param(
            {"GPU": 4, "policy": 4}, ["rationale", "sandbox"], id="others are on their way"
        ),
        pytest.param(
            {"GPU": 6, "policy": 4, "rationale": 2, "sandbox": 1},
            ["rationale"],
            id="too few GPUs for one engine",
        ),
        pytest.param(
            {"GPU": 8, "policy": 4, "rationale": 4, "sandbox": 1}, [], id="room for one of each"
        ),
        pytest.param({"GPU": 8}, [], id="nobody labelled these nodes"),
        pytest.param({"GPU": 8, "sandbox": 1}, [], id="nor these"),
    ],
)
def test_work_begins_once_there_is_room_for_one_of_each_kind(
    there: dict[str, int], missing: list[str]
) -> None:
    assert missing_nodes(asked_nodes(build(ASKED)), there) == missing


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        pytest.param({"CPU": 8}, ["GPU"], id="none yet"),
        pytest.param({"GPU": 3}, ["GPU"], id="no node is large enough"),
        pytest.param({"GPU": 4}, [], id="room for the largest model"),
    ],
)
def test_gpus_of_any_node_are_waited_for_too(there: dict[str, int], missing: list[str]) -> None:
    assert missing_nodes(asked_nodes(build({"GPU": 8})), there) == missing


NODES = [{"GPU": 8.0, "CPU": 64.0}, {"GPU": 4.0, "CPU": 64.0, "policy": 4.0}, {"CPU": 64.0}]


@pytest.mark.parametrize(
    ("bundle", "fits"),
    [
        pytest.param({"GPU": 8, "CPU": 0.01}, True, id="a whole node"),
        pytest.param({"GPU": 0.3, "CPU": 0.01}, True, id="a share of a GPU"),
        pytest.param({"GPU": 12, "CPU": 0.01}, False, id="two nodes are not one"),
        pytest.param({"GPU": 8, "policy": 8}, False, id="the nodes that are kept are smaller"),
        pytest.param({"GPU": 4, "policy": 4}, True, id="a node that is kept"),
    ],
)
def test_a_worker_fits_where_one_node_that_is_empty_could_hold_it(
    bundle: dict[str, float], fits: bool
) -> None:
    assert too_large({"policy": bundle}, NODES) == ([] if fits else ["policy"])


def seen(weights: int | None) -> Look:
    """A node without GPUs, on which the models have so many bytes of weights."""
    roles = ("policy", "completer", "rationale")
    facts = {role: ModelFacts(weights_bytes=weights) for role in roles}
    return Look("node", Machine("node"), facts, {role: () for role in roles})


@pytest.mark.parametrize(
    ("looks", "waiting"),
    [
        pytest.param([seen(GIB // 2)], {"rationale (4 GPUs)"}, id="small enough, but for one"),
        pytest.param(
            [seen(2 * GIB)],
            {
                "policy (2.0 GiB, cluster.cpu_model_gib is 1)",
                "completer (2.0 GiB, cluster.cpu_model_gib is 1)",
                "rationale (4 GPUs)",
            },
            id="too large for a processor",
        ),
        pytest.param(
            [],
            {f"{role} (no node has a processor for it)" for role in MODEL_ROLES},
            id="the head alone",
        ),
    ],
)
def test_on_a_cluster_without_gpus_large_models_wait_for_some(
    looks: list[Look], waiting: set[str]
) -> None:
    assert set(waits_for_gpus(build({}, "vllm"), looks)) == {f"models.{who}" for who in waiting}
    assert waits_for_gpus(build({}), looks) == [], "servers need none"


@pytest.mark.parametrize(
    ("there", "kept"),
    [
        pytest.param(["engines"], [], id="shared by all"),
        pytest.param(["engines", "verifier"], [], id="kept for models of other runs"),
        pytest.param(
            ["engines", "policy", "completer", "rationale"],
            ["policy", "completer", "rationale"],
            id="each has its own",
        ),
    ],
)
def test_a_cluster_keeps_nodes_for_all_models_or_for_none(
    there: list[str], kept: list[str]
) -> None:
    assert kept_roles(build({}, "vllm"), there) == kept


def test_nodes_kept_for_some_models_alone_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="for completer and none for policy, rationale"):
        kept_roles(build({}, "vllm"), ["engines", "completer"])
    assert kept_roles(build({}), ["engines", "completer"]) == []  # servers take no GPUs


def sharing(*shares: float | None) -> BuildConfig:
    model: dict[str, Any] = {"kind": "vllm", "model": "m"}
    models = {
        role: model | ({} if share is None else {"gpu_share": share})
        for role, share in zip(("policy", "completer", "rationale"), shares, strict=True)
    }
    return validate({"run": "r", "problems": "p.jsonl", "models": models}, "build.yaml")


@pytest.mark.parametrize(
    ("shares", "gpus"),
    [
        pytest.param((0.3, 0.3, 0.4), 1, id="they fill one"),
        pytest.param((0.6, 0.5, 0.5), 2, id="two beside each other and one"),
        pytest.param((0.6, 0.3, None), 1, id="one that shares none takes turns as ever"),
        pytest.param((None, None, None), 1, id="nobody shares"),
    ],
)
def test_models_that_all_stay_open_are_not_spoken_of(
    shares: tuple[float | None, ...], gpus: int
) -> None:
    assert taking_turns(sharing(*shares), gpus) == ""


@pytest.mark.parametrize(
    ("shares", "gpus", "said"),
    [
        ((0.5, 0.5, 0.5), 1, "(gpu_share 0.5 + 0.5 + 0.5 = 1.5), and 1 GPU is there"),
        ((0.6, 0.6, 0.6), 2, "(gpu_share 0.6 + 0.6 + 0.6 = 1.8), and 2 GPUs are there"),
    ],
)
def test_models_that_share_more_than_there_is_are_said_to_take_turns(
    shares: tuple[float, ...], gpus: int, said: str
) -> None:
    assert taking_turns(sharing(*shares), gpus) == (
        f"models.policy, models.completer, models.rationale share GPUs {said}: they take turns, "
        "each loaded anew; lower gpu_share until they fit, and all of them stay open"
    )
