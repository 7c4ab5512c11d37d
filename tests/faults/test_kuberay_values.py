"""The KubeRay values of docs/cluster.md: keys that the chart has, resources that the models need.

The keys are those of the chart's own tests (`helm-chart/ray-cluster/tests/raycluster_test.yaml`);
nothing here starts Kubernetes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch.config import load
from tests.support.kuberay import custom
from workflows.runs.workload import placements
from workflows.stages import MODEL_ROLES

ROOT = Path(__file__).parents[2]
TOP = {"image", "common", "head", "worker", "additionalWorkerGroups"}
GROUP = {"replicas", "rayStartParams", "securityContext", "resources", "disabled"}


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    text = (ROOT / "docs/cluster.md").read_text()
    found = re.findall(r"```yaml\n(image:.*?)```", text, re.DOTALL)
    assert len(found) == 1
    loaded: dict[str, Any] = yaml.safe_load(found[0])
    return loaded


def test_only_keys_that_the_chart_knows_are_set(values: dict[str, Any]) -> None:
    assert values.keys() == TOP
    assert values["image"].keys() == {"repository", "tag"}
    assert values["common"].keys() == {"containerEnv"}
    for group in (values["head"], values["worker"], *values["additionalWorkerGroups"].values()):
        assert group.keys() <= GROUP
        for value in group.get("rayStartParams", {}).values():
            assert isinstance(value, str), "the operator takes strings only"


def test_authentication_is_set_on_purpose_and_the_head_runs_no_worker(
    values: dict[str, Any],
) -> None:
    environment = {entry["name"]: entry for entry in values["common"]["containerEnv"]}
    assert environment["RAY_AUTH_MODE"]["value"] == "token"
    assert "secretKeyRef" in environment["RAY_AUTH_TOKEN"]["valueFrom"]
    assert values["head"]["rayStartParams"]["num-cpus"] == "0"


def test_every_model_of_the_papers_build_has_a_group_that_can_hold_it(
    values: dict[str, Any],
) -> None:
    groups = values["additionalWorkerGroups"]
    places = placements(load(ROOT / "configs/genprm.yaml"), True, MODEL_ROLES)
    for role in MODEL_ROLES:
        gpus = int(groups[role]["resources"]["limits"]["nvidia.com/gpu"])
        assert custom(groups[role]) == {role: gpus}
        assert gpus >= places[role].gpus
        assert groups[role]["replicas"] >= 1
    assert custom(groups["sandbox"])["sandbox"] >= 1
    assert groups["sandbox"]["securityContext"] == {"privileged": True}
