"""ray_cluster.yaml: what Ray's own schema says of it, and its shape started on one machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from actors.models.identity import model_identity
from launch.config import load
from workflows.runs.workload import placements
from workflows.stages import MODEL_ROLES

ROOT = Path(__file__).parents[2]
SCHEMA = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
    return loaded


def test_rays_own_schema_takes_it(cluster: dict[str, Any]) -> None:
    jsonschema.validate(cluster, json.loads(SCHEMA.read_text()))


def test_every_model_of_the_papers_build_has_nodes_that_can_hold_it(
    cluster: dict[str, Any],
) -> None:
    config = load(ROOT / "configs" / "genprm.yaml")
    types = cluster["available_node_types"]
    for role, place in placements(config, True, MODEL_ROLES).items():
        fits = [
            name
            for name, node in types.items()
            if node["resources"].get("GPU", 0) >= place.gpus
            and all(node["resources"].get(r, 0) >= n for r, n in place.resources.items())
        ]
        assert fits, f"{role} fits nowhere"
        if role in MODEL_ROLES:
            assert fits == [role], model_identity(config.engine(role))
            assert types[role]["min_workers"] >= 1
    assert types["sandbox"]["resources"]["sandbox"] >= 1
    assert "GPU" not in types["sandbox"]["resources"]
    assert types["head"]["resources"]["CPU"] == 0


def test_authentication_health_checks_and_pinned_packages_are_set_on_purpose(
    cluster: dict[str, Any],
) -> None:
    for start in (cluster["head_start_ray_commands"], cluster["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token" in start[-1]
    assert "RAY_health_check_period_ms" in cluster["head_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][-1]
    assert "~/stepmill/install.sh ~/venv" in cluster["setup_commands"]


SHAPE = """
import json, os, sys
os.environ["RAY_AUTH_MODE"] = "disabled"
import ray
from ray.cluster_utils import Cluster
types, places = json.loads(sys.argv[1]), json.loads(sys.argv[2])
ray_cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0,
    "object_store_memory": 80_000_000})
for kind in types:
    own = {k: v for k, v in kind.items() if k not in ("CPU", "GPU")}
    ray_cluster.add_node(num_cpus=1, num_gpus=kind.get("GPU", 0), resources=own,
        object_store_memory=80_000_000)
ray.init(ray_cluster.address, logging_level="ERROR", log_to_driver=False)
sys.path.insert(0, os.getcwd())
from actors.workers.ray_nodes import slots_of_cluster
pools = slots_of_cluster(["policy", "completer", "rationale"])
said = {"slots": {pool: sum(nodes.values()) for pool, nodes in pools.items()}}

class Here:
    def node(self):
        return ray.get_runtime_context().get_node_id()

held = [
    ray.remote(Here).options(num_cpus=0, num_gpus=place["gpus"], resources=place["resources"])
    .remote() for place in places
]
said["nodes"] = len(set(ray.get([one.node.remote() for one in held], timeout=120)))
print("said", json.dumps(said))
ray.shutdown()
ray_cluster.shutdown()
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_its_shape_starts_on_one_machine_and_every_role_finds_its_node(
    cluster: dict[str, Any],
) -> None:
    types = cluster["available_node_types"]
    kinds = [types[name]["resources"] for name in ("sandbox", *MODEL_ROLES)]
    placed = placements(load(ROOT / "configs" / "genprm.yaml"), True, MODEL_ROLES)
    places = [
        {"gpus": placed[role].gpus, "resources": placed[role].resources} for role in MODEL_ROLES
    ] + [{"gpus": 0, "resources": {"sandbox": 1}}]
    done = subprocess.run(
        [sys.executable, "-c", SHAPE, json.dumps(kinds), json.dumps(places)],
        cwd=ROOT, capture_output=True, text=True, timeout=380,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("said ")]
    assert lines, done.stdout[-2000:] + done.stderr[-2000:]
    said = json.loads(lines[0].removeprefix("said "))
    assert said["slots"] == {"engines": 12, "policy": 4, "completer": 4, "rationale": 4}
    assert said["nodes"] == 4
