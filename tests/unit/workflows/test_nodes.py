"""What a build wants of a cluster's nodes: which it asks for, waits for, and takes."""

from __future__ import annotations

from typing import Any

import pytest

from launch.config import validate
from storage.errors import ConfigurationError
from workflows.configuration import BuildConfig
from workflows.workload import asked_nodes, kept_roles, missing_nodes


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
    ],
)
def test_every_engine_and_executor_is_asked_for_as_one(
    ask: dict[str, int], nodes: list[dict[str, float]]
) -> None:
    assert asked_nodes(build(ask)) == nodes


def test_gpus_that_no_engine_would_fill_are_refused() -> None:
    with pytest.raises(ConfigurationError) as refused:
        asked_nodes(build({"rationale": 6}))
    assert str(refused.value) == (
        "engines of 4 GPUs (models.rationale.tensor_parallel) do not fill the 6 of "
        "cluster.ask.rationale: ask for a multiple of 4"
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
