"""A stage whose workers open two models: what a worker takes of a machine, and who has workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage.errors import ConfigurationError, InputError
from workflows.runs.configuration import needs_of
from workflows.runs.driving import Standing, engine_slots, most_workers, schedule_for
from workflows.runs.workload import kept_roles, placements
from workflows.solving.asking import config_of
from workflows.solving.settings import SolveConfig


def solving(**asked: Any) -> SolveConfig:
    named = {key.replace("__", "."): value for key, value in asked.items()}
    return config_of("org/policy", "problems.jsonl", "org/verifier", None, named)


SERVED = {"models__verifier__kind": "endpoint", "models__verifier__url": "http://h:1/v1"}


def test_only_the_policy_has_workers_and_both_models_are_in_the_spec() -> None:
    config = solving()
    assert config.worker_roles == ("policy",)
    assert list(config.engines) == ["policy", "verifier"]
    assert set(config.binding["engines"]) == {"policy", "verifier"}
    assert needs_of(config, "verifier").keys() == {"solve"}
    assert needs_of(config, "policy") == {}


def test_two_local_models_share_one_gpu() -> None:
    config = solving()
    assert [engine.gpu_share for engine in config.engines.values()] == [0.5, 0.5]
    place = placements(config, on_gpus=True)["policy"]
    assert (place.gpus, place.models, place.needs_sandbox) == (1.0, ("policy", "verifier"), True)
    assert "verifier" not in placements(config, on_gpus=True)
    assert engine_slots(config, "policy") == 1
    less = solving(models__policy__gpu_share=0.2, models__verifier__gpu_share=0.5)
    assert placements(less, on_gpus=True)["policy"].gpus == pytest.approx(0.7)
    assert placements(config, on_gpus=False)["policy"].gpus == 0


def test_beside_a_server_a_model_has_its_gpus_for_itself() -> None:
    config = solving(**SERVED, models__policy__tensor_parallel=2)
    assert config.engine("policy").gpu_share is None
    assert placements(config, on_gpus=True)["policy"].gpus == 2
    assert engine_slots(config, "policy") == 2
    guided = solving(
        models__policy__kind="endpoint", models__policy__url="http://h:1/v1",
        models__verifier__tensor_parallel=4,
    )  # fmt: skip
    assert placements(guided, on_gpus=True)["policy"].gpus == 4
    assert most_workers(guided, "policy") == guided.cluster.workers_per_role


def test_two_servers_take_no_gpu_and_one_worker() -> None:
    both = solving(**SERVED, models__policy__kind="endpoint", models__policy__url="http://h:1/v1")
    assert placements(both, on_gpus=True)["policy"].gpus == 0
    assert engine_slots(both, "policy") == 0
    assert most_workers(both, "policy") == both.cluster.workers_per_server


def test_a_cluster_keeps_nodes_for_the_role_that_has_workers() -> None:
    assert kept_roles(solving(), {"policy": 1.0}) == ["policy"]


def test_the_schedule_knows_the_one_role() -> None:
    schedule = schedule_for(solving(), Standing(3, {"solve": frozenset()}), 1)
    assert set(schedule._staff.crews) == {"policy", "cpu"}


def test_shares_of_more_than_a_gpu_are_refused() -> None:
    config = solving(models__policy__gpu_share=0.6, models__verifier__gpu_share=0.5)
    with pytest.raises(ConfigurationError, match="share one GPU"):
        config.check_input(None)  # type: ignore[arg-type]


def test_majority_opens_no_verifier() -> None:
    config = solving(solve__method="majority")
    assert list(config.engines) == ["policy"]
    assert not config.runs_code
    assert placements(config, on_gpus=True)["policy"].models == ("policy",)
    alone = replace(config, models=replace(config.models, verifier=None))
    assert alone.binding == config.binding


def test_a_search_without_its_verifier_is_refused() -> None:
    config = solving()
    alone = replace(config, models=replace(config.models, verifier=None))
    with pytest.raises(ConfigurationError, match=r"models\.verifier"):
        _ = alone.engines


def test_a_verifier_whose_word_on_itself_is_not_understood_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"stepmill": {"kind": "oracle"}}')
    config = config_of("org/policy", "problems.jsonl", str(tmp_path))
    with pytest.raises(InputError, match="kind 'oracle'"):
        config.check_models()
