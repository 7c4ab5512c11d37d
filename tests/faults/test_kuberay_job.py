"""launch/kubernetes/rayjob.yaml: fields that KubeRay has, and what the paper's build needs.

`KUBERAY_CRD=FILE` checks it against a whole CRD too, as an API server with strict validation
would: `kubectl get crd rayjobs.ray.io -o yaml > FILE`. Nothing here starts Kubernetes.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.main import get_command

from launch.cli.main import app
from launch.config import load
from tests.support.kuberay import custom
from workflows.runs.workload import placements
from workflows.stages import MODEL_ROLES

ROOT = Path(__file__).parents[2]
JOB: dict[str, Any] = yaml.safe_load((ROOT / "launch/kubernetes/rayjob.yaml").read_text())
SPEC = JOB["spec"]
CLUSTER = SPEC["rayClusterSpec"]
GROUPS = {group["groupName"]: group for group in CLUSTER["workerGroupSpecs"]}
CRD = os.environ.get("KUBERAY_CRD")


def container(group: dict[str, Any]) -> dict[str, Any]:
    (only,) = group["template"]["spec"]["containers"]
    found: dict[str, Any] = only
    return found


def everywhere(value: Any) -> Iterator[Any]:
    """A value, and all that lies in it."""
    yield value
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inside:
        yield from everywhere(each)


def strict(schema: Any) -> Any:
    """A CRD's schema that refuses what an API server would drop in silence."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if made.get("x-kubernetes-int-or-string") is True:
        made.pop("type", None)
    if made.get("type") == "object" and "properties" in made:
        made.setdefault("additionalProperties", False)
    return made


@pytest.mark.skipif(CRD is None, reason="KUBERAY_CRD names no file")
def test_it_fits_the_crd_with_no_field_that_the_crd_lacks() -> None:
    crd = yaml.load(Path(str(CRD)).read_text(), yaml.CSafeLoader)
    (found,) = (one for one in crd["spec"]["versions"] if JOB["apiVersion"].endswith(one["name"]))
    schema = strict(found["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}  # the API server's own
    check = jsonschema.Draft202012Validator(schema)
    assert [f"{list(e.path)}: {e.message}" for e in check.iter_errors(JOB)] == []
    wrong = JOB | {"spec": SPEC | {"backofLimit": 1}}
    assert [e.message for e in check.iter_errors(wrong)], "a field that it lacks is found"


def test_only_fields_that_kuberay_knows_are_set() -> None:
    assert JOB.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    assert SPEC.keys() == {
        "entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished",
        "rayClusterSpec",
    }  # fmt: skip
    assert CLUSTER.keys() == {
        "rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions",
        "headGroupSpec", "workerGroupSpecs",
    }  # fmt: skip
    assert CLUSTER["headGroupSpec"].keys() == {"rayStartParams", "template"}
    group = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
    for worker in GROUPS.values():
        assert worker.keys() == group
        assert worker["minReplicas"] <= worker["replicas"] <= worker["maxReplicas"]
    for params in (
        worker["rayStartParams"] for worker in [CLUSTER["headGroupSpec"], *GROUPS.values()]
    ):
        assert all(isinstance(value, str) for value in params.values())


def test_a_retry_is_the_same_command_which_continues_the_run() -> None:
    assert SPEC["backoffLimit"] >= 1
    assert SPEC["shutdownAfterJobFinishes"] is True
    program, verb, *words = shlex.split(SPEC["entrypoint"])
    assert program == "stepmill"
    command = get_command(app).commands[verb]  # type: ignore[attr-defined]
    given = command.make_context(verb, words).params
    assert given["address"] == "auto"
    (volume,) = CLUSTER["headGroupSpec"]["template"]["spec"]["volumes"]
    (mount,) = container(CLUSTER["headGroupSpec"])["volumeMounts"]
    assert mount["name"] == volume["name"]
    for file in (given["config"], Path(given["problems"])):
        assert str(file.parent) == mount["mountPath"]
        assert f"--from-file={file.name}=" in (ROOT / "launch/kubernetes/rayjob.yaml").read_text()


def test_every_model_of_the_papers_build_has_a_group_that_can_hold_it() -> None:
    config = load(ROOT / "configs/genprm.yaml")
    places = placements(config, 1, MODEL_ROLES)
    for role in MODEL_ROLES:
        gpus = int(container(GROUPS[role])["resources"]["limits"]["nvidia.com/gpu"])
        assert custom(GROUPS[role]) == {role: gpus}
        assert gpus >= places[role].gpus
        assert GROUPS[role]["maxReplicas"] * gpus >= config.cluster.ask[role]
    assert custom(GROUPS["sandbox"]) == {"sandbox": 1}
    assert GROUPS["sandbox"]["maxReplicas"] >= config.cluster.ask["sandbox"]


def test_model_written_code_runs_beside_no_credentials_and_no_other_work() -> None:
    sandbox = GROUPS["sandbox"]
    assert "secret" not in json.dumps(sandbox).lower()
    assert sandbox["template"]["spec"]["automountServiceAccountToken"] is False
    assert container(sandbox)["securityContext"] == {"privileged": True}
    for idle in (CLUSTER["headGroupSpec"], sandbox):
        assert idle["rayStartParams"]["num-cpus"] == "0"


def test_images_are_those_that_the_dockerfile_makes_and_ray_is_the_one_inside() -> None:
    targets = re.findall(r"^FROM \S+ AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    images = {one["image"] for one in everywhere(JOB) if isinstance(one, dict) and "image" in one}
    assert images == {"registry.example/stepmill:cpu", "registry.example/stepmill:gpu"}
    assert {image.rpartition(":")[2] for image in images} <= set(targets)
    assert CLUSTER["rayVersion"] == version("ray")
