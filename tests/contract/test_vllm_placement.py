"""How vLLM configures an engine inside of a real placement group, with CUDA faked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tiny_model import make_tiny_model

ROOT = Path(__file__).parents[2]

INSIDE = """
import asyncio, json, os, sys
os.environ["RAY_AUTH_MODE"] = "disabled"
import ray
from ray.cluster_utils import Cluster

class Cuda:
    def executors(self, model):
        import vllm.platforms
        from vllm.platforms.cpu import CpuPlatform

        class FourGpus(CpuPlatform):
            is_cuda = lambda self: True
            is_cpu = lambda self: False
            device_count = classmethod(lambda cls: 4)
            check_and_update_config = classmethod(lambda cls, config: None)

        vllm.platforms._current_platform = FourGpus()
        from dataclasses import replace
        from vllm.engine.arg_utils import AsyncEngineArgs
        from actors.engines.contract import EngineSettings
        from actors.engines.vllm_core import engine_arguments

        def chosen(parallel, **more):
            settings = EngineSettings(model=model, tensor_parallel=parallel, dtype="float32")
            arguments = engine_arguments(settings, on_cpu=False, eager=True) | more
            config = AsyncEngineArgs(**arguments).create_engine_config().parallel_config
            return config.distributed_executor_backend

        by_itself = {"distributed_executor_backend": None}
        return {
            "ours": [chosen(4), chosen(1)],
            "by itself": [chosen(4, **by_itself), chosen(1, **by_itself)],
            "in a group": ray.util.get_current_placement_group() is not None,
        }

async def main():
    from actors.workers.ray_places import RayPlaces
    places = RayPlaces()
    node, there = await places.take(0, "engine", {"GPU": 4, "CPU": 0.01})
    actor = ray.remote(Cuda).options(num_cpus=0.01, num_gpus=4, scheduling_strategy=there).remote()
    print("said", json.dumps(await actor.executors.remote(sys.argv[1])))
    places.give_back(0)

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 4,
    "object_store_memory": 80_000_000})
ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
asyncio.run(main())
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_in_a_placement_group_our_engine_takes_processes_where_vllm_would_take_ray(
    tmp_path: Path,
) -> None:
    model = make_tiny_model(tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    config |= {"num_attention_heads": 4, "num_key_value_heads": 4}
    (model / "config.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-c", INSIDE, str(model)],
        cwd=ROOT, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("said ")]
    assert lines, done.stdout[-2000:] + done.stderr[-3000:]
    said = json.loads(lines[0].removeprefix("said "))
    assert said["in a group"]
    assert said["by itself"] == ["ray", "uni"], "if vLLM has learnt better, ours may go"
    assert said["ours"] == ["mp", "uni"]
