"""What a build asks of a cluster's autoscaler."""

from __future__ import annotations

from typing import Any

import pytest

from launch.config import validate
from storage.errors import ConfigurationError
from workflows.configuration import BuildConfig
from workflows.workload import asked_nodes


def build(ask: dict[str, Any]) -> BuildConfig:
    model = {"kind": "scripted", "model": "m"}
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
