"""A training on a cluster whose GPUs are only counted: all of it but the arithmetic.

`python -m tests.faults.training_driver ADDRESS WORKERS CORES` waits for GPUs as `train` does, then
has Ray Train start the workers as ours asks for them. Instead of training, each says where it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from typing import Any, cast

import ray
from ray.train.torch import TorchConfig, TorchTrainer

from actors.training import ray_job
from actors.training.events import Event
from actors.training.job import TrainingJob
from actors.training.settings import SpreadSettings, TrainingSettings
from launch.exits import failed
from launch.shown.terminal import TERMINAL
from storage.errors import StepmillError, UserError
from workflows.runs.configuration import ClusterSettings
from workflows.runs.site import Site


class Job:
    """What is asked of a job before its workers are at work."""

    name = "counted"

    def __init__(self, spread: SpreadSettings) -> None:
        self.settings = TrainingSettings(spread=spread)


def placed(config: dict[str, Any]) -> None:
    """In a worker."""
    context = ray.get_runtime_context()
    where = {"node": context.get_node_id(), "gpus": ray.get_gpu_ids()}
    ray.get(config["journal"].say.remote(Event("placed", values=where)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("workers", type=int)
    parser.add_argument("cores", type=int, help="of a worker; 0: as many as we choose")
    parser.add_argument("--patience", type=float, default=600.0)
    asked = parser.parse_args()
    spread = SpreadSettings(workers=asked.workers, cpus_per_worker=asked.cores or None)
    # NCCL wants real GPUs.
    gloo = TorchConfig(backend="gloo")
    ray_job.ray.train.torch.TorchTrainer = partial(TorchTrainer, torch_config=gloo)
    ray_job._work = placed
    try:
        with Site(ClusterSettings(ray_address=asked.address), None, TERMINAL) as site:
            site.gpus_for(spread.workers, spread.cpus_per_worker or 1, asked.patience)
            ray_job.run_training(
                cast(TrainingJob, Job(spread)), site.gpus(), False,
                lambda event: print(json.dumps(event.values), flush=True),
            )  # fmt: skip
    except StepmillError as error:
        sys.exit(failed(error, 2 if isinstance(error, UserError) else 3))


if __name__ == "__main__":
    main()
